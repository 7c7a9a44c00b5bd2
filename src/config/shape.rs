//! Queries on a JSON schema for the interpreter of documents and the reference page.
//!
//! Only the shapes that schemars generates from the configuration's types are supported; references are not among them.

use serde_json::{Map, Value as Json};

/// A description of the values that the schema allows.
pub(super) fn describe(schema: &Json) -> String {
    if let Some(options) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
        return describe_all(&options.iter().filter(|option| kind(option) != Some("null")).collect::<Vec<_>>());
    }
    let allowed = names(schema);
    if !allowed.is_empty() {
        return one_of(&allowed);
    }
    match kind(schema) {
        Some("object") => match schema.get("required").and_then(Json::as_array).and_then(|names| names.first()).and_then(Json::as_str) {
            Some(name) => format!("a section with the key `{name}`"),
            None if schema.get("properties").is_none() => "a section with a name as each key".to_owned(),
            None => "a section with keys".to_owned(),
        },
        Some("array") => "a list".to_owned(),
        Some("string") if schema.get("format").and_then(Json::as_str) == Some("password") => "a text | secret_file:/path".to_owned(),
        Some("string") => "a text".to_owned(),
        Some("integer") => match (schema.get("minimum").and_then(Json::as_u64), schema.get("maximum").and_then(Json::as_u64)) {
            (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
            (Some(min), None) => format!("a whole number from {min}"),
            _ => "a whole number".to_owned(),
        },
        Some("number") => "a number".to_owned(),
        Some("boolean") => "true | false".to_owned(),
        _ => "any value".to_owned(),
    }
}

/// A description of the values that one of these schemas allows.
pub(super) fn describe_all(options: &[&Json]) -> String {
    let mut words: Vec<String> = options.iter().map(|option| describe(option)).collect();
    words.dedup();
    one_of(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The path of the one section below an object that has a key of this name, with the key; nothing if there is none, or more than one.
pub(super) fn nested(schema: &Json, name: &str) -> Option<String> {
    let mut found = sections_with(schema, name).into_iter();
    found.next().filter(|_| found.next().is_none())
}

fn sections_with(schema: &Json, name: &str) -> Vec<String> {
    let sections = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let below = |(section, schema): (&String, &Json)| {
        let options = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array);
        let mut paths: Vec<String> = options
            .map_or_else(|| vec![schema], |options| options.iter().collect())
            .into_iter()
            .flat_map(|option| {
                let is_here = option.get("properties").and_then(|properties| properties.get(name)).is_some();
                let here = is_here.then(|| format!("{section}.{name}"));
                here.into_iter().chain(sections_with(option, name).into_iter().map(|path| format!("{section}.{path}"))).collect::<Vec<_>>()
            })
            .collect();
        paths.dedup();
        paths
    };
    sections.flat_map(below).collect()
}

/// The schema's type, `null` aside.
pub(super) fn kind(schema: &Json) -> Option<&str> {
    match schema.get("type") {
        Some(Json::String(kind)) => Some(kind),
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null"),
        _ if schema.get("properties").is_some() => Some("object"),
        _ if schema.get("const").is_some_and(Json::is_string) || schema.get("enum").is_some() => Some("string"),
        _ => None,
    }
}

pub(super) fn accepts(schema: &Json, kind: &str) -> bool {
    let here = match schema.get("type") {
        Some(Json::String(only)) => only == kind,
        Some(Json::Array(kinds)) => kinds.iter().any(|one| one == kind),
        _ => kind == "null" && schema.get("properties").is_none() && schema.get("anyOf").is_none() && schema.get("oneOf").is_none(),
    };
    let options = ["anyOf", "oneOf"].into_iter().filter_map(|name| schema.get(name).and_then(Json::as_array)).flatten();
    here || options.into_iter().any(|option| accepts(option, kind))
}

/// The strings that the schema allows; none if any string is allowed.
pub(super) fn names(schema: &Json) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Json::as_str).collect()
}

/// The property that tells the variants of an internally tagged enum apart.
pub(super) fn tag_name(option: &Json) -> Option<&str> {
    let properties = option.get("properties")?.as_object()?;
    properties.iter().find(|(_, property)| property.get("const").is_some()).map(|(name, _)| name.as_str())
}

pub(super) fn tag_value<'a>(option: &'a Json, tag: &str) -> Option<&'a str> {
    option.get("properties")?.get(tag)?.get("const")?.as_str()
}

/// The property that a written key means: by its name, its camelCase form, or an alias.
pub(super) fn property<'a>(properties: &'a Map<String, Json>, written: &str) -> Option<(&'a str, &'a Json)> {
    let wanted = snake_case(written);
    let is_alias = |property: &Json| {
        let aliases = property.get("x-aliases").and_then(Json::as_array).into_iter().flatten();
        aliases.filter_map(Json::as_str).any(|alias| alias == wanted)
    };
    properties
        .iter()
        .find(|(name, property)| name.as_str() == written || **name == wanted || is_alias(property))
        .map(|(name, property)| (name.as_str(), property))
}

pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

pub(super) fn one_of(names: &[&str]) -> String {
    names.join(" | ")
}
