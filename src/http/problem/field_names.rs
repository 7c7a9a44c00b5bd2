//! The places and names of the use cases' fields in HTTP requests.
//!
//! A use case names a field of its own request type, such as `page_size`, and does not know which operation it serves. The API's own
//! document knows the parameters and members of each operation: the field is the one of the same name, or of the name in
//! [`WIRE_NAMES`].

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use crate::http::problem::invalid::{InvalidInput, Place, WrongField};
use crate::service::InvalidRequest;

/// Fields whose names on the wire are other words, which the contract fixes.
const WIRE_NAMES: [(&str, &str); 9] = [
    ("environment", "env"),
    ("metadata", "Upload-Metadata"),
    ("method", "transferMethod"),
    ("path", "sourcePath"),
    ("since", "starttime"),
    ("size", "transferDirectives.fileSize"),
    ("source", "sourcePath"),
    ("target", "targetPath"),
    ("until", "endtime"),
];

/// The maximum depth of nested schemas.
const MAX_DEPTH: usize = 5;

/// The fields of all operations, by route and method.
pub(crate) struct FieldNames(HashMap<String, Vec<(Method, Arc<OperationFields>)>>);

/// The fields of one operation.
pub(crate) struct OperationFields(Vec<(Place, String)>);

impl FieldNames {
    /// Reads them from the document.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let document = serde_json::to_value(document).expect("the document consists of texts, numbers and booleans");
        let fields = |name: &String, operation: &Value| {
            let method = Method::from_bytes(name.to_ascii_uppercase().as_bytes()).ok()?;
            Some((method, Arc::new(OperationFields::of(&document, operation))))
        };
        let routes = document["paths"].as_object().into_iter().flatten().map(|(route, item)| {
            let operations = item.as_object().into_iter().flatten();
            (route.clone(), operations.filter_map(|(name, operation)| fields(name, operation)).collect())
        });
        Self(routes.collect())
    }

    /// The fields of an operation. HEAD without its own operation counts as GET.
    pub(crate) fn operation(&self, route: &str, method: &Method) -> Option<Arc<OperationFields>> {
        let operations = self.0.get(route)?;
        let find = |method: &Method| operations.iter().find(|(known, _)| known == method);
        let (_, fields) = find(method).or_else(|| find(&Method::GET).filter(|_| method == Method::HEAD))?;
        Some(Arc::clone(fields))
    }
}

impl OperationFields {
    fn of(document: &Value, operation: &Value) -> Self {
        let mut fields = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let place = match parameter["in"].as_str() {
                Some("path") => Place::Path,
                Some("header") => Place::Header,
                _ => Place::Query,
            };
            fields.push((place, parameter["name"].as_str().unwrap_or_default().to_owned()));
        }
        for content in operation["requestBody"]["content"].as_object().into_iter().flatten().map(|(_, content)| content) {
            add_members(document, &content["schema"], "", MAX_DEPTH, &mut fields);
        }
        // Of equal names, that of the outer object is meant.
        fields.sort_by_key(|(_, name)| name.matches('.').count());
        Self(fields)
    }

    /// The place and the name of a field. A field that the operation does not have is shown as a
    /// member of the document.
    fn find(&self, field: &str) -> (Place, String) {
        let (head, rest) = field.split_at(field.find('.').unwrap_or(field.len()));
        let named =
            |name: &str| self.0.iter().find(|(_, known)| known == name || is_same(known.rsplit('.').next().unwrap_or_default(), name));
        let renamed = || WIRE_NAMES.iter().find(|(name, _)| *name == head).and_then(|(_, name)| named(name));
        match named(head).or_else(renamed) {
            Some((place, name)) => (*place, format!("{name}{rest}")),
            None => (Place::Body, field.to_owned()),
        }
    }
}

/// The wrong fields by the client's names; by the use case's names if the operation is unknown.
pub(crate) fn placed(request: &InvalidRequest, operation: Option<&OperationFields>) -> InvalidInput {
    let fields = request.fields().iter().map(|field| {
        let (place, name) = operation.map_or_else(|| (Place::Body, field.name.to_string()), |operation| operation.find(&field.name));
        WrongField { place, name: name.into(), message: field.message.clone() }
    });
    InvalidInput(fields.collect())
}

/// Adds the members of an object by their paths. Members of a list's elements have no path, because each element has its own result.
fn add_members(document: &Value, schema: &Value, parent: &str, depth: usize, fields: &mut Vec<(Place, String)>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let referred = schema["$ref"].as_str().and_then(|reference| document.pointer(reference.strip_prefix('#')?));
    let schema = referred.unwrap_or(schema);
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
        add_members(document, member, &path, depth, fields);
        fields.push((Place::Body, path));
    }
    if schema["items"].is_object() {
        add_members(document, &schema["items"], "", depth, fields);
    }
    for variant in ["oneOf", "anyOf", "allOf"].iter().filter_map(|kind| schema[kind].as_array()).flatten() {
        add_members(document, variant, parent, depth, fields);
    }
}

/// Whether two names differ only in how their words are joined: `page_size`, `pageSize`, `Page-Size`.
fn is_same(a: &str, b: &str) -> bool {
    let letters = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    letters(a) == letters(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation() -> OperationFields {
        let document = json!({"components": {"schemas": {"Job": {"properties": {"name": {}, "timeLimit": {}, "env": {}}}}}});
        OperationFields::of(
            &document,
            &json!({
                "parameters": [{"name": "pageSize", "in": "query"}, {"name": "Upload-Metadata", "in": "header"}, {"name": "job_id", "in": "path"}],
                "requestBody": {"content": {"application/json": {"schema": {"properties": {
                    "job": {"$ref": "#/components/schemas/Job"},
                    "jobs": {"items": {"oneOf": [{"properties": {"sourcePath": {}}}]}},
                    "fileSize": {},
                    "transferDirectives": {"oneOf": [{"type": "null"}, {"properties": {"fileSize": {}}}]},
                    "parameters": {},
                }}}}},
            }),
        )
    }

    #[test]
    fn a_field_is_found_by_its_words_wherever_it_stands() {
        for (field, place, name) in [
            ("page_size", Place::Query, "pageSize"),
            ("metadata", Place::Header, "Upload-Metadata"),
            ("job_id", Place::Path, "job_id"),
            ("name", Place::Body, "job.name"),
            ("time_limit", Place::Body, "job.timeLimit"),
            ("environment", Place::Body, "job.env"),
            ("path", Place::Body, "sourcePath"),
            ("size", Place::Body, "transferDirectives.fileSize"),
            ("parameters.steps", Place::Body, "parameters.steps"),
            ("unheard_of", Place::Body, "unheard_of"),
        ] {
            assert_eq!(operation().find(field), (place, name.to_owned()), "{field}");
        }
    }
}
