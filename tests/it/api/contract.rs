//! The contract is a file: everything in FirecREST v2 exists here, and the generated document is the committed one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Names of members as dotted paths, with whether each is required.
type Members = BTreeMap<String, bool>;

#[test]
fn the_committed_document_is_the_generated_one() {
    let arguments = ["openapi", "--check", "--root", env!("CARGO_MANIFEST_DIR")];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_goldcrest")).args(arguments).env_clear().output().unwrap();
    assert!(output.status.success(), "run `cargo run -- openapi`: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document: Value = serde_json::from_str(&goldcrest::http::document()).unwrap();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(target) if name == "$ref" => references.push(target),
                    value => collect_references(value, references),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, references)),
        _ => {}
    }
}

/// `deviations.txt` holds what of the contract is missing, each with its reason. It may only shrink: a line that is not needed
/// any more fails here too.
#[test]
fn all_of_the_contract_exists_but_for_the_recorded_deviations() {
    let contract: Value = serde_json::from_str(include_str!("../contract/firecrest-v2.json")).unwrap();
    let document: Value = serde_json::from_str(&goldcrest::http::document()).unwrap();
    let mut missing = Vec::new();
    for (operation, facts) in contract["operations"].as_object().unwrap() {
        for finding in compare(&document, operation, facts, &contract["errors"]) {
            missing.push(format!("{operation}: {finding}"));
        }
    }
    let recorded: Vec<&str> =
        include_str!("../contract/deviations.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let unreasoned: Vec<_> = recorded.iter().filter(|line| line.split_once(" -- ").is_none_or(|(_, reason)| reason.len() < 10)).collect();
    assert!(unreasoned.is_empty(), "deviations without a reason: {unreasoned:#?}");
    let recorded: Vec<&str> = recorded.iter().filter_map(|line| Some(line.split_once(" -- ")?.0)).collect();
    let new: Vec<_> = missing.iter().filter(|finding| !recorded.contains(&finding.as_str())).collect();
    let stale: Vec<_> = recorded.iter().filter(|line| !missing.iter().any(|finding| finding == *line)).collect();
    assert!(new.is_empty() && stale.is_empty(), "new deviations: {new:#?}\nrecorded, and not needed any more: {stale:#?}");
}

/// The parts of one operation of the contract that our document lacks, or requires although the contract does not.
fn compare(document: &Value, operation: &str, facts: &Value, errors: &Value) -> Vec<String> {
    let (method, path) = operation.split_once(' ').unwrap();
    let ours = &document["paths"][path][method.to_ascii_lowercase()];
    if ours.is_null() {
        return vec!["the operation is missing".to_owned()];
    }
    let mut findings = Vec::new();
    if ours["operationId"] != facts["operationId"] || ours["tags"][0] != facts["tag"] {
        findings.push("id or tag differ".to_owned());
    }
    if (ours["security"].as_array().is_some_and(|security| !security.is_empty())) != facts["secured"].as_bool().unwrap() {
        findings.push("security differs".to_owned());
    }
    let parameters: Members = ours["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| {
            let name = format!("{} {}", parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
            (name, parameter["required"] == true)
        })
        .collect();
    findings.extend(compare_sent("parameter", &members(&facts["parameters"]), &parameters));
    if let Some(body) = facts.get("body") {
        let schema = &ours["requestBody"]["content"][body["type"].as_str().unwrap()]["schema"];
        findings.extend(compare_sent("body member", &members(&body["members"]), &flatten(document, schema, "")));
    }
    let statuses = facts["responses"].as_object().unwrap().iter().map(|(status, expected)| (status.as_str(), expected));
    for (status, expected) in statuses.chain([("4XX", errors), ("5XX", errors)]) {
        let response = &ours["responses"][status];
        if response.is_null() {
            findings.push(format!("status {status} is missing"));
            continue;
        }
        let content = response["content"].as_object().and_then(|content| content.values().next());
        let offered = content.map(|content| flatten(document, &content["schema"], "")).unwrap_or_default();
        for (name, required) in members(expected) {
            match offered.get(&name) {
                None => findings.push(format!("{status} lacks {name}")),
                Some(false) if required => findings.push(format!("{status} may lack {name}")),
                Some(_) => {}
            }
        }
    }
    findings.extend(compare_types(document, ours, &facts["types"]));
    findings
}

/// Which kinds of JSON values stand where. A member of an answer may only hold what the contract allows there, and what the
/// contract allows a client to send is taken; that null may be left out instead counts as taken.
fn compare_types(document: &Value, ours: &Value, facts: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let mut compare = |what: String, contract: &Value, ours: Option<&Kinds>, answered: bool| {
        let (contract, Some(ours)) = (Kinds::read(contract.as_str().unwrap()), ours) else { return };
        let (narrow, wide) = if answered { (ours, &contract) } else { (&contract, ours) };
        let surplus = |narrow: &BTreeSet<String>, wide: &BTreeSet<String>| -> Vec<String> {
            let ignored = |name: &str| !answered && name == "null";
            narrow.iter().filter(|name| !wide.is_empty() && !wide.contains(*name) && !ignored(name)).cloned().collect()
        };
        let mut others = surplus(&narrow.types, &wide.types);
        others.extend(surplus(&narrow.values, &wide.values));
        if answered && !contract.values.is_empty() && ours.values.is_empty() {
            others.push("any value".to_owned());
        }
        if !others.is_empty() {
            findings.push(format!("{what} {} {}", if answered { "may be" } else { "may not be" }, others.join(", ")));
        }
    };
    for parameter in ours["parameters"].as_array().into_iter().flatten() {
        let name = format!("{} {}", parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
        if let Some(contract) = facts["parameters"].get(&name) {
            compare(format!("parameter {name}"), contract, kinds(document, &parameter["schema"]).get(""), false);
        }
    }
    let body = content(&ours["requestBody"]).map(|schema| kinds(document, schema)).unwrap_or_default();
    for (name, contract) in facts["body"].as_object().into_iter().flatten() {
        compare(format!("body member {name}"), contract, body.get(name), false);
    }
    for (status, members) in facts["responses"].as_object().into_iter().flatten() {
        let offered = content(&ours["responses"][status]).map(|schema| kinds(document, schema)).unwrap_or_default();
        for (name, contract) in members.as_object().unwrap() {
            compare(format!("{status} {name}"), contract, offered.get(name), true);
        }
    }
    findings
}

fn content(holder: &Value) -> Option<&Value> {
    Some(&holder["content"].as_object()?.values().next()?["schema"])
}

/// The JSON types that a value may have, and the texts that it may be; empty for any.
#[derive(Default)]
struct Kinds {
    types: BTreeSet<String>,
    values: BTreeSet<String>,
}

impl Kinds {
    fn read(fact: &str) -> Self {
        let (types, values) = fact.split_once(" = ").unwrap_or((fact, ""));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Self { types: words(types), values: words(values) }
    }
}

fn kinds(document: &Value, schema: &Value) -> BTreeMap<String, Kinds> {
    let mut found = BTreeMap::new();
    collect_kinds(document, schema, "", &mut found);
    found
}

fn collect_kinds(document: &Value, schema: &Value, path: &str, found: &mut BTreeMap<String, Kinds>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return collect_kinds(document, document.pointer(reference.trim_start_matches('#')).unwrap(), path, found);
    }
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let here = found.entry(path.to_owned()).or_default();
    here.types.extend(texts(&schema["type"]));
    here.values.extend(texts(&schema["enum"]));
    for variants in ["anyOf", "oneOf", "allOf"] {
        for variant in schema[variants].as_array().into_iter().flatten() {
            collect_kinds(document, variant, path, found);
        }
    }
    if schema["items"].is_object() {
        collect_kinds(document, &schema["items"], &format!("{path}[]"), found);
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect_kinds(document, member, &path, found);
    }
}

#[test]
fn a_type_that_is_not_the_contracts_is_found() {
    let ours = serde_json::json!({
        "parameters": [{"in": "query", "name": "bytes", "schema": {"type": "string"}}],
        "responses": {"200": {"content": {"x": {"schema": {"properties": {
            "size": {"type": ["integer", "null"]}, "kind": {"type": "string", "enum": ["a", "b"]}, "word": {"type": "string"},
        }}}}}},
    });
    let facts = serde_json::json!({
        "parameters": {"query bytes": "integer null"},
        "responses": {"200": {"size": "string", "kind": "string = a", "word": "string = a b"}},
    });
    let findings = compare_types(&Value::Null, &ours, &facts);
    let expected =
        ["parameter query bytes may not be integer", "200 size may be integer, null", "200 kind may be b", "200 word may be any value"];
    assert_eq!(findings, expected);
}

fn compare_sent(what: &str, contract: &Members, ours: &Members) -> Vec<String> {
    let lacks = contract.keys().filter(|name| !ours.contains_key(*name)).map(|name| format!("{what} {name} is missing"));
    // What lies in a member that may be left out is demanded only with it.
    let is_demanded = |name: &str| name.match_indices('.').all(|(at, _)| ours.get(name[..at].trim_end_matches("[]")) != Some(&false));
    let demands = ours.iter().filter(|(name, required)| **required && is_demanded(name) && contract.get(*name) != Some(&true));
    lacks.chain(demands.map(|(name, _)| format!("{what} {name} is demanded"))).collect()
}

fn members(facts: &Value) -> Members {
    let names = facts.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    names.map(|name| name.strip_suffix('!').map_or((name.to_owned(), false), |name| (name.to_owned(), true))).collect()
}

/// The members of a schema, all variants together, as dotted paths.
fn flatten(document: &Value, schema: &Value, prefix: &str) -> Members {
    if let Some(reference) = schema["$ref"].as_str() {
        return flatten(document, document.pointer(reference.trim_start_matches('#')).unwrap(), prefix);
    }
    let mut members = Members::new();
    for variants in ["anyOf", "oneOf", "allOf"] {
        for variant in schema[variants].as_array().into_iter().flatten() {
            members.extend(flatten(document, variant, prefix));
        }
    }
    if schema["items"].is_object() {
        members.extend(flatten(document, &schema["items"], &format!("{prefix}[]")));
    }
    if schema["additionalProperties"].is_object() {
        members.extend(flatten(document, &schema["additionalProperties"], &format!("{prefix}.*")));
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let required = schema["required"].as_array().is_some_and(|required| required.contains(&Value::String(name.clone())));
        members.extend(flatten(document, member, &path));
        members.insert(path, required);
    }
    members
}
