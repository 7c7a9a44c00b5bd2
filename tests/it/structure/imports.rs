//! Which module each import of `src/` leads to. Reads `use` declarations with their braces and the paths in the code, and follows
//! re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The path of a module in the crate. A folder's `mod.rs` has the path of the folder.
pub type Module = Vec<String>;

/// Re-exports of re-exports that are followed at most.
const MAX_REEXPORTS: usize = 8;

/// The modules of a crate with their imports.
#[derive(Default)]
pub struct Crate {
    modules: BTreeMap<Module, Imports>,
}

struct Imports {
    /// The names that `use` declares, each with the path that it stands for.
    names: BTreeMap<String, Vec<String>>,
    /// Every path that may name another module, those of `names` among them.
    paths: BTreeSet<Vec<String>>,
}

impl Crate {
    /// The modules of these files, whose paths are relative to the root of the crate.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Self {
        let module = |(path, code): (&Path, &str)| {
            let mut module: Module = path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
            module.pop_if(|last| *last == "mod");
            let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
            let declared: Vec<(String, Vec<String>)> = declarations(&code).collect();
            let paths = inline_paths(&code).chain(declared.iter().map(|(_, path)| path.clone())).collect();
            (module, Imports { names: declared.into_iter().collect(), paths })
        };
        Self { modules: files.into_iter().map(module).collect() }
    }

    /// What the files and folders that lie beside each other import of each other, by their folder. What is in a folder counts for the folder.
    ///
    /// A folder's `mod.rs` gathers what lies in the folder, so that it is not counted beside it.
    pub fn imports_by_folder(&self) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
        let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (module, imports) in &self.modules {
            for target in imports.paths.iter().filter_map(|path| self.resolve(module, path, MAX_REEXPORTS)) {
                let common = module.iter().zip(&target).take_while(|(own, other)| own == other).count();
                if common > 0 && common < module.len().min(target.len()) {
                    let folder = folders.entry(module[..common].join("::")).or_default();
                    folder.entry(target[..=common].join("::")).or_default();
                    folder.entry(module[..=common].join("::")).or_default().insert(target[..=common].join("::"));
                }
            }
        }
        folders
    }

    /// The module that has what the path means in this module; `None` for a foreign crate.
    fn resolve(&self, module: &[String], path: &[String], reexports: usize) -> Option<Module> {
        let mut found = module.to_vec();
        let mut names = path.iter();
        match path.first()?.as_str() {
            "crate" => {
                found.clear();
                names.next();
            }
            "self" => _ = names.next(),
            "super" => {}
            first => _ = self.modules.get(&child(module, first))?,
        }
        while let Some(name) = names.next() {
            if name == "super" {
                found.pop();
            } else if self.modules.contains_key(&child(&found, name)) {
                found.push(name.clone());
            } else {
                let reexported = self.modules.get(&found).and_then(|imports| imports.names.get(name));
                let Some(reexported) = reexported.filter(|_| reexports > 0) else { break };
                let Some(source) = self.resolve(&found, reexported, reexports - 1) else { break };
                let rest: Vec<String> = [String::from("crate")].into_iter().chain(source).chain(names.cloned()).collect();
                return self.resolve(&[], &rest, reexports - 1);
            }
        }
        self.modules.contains_key(&found).then_some(found)
    }
}

fn child(module: &[String], name: &str) -> Module {
    let mut child = module.to_vec();
    child.push(name.to_owned());
    child
}

/// The names of all `use` declarations with their paths.
fn declarations(code: &str) -> impl Iterator<Item = (String, Vec<String>)> + '_ {
    let starts = code.match_indices("use ").filter(move |(at, _)| {
        let before = &code[..*at];
        let line = before.rsplit_once('\n').map_or(before, |(_, line)| line).trim_start();
        line.is_empty() || line == "pub " || (line.starts_with("pub(") && line.ends_with(") "))
    });
    starts.flat_map(move |(at, word)| {
        let tree = code[at + word.len()..].split(';').next().unwrap_or_default();
        let mut names = Vec::new();
        expand(tree, &[], &mut names);
        names
    })
}

