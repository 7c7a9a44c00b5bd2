//! Names that an operation does not know: refused with the nearest known name, or ignored if the site is lenient.

use axum::body::Body;
use axum::http::{Method, Request};
use goldcrest::domain::ClusterHealth;
use goldcrest::filesystem::Placed;
use serde_json::{Value, json};

use super::doubles::{Reply, Step};
use super::{Answer, Api};

/// Place and name of the one field that is wrong, and what is said of it.
fn wrong(answer: &Answer) -> (String, String, String) {
    assert_eq!(answer.status, 400, "{}", answer.everything());
    let json = answer.json();
    let fields = json["data"]["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 1, "{json}");
    let text = |member: &str| fields[0][member].as_str().unwrap().to_owned();
    (text("location"), text("name"), text("message"))
}

/// Each operation of the document that takes a caller: method and path.
fn operations(api: &Api) -> Vec<(Method, String, Value)> {
    let paths = api.document["paths"].as_object().unwrap();
    let all =
        paths.iter().flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation)));
    let all = all.filter(|(path, method, _)| *path != "/status/liveness/" && *path != "/shares/{share_id}" && *method != "options");
    all.map(|(path, method, operation)| {
        let path = path
            .replace("{system_name}", "daint")
            .replace("{job_id}", "1")
            .replace("{upload_id}", "1")
            .replace("{template_name}", "prepared");
        (method.to_uppercase().parse().unwrap(), path, operation.clone())
    })
    .collect()
}

#[tokio::test]
async fn every_operation_refuses_parameters_that_it_does_not_know() {
    let api = Api::new(vec![], vec![]);
    let operations = operations(&api);
    assert!(operations.len() > 40);
    for (method, path, operation) in operations {
        let answer = api.call(method.clone(), &format!("{path}?nonsense=1"), None).await;
        if method == Method::HEAD {
            assert_eq!(answer.status, 400, "{path}");
            continue;
        }
        let (location, name, message) = wrong(&answer);
        assert_eq!((location.as_str(), name.as_str()), ("query", "nonsense"), "{method} {path}");
        let known = operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query");
        let known: Vec<_> = known.map(|parameter| format!("`{}`", parameter["name"].as_str().unwrap())).collect();
        assert!(known.iter().all(|known| message.contains(known)), "{method} {path}: {message}");
    }
}

