//! Walks a document and a schema together: normalises names, converts strings to the types of the schema, reads secrets
//! from their files, and records every error with its place. Serde's errors stop at the first mistake and have no lines.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::domain::nearest_name;

use super::problem::{ConfigError, Origin, Problem, sort};
use super::shape::{accepts, describe, describe_all, kind, names, nested, one_of, property, snake_case, tag_name, tag_value};
use super::yaml::{Node, Value, untyped};
use super::{Loaded, expand, read_text};

const SECRET_FILE: &str = "secret_file:";
const MAX_SECRET: usize = 256 * 1024;

/// The walk's findings.
pub(super) struct Interpreter {
    problems: Vec<Problem>,
    /// The number of problems after the walk: a rule does not report a key again that has one of these.
    walked: usize,
    /// The keys of the top level.
    top: Vec<String>,
    /// Whether passphrases are tried, which takes a moment for each.
    pub(super) is_thorough: bool,
    warnings: Vec<Problem>,
    origins: HashMap<String, Origin>,
    /// The files that secrets were read from, by their keys.
    secret_files: HashMap<String, PathBuf>,
    /// Files of the configuration that contain secrets and can be read by everybody: each is reported once.
    open_files: HashSet<PathBuf>,
}

/// An object's members, to be taken out one by one.
pub(super) struct Sections(Json);

impl Sections {
    /// Takes a member; `null` counts as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Json> {
        self.0.as_object_mut()?.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes an object, empty if absent.
    pub(super) fn take_section(&mut self, key: &str) -> Self {
        match self.take(key) {
            Some(section @ Json::Object(_)) => Self(section),
            _ => Self(Json::Object(Map::new())),
        }
    }

    /// Everything that was not taken yet.
    pub(super) fn document(&self) -> &Json {
        &self.0
    }

    /// Takes a list, empty if absent.
    pub(super) fn take_list(&mut self, key: &str) -> Vec<Json> {
        match self.take(key) {
            Some(Json::Array(items)) => items,
            _ => Vec::new(),
        }
    }
}

impl Interpreter {
    pub(super) fn new(problems: Vec<Problem>, warnings: Vec<Problem>, is_thorough: bool) -> Self {
        let (secret_files, open_files) = (HashMap::new(), HashSet::new());
        Self { problems, walked: 0, top: Vec::new(), is_thorough, warnings, origins: HashMap::new(), secret_files, open_files }
    }

    /// Walks the whole document.
    pub(super) fn interpret(&mut self, root: &Node, schema: &Json) -> Sections {
        self.top = schema.get("properties").and_then(Json::as_object).into_iter().flat_map(Map::keys).cloned().collect();
        let document = self.value(root, schema, "").filter(Json::is_object);
        self.walked = self.problems.len();
        Sections(document.unwrap_or_else(|| Json::Object(Map::new())))
    }

