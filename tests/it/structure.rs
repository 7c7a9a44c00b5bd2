//! The structure of `src/` as `ARCHITECTURE.md` describes it: the permitted imports, the home of each foreign crate, the
//! maximum length of files (those of `tests/` too) and functions, and the words that identifiers must not contain. The lists here may only shrink or be argued about in a review.

mod imports;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::Crate;
use words::{contains, identifiers};

/// The modules from left to right. A module may import those of the rows below its own.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["commands"],
    &["demo"],
    &["app"],
    &["config", "telemetry"],
    &["http"],
    &["service"],
    &["health", "mirror"],
    &["authn", "authz"],
    &["cluster"],
    &["scheduler", "filesystem", "transfer", "notify"],
    &["ssh"],
    &["credentials"],
    &["lifecycle", "rest", "store"],
    &["domain", "error"],
];

/// The one module that knows each of these crates.
const HOMES: &[(&str, &str)] = &[
    ("axum", "http"),
    ("utoipa", "http"),
    ("utoipa_axum", "http"),
    ("utoipa_swagger_ui", "http"),
    ("tower", "http"),
    ("tower_http", "http"),
    ("secrecy", "domain"),
    ("strsim", "domain"),
    ("httpdate", "http"),
    ("hyper", "http"),
    ("hyper_util", "http"),
    ("jsonwebtoken", "authn"),
    ("regex", "service"),
    ("russh", "ssh"),
    ("deadpool", "ssh"),
    ("reqwest", "rest"),
    ("http_types", "scheduler"),
    ("kube", "scheduler"),
    ("k8s_openapi", "scheduler"),
    ("rusqlite", "store"),
    ("tokio_postgres", "store"),
    ("deadpool_postgres", "store"),
    ("rustls_platform_verifier", "store"),
    ("tokio_rustls", "http"),
    ("rusty_s3", "transfer"),
    ("md5", "transfer"),
    ("saphyr_parser", "config"),
    ("clap", "commands"),
    ("tracing_subscriber", "telemetry"),
    ("prometheus_client", "telemetry"),
];

/// Crates that several modules know, each of which uses them behind its own interface; may only shrink.
const SHARED: &[(&str, &[&str])] = &[
    ("aws_lc_rs", &["config", "demo", "domain", "filesystem", "http", "notify", "service", "ssh", "store"]),
    ("base64", &["authn", "demo", "http", "notify", "rest", "service", "ssh", "transfer"]),
    ("moka", &["authn", "authz", "credentials", "filesystem", "rest", "scheduler"]),
    ("percent_encoding", &["demo", "http", "rest", "transfer"]),
    ("rustix", &["demo", "lifecycle", "store", "telemetry"]),
    ("serde_path_to_error", &["config", "http"]),
    ("uuid", &["demo", "filesystem", "http", "mirror", "notify", "scheduler", "service", "ssh", "store", "transfer"]),
];

/// Crates that are as good as a part of the language: every module may know them.
const COMMON: &[&str] = &[
    "async_trait",
    "bytes",
    "futures",
    "jiff",
    "parking_lot",
    "schemars",
    "serde",
    "serde_json",
    "thiserror",
    "tokio",
    "tokio_util",
    "tracing",
];

/// Parts of a crate that one file or folder outside its home may know.
///
/// Certificates are made and read where credentials come from, which is right of `ssh`; a way back through a trait would put
/// signing, which has nothing to do with connections, among them. Tokens for slurmrestd are signed there too.
/// The demonstration has the other side of protocols whose clients have their homes elsewhere.
const GUESTS: &[(&str, &str)] = &[
    ("axum", "demo/issuer/endpoint.rs"),
    ("clap", "demo/mod.rs"),
    ("jsonwebtoken", "credentials/slurm_tokens.rs"),
    ("jsonwebtoken", "demo/issuer/mod.rs"),
    ("regex::Regex", "authn/usernames.rs"),
    ("russh", "demo/ssh_server/"),
    ("russh::keys", "credentials/keys.rs"),
    ("tokio_rustls", "store/postgres/tls.rs"),
    ("tower_http::cors", "demo/issuer/endpoint.rs"),
];