#[tokio::test]
async fn every_operation_that_changes_something_evaluates_preconditions_and_ranges_or_refuses_them() {
    let api = Api::new(vec![], vec![]);
    let conditions = [("If-Match", "\"x\""), ("If-None-Match", "*"), ("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")];
    for (method, path, operation) in operations(&api).into_iter().filter(|(method, ..)| !method.is_safe()) {
        let known = |name: &str| operation["parameters"].as_array().into_iter().flatten().any(|parameter| parameter["name"] == name);
        // Webhooks and what else is of no system.
        if !path.contains("/daint/") {
            continue;
        }
        // No operation takes a part of a content by its range.
        let range = ("Content-Range", "bytes 0-2/9");
        for (name, value) in conditions.into_iter().filter(|(name, _)| !known(name)).chain([range]) {
            let query = if known("path") { "?path=/home/alice" } else { "" };
            let mut request = super::request(method.clone(), &format!("{path}{query}"), Some("token-of-alice"), None);
            request.headers_mut().insert(name, value.parse().unwrap());
            for (name, value) in [("tus-resumable", "1.0.0"), ("upload-length", "3"), ("upload-offset", "0")] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let answer = api.send(request).await;
            let (location, field, _) = wrong(&answer);
            assert_eq!((location.as_str(), field.as_str()), ("header", name), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_misspelt_parameter_is_told_with_the_nearest_one() {
    for (uri, name, hint) in [
        ("/compute/daint/jobs?state=FAILED", "state", "known are `allusers`"),
        ("/compute/daint/jobs?allUsers=true", "allUsers", "did you mean `allusers`?"),
        ("/compute/daint/acct?startTime=2026-01-31", "startTime", "did you mean `starttime`?"),
        ("/filesystem/daint/ops/find?path=/home&pattern=*.out", "pattern", "known are `path`, `name`"),
        ("/filesystem/daint/ops/ls?path=/home&show_hidden=true", "show_hidden", "did you mean `showHidden`?"),
        ("/filesystem/daint/ops/ls?path=/home&%70agesize=3", "pagesize", "did you mean `pageSize`?"),
        ("/status/daint/partitions?hidden", "hidden", "known are `show_hidden`"),
    ] {
        let (location, told, message) = wrong(&Api::new(vec![], vec![]).get(uri).await);
        assert_eq!((location.as_str(), told.as_str()), ("query", name), "{uri}");
        assert!(message.contains(hint), "{uri}: {message}");
    }
    let unknown = Api::new(vec![], vec![]).send(super::request(Method::GET, "/compute/daint/jobs?state=1", None, None)).await;
    assert_eq!(unknown.status, 401, "strangers are told nothing");
}

#[tokio::test]
async fn what_is_given_twice_is_refused_by_name() {
    for (uri, name) in [
        ("/filesystem/daint/ops/stat?path=/home&path=/etc", "path"),
        ("/filesystem/daint/ops/stat?path=/home&%70ath=/home", "path"),
        ("/compute/daint/jobs?page=1&pageSize=2&page=2", "page"),
    ] {
        let (location, told, message) = wrong(&Api::new(vec![], vec![]).get(uri).await);
        assert_eq!((location.as_str(), told.as_str()), ("query", name), "{uri}");
        assert!(message.contains("more than once"), "{uri}: {message}");
    }
    let variable = r#"{"job": {"workingDirectory": "/home/alice", "script": "x", "environment": {"A": "1", "A": "2"}}}"#;
    let path = r#"{"path": "/home/a", "path": "/home/b"}"#;
    for (uri, document, name) in [("/compute/daint/jobs", variable, "job.environment.A"), ("/filesystem/daint/ops/mkdir", path, "path")] {
        let request = Request::post(uri).header("authorization", "Bearer token-of-alice").header("content-type", "application/json");
        let answer = Api::new(vec![], vec![]).send(request.body(Body::from(document)).unwrap()).await;
        let (location, told, _) = wrong(&answer);
        assert_eq!((location.as_str(), told.as_str()), ("body", name), "{document}");
    }
}

#[tokio::test]
async fn pyfirecrest_asks_for_one_job_as_for_a_list() {
    let api = Api::new(vec![(r#"alice: job "7""#, Reply::Jobs(vec![super::compute::job("7")]))], vec![]);
    let answer = api.get("/compute/daint/jobs/7?allusers=False&account=g1&name=a&time_window=24h").await;
    assert_eq!(answer.status, 200, "{}", answer.everything());
}

#[tokio::test]
async fn every_document_refuses_members_that_it_does_not_know() {
    let api = Api::new(vec![], vec![]);
    let mut documents = 0;
    for (method, path, operation) in operations(&api) {
        let Some(schema) = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else { continue };
        // Where there are no share links, their documents are not read.
        if path.ends_with("/shares") {
            continue;
        }
        let mut document = api.document.pointer(schema.trim_start_matches('#')).unwrap()["example"].clone();
        document["nonsense"] = json!(1);
        let (location, name, _) = wrong(&api.call(method.clone(), &path, Some(document)).await);
        assert_eq!((location.as_str(), name.as_str()), ("body", "nonsense"), "{method} {path}");
        documents += 1;
    }
    assert!(documents > 14, "{documents}");
}

#[tokio::test]
async fn a_misspelt_member_is_told_with_its_place_and_the_nearest_one() {
    let job = |member: &str| json!({"job": {"workingDirectory": "/home/alice", "script": "#!/bin/sh\n", member: "4"}});
    let directives = json!({"path": "/home/f", "transferDirectives": {"transferMethod": "s3", "filesize": 3}});
    let batch = json!({"operations": [{"op": "stat", "path": "/home/a"}, {"op": "stat", "path": "/home/a", "overwrite": true}]});
    for (method, uri, body, name, hint) in [
        (Method::POST, "/compute/daint/jobs", job("gres"), "job.gres", "known are `name`, `account`"),
        (Method::POST, "/compute/daint/jobs", job("wallclock"), "job.wallclock", "known are"),
        (Method::POST, "/compute/daint/jobs", job("standartOutput"), "job.standartOutput", "did you mean `standardOutput`?"),
        (Method::POST, "/filesystem/daint/transfer/upload", directives, "transferDirectives.filesize", "did you mean `fileSize`?"),
        (Method::POST, "/filesystem/daint/ops/batch", batch, "operations[1].overwrite", "`sourcePath`, `dereference`"),
    ] {
        let (location, told, message) = wrong(&Api::new(vec![], vec![]).call(method, uri, Some(body)).await);
        assert_eq!((location.as_str(), told.as_str()), ("body", name), "{uri}");
        assert!(message.contains(hint), "{name}: {message}");
    }
}

fn form(parts: &[&str]) -> Request<Body> {
    let part = |name: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\nx\r\n");
    Request::post("/filesystem/daint/ops/upload?path=/home")
        .header("authorization", "Bearer token-of-alice")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(Body::from(parts.iter().map(|name| part(name)).collect::<String>() + "--b--\r\n"))
        .unwrap()
}

fn lenient(scheduler: Vec<Step>, files: Vec<Step>) -> Api {
    Api::build(scheduler, files, ClusterHealth::default(), "", |config| config.lenient = true)
}

#[tokio::test]
async fn a_form_with_another_part_is_refused() {
    let (location, name, message) = wrong(&Api::new(vec![], vec![]).send(form(&["flie", "file"])).await);
    assert_eq!((location.as_str(), name.as_str()), ("body", "flie"));
    assert!(message.contains("did you mean `file`?"), "{message}");
}

#[tokio::test]
async fn a_form_with_a_second_file_says_that_only_the_first_was_written() {
    for second in ["file", "other"] {
        let written = (r#"alice: upload "/home/f" "x"..."#, Reply::Placed(Placed::Created));
        let (location, name, message) = wrong(&Api::new(vec![], vec![written]).send(form(&["file", second])).await);
        assert_eq!((location.as_str(), name.as_str()), ("body", second));
        assert!(message.contains("`f` was written"), "{message}");
    }
}

#[tokio::test]
async fn where_the_site_is_lenient_they_are_ignored_as_firecrest_does() {
    let submitted = ("alice: submit...", Reply::Id("7"));
    let written = (r#"alice: upload "/home/f" "x"..."#, Reply::Placed(Placed::Created));
    let listed = ("alice: jobs JobQuery { all_users: false, account: None, name: None, window: OneDay }", Reply::Jobs(vec![]));
    let api = lenient(vec![submitted, listed], vec![written]);
    let job = json!({"nonsense": {}, "job": {"nodes": 4, "working_directory": "/home/alice", "timeLimit": 1, "script": "#!/bin/sh\n"}});
    assert_eq!(api.call(Method::POST, "/compute/daint/jobs", Some(job)).await.status, 201);
    assert_eq!(api.get("/compute/daint/jobs?state=FAILED&time_window=7d&time_window=24h").await.status, 200);
    assert_eq!(api.send(form(&["flie", "file", "file"])).await.status, 204);
    let many: serde_json::Map<String, Value> = (0..33).map(|number| (format!("x{number}"), json!(1))).collect();
    for (uri, body) in [
        ("/compute/daint/jobs", Value::Object(many)),
        ("/filesystem/daint/ops/batch", json!({"operations": [{"op": "stat", "path": "/home/a", "overwrite": true}]})),
        ("/compute/daint/jobs", json!({"nonsense": 1, "job": {"script": "#!/bin/sh\n"}})),
    ] {
        let answer = api.call(Method::POST, uri, Some(body)).await;
        assert_eq!(answer.status, 400, "{}", answer.everything());
    }
}
