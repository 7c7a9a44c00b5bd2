//! The contract is a file: what FirecREST v2 offers exists here, and our own document is the committed one.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names of members as dotted paths, with whether each is required.
type Members = BTreeMap<String, bool>;

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let generated = goldcrest::http::document();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(committed, &generated).unwrap();
    }
    let same = std::fs::read_to_string(committed).is_ok_and(|text| text == generated);
    assert!(same, "openapi/openapi.json is not what the code says: run `UPDATE_OPENAPI=1 cargo test --test it contract`");
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

/// What of one operation of the contract our document lacks, or demands where the contract does not.
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
    findings
}

fn compare_sent(what: &str, contract: &Members, ours: &Members) -> Vec<String> {
    let lacks = contract.keys().filter(|name| !ours.contains_key(*name)).map(|name| format!("{what} {name} is missing"));
    let demands = ours.iter().filter(|(name, required)| **required && contract.get(*name) != Some(&true));
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