/// The most lines of a file, its tests not counted.
const MAX_LINES: usize = 500;

/// The most lines of a function.
const MAX_FUNCTION_LINES: usize = 60;

/// Files and folders of one folder that import each other in a circle; may only shrink.
const CIRCLES: &[&[&str]] = &[];

/// Words that mean nothing outside this project, with their replacements. Written with a capital, they name types;
/// in capitals, constants.
const OLD_WORDS: &[(&str, &str)] = &[
    ("Asked", "Query, or a name for what is held"),
    ("Asker", "QueryContext"),
    ("Brief", "Command"),
    ("Charge", "Account"),
    ("DEEPEST", "MAX"),
    ("Errand", "ProblemContext"),
    ("Followers", "FollowPermit"),
    ("Given", "Output"),
    ("Ground", "JobContext"),
    ("Joint", "QueryContext"),
    ("LARGEST", "MAX"),
    ("LATELY", "BACKOFF"),
    ("LEARNED", "TTL"),
    ("LEAST", "MIN"),
    ("LONGEST", "MAX"),
    ("Late", "TimedOut"),
    ("Lent", "LeasedConnection"),
    ("MOST", "MAX"),
    ("MUCH", "MAX"),
    ("Opener", "ConnectionManager"),
    ("Pulse", "Liveness"),
    ("SHORTEST", "MIN"),
    ("SLOWEST", "MIN"),
    ("SMALLEST", "MIN"),
    ("Slot", "Permit, or a name for what is held"),
    ("STANDING", "STALLED"),
    ("Staged", "Object"),
    ("Standing", "CredentialVersion"),
    ("TOLD", "a name for what is told"),
    ("Telling", "EventEncoder"),
    ("Told", "DigestResult"),
    ("Turn", "UploadLock"),
    ("Turns", "UploadLocks"),
    ("UNTOLD", "DEFAULT"),
    ("Ungated", "WithoutHealthCheck"),
    ("Verdict", "Evaluation, or a name for what was decided"),
    ("Waning", "Expiring"),
    ("Wanted", "a name for what is wanted, such as WaiterGuard"),
    ("WayNote", "Backend"),
    ("complain", "eprint"),
    ("converse", "drive"),
    ("doubt", "suspect"),
    ("doubted", "is_suspect"),
    ("errand", "problem_context"),
    ("fit", "is_usable"),
    ("gaps", "unsupported"),
    ("give_back", "release"),
    ("hear", "next_message"),
    ("inflow", "forward_body"),
    ("lent", "leased, reserved"),
    ("mistake", "validate"),
    ("most", "max"),
    ("moving", "copy_move"),
    ("noting", "via"),
    ("observe", "access_log"),
    ("pour", "forward_body"),
    ("staged", "object_transfer"),
    ("standing", "stalled"),
    ("told", "a name for what is told"),
    ("traffic", "request_metrics"),
    ("ungated", "without_health_check"),
    ("unread", "drain_body"),
    ("verdict", "into_result"),
];

struct Source {
    path: PathBuf,
    module: String,
    depth: usize,
    code: String,
}

/// The Rust files below a folder of the package, with their paths from there.
fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

/// The files of `src/`, without those that belong to tests alone.
fn sources() -> Vec<Source> {
    let (mut files, mut tests) = (Vec::new(), Vec::new());
    for (relative, text) in rust_files("src") {
        let parts: Vec<String> = relative.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let depth = parts.len() - usize::from(parts.last().is_some_and(|last| last == "mod"));
        tests.extend(test_modules(&text).map(|name| relative.with_file_name(name)));
        let code = without_test_modules(&text).unwrap_or_else(|line| panic!("{}: no end of {line:?}", relative.display()));
        files.push(Source { path: relative, module: parts[0].clone(), depth, code });
    }
    files.retain(|file| !tests.iter().any(|test| file.path == test.with_extension("rs") || file.path.starts_with(test)));
    assert!(files.len() > 10, "the sources were not found");
    files
}

/// The modules that are declared for tests only and lie in files of their own.
fn test_modules(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().zip(text.lines().skip(1)).filter(|(attribute, _)| *attribute == "#[cfg(test)]");
    lines.filter_map(|(_, declaration)| declaration.strip_prefix("mod ")?.strip_suffix(';'))
}

