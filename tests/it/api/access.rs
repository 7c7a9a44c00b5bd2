//! Access control of every operation, driven from the generated document.

use axum::http::Method;
use goldcrest::authz::Relation;
use goldcrest::domain::FileStat;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::doubles::Reply;
use super::{Answer, Api, request};

/// Method and an instance of the path of every operation, with whether it is about one system.
fn operations(document: &Value) -> Vec<(Method, String, bool)> {
    let mut operations = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = template
                .replace("{system_name}", "daint")
                .replace("{job_id}", "1")
                .replace("{upload_id}", "1")
                .replace("{template_name}", "prepared");
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            operations.push((method, path, template.contains("{system_name}")));
        }
    }
    assert!(operations.len() >= 35, "the operations of the contract, and ours");
    operations
}

async fn call(api: &Api, method: &Method, path: &str, token: Option<&str>) -> Answer {
    api.send(request(method.clone(), path, token, None)).await
}

#[tokio::test]
async fn every_operation_but_liveness_and_following_a_link_demands_a_token_that_holds() {
    let api = Api::new(vec![], vec![]);
    for (method, path, _) in operations(&api.document) {
        if path == "/status/liveness/" || path == "/shares/{share_id}" {
            continue;
        }
        let answer = call(&api, &method, &path, None).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{method} {path}");
        let answer = call(&api, &method, &path, Some("stolen-token-hunter2")).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\", error_description=\""), "{challenge}");
        assert!(!answer.everything().contains("hunter2"), "{method} {path}");
        assert_eq!(answer.header("f7t-authusername"), None);
    }
}

#[tokio::test]
async fn every_operation_on_a_system_is_denied_to_whom_the_policy_denies_it() {
    let api = Api::new(vec![], vec![]);
    for (method, path, of_system) in operations(&api.document) {
        if of_system {
            let answer = call(&api, &method, &path, Some("token-of-mallory")).await;
            assert_eq!((answer.status, answer.header("f7t-authusername")), (403, Some("mallory")), "{method} {path}");
        }
    }
}

/// The relation that an operation needs, by its method and path.
fn relation(method: &Method, path: &str) -> Relation {
    match *method {
        Method::GET | Method::OPTIONS => Relation::Read,
        // It puts an upload that is whole in its place.
        Method::HEAD if path.contains("/uploads/") => Relation::Write,
        Method::HEAD => Relation::Read,
        // Its operations decide.
        _ if path.ends_with("/ops/batch") => Relation::Read,
        // Where there are none, whoever may read learns that.
        _ if path.contains("/shares") => Relation::Read,
        // Its target, which the body names, asks for `write`.
        _ if path.ends_with("/transfer/copy-to") => Relation::Read,
        _ if path.ends_with("/commands") => Relation::Run,
        _ if path.starts_with("/compute/") || path.ends_with("/transfer/download") => Relation::Submit,
        _ => Relation::Write,
    }
}

#[tokio::test]
async fn every_operation_asks_for_the_relation_of_what_it_does() {
    for (token, allowed) in [("token-of-reader", &[Relation::Read][..]), ("token-of-submitter", &[Relation::Read, Relation::Submit])] {
        for (method, path, _) in operations(&Api::new(vec![], vec![]).document).into_iter().filter(|(_, _, of_system)| *of_system) {
            // An admitted request fails later: there is no backend.
            let answer = call(&Api::new(vec![], vec![]), &method, &path, Some(token)).await;
            let is_allowed = allowed.contains(&relation(&method, &path));
            assert_eq!(answer.status != 403, is_allowed, "{token}: {method} {path}: {}", answer.everything());
        }
    }
}

#[tokio::test]
async fn a_batch_asks_for_more_than_reading_where_it_changes_something() {
    let stat = vec![(r#"reader: stat "/home" true"#, Reply::Stat(FileStat::default()))];
    let batch = async |files, operations: Value| {
        let body = json!({"operations": operations});
        let request = request(Method::POST, "/filesystem/daint/ops/batch", Some("token-of-reader"), Some(body));
        Api::new(vec![], files).send(request).await.status
    };
    let look = json!({"op": "stat", "path": "/home", "dereference": true});
    assert_eq!(batch(stat, json!([look])).await, 200);
    assert_eq!(batch(vec![], json!([look, {"op": "touch", "path": "/home/a"}])).await, 403);
}

#[tokio::test]
async fn every_operation_on_a_system_that_is_not_there_is_404_and_only_to_identified_callers() {
    let api = Api::new(vec![], vec![]);
    for (method, path, of_system) in operations(&api.document) {
        if of_system {
            for name in ["eiger", "da%20int", "%FF", "x".repeat(200).as_str()] {
                let path = path.replacen("daint", name, 1);
                let answer = call(&api, &method, &path, Some("token-of-mallory")).await;
                assert_eq!(answer.status, 404, "{method} {path}");
                if method != Method::HEAD {
                    let json = answer.json();
                    let message = json["message"].as_str().unwrap();
                    assert!(message.starts_with("System not found: ") && message.len() < 200, "{method} {path}: {message}");
                    assert_eq!(message.contains("eiger"), name == "eiger", "{message}");
                }
                assert_eq!(call(&api, &method, &path, None).await.status, 401, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn access_comes_before_everything_else_that_is_wrong_with_a_request() {
    let bad = "/filesystem/daint/ops/head?bytes=x";
    let api = Api::new(vec![], vec![]);
    assert_eq!(call(&api, &Method::GET, bad, None).await.status, 401);
    assert_eq!(call(&api, &Method::GET, bad, Some("token-of-mallory")).await.status, 403);
    assert_eq!(call(&api, &Method::GET, bad, Some("token-of-alice")).await.status, 400);
}

#[tokio::test]
async fn a_refused_token_is_answered_as_rfc_6750_says() {
    assert_snapshot!(call(&Api::new(vec![], vec![]), &Method::GET, "/status/systems", Some("wrong")).await);
}

#[tokio::test]
async fn a_denial_is_a_problem_document_with_the_members_of_the_contract() {
    assert_snapshot!(call(&Api::new(vec![], vec![]), &Method::GET, "/compute/Daint/jobs?name=x", Some("token-of-mallory")).await);
}

#[tokio::test]
async fn a_token_that_ends_too_soon_is_told_apart() {
    let answer = call(&Api::new(vec![], vec![]), &Method::GET, "/status/systems", Some("expiring")).await;
    assert_eq!(answer.status, 401);
    let expected =
        "Bearer error=\"invalid_token\", error_description=\"the access token ends in 3 s, at least 30 s are required: renew it\"";
    assert_eq!(answer.header("www-authenticate"), Some(expected));
}

#[tokio::test]
async fn where_keys_or_decisions_cannot_be_had_nothing_is_allowed_and_nothing_internal_is_told() {
    let api = Api::new(vec![], vec![]);
    for (path, token) in [("/status/systems", "no-keys"), ("/compute/daint/jobs", "token-of-nobody")] {
        let answer = call(&api, &Method::GET, path, Some(token)).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (503, None), "{token}");
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.everything().contains("10.0.0."), "{}", answer.everything());
    }
}
