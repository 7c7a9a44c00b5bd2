//! The schema and the reference page, both made from the types.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;
use super::shape::{describe, tag_name, tag_value};

const INTRODUCTION: &str = "\
# Configuration

`goldcrest config-schema` generates this page from the types that read the configuration. `goldcrest check-config` checks a
file and reports every mistake with its key and line.

Goldcrest reads one YAML file, named by `--config` or `YAML_CONFIG_FILE`. A file written for FirecREST v2 works unchanged. Start
with `config/goldcrest.example.yaml`.

- Keys are written in snake_case or in camelCase.
- A key without a value counts as absent. An unknown key is ignored, with a warning. It is a mistake where a misspelt key would open what was to be closed:
  under `server`, `auth`, `ssh_credentials`, `webhooks`, `shares`, `compat`, and under `commands` and `kubernetes` of a cluster. A repeated key is a mistake.
- `clusters: path:/folder` reads one cluster from each `*.yaml` file of the folder, in the order of the file names. Relative paths are those of the working directory of the process.
- A **secret** is written in place, or as `secret_file:/path`. Then the value is the file's text without surrounding white space.
  `~/` stands for the home directory.
- Anchors, aliases and merge keys (`<<`) of YAML are supported.

## Environment variables

- `GOLDCREST__AUTH__AUTHENTICATION__USERNAME_CLAIM=uid` sets the key `auth.authentication.username_claim` and overrides the
  file. Two underscores separate keys; numbers select members of lists, from 0 (`GOLDCREST__CLUSTERS__0__SSH__HOST`); case is
  ignored. A value that starts with `{` or `[` is read as JSON, any other as text.
- As in FirecREST, a variable with the name of a top-level key sets this key if the file does not have it: `APP_DEBUG=true`,
  `AUTH='{\"authentication\": {...}}'`. `server`, `metrics`, `store`, `webhooks`, `shares` and `compat` have no such variable.
- The variables that a JupyterHub sets for its services are only read where `auth.authentication.validators` has a Hub with `as_service: true`.
- The variables `KBATCH_*` of kbatch-proxy are only read where the file has the section `compat.kbatch`.
";

/// The largest number of members of a list that the page shows as a default.
const MAX_DEFAULT_LENGTH: usize = 10;

/// The JSON Schema of the configuration, without references, so that editors and [`super::load`] need not follow any.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// The reference page, in Markdown: every key with its type, its default and its meaning.
pub fn reference() -> String {
    let schema = schema();
    let mut page = Page { text: INTRODUCTION.to_owned(), described: Vec::new() };
    page.section("", "Top level", &schema);
    page.text
}

/// The page so far, and the sections with a variant's keys that it has.
struct Page<'a> {
    text: String,
    described: Vec<(&'a Value, String)>,
}

impl<'a> Page<'a> {
    /// A table of an object's keys, and then the sections of those that are objects themselves.
    fn section(&mut self, path: &str, title: &str, schema: &'a Value) {
        self.text.push_str(&format!("\n## {title}\n\n"));
        if let Some(description) = schema.get("description").and_then(Value::as_str).filter(|_| !path.is_empty()) {
            self.text.push_str(&format!("{}\n\n", paragraph(description)));
        }
        self.table(schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let mut repeated = None;
            for (path, object) in objects(&path, property) {
                let title = if is_variant(property) { variant_title(&path, object) } else { format!("`{path}`") };
                match self.described.iter().find(|(known, _)| *known == object) {
                    Some((_, known)) => repeated = Some((path, known.clone())),
                    None => {
                        if is_variant(property) {
                            self.described.push((object, path.clone()));
                        }
                        self.section(&path, &title, object);
                    }
                }
            }
            if let Some((path, known)) = repeated {
                self.text.push_str(&format!("\n## `{path}`\n\nThe keys are those of `{known}`.\n"));
            }
        }
    }

    fn table(&mut self, schema: &Value) {
        self.text.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let default = match property.get("default") {
                _ if required.contains(&name.as_str()) => "**required**".to_owned(),
                None | Some(Value::Null) => String::new(),
                Some(Value::Object(_)) => "see its section".to_owned(),
                Some(Value::Array(members)) if members.len() > MAX_DEFAULT_LENGTH => {
                    format!("{} values, in `config/schema.json`", members.len())
                }
                Some(default) => format!("`{default}`"),
            };
            let meaning = property.get("description").and_then(Value::as_str).unwrap_or_default();
            let kind = describe(property).replace('|', "or");
            self.text.push_str(&format!("| `{name}` | {kind} | {default} | {} |\n", paragraph(meaning)));
        }
    }
}

/// The heading of one of several forms of a section: its `type`, or else the key that only it has.
fn variant_title(path: &str, object: &Value) -> String {
    if let Some(tag) = tag_name(object) {
        return format!("`{path}` with {tag} `{}`", tag_value(object, tag).unwrap_or_default());
    }
    let required = object.get("required").and_then(Value::as_array).and_then(|names| names.first()).and_then(Value::as_str);
    required.map_or_else(|| format!("`{path}`"), |key| format!("`{path}` with `{key}`"))
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
