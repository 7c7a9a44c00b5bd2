//! The schema and the reference page, both made from the types.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;
use super::shape::describe;

const INTRODUCTION: &str = "\
# Configuration

This page is made by `goldcrest config-schema` from the types that read the configuration. `goldcrest check-config` checks a
file and tells every mistake with its key and line.

Goldcrest reads one YAML file: the one that `--config` or `YAML_CONFIG_FILE` names. A file written for FirecREST v2 is read
as it is. `config/goldcrest.example.yaml` is a file to start from.

- Keys are written in snake_case or in camelCase.
- A key without a value counts as absent. An unknown key is ignored, with a warning. A key given twice is a mistake.
- `clusters: path:/folder` reads one cluster from each `*.yaml` file of the folder, in the order of the file names.
- A **secret** is written in place, or as `secret_file:/path`: the file's text without the space around it. `~/` is the home
  directory.
- Anchors, aliases and merge keys (`<<`) of YAML work.

## Environment variables

- `GOLDCREST__AUTH__AUTHENTICATION__USERNAME_CLAIM=uid` sets the key `auth.authentication.username_claim`, whatever the file
  says. Two underscores lead inwards; numbers count the members of lists from 0 (`GOLDCREST__CLUSTERS__0__SSH__HOST`); case
  does not matter. A value that starts with `{` or `[` is read as JSON, any other is the text it is.
- As in FirecREST, the bare name of a top-level key fills in what the file leaves out: `APP_DEBUG=true`,
  `AUTH='{\"authentication\": {...}}'`. The file wins. `server` and `metrics` have no such form.
";

/// The JSON Schema of the configuration, without references, so that editors and [`super::load`] need not follow any.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// The reference page, in Markdown: every key with its type, its default and its meaning.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, "", "The top level", &schema());
    page
}

/// A table of an object's keys, and then the sections of those that are objects themselves.
fn section(page: &mut String, path: &str, title: &str, schema: &Value) {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    page.push_str(&format!("\n## {title}\n\n"));
    if let Some(description) = schema.get("description").and_then(Value::as_str).filter(|_| !path.is_empty()) {
        page.push_str(&format!("{}\n\n", paragraph(description)));
    }
    page.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in properties {
        let default = match property.get("default") {
            _ if required.contains(&name.as_str()) => "**required**".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(Value::Object(_)) => "see its section".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let meaning = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let kind = describe(property).replace('|', "or");
        page.push_str(&format!("| `{name}` | {kind} | {default} | {} |\n", paragraph(meaning)));
    }
    for (name, property) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        for (path, object) in objects(&path, property) {
            let title = match object.get("description").and_then(Value::as_str).and_then(|text| text.split(". ").next()) {
                Some(description) if is_variant(property) => format!("`{path}`: {}", description.trim_end_matches('.')),
                _ => format!("`{path}`"),
            };
            section(page, &path, &title, object);
        }
    }
}

/// The objects with keys that a schema leads to: itself, its variants, the members of its list or map.
fn objects<'a>(path: &str, schema: &'a Value) -> Vec<(String, &'a Value)> {
    if let Some(options) = options(schema) {
        return options.iter().flat_map(|option| objects(path, option)).collect();
    }
    if let Some(items) = schema.get("items") {
        return objects(&format!("{path}[]"), items);
    }
    if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) {
        return objects(&format!("{path}.<name>"), others);
    }
    let has_keys = schema.get("properties").and_then(Value::as_object).is_some_and(|properties| !properties.is_empty());
    if has_keys { vec![(path.to_owned(), schema)] } else { Vec::new() }
}

fn is_variant(schema: &Value) -> bool {
    options(schema).is_some_and(|options| options.iter().filter(|option| option["type"] != "null").count() > 1)
        || options(schema).is_some_and(|options| options.iter().any(is_variant))
}

fn options(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
}

/// A doc comment as one line of a table.
fn paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