/// Adds the names of a tree such as `a::{self, b as c, d::{e, f}}` below `prefix`.
fn expand(tree: &str, prefix: &[String], names: &mut Vec<(String, Vec<String>)>) {
    let joined = |text: &str| -> Vec<String> {
        let segments = text.split("::").map(|segment| segment.trim().to_owned()).filter(|segment| !segment.is_empty());
        prefix.iter().cloned().chain(segments).collect()
    };
    if let Some((before, list)) = tree.split_once('{') {
        let inside = list.rsplit_once('}').map_or(list, |(inside, _)| inside);
        let prefix = joined(before);
        let mut depth = 0;
        let parts = inside.split(|character| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            character == ',' && depth == 0
        });
        parts.filter(|part| !part.trim().is_empty()).for_each(|part| expand(part, &prefix, names));
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim().to_owned())));
    let mut path = joined(path);
    if path.len() > 1 {
        path.pop_if(|last| *last == "self" || *last == "*");
    }
    if let Some(last) = path.last().cloned() {
        names.push((alias.unwrap_or(last), path));
    }
}

/// The paths in the code that begin at the root, at the module itself, or at one around it.
fn inline_paths(code: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    ["crate::", "self::", "super::"].into_iter().flat_map(move |word| {
        let starts = code.match_indices(word).map(|(at, _)| at);
        let starts = starts.filter(move |at| !code[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        starts.map(move |at| {
            let path: String = code[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':').collect();
            path.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
        })
    })
}

fn imports(files: &[(&str, &str)]) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    Crate::new(files.iter().map(|(path, code)| (Path::new(path), *code))).imports_by_folder()
}

#[test]
fn imports_in_braces_are_found_and_followed_to_where_the_name_is_declared() {
    let found = imports(&[
        ("a/mod.rs", "mod b;\nmod c;\npub mod d;\nmod f;\n\npub use b::{B, Other as Renamed};\npub(crate) use d::E;\n"),
        ("a/b.rs", "use std::fmt;\nuse super::{\n    Own,\n    d::{self, E as Mine},\n};\nfn f() -> super::c::C {}\n"),
        ("a/c.rs", "use super::Renamed;\nuse crate::a::{E, d::e};\n// use super::f::nothing;\n"),
        ("a/d/mod.rs", "mod e;\npub use e::E;\npub use super::b;\n"),
        ("a/d/e.rs", "use crate::{a::{d::b::B}, z::Y};\n"),
        ("a/f.rs", "use super::{Own, d::b::B as _};\n"),
        ("z.rs", "use crate::a::B;\n"),
    ]);
    let names = |name: &str| found["a"][name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names("a::b"), ["a::c", "a::d"]);
    assert_eq!(names("a::c"), ["a::b", "a::d"]);
    assert_eq!(names("a::d"), ["a::b"]);
    assert_eq!(names("a::f"), ["a::b"]);
    assert_eq!(found.len(), 1, "the table of rows is for imports between modules of the crate: {found:?}");
}

#[test]
fn folders_are_compared_at_every_depth() {
    let found = imports(&[
        ("a/mod.rs", "mod b;\nmod c;\n"),
        ("a/b/mod.rs", "mod x;\nmod y;\nuse super::c::C;\n"),
        ("a/b/x.rs", "use super::y::Y;\n"),
        ("a/b/y.rs", ""),
        ("a/c/mod.rs", "mod z;\npub use z::C;\n"),
        ("a/c/z.rs", "use crate::a::b::y::Y;\n"),
    ]);
    let names = |folder: &str, name: &str| found[folder][name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((names("a", "a::b"), names("a", "a::c")), (vec!["a::c"], vec!["a::b"]));
    assert_eq!((names("a::b", "a::b::x"), found["a::b"].len()), (vec!["a::b::y"], 2));
}

#[test]
fn re_exports_of_each_other_come_to_an_end() {
    let found = imports(&[("a/mod.rs", "mod b;\npub use self::X as Y;\npub use self::Y as X;\n"), ("a/b.rs", "use super::X;\n")]);
    assert!(found.is_empty());
}
