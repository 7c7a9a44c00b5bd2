//! Environment variables over, and under, the file.
//!
//! The rule, which `docs/configuration.md` states for users:
//!
//! - `GOLDCREST__A__B=value` sets the key `a.b` whatever the file says. Two underscores lead inwards, numbers count list
//!   members from 0, and the case does not matter. A value that starts with `{` or `[` is read as JSON; any other is taken
//!   as the text it is.
//! - A top-level key's bare name (`AUTH='{...}'`, `APP_DEBUG=true`) fills in what the file leaves out, as FirecREST does it.
//!   `server`, `metrics`, `store`, `webhooks`, `shares` and `compat` have no such form: the names are too common.

use super::problem::{Origin, Problem};
use super::yaml::{self, Node, Value};

const PREFIX: &str = "GOLDCREST__";
const BARE: [&str; 7] = ["apis_root_path", "app_debug", "auth", "clusters", "doc_servers", "logger", "ssh_credentials"];
const MAX_LIST: usize = 10_000;

/// Applies the variables to the document.
pub(super) fn apply(root: &mut Node, variables: impl Iterator<Item = (String, String)>, problems: &mut Vec<Problem>) {
    let mut variables: Vec<_> = variables.collect();
    // In a fixed order, so that `..__0` comes before `..__1` and a parent before what it contains.
    variables.sort();
    for (name, text) in &variables {
        let key = name.to_ascii_lowercase();
        if BARE.contains(&key.as_str()) {
            match value(name, text) {
                Ok(node) => fill(root, &key, node),
                Err(problem) => problems.push(problem),
            }
        }
    }
    for (name, text) in &variables {
        let Some((prefix, path)) = name.split_at_checked(PREFIX.len()) else { continue };
        if prefix.eq_ignore_ascii_case(PREFIX)
            && let Err(problem) = value(name, text).and_then(|node| set(root, path, node))
        {
            problems.push(problem);
        }
    }
}

/// Warnings about variables that are named as if they set a key and do not, since one of two underscores is missing.
pub(super) fn misspelt(variables: &[(String, String)]) -> Vec<Problem> {
    let warning = |(name, _): &(String, String)| {
        let (prefix, path) = name.split_at_checked(PREFIX.len() - 1)?;
        let is_key = path.contains("__") || BARE.contains(&path.to_ascii_lowercase().as_str());
        let is_misspelt = prefix.eq_ignore_ascii_case(&PREFIX[..PREFIX.len() - 1]) && !path.starts_with('_') && is_key;
        let message = format!("is not read: the name of a variable for a key is {PREFIX}{path}");
        is_misspelt.then(|| Problem::new("", message).at(Some(&Origin::Environment(name.as_str().into()))))
    };
    variables.iter().filter_map(warning).collect()
}

/// The value of a variable: JSON, or the text as it is.
pub(super) fn value(name: &str, text: &str) -> Result<Node, Problem> {
    let origin = Origin::Environment(name.into());
    if !text.trim_start().starts_with(['{', '[']) {
        return Ok(Node { origin, value: Value::Scalar { text: text.to_owned(), plain: true } });
    }
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| Problem::new("", format!("not valid JSON at column {}", error.column())).at(Some(&origin)))?;
    // Every JSON text is YAML; reading it again gives it the same bounds and the same form as the file.
    let mut node = yaml::read(&json.to_string(), None).map_err(|problem| problem.at(Some(&origin)))?;
    relocate(&mut node, &origin);
    Ok(node)
}

fn relocate(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.value {
        Value::Scalar { .. } => {}
        Value::Sequence(items) => items.iter_mut().for_each(|item| relocate(item, origin)),
        Value::Mapping(entries) => entries.iter_mut().for_each(|(_, node)| relocate(node, origin)),
    }
}

/// Adds what `node` has and the document has not.
pub(super) fn fill(parent: &mut Node, key: &str, node: Node) {
    let Value::Mapping(entries) = &mut parent.value else { return };
    let Some(index) = find(entries, key) else {
        entries.push((key.to_owned(), node));
        return;
    };
    let present = &mut entries[index].1;
    if let (Value::Mapping(_), Value::Mapping(added)) = (&present.value, node.value) {
        for (key, node) in added {
            fill(present, &key, node);
        }
    }
}

fn set(root: &mut Node, path: &str, node: Node) -> Result<(), Problem> {
    let origin = node.origin.clone();
    let mut place = root;
    for segment in path.split("__") {
        if segment.is_empty() {
            return Err(Problem::new("", "its name has an empty part").at(Some(&origin)));
        }
        let index = segment.parse::<usize>().ok();
        if place.is_null() || matches!(place.value, Value::Scalar { .. }) {
            place.value = if index.is_some() { Value::Sequence(Vec::new()) } else { Value::Mapping(Vec::new()) };
            place.origin = origin.clone();
        }
        place = match (&mut place.value, index) {
            (Value::Sequence(items), Some(index)) => {
                if index > items.len() || index >= MAX_LIST {
                    let message = format!("leads past the end of the list: the next number is {}", items.len());
                    return Err(Problem::new("", message).at(Some(&origin)));
                }
                if index == items.len() {
                    items.push(empty(&origin));
                }
                &mut items[index]
            }
            (Value::Mapping(entries), _) => {
                let index = find(entries, segment).unwrap_or_else(|| {
                    entries.push((segment.to_ascii_lowercase(), empty(&origin)));
                    entries.len() - 1
                });
                &mut entries[index].1
            }
            _ => return Err(Problem::new("", format!("{segment} must be a number: it leads into a list")).at(Some(&origin))),
        };
    }
    *place = node;
    Ok(())
}

fn empty(origin: &Origin) -> Node {
    Node { origin: origin.clone(), value: Value::Scalar { text: String::new(), plain: true } }
}

/// The entry with that name, compared without case and without regard to camelCase or snake_case.
pub(super) fn find(entries: &[(String, Node)], key: &str) -> Option<usize> {
    let plain = |name: &str| name.chars().filter(|&c| c != '_').collect::<String>().to_ascii_lowercase();
    entries.iter().position(|(name, _)| name == key).or_else(|| entries.iter().position(|(name, _)| plain(name) == plain(key)))
}