/// The code without its test modules, in the layout that rustfmt gives; what stands behind one stays.
///
/// # Errors
/// The line that begins a module whose end was not found.
fn without_test_modules(text: &str) -> Result<String, &str> {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let attribute = line.trim_start();
        let module = lines.next_if(|next| attribute == "#[cfg(test)]" && next.trim_start().starts_with("mod "));
        match module {
            None => code.extend([line, "\n"]),
            Some(module) if module.ends_with('{') => {
                let end = format!("{}}}", &line[..line.len() - attribute.len()]);
                lines.find(|line| *line == end).ok_or(module)?;
            }
            Some(_) => {}
        }
    }
    Ok(code)
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The first names after each `crate::`, those in braces included.
fn imported_modules(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, _) in code.match_indices("crate::") {
        let rest = &code[index + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(leading_name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    names.insert(leading_name(&list[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn code_behind_a_test_module_counts_as_code() {
    let declared = "mod a;\n\n#[cfg(test)]\nmod golden;\n\nuse crate::http;\n";
    assert_eq!(without_test_modules(declared).unwrap(), "mod a;\n\n\nuse crate::http;\n");
    let written = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\n\nuse crate::http;\n";
    assert_eq!(without_test_modules(written).unwrap(), "fn a() {}\n\n\nuse crate::http;\n");
    let inside = "mod a {\n    #[cfg(test)]\n    mod tests {\n        fn b() {}\n    }\n    use crate::http;\n}\n";
    assert_eq!(without_test_modules(inside).unwrap(), "mod a {\n    use crate::http;\n}\n");
    for kept in ["#[cfg(test)]\nfn a() {}\n", "#[cfg(unix)]\nmod a {\n}\n", "mod tests {\n}\n", "#[cfg(test)]\n"] {
        assert_eq!(without_test_modules(kept).unwrap(), kept);
    }
    assert_eq!(without_test_modules("#[cfg(test)]\nmod tests {}\nuse crate::http;\n").unwrap(), "use crate::http;\n");
    assert!(without_test_modules("#[cfg(test)]\nmod tests {\n    }\n").is_err());
}

#[test]
fn modules_for_tests_are_found_where_they_are_declared() {
    let text = "mod a;\n#[cfg(test)]\nmod golden;\n#[cfg(test)]\npub(crate) mod tests;\n#[cfg(test)]\nmod b {\n}\n";
    assert_eq!(test_modules(text).collect::<Vec<_>>(), ["golden"]);
}

#[test]
fn every_module_has_a_place_in_the_table() {
    for source in sources() {
        assert!(source.module == "lib" || row(&source.module).is_some(), "{} has no row in ROWS", source.path.display());
    }
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        let own = row(&source.module).unwrap();
        for name in imported_modules(&source.code) {
            let allowed = name == source.module || row(&name).is_none_or(|other| other > own);
            if !allowed {
                wrong.push(format!("{} imports {name}", source.path.display()));
            }
        }
        if source.code.contains(&"super::".repeat(source.depth.max(1))) {
            wrong.push(format!("{} climbs to the root by super::", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The lines that name a crate, from its name on.
fn lines_naming<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let lines = code.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let named = |line: &'a str| {
        let places = line.match_indices(&format!("{name}::")).map(|(at, _)| at).collect::<Vec<_>>();
        let is_whole = move |at: &usize| !line[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        places.into_iter().filter(is_whole).map(move |at| &line[at..])
    };
    lines.flat_map(named).collect()
}

#[test]
fn a_foreign_crate_is_known_in_its_home_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        let path = source.path.to_string_lossy();
        for (name, home) in HOMES.iter().filter(|(_, home)| *home != source.module) {
            let is_invited = |text: &&str| GUESTS.iter().any(|(part, guest)| path.starts_with(guest) && text.starts_with(part));
            if !lines_naming(&source.code, name).iter().all(is_invited) {
                wrong.push(format!("{path} knows {name}, whose home is {home}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_shared_crate_is_known_in_its_modules_alone() {
    let sources = sources();
    for (name, modules) in SHARED {
        let knowing = sources.iter().filter(|source| !lines_naming(&source.code, name).is_empty());
        let knowing: BTreeSet<&str> = knowing.map(|source| source.module.as_str()).collect();
        assert_eq!(knowing.into_iter().collect::<Vec<_>>(), *modules, "the modules that know {name}");
    }
}

#[test]
fn every_dependency_is_in_one_of_the_lists() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies = manifest.split_once("\n[dependencies]\n").unwrap().1.split("\n[").next().unwrap();
    let names = dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_"));
    let listed = HOMES.iter().map(|(name, _)| *name).chain(SHARED.iter().map(|(name, _)| *name)).chain(COMMON.iter().copied());
    let mut listed: Vec<&str> = listed.collect();
    listed.sort_unstable();
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    assert_eq!(listed, names);
}

#[test]
fn no_file_is_long() {
    for source in sources() {
        let lines = source.code.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines without its tests", source.path.display());
    }
}

#[test]
fn no_file_of_tests_is_long() {
    for (path, text) in rust_files("tests") {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_module_is_a_catch_all() {
    for source in sources() {
        let name = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!["utils", "util", "helpers", "common", "misc", "manager"].contains(&name.as_str()), "{}", source.path.display());
    }
}

/// The functions with their numbers of lines, in the layout that rustfmt gives.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let start = line.trim_start();
        let indent = &line[..line.len() - start.len()];
        let Some(name) =
            start.split_once("fn ").filter(|(before, _)| before.split(' ').all(is_qualifier)).map(|(_, rest)| leading_name(rest))
        else {
            continue;
        };
        // A declaration, or a function on one line, ends before the next line of its indentation.
        let end = lines[at..].iter().position(|line| {
            line.strip_prefix(indent).is_some_and(|rest| rest.starts_with('}') || (rest.starts_with("fn ") && rest.ends_with('}')))
                || line.ends_with(';') && line.len() - line.trim_start().len() == indent.len()
        });
        found.push((name, end.map_or(1, |end| end + 1)));
    }
    found
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "" | "async" | "const" | "pub") || word.starts_with("pub(")
}

#[test]
fn no_function_is_long() {
    for source in sources() {
        for (name, lines) in functions(&source.code) {
            assert!(lines <= MAX_FUNCTION_LINES, "{}: {name} has {lines} lines", source.path.display());
        }
    }
}

/// The files that reach themselves through others, in groups of those that reach each other.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let reachable = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = imports[from].iter().collect();
        while let Some(file) = next.pop() {
            if seen.insert(file.clone()) {
                next.extend(&imports[file]);
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> = imports.keys().map(|file| (file, reachable(file))).collect();
    let circular = imports.keys().filter(|file| reach[file].contains(*file));
    circular.map(|file| reach[file].iter().filter(|other| reach[other].contains(file)).cloned().collect()).collect()
}

#[test]
fn files_and_folders_of_a_module_import_each_other_one_way() {
    let listed: BTreeSet<Vec<String>> = CIRCLES.iter().map(|circle| circle.iter().map(|file| (*file).to_owned()).collect()).collect();
    let sources = sources();
    let folders = Crate::new(sources.iter().map(|source| (source.path.as_path(), source.code.as_str()))).imports_by_folder();
    let found: BTreeSet<Vec<String>> = folders.values().flat_map(circles).collect();
    assert_eq!(found, listed, "there is a new circle, or one of CIRCLES is gone");
}

#[test]
fn a_circle_of_three_files_is_found() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let imports = [("a", set(&["b"])), ("b", set(&["c"])), ("c", set(&["a"])), ("d", set(&["a"]))];
    let found = circles(&imports.map(|(file, targets)| (file.to_owned(), targets)).into());
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [["a", "b", "c"]]);
}

#[test]
fn names_are_the_fields_own_words() {
    let mut wrong = Vec::new();
    for source in sources() {
        let file = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        let names: Vec<String> = identifiers(&source.code).into_iter().chain([file]).collect();
        for (old, new) in OLD_WORDS {
            let found = names.iter().filter(|name| contains(name, old));
            wrong.extend(found.map(|name| format!("{}: {name}; use {new}", source.path.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
