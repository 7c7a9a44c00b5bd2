//! Batches, copies and moves.

use axum::http::Method;
use goldcrest::domain::{Checksum, FileStat, RemotePath};
use goldcrest::filesystem::{FilesystemError, Page, Position};
use goldcrest::ssh::CommandError;
use serde_json::{Value, json};

use super::doubles::{Reply, Step, regular_file};
use super::{Answer, Api};

fn path(text: &str) -> RemotePath {
    RemotePath::from_text(text).unwrap()
}

async fn batch(body: Value, files: Vec<Step>) -> Answer {
    Api::new(vec![], files).call(Method::POST, "/filesystem/daint/ops/batch", Some(body)).await
}

#[tokio::test]
async fn every_operation_of_an_ordered_batch_is_done_in_its_place() {
    let operations = json!([
        {"op": "mkdir", "sourcePath": "/home/d", "parent": true},
        {"op": "touch", "path": "/home/d/f"},
        {"op": "chmod", "path": "/home/d/f", "mode": "600"},
        {"op": "chown", "path": "/home/d/f", "group": "g"},
        {"op": "cp", "sourcePath": "/home/d/f", "targetPath": "/home/d/g", "dereference": true},
        {"op": "mv", "sourcePath": "/home/d/g", "targetPath": "/scratch/g", "overwrite": true},
        {"op": "symlink", "sourcePath": "/home/d/f", "linkPath": "/home/d/l"},
        {"op": "stat", "path": "/home/d/f", "dereference": true},
        {"op": "checksum", "path": "/home/d/f"},
        {"op": "ls", "path": "/home/d", "showHidden": true, "pageSize": 1},
        {"op": "rm", "path": "/home/d"},
    ]);
    let shown = |call| (call, Reply::Entry(regular_file(b"e")));
    let page = Page { entries: vec![regular_file(b"f")], next: Some(Position { value: 0, name: b"f".to_vec() }) };
    let files = vec![
        (r#"alice: mkdir "/home/d" true"#, Reply::Done),
        shown(r#"alice: entry "/home/d""#),
        (r#"alice: touch "/home/d/f""#, Reply::Done),
        shown(r#"alice: entry "/home/d/f""#),
        (r#"alice: chmod "/home/d/f" 600"#, Reply::Done),
        shown(r#"alice: entry "/home/d/f""#),
        (r#"alice: chown "/home/d/f" None Some("g")"#, Reply::Done),
        shown(r#"alice: entry "/home/d/f""#),
        (r#"alice: copy "/home/d/f" "/home/d/g" CopyOptions { dereference: true, overwrite: false }"#, Reply::Done),
        shown(r#"alice: entry "/home/d/g""#),
        (r#"alice: rename "/home/d/g" "/scratch/g" true"#, Reply::Done),
        shown(r#"alice: entry "/scratch/g""#),
        (r#"alice: symlink "/home/d/f" "/home/d/l""#, Reply::Done),
        shown(r#"alice: entry "/home/d/l""#),
        (r#"alice: stat "/home/d/f" true"#, Reply::Stat(FileStat { size: 7, ..FileStat::default() })),
        (r#"alice: checksum "/home/d/f""#, Reply::Checksum(Checksum { algorithm: "SHA-256", hex: "ab".repeat(32) })),
        (
            r#"alice: page "/home/d" ListOptions { hidden: true, numeric_ids: false, recursive: false, dereference: false } PageRequest { size: 1, sort: Name, descending: false, after: None }"#,
            Reply::Page(page),
        ),
        (r#"alice: remove "/home/d""#, Reply::Done),
    ];
    let answer = batch(json!({"operations": operations, "ordered": true}), files).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["failed"]), (200, &json!(0)), "{body}");
    let results = body["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 204]);
    assert_eq!(results[7]["output"]["size"], 7);
    assert_eq!(results[8]["output"]["algorithm"], "SHA-256");
    assert_eq!(results[9]["output"]["entries"][0]["name"], "f");
    assert!(results[9]["output"]["cursor"].is_string());
    assert!(results[10].get("output").is_none() && results[10].get("error").is_none());
}

#[tokio::test]
async fn an_ordered_batch_stops_at_the_first_failure_and_another_does_not() {
    let operations = json!([
        {"op": "stat", "path": "/home/a"},
        {"op": "stat", "path": "/etc/passwd"},
        {"op": "stat", "path": "/home/b"},
    ]);
    let a = || (r#"alice: stat "/home/a" false"#, Reply::Stat(FileStat::default()));
    let body = batch(json!({"operations": operations, "ordered": true}), vec![a()]).await.json();
    assert_eq!(body["failed"], 2);
    let statuses: Vec<_> = body["results"].as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 400, 409]);
    assert_eq!(body["results"][2]["error"]["message"], "not begun, because operation 1 (from 0) failed");
    let b = (r#"alice: stat "/home/b" false"#, Reply::FileFails(FilesystemError::NotFound(path("/home/b"))));
    let body = batch(json!({"operations": operations}), vec![a(), b]).await.json();
    let statuses: Vec<_> = body["results"].as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 400, 404]);
    assert_eq!(body["results"][2]["error"]["message"], "cannot statx '/home/b': No such file or directory");
    assert_eq!(body["results"][2]["error"]["user"], "alice");
}

#[tokio::test]
async fn of_the_operations_of_a_batch_only_changes_may_have_happened() {
    let operations = json!([{"op": "checksum", "path": "/home/a"}, {"op": "rm", "path": "/home/b"}]);
    let ended = || Reply::FileFails(FilesystemError::Command(CommandError::Exit { exit: 124, stderr: String::new() }));
    let files = vec![(r#"alice: checksum "/home/a""#, ended()), (r#"alice: remove "/home/b""#, ended())];
    let api = Api::new(vec![], files);
    for (operation, effect, retryable) in [(0, Value::Null, true), (1, json!(true), false)] {
        let body = json!({"operations": [operations[operation]]});
        let body = api.call(Method::POST, "/filesystem/daint/ops/batch", Some(body)).await.json();
        let error = &body["results"][0]["error"];
        assert_eq!((&error["maybeEffected"], &error["retryable"]), (&effect, &json!(retryable)), "{body}");
    }
}

#[tokio::test]
async fn what_is_not_done_in_time_is_told_apart_from_what_is() {
    let operations = json!([{"op": "stat", "path": "/home/a"}, {"op": "rm", "path": "/home/b"}, {"op": "stat", "path": "/home/c"}]);
    let files = vec![(r#"alice: stat "/home/a" false"#, Reply::Stat(FileStat::default())), (r#"alice: remove "/home/b""#, Reply::Hangs)];
    let api = Api::build(vec![], files, Default::default(), "", |config| config.request_timeout = 1);
    let body = json!({"operations": operations, "ordered": true});
    let body = api.call(Method::POST, "/filesystem/daint/ops/batch", Some(body)).await.json();
    assert_eq!(body["results"][0]["status"], 200);
    assert_eq!((&body["results"][1]["status"], &body["results"][1]["error"]["maybeEffected"]), (&json!(504), &json!(true)));
    assert_eq!(body["results"][2]["status"], 409);
}

#[tokio::test]
async fn a_batch_that_cannot_be_is_refused_whole() {
    let many: Vec<Value> = (0..1001).map(|_| json!({"op": "stat", "path": "/home/a"})).collect();
    for body in [
        json!({"operations": many}),
        json!({"operations": [{"op": "stat", "path": "/home/a"}, {"op": "format", "path": "/home/a"}]}),
        json!({"operations": [{"op": "mv", "path": "/home/a"}]}),
        json!({"operations": {}}),
        json!({}),
    ] {
        let answer = batch(body, vec![]).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["data"]["fields"][0]["name"].as_str().unwrap().starts_with("operations"), "{}", answer.json());
    }
    assert_eq!(batch(json!({"operations": []}), vec![]).await.json(), json!({"results": [], "failed": 0}));
}

#[tokio::test]
async fn the_members_of_an_operation_have_the_names_that_the_document_gives_them() {
    let document = Api::new(vec![], vec![]).get("/openapi.json").await.json();
    let operations = document["components"]["schemas"]["BatchOperation"]["oneOf"].as_array().unwrap();
    for operation in operations {
        let members: serde_json::Map<String, Value> = operation["properties"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, member)| (name.clone(), member["enum"][0].as_str().map_or_else(|| json!([]), |operation| json!(operation))))
            .collect();
        for (name, value) in &members {
            if name != "op" {
                // A value of the wrong type is refused by the name of the member, an unknown name for what it is.
                let answer = batch(json!({"operations": [{"op": members["op"], name: value}]}), vec![]).await;
                assert!(!answer.everything().contains("not known here"), "{name} of {}: {}", members["op"], answer.everything());
            }
        }
    }
}

#[tokio::test]
async fn files_are_copied_and_moved() {
    let files = vec![
        (r#"alice: copy "/home/a" "/scratch/b" CopyOptions { dereference: false, overwrite: true }"#, Reply::Done),
        (r#"alice: entry "/scratch/b""#, Reply::Entry(regular_file(b"/scratch/b"))),
    ];
    let body = json!({"sourcePath": "/home/a", "target_path": "/scratch/b", "overwrite": "true"});
    let answer = Api::new(vec![], files).call(Method::POST, "/filesystem/daint/ops/cp", Some(body)).await;
    assert_eq!((answer.status, &answer.json()["output"]["name"]), (201, &json!("/scratch/b")));
    let files = vec![
        (r#"alice: rename "/home/a" "/home/b" false"#, Reply::Done),
        (r#"alice: entry "/home/b""#, Reply::Entry(regular_file(b"/home/b"))),
    ];
    let body = json!({"path": "/home/a", "targetPath": "/home/b"});
    let answer = Api::new(vec![], files).call(Method::PUT, "/filesystem/daint/ops/mv", Some(body)).await;
    assert_eq!((answer.status, &answer.json()["output"]["name"]), (200, &json!("/home/b")));
}

#[tokio::test]
async fn nothing_is_copied_or_moved_into_itself_out_of_the_file_systems_or_over_one() {
    for (operation, method) in [("cp", Method::POST), ("mv", Method::PUT)] {
        for (source, target) in [
            ("/home/a", "/home/a"),
            ("/home/a", "/scratch"),
            ("/scratch/a", "/home"),
            ("/home/a", "/etc/cron.d/a"),
            ("/etc/shadow", "/home/a"),
            ("home/a", "/home/b"),
        ] {
            let body = json!({"sourcePath": source, "targetPath": target});
            let answer = Api::new(vec![], vec![]).call(method.clone(), &format!("/filesystem/daint/ops/{operation}"), Some(body)).await;
            assert_eq!(answer.status, 400, "{operation} {source} {target}");
        }
    }
    let body = json!({"sourcePath": "/home", "targetPath": "/scratch/home"});
    assert_eq!(Api::new(vec![], vec![]).call(Method::PUT, "/filesystem/daint/ops/mv", Some(body)).await.status, 400);
}