    /// Whether an error was reported at a key.
    pub(super) fn is_wrong(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.path == path)
    }

    /// Whether there is an error at a key or in its value.
    pub(super) fn has_problem_below(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| is_within(&problem.path, path))
    }

    /// Reports an error at a key.
    pub(super) fn report(&mut self, path: &str, message: impl Into<String>) {
        let problem = Problem::new(path, message).at(self.origin(path));
        self.add(problem);
    }

    /// Adds an error, unless it only follows from one at the same key that the walk found.
    fn add(&mut self, problem: Problem) {
        if !self.problems[..self.walked].iter().any(|before| before.path == problem.path) {
            self.problems.push(problem);
        }
    }

    /// Reports an error at a key, with the values that are allowed.
    pub(super) fn report_allowing(&mut self, path: &str, message: impl Into<String>, allowed: impl Into<String>) {
        let problem = Problem::new(path, message).at(self.origin(path)).allowed(allowed);
        self.add(problem);
    }

    /// Notes a warning at a key.
    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>) {
        let warning = Problem::new(path, message).at(self.origin(path));
        self.warnings.push(warning);
    }

    /// Notes a warning at a key, with the values that are allowed.
    pub(super) fn warning_allowing(&mut self, path: &str, message: impl Into<String>, allowed: impl Into<String>) {
        let warning = Problem::new(path, message).at(self.origin(path)).allowed(allowed);
        self.warnings.push(warning);
    }

    /// Whether a key has a value of its own in a file or the environment.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.origins.contains_key(path)
    }

    /// The error of a secret, with the file that it was read from.
    pub(super) fn in_its_file(&self, path: &str, reason: &str) -> String {
        self.secret_files.get(path).map_or_else(|| reason.to_owned(), |file| format!("in the secret file {} {reason}", file.display()))
    }

    /// The configuration, if it has no errors.
    pub(super) fn finish(mut self, config: super::Config) -> Result<Loaded, ConfigError> {
        if !self.problems.is_empty() {
            return Err(self.into_error());
        }
        sort(&mut self.warnings);
        Ok(Loaded { config, warnings: self.warnings })
    }

    /// The mistakes.
    pub(super) fn into_error(mut self) -> ConfigError {
        sort(&mut self.problems);
        sort(&mut self.warnings);
        ConfigError { problems: self.problems, warnings: self.warnings }
    }

    /// The place of a key, or else of the nearest key that would contain it.
    fn origin(&self, path: &str) -> Option<&Origin> {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return Some(origin);
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
            if path.is_empty() {
                return self.origins.get("");
            }
        }
    }

    fn value(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        self.origins.insert(path.to_owned(), node.origin.clone());
        if let Some(options) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            return self.choice(node, options, path);
        }
        if node.is_null() && accepts(schema, "null") {
            return Some(Json::Null);
        }
        match kind(schema) {
            Some("object") => self.object(node, schema, path),
            Some("array") => self.array(node, schema, path),
            Some("string") => self.string(node, schema, path),
            Some("integer") => self.integer(node, schema, path),
            Some("number") => {
                self.scalar(node, schema, path, |text| text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Json::from))
            }
            Some("boolean") => self.scalar(node, schema, path, boolean),
            _ => Some(untyped(node)),
        }
    }

    fn object(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let Value::Mapping(entries) = &node.value else { return self.wrong(path, schema) };
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        let mut members = Map::new();
        for (written, child) in entries {
            let Some((name, property)) = property(properties, written) else {
                self.other((written, child), schema, path, &mut members);
                continue;
            };
            let child_path = join(path, name);
            if members.contains_key(name) {
                self.report(&child_path, "given twice, in two spellings");
                continue;
            }
            // A key without a value counts as absent, but where `null` means something.
            if child.is_null() && !accepts(property, "null") {
                continue;
            }
            let value = self.value(child, property, &child_path);
            // The default, or null, keeps the place of a wrong value: it is not missing as well, and the rest of the section
            // can still be checked.
            let value = value.or_else(|| property.get("default").cloned()).unwrap_or(Json::Null);
            members.insert(name.to_owned(), value);
        }
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if !members.contains_key(name) {
                let property = &properties[name];
                self.report_allowing(&join(path, name), "is missing", describe(property));
            }
        }
        Some(Json::Object(members))
    }

    /// A key that is not among the named ones: data if the schema allows such a key, an error if it allows no other, else unknown.
    fn other(&mut self, (written, child): (&str, &Node), schema: &Json, path: &str, members: &mut Map<String, Json>) {
        let child_path = join(path, written);
        let (others, keys) = (schema.get("additionalProperties"), schema.get("propertyNames").map(names).unwrap_or_default());
        let is_allowed = keys.is_empty() || keys.contains(&written);
        if let Some(others) = others.filter(|others| is_allowed && others.as_bool() != Some(false)) {
            let value = self.value(child, others, &child_path);
            members.insert(written.to_owned(), value.unwrap_or(Json::Null));
            return;
        }
        let named = schema.get("properties").and_then(Json::as_object).into_iter().flat_map(Map::keys).map(String::as_str);
        let name = snake_case(written);
        let nearest = nearest_name(&name, named.chain(keys.iter().copied()));
        let nearest = nearest.map(str::to_owned).or_else(|| nested(schema, &name));
        let hint = match nearest {
            _ if self.top.contains(&name) => format!("; `{name}` stands at the top level, outside of every section"),
            Some(known) => format!("; did you mean `{known}`?"),
            None => String::new(),
        };
        let unknown = |word: &str| Problem::new(child_path, format!("{word}{hint}")).at(Some(&child.origin));
        match others {
            Some(_) if keys.is_empty() => self.problems.push(unknown("unknown key")),
            Some(_) => self.problems.push(unknown("unknown key").allowed(one_of(&keys))),
            None => self.warnings.push(unknown("unknown key, ignored")),
        }
    }

    fn array(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let items = match &node.value {
            Value::Sequence(items) => items,
            // A list of one, without its brackets.
            Value::Scalar { text, .. } if !text.is_empty() => {
                self.report_allowing(path, format!("is not of the right kind: {}", shown(path, text)), describe(schema));
                return None;
            }
            Value::Scalar { .. } | Value::Mapping(_) => return self.wrong(path, schema),
        };
        let any = Json::Bool(true);
        let item_schema = schema.get("items").unwrap_or(&any);
        let values =
            items.iter().enumerate().map(|(index, item)| self.value(item, item_schema, &format!("{path}[{index}]")).unwrap_or(Json::Null));
        Some(Json::Array(values.collect()))
    }

    fn string(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let Value::Scalar { text, .. } = &node.value else { return self.wrong(path, schema) };
        if schema.get("format").and_then(Json::as_str) == Some("password") {
            return Some(Json::String(self.secret(text, path)));
        }
        let allowed = names(schema);
        if allowed.is_empty() || allowed.contains(&text.as_str()) {
            return Some(Json::String(text.clone()));
        }
        self.report_allowing(path, format!("is none of the values allowed: {}", shown(path, text)), one_of(&allowed));
        None
    }

    /// The secret, or nothing where its file is wrong: what else the section holds is still checked then.
    fn secret(&mut self, text: &str, path: &str) -> String {
        let Some(file) = text.strip_prefix(SECRET_FILE).map(expand) else {
            self.written_in_place(path);
            return text.to_owned();
        };
        self.secret_files.insert(path.to_owned(), file.clone());
        if is_world_readable(&file) {
            self.warning(path, format!("the secret file {} can be read by everybody: chmod o-r it", file.display()));
        }
        match read_text(&file, MAX_SECRET) {
            Ok(secret) if secret.trim().is_empty() => self.report(path, format!("the secret file {} is empty", file.display())),
            Ok(secret) => return secret.trim().to_owned(),
            Err(reason) => self.report(path, format!("the secret file {} {reason}", file.display())),
        }
        String::new()
    }

    /// Checks a secret in a file of the configuration itself, which everybody may be able to read.
    fn written_in_place(&mut self, path: &str) {
        let Some(Origin::Line(Some(file), _)) = self.origin(path).cloned() else { return };
        if is_world_readable(&file) && self.open_files.insert(file.to_path_buf()) {
            let reason = format!(
                "is a secret in {}, which everybody can read: chmod o-r it, or use {SECRET_FILE}/path for each secret in it",
                file.display()
            );
            self.warning(path, reason);
        }
    }

    fn integer(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let unsigned = schema.get("format").and_then(Json::as_str).is_some_and(|format| format.starts_with("uint"));
        let bound = |name: &str| schema.get(name).and_then(Json::as_i64).map(i128::from);
        let minimum = bound("minimum").or(unsigned.then_some(0));
        let maximum = bound("maximum");
        self.scalar(node, schema, path, |text| {
            let number: i128 = text.parse().ok()?;
            let fits = minimum.is_none_or(|minimum| number >= minimum) && maximum.is_none_or(|maximum| number <= maximum);
            let number = u64::try_from(number).map(Json::from).or_else(|_| i64::try_from(number).map(Json::from));
            number.ok().filter(|_| fits)
        })
    }

    fn scalar(&mut self, node: &Node, schema: &Json, path: &str, read: impl Fn(&str) -> Option<Json>) -> Option<Json> {
        match &node.value {
            Value::Scalar { text, .. } => read(text.trim()).or_else(|| {
                self.report_allowing(path, format!("is not of the right kind: {}", shown(path, text)), describe(schema));
                None
            }),
            _ => self.wrong(path, schema),
        }
    }

    /// Chooses one of several shapes: the one that the value matches best, so that messages fit the intention.
    fn choice(&mut self, node: &Node, options: &[Json], path: &str) -> Option<Json> {
        if node.is_null() && options.iter().any(|option| accepts(option, "null")) {
            return Some(Json::Null);
        }
        let options: Vec<&Json> = options.iter().filter(|option| kind(option) != Some("null")).collect();
        if let [only] = options[..] {
            return self.value(node, only, path);
        }
        match &node.value {
            Value::Mapping(entries) => {
                let objects: Vec<&Json> = options.iter().copied().filter(|option| kind(option) == Some("object")).collect();
                self.object_choice(node, entries, &objects, path)
            }
            Value::Sequence(_) => match options.iter().find(|option| kind(option) == Some("array")) {
                Some(option) => self.value(node, option, path),
                None => self.wrong_choice(path, &options),
            },
            Value::Scalar { text, .. } => {
                let named = options.iter().any(|option| names(option).contains(&text.as_str()));
                let free = options.iter().find(|option| names(option).is_empty() && !matches!(kind(option), Some("object" | "array")));
                match free {
                    _ if named => Some(Json::String(text.clone())),
                    Some(option) => {
                        let before = self.problems.len();
                        let value = self.value(node, option, path);
                        // The other shapes are allowed too.
                        for problem in self.problems[before..].iter_mut().filter(|problem| problem.allowed.is_some()) {
                            problem.allowed = Some(describe_all(&options));
                        }
                        value
                    }
                    None => {
                        let message = format!("is none of the values allowed: {}", shown(path, text));
                        self.report_allowing(path, message, describe_all(&options));
                        None
                    }
                }
            }
        }
    }

    fn object_choice(&mut self, node: &Node, entries: &[(String, Node)], options: &[&Json], path: &str) -> Option<Json> {
        let keys: Vec<String> = entries.iter().map(|(key, _)| snake_case(key)).collect();
        if let Some(tag) = options.first().and_then(|option| tag_name(option)) {
            let tags: Vec<&str> = options.iter().filter_map(|option| tag_value(option, tag)).collect();
            let Some((_, chosen)) = entries.iter().find(|(key, _)| snake_case(key) == tag) else {
                self.report_allowing(&join(path, tag), "is missing", one_of(&tags));
                return None;
            };
            let Value::Scalar { text, .. } = &chosen.value else { return self.wrong_choice(path, options) };
            let Some(option) = options.iter().find(|option| tag_value(option, tag) == Some(text)) else {
                let tag_path = join(path, tag);
                self.origins.insert(tag_path.clone(), chosen.origin.clone());
                self.report_allowing(&tag_path, format!("is none of the values allowed: {}", shown(&tag_path, text)), one_of(&tags));
                return None;
            };
            return self.value(node, option, path);
        }
        let required = |option: &Json| -> Vec<String> {
            let names = option.get("required").and_then(Json::as_array).into_iter().flatten();
            names.filter_map(Json::as_str).map(str::to_owned).collect()
        };
        let meant: Vec<&Json> = options.iter().copied().filter(|option| required(option).iter().all(|name| keys.contains(name))).collect();
        match meant[..] {
            [option] => self.value(node, option, path),
            [one, other, ..] => {
                // Each of them alone would be right, and it must not be left to us which of them counts.
                let key = required(other).join(" and ");
                let origin = entries.iter().find(|(name, _)| snake_case(name) == key).map(|(_, node)| &node.origin);
                let reason = format!("has no effect beside `{}`: choose one of them", required(one).join(" and "));
                self.problems.push(Problem::new(join(path, &key), reason).at(origin.or(Some(&node.origin))));
                None
            }
            [] => {
                let ways: Vec<String> = options.iter().map(|option| required(option).join(" and ")).collect();
                let ways: Vec<&str> = ways.iter().map(String::as_str).collect();
                let meant = keys.iter().find_map(|key| Some((nearest_name(key, ways.iter().copied())?, key)));
                let hint = meant.map(|(known, key)| format!("; did you mean `{known}` by `{key}`?")).unwrap_or_default();
                self.report_allowing(path, format!("lacks the key that determines its kind{hint}"), one_of(&ways));
                None
            }
        }
    }

    fn wrong(&mut self, path: &str, schema: &Json) -> Option<Json> {
        self.report_allowing(path, "is not of the right kind", describe(schema));
        None
    }

    fn wrong_choice(&mut self, path: &str, options: &[&Json]) -> Option<Json> {
        self.report_allowing(path, "is none of the values allowed", describe_all(options));
        None
    }
}

/// A wrong value for a message: bounded, on one line, and omitted if the key says that it is a secret.
pub(super) fn shown(path: &str, text: &str) -> String {
    const MAX_SHOWN: usize = 80;
    if is_secret(path, text) {
        return "the value is not shown".to_owned();
    }
    let plain: String = text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if text.chars().count() > MAX_SHOWN { "..." } else { "" };
    format!("`{plain}{more}`")
}

/// Whether a key says that its value is a secret, or the value is a URL that contains one.
pub(super) fn is_secret(path: &str, text: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["secret", "passphrase", "password", "private_key", "api_token", "access_key", "private_url"].iter().any(|word| path.contains(word))
        || (text.contains("://") && text.contains(['@', '?']))
}

/// Whether everybody on this machine may read a file.
pub(super) fn is_world_readable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o004 != 0)
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is_within(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `yes`, `no`, `on` and `off` as well, since YAML 1.1, which FirecREST's files are read as, takes them.
pub(super) fn boolean(text: &str) -> Option<Json> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(Json::Bool(true)),
        "false" | "no" | "off" => Some(Json::Bool(false)),
        _ => None,
    }
}
