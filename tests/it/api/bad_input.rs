//! Invalid requests of clients, and invalid answers of clusters.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use goldcrest::credentials::CredentialError;
use goldcrest::domain::{RemotePath, ServiceType, Username};
use goldcrest::filesystem::FilesystemError;
use goldcrest::scheduler::SchedulerError;
use goldcrest::ssh::{CommandError, TransportError};
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::doubles::Reply;
use super::{Answer, Api};

/// The answer to a request that must not reach a backend.
async fn refused(method: Method, uri: &str, body: Option<Value>) -> Answer {
    Api::new(vec![], vec![]).call(method, uri, body).await
}

fn fields(answer: &Answer) -> Vec<(String, String)> {
    let json = answer.json();
    assert_eq!(json["errorType"], "validation", "{json}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    json["data"]["fields"].as_array().unwrap().iter().map(|field| (text(&field["location"]), text(&field["name"]))).collect()
}

#[tokio::test]
async fn numbers_that_are_none_or_negative_or_huge_are_400_and_name_the_field() {
    for field in ["head?bytes", "head?lines", "tail?bytes", "tail?lines", "view?size", "view?offset"] {
        for number in ["-1", "ten", "1.5", "", "1e3", "0x10", "9223372036854775808", "123456789012345678901234567890"] {
            let answer = refused(Method::GET, &format!("/filesystem/daint/ops/{field}={number}&path=/home/a"), None).await;
            let name = field.split('?').nth(1).unwrap();
            assert_eq!((answer.status, fields(&answer)), (400, vec![("query".to_owned(), name.to_owned())]), "{field}={number}");
        }
    }
    for size in ["0", "1001"] {
        let answer = refused(Method::GET, &format!("/filesystem/daint/ops/view?path=/home/a&size={size}"), None).await;
        assert_eq!((answer.status, fields(&answer)), (400, vec![("query".to_owned(), "size".to_owned())]));
    }
}

#[tokio::test]
async fn a_number_that_is_none_is_refused_with_the_range_of_the_documentation() {
    for (uri, range) in [
        ("/compute/daint/jobs/7/logs?tail=-1", "from 0 to 1000000"),
        ("/compute/daint/jobs?pageSize=-1", "from 1 to 10000"),
        ("/filesystem/daint/ops/ls?path=/home/a&pageSize=ten", "from 1 to 10000"),
        ("/filesystem/daint/ops/find?path=/home/a&limit=-1", "from 1 to 10000"),
    ] {
        let answer = refused(Method::GET, uri, None).await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && message.ends_with(&format!("should be an integer {range}")), "{uri}: {message}");
    }
}

#[tokio::test]
async fn a_line_break_in_a_text_is_refused_with_the_way_to_write_it() {
    let request = Request::post("/compute/daint/jobs").header(header::AUTHORIZATION, "Bearer token-of-alice");
    let body = "{\"job\": {\"workingDirectory\": \"/\", \"script\": \"#!/bin/sh\nhostname\"}}";
    let answer = Api::new(vec![], vec![]).send(request.body(Body::from(body)).unwrap()).await;
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(answer.status == 400 && message.ends_with(r"Write a line break in a text as `\n`, a tab as `\t`"), "{message}");
}

#[tokio::test]
async fn other_parameters_that_cannot_be_are_400_and_name_the_field() {
    let long = format!("jobs?name={}", "x".repeat(236));
    for (uri, name) in [
        ("jobs?allusers=maybe", "allusers"),
        ("jobs?time_window=2h", "time_window"),
        ("jobs?account=a%0Ab", "account"),
        (long.as_str(), "name"),
    ] {
        let answer = refused(Method::GET, &format!("/compute/daint/{uri}"), None).await;
        assert_eq!((answer.status, fields(&answer)), (400, vec![("query".to_owned(), name.to_owned())]), "{uri}");
    }
    for id in ["-1", "a;b", "%24(id)", "a%20b", "%27", "1%00", "%2e%2e"] {
        let answer = refused(Method::GET, &format!("/compute/daint/jobs/{id}"), None).await;
        assert_eq!((answer.status, fields(&answer)), (400, vec![("path".to_owned(), "job_id".to_owned())]), "{id}");
    }
}

#[tokio::test]
async fn a_validation_error_has_the_body_of_the_contract() {
    assert_snapshot!(refused(Method::GET, "/filesystem/daint/ops/head?path=/home/a&bytes=-3", None).await);
}

#[tokio::test]
async fn both_bytes_and_lines_are_400() {
    for operation in ["head", "tail"] {
        let answer = refused(Method::GET, &format!("/filesystem/daint/ops/{operation}?path=/home/a&bytes=1&lines=1"), None).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["message"].as_str().unwrap().contains("Only one of `bytes` or `lines` can be specified."));
    }
}

/// Every operation with a path, for each of its paths.
fn with_path(path: &str) -> Vec<(Method, String, Option<Value>)> {
    let mut requests = Vec::new();
    for operation in ["ls", "stat", "file", "checksum", "head", "tail", "view", "download"] {
        requests.push((Method::GET, format!("/filesystem/daint/ops/{operation}?path={path}"), None));
    }
    requests.push((Method::DELETE, format!("/filesystem/daint/ops/rm?path={path}"), None));
    let bodies = [
        (Method::PUT, "chmod", json!({"path": path, "mode": "600"})),
        (Method::PUT, "chown", json!({"path": path, "owner": "bob"})),
        (Method::POST, "mkdir", json!({"path": path})),
        (Method::POST, "symlink", json!({"path": path, "linkPath": "/home/l"})),
        (Method::POST, "symlink", json!({"path": "/home/a", "linkPath": path})),
        (Method::POST, "compress", json!({"path": path, "targetPath": "/home/a.tgz"})),
        (Method::POST, "compress", json!({"path": "/home/a", "targetPath": path})),
        (Method::POST, "extract", json!({"path": path, "targetPath": "/home/d"})),
        (Method::POST, "extract", json!({"path": "/home/a.tgz", "targetPath": path})),
    ];
    requests.extend(bodies.map(|(method, name, body)| (method, format!("/filesystem/daint/ops/{name}"), Some(body))));
    let job = json!({"job": {"workingDirectory": "/tmp", "scriptPath": path}});
    requests.push((Method::POST, "/compute/daint/jobs".to_owned(), Some(job)));
    requests
}

#[tokio::test]
async fn a_path_that_is_relative_or_outside_is_400_wherever_it_stands() {
    let absolute = "is not an absolute path.";
    let outside = "does not match any of the defined filesystem paths for the requested system (daint). Its file systems: /home";
    for (path, message) in [("home/a", absolute), ("", absolute), ("/etc/passwd", outside), ("/home/../etc", outside), ("/homes", outside)]
    {
        for (method, uri, body) in with_path(path) {
            let answer = refused(method, &uri, body).await;
            assert_eq!(answer.status, 400, "{uri}");
            assert!(answer.json()["message"].as_str().unwrap().contains(message), "{uri}: {}", answer.json());
        }
    }
}

#[tokio::test]
async fn an_upload_cannot_leave_the_file_systems() {
    for directory in ["home", "/etc", "/home/..", ""] {
        let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n";
        let request = Request::post(format!("/filesystem/daint/ops/upload?path={directory}"))
            .header(header::AUTHORIZATION, "Bearer token-of-alice")
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(Body::from(body))
            .unwrap();
        assert_eq!(Api::new(vec![], vec![]).send(request).await.status, 400, "{directory}");
    }
}

#[tokio::test]
async fn an_unhealthy_service_is_503_and_the_reason_is_told() {
    for (method, uri, body) in with_path("/home/a") {
        let answer = Api::unhealthy(ServiceType::Filesystem, Some("/home")).call(method, &uri, body).await;
        assert_eq!(answer.status, 503, "{uri}");
        let expected = "The requested filesystem (/home on daint) is unhealthy: the probe failed";
        assert_eq!(answer.json()["message"], expected, "{uri}");
    }
    let answer = Api::unhealthy(ServiceType::Scheduler, None).get("/compute/daint/jobs").await;
    assert_eq!(answer.json()["message"], "The scheduler service for the requested system (daint) is unhealthy: the probe failed");
    assert_snapshot!(Api::unhealthy(ServiceType::Ssh, None).get("/filesystem/daint/ops/ls?path=/home").await);
}

#[tokio::test]
async fn a_failure_of_the_checker_itself_gates_nothing() {
    let api = Api::unhealthy(ServiceType::Exception, None);
    assert_eq!(api.get("/compute/daint/jobs/%20").await.status, 400);
    assert_eq!(api.get("/status/systems").await.json()["systems"][0]["servicesHealth"][0]["serviceType"], "exception");
}

#[tokio::test]
async fn job_descriptions_that_cannot_be_are_400_and_name_the_field() {
    let with = |member: &str, value: Value| {
        let mut job = json!({"workingDirectory": "/home/alice", "script": "#!/bin/sh"});
        job[member] = value;
        job
    };
    let cases = [
        (json!({"script": "x"}), "job.workingDirectory"),
        (json!({"workingDirectory": "/home"}), "job.script"),
        (with("scriptPath", json!("/home/x")), "job.scriptPath"),
        (with("script", json!("")), "job.script"),
        (with("script", json!("a\u{0}b")), "job.script"),
        (with("script", json!("x".repeat(4 * 1024 * 1024 + 1))), "job.script"),
        (with("name", json!("a\n#SBATCH --uid=0")), "job.name"),
        (with("account", json!("x".repeat(256))), "job.account"),
        (with("partition", json!("a\tb")), "job.partition"),
        (with("reservation", json!("\u{7f}")), "job.reservation"),
        (with("standardOutput", json!("a\rb")), "job.standardOutput"),
        (with("constraints", json!("\n")), "job.constraints"),
        (with("env", json!({"A B": "1"})), "job.env"),
        (with("env", json!({"1A": "1"})), "job.env"),
        (with("env", json!({"A": "\u{0}"})), "job.env"),
        (with("env", json!(["A"])), "job.env"),
        (with("env", json!({"A": 1})), "job.env"),
        (with("env", json!("A=1")), "job.env"),
        (with("env", json!({"A": "x".repeat(100_000)})), "job.env"),
        (with("name", json!(7)), "job.name"),
    ];
    for (job, name) in cases {
        let shown: String = job.to_string().chars().take(100).collect();
        let answer = refused(Method::POST, "/compute/daint/jobs", Some(json!({"job": job}))).await;
        assert_eq!((answer.status, fields(&answer)), (400, vec![("body".to_owned(), name.to_owned())]), "{shown}");
    }
    let several = with("name", json!("\n")).as_object().cloned().map(|mut job| {
        job.insert("env".to_owned(), json!({"-": "1"}));
        job
    });
    let answer = refused(Method::POST, "/compute/daint/jobs", Some(json!({"job": several}))).await;
    assert_eq!(fields(&answer).len(), 2, "all wrong fields are named at once");
}

#[tokio::test]
async fn a_relative_working_directory_is_400() {
    let job = json!({"job": {"workingDirectory": "alice", "script": "x"}});
    let answer = refused(Method::POST, "/compute/daint/jobs", Some(job)).await;
    assert_eq!((answer.status, &answer.json()["message"]), (400, &json!("The provided path (alice) is not an absolute path.")));
}

#[tokio::test]
async fn other_documents_that_cannot_be_are_400_and_name_the_field() {
    let cases = [
        (Method::PUT, "/filesystem/daint/ops/chmod", json!({"path": "/home/a", "mode": "u+x f"}), "mode"),
        (Method::PUT, "/filesystem/daint/ops/chmod", json!({"path": "/home/a", "mode": "17777"}), "mode"),
        (Method::PUT, "/filesystem/daint/ops/chmod", json!({"path": "/home/a", "mode": 777}), "mode"),
        (Method::PUT, "/filesystem/daint/ops/chmod", json!({"mode": "777"}), "sourcePath"),
        (Method::PUT, "/filesystem/daint/ops/chmod", json!({"path": null, "mode": "777"}), "path"),
        (Method::PUT, "/filesystem/daint/ops/chown", json!({"path": "/home/a"}), "owner"),
        (Method::PUT, "/filesystem/daint/ops/chown", json!({"path": "/home/a", "owner": "--reference=/etc"}), "owner"),
        (Method::PUT, "/filesystem/daint/ops/chown", json!({"path": "/home/a", "group": "a:b"}), "group"),
        (Method::POST, "/filesystem/daint/ops/mkdir", json!({"path": "/home/a", "parent": "perhaps"}), "parent"),
        (Method::POST, "/filesystem/daint/ops/compress", json!({"path": "/home/a"}), "targetPath"),
        (
            Method::POST,
            "/filesystem/daint/ops/compress",
            json!({"path": "/home/a", "targetPath": "/home/b", "compression": "zip"}),
            "compression",
        ),
        (
            Method::POST,
            "/filesystem/daint/ops/compress",
            json!({"path": "/home/a", "targetPath": "/home/b", "matchPattern": "a\nb"}),
            "matchPattern",
        ),
        (Method::PUT, "/compute/daint/jobs/1/attach", json!({"command": " "}), "command"),
        (Method::PUT, "/compute/daint/jobs/1/attach", json!({"command": "a\u{0}"}), "command"),
        (Method::PUT, "/compute/daint/jobs/1/attach", json!({}), "command"),
        (Method::POST, "/compute/daint/jobs", json!([]), "body"),
    ];
    for (method, uri, body, name) in cases {
        let answer = refused(method, uri, Some(body.clone())).await;
        assert_eq!((answer.status, fields(&answer)), (400, vec![("body".to_owned(), name.to_owned())]), "{uri} {body}");
    }
}

#[tokio::test]
async fn a_wrong_header_is_named_as_a_header() {
    let metadata = format!("filename {}", "A".repeat(2048));
    for (method, uri, sent, name) in [
        (Method::POST, "/filesystem/daint/uploads?path=/home/a", vec![("upload-length", "many")], "Upload-Length"),
        (
            Method::POST,
            "/filesystem/daint/uploads?path=/home/a",
            vec![("upload-length", "1"), ("upload-metadata", metadata.as_str())],
            "Upload-Metadata",
        ),
        (Method::PUT, "/filesystem/daint/ops/upload?path=/home/a", vec![("repr-digest", "sha-256=x")], "Repr-Digest"),
        (Method::GET, "/filesystem/daint/ops/follow?path=/home/a", vec![("last-event-id", "x")], "Last-Event-ID"),
        (Method::POST, "/compute/daint/jobs", vec![("content-type", "text/plain")], "Content-Type"),
    ] {
        let mut request = Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, "Bearer token-of-alice");
        request = request.header("tus-resumable", "1.0.0");
        for (field, value) in sent {
            request = request.header(field, value);
        }
        let answer = Api::new(vec![], vec![]).send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, fields(&answer)), (400, vec![("header".to_owned(), name.to_owned())]), "{uri}");
    }
}

#[tokio::test]
async fn what_a_use_case_refuses_is_named_where_the_client_wrote_it() {
    for (method, uri, body, place, name) in [
        (Method::DELETE, "/filesystem/daint/ops/rm?path=/home", None, "query", "path"),
        (Method::GET, "/filesystem/daint/ops/ls?path=/home&pageSize=0", None, "query", "pageSize"),
        (Method::GET, "/compute/daint/acct?starttime=soon", None, "query", "starttime"),
        (Method::GET, "/compute/daint/jobs/a;b", None, "path", "job_id"),
        (Method::PUT, "/filesystem/daint/ops/mv", Some(json!({"path": "/home", "targetPath": "/scratch/h"})), "body", "sourcePath"),
        (Method::PUT, "/filesystem/daint/ops/mv", Some(json!({"path": "/home/a", "targetPath": "/home/a/b"})), "body", "targetPath"),
        (Method::PUT, "/compute/daint/jobs/1/time-limit", Some(json!({"timeLimit": 0})), "body", "timeLimit"),
        (Method::POST, "/compute/daint/templates/prepared/jobs", Some(json!({"name": "\n", "workingDirectory": "/home"})), "body", "name"),
    ] {
        let answer = refused(method, uri, body).await;
        assert_eq!((answer.status, fields(&answer)), (400, vec![(place.to_owned(), name.to_owned())]), "{uri}");
        assert!(answer.json()["message"].as_str().unwrap().contains(&format!(" {name}: ")), "{}", answer.json());
    }
    let operations = json!([
        {"op": "rm", "path": "/home"},
        {"op": "ls", "path": "/home/a", "pageSize": 0},
        {"op": "ls", "path": "/home/a", "cursor": "x"},
    ]);
    let answer = refused(Method::POST, "/filesystem/daint/ops/batch", Some(json!({"operations": operations}))).await;
    for (index, name) in ["sourcePath", "pageSize", "cursor"].into_iter().enumerate() {
        let field = &answer.json()["results"][index]["error"]["data"]["fields"][0];
        assert_eq!((&field["location"], &field["name"]), (&json!("body"), &json!(name)), "{}", answer.json());
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_400() {
    let deep = "[".repeat(100_000);
    for (content_type, body) in [
        ("application/json", "{"),
        ("application/json", ""),
        ("application/json", "{} {}"),
        ("text/plain", "{}"),
        ("application/json", &deep),
    ] {
        let request = Request::post("/compute/daint/jobs")
            .header(header::AUTHORIZATION, "Bearer token-of-alice")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        assert_eq!(Api::new(vec![], vec![]).send(request).await.status, 400, "{content_type}");
    }
}

#[tokio::test]
async fn an_archive_onto_its_own_source_is_refused_by_both_ways_and_nothing_is_run() {
    let same = json!({"path": "/home/a", "targetPath": "/home/a"});
    for path in ["ops/compress", "transfer/compress"] {
        let answer = Api::new(vec![], vec![]).call(Method::POST, &format!("/filesystem/daint/{path}"), Some(same.clone())).await;
        let field = answer.json()["data"]["fields"][0]["name"].clone();
        assert_eq!((answer.status, field), (400, json!("targetPath")), "{path}: {}", answer.everything());
    }
}

#[tokio::test]
async fn a_document_with_a_content_coding_is_415_and_identity_is_none() {
    let submit = |coding: &str| {
        let request = Request::post("/filesystem/daint/ops/batch").header(header::AUTHORIZATION, "Bearer token-of-alice");
        let request = request.header(header::CONTENT_TYPE, "application/json").header(header::CONTENT_ENCODING, coding);
        request.body(Body::from(r#"{"operations": []}"#)).unwrap()
    };
    for coding in ["gzip", "zstd", "br", "deflate", "gzip, identity", "x"] {
        let answer = Api::new(vec![], vec![]).send(submit(coding)).await;
        let words = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(answer.status == 415 && words.contains("a content coding is not taken off"), "{coding}: {} {words}", answer.status);
    }
    assert_ne!(Api::new(vec![], vec![]).send(submit("Identity")).await.status, 415);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let api = Api::build(vec![], vec![], Default::default(), "", |config| config.max_body_size = 100);
    let job = json!({"job": {"workingDirectory": "/home", "script": "x".repeat(200)}});
    assert_eq!(api.call(Method::POST, "/compute/daint/jobs", Some(job)).await.status, 413);
}

#[tokio::test]
async fn failures_of_the_file_system_have_their_statuses_and_texts() {
    let path = || RemotePath::from_text("/home/a").unwrap();
    let command = |exit| FilesystemError::Command(CommandError::Exit { exit, stderr: "stopped".to_owned() });
    let cases = [
        (FilesystemError::NotFound(path()), 404, "cannot statx '/home/a': No such file or directory"),
        (FilesystemError::Denied(path()), 403, "/home/a: Permission denied"),
        (FilesystemError::NotPermitted(path()), 403, "/home/a: Operation not permitted"),
        (FilesystemError::Exists(path()), 400, "/home/a: File exists"),
        (FilesystemError::TooLarge(9), 413, "the file is larger than the limit of 9 bytes"),
        (FilesystemError::NoSpace(path()), 409, "/home/a: no space left, or quota exceeded"),
        (command(124), 408, "Remote process failed with exit status:124 and error message:stopped"),
        (command(2), 500, "Remote process failed with exit status:2 and error message:stopped"),
        (
            TransportError::Execution(Duration::from_secs(5)).into(),
            408,
            "Remote process failed with exit status:124, it did not end within 5 s",
        ),
        (
            TransportError::Connect("login.example.org:22: Connection refused (os error 111)".to_owned()).into(),
            424,
            "could not connect to the cluster's SSH server login.example.org:22: Connection refused (os error 111)",
        ),
        (TransportError::Login("alice".to_owned()).into(), 424, "the cluster refused the login of alice"),
        (TransportError::Saturated(Duration::from_secs(5)).into(), 503, "no SSH channel became free within 5 s"),
        (
            TransportError::Output(10).into(),
            413,
            "the command's output is larger than the limit of 10 bytes (ssh.max_output): ask for less of it",
        ),
    ];
    for (error, status, message) in cases {
        let api = Api::new(vec![], vec![(r#"alice: checksum "/home/a""#, Reply::FileFails(error))]);
        let answer = api.get("/filesystem/daint/ops/checksum?path=/home/a").await;
        assert_eq!((answer.status, answer.json()["message"].as_str().unwrap()), (status, message));
        assert_eq!(answer.json()["maybeEffected"], Value::Null, "a request that reads has no effect");
    }
}

#[tokio::test]
async fn a_host_key_that_is_not_trusted_is_no_reason_to_try_again() {
    is_final(|| TransportError::HostKey("it is not the one that is known".to_owned())).await;
}

#[tokio::test]
async fn a_key_that_is_missing_or_cannot_be_used_is_no_reason_to_try_again() {
    let alice = || Username::new("alice").unwrap();
    is_final(|| CredentialError::Unknown(alice()).into()).await;
    is_final(|| CredentialError::Token { service: "SSH service", user: alice(), status: 401 }.into()).await;
    is_final(|| TransportError::Key { user: alice(), reason: "the private key cannot be read, or the passphrase is wrong".to_owned() })
        .await;
}

/// Both kinds of backend answer 424 for this failure, with the remark that it stays.
async fn is_final(refused: impl Fn() -> TransportError) {
    let command = SchedulerError::Command { operation: "list the nodes", source: CommandError::Transport(refused()) };
    let files = vec![(r#"alice: checksum "/home/a""#, Reply::FileFails(refused().into()))];
    let api = Api::new(vec![("alice: nodes", Reply::SchedulerFails(command))], files);
    for uri in ["/filesystem/daint/ops/checksum?path=/home/a", "/status/daint/nodes"] {
        let answer = api.get(uri).await;
        assert_eq!((answer.status, &answer.json()["retryable"]), (424, &json!(false)), "{uri}: {}", answer.everything());
    }
}

#[tokio::test]
async fn failures_of_the_scheduler_have_their_statuses() {
    let cases = [
        (SchedulerError::JobNotFound, 404, "Job not found"),
        (SchedulerError::Rejected("invalid partition".to_owned()), 400, "invalid partition"),
        (SchedulerError::Denied("access denied".to_owned()), 403, "access denied"),
        (SchedulerError::Down("no controller".to_owned()), 503, "the scheduler does not answer: no controller"),
        (SchedulerError::Unsupported("it keeps no scripts"), 501, "this system's scheduler cannot do that: it keeps no scripts"),
    ];
    for (error, status, message) in cases {
        let api = Api::new(vec![(r#"alice: metadata "1""#, Reply::SchedulerFails(error))], vec![]);
        let answer = api.get("/compute/daint/jobs/1/metadata").await;
        assert_eq!((answer.status, answer.json()["message"].as_str().unwrap()), (status, message));
    }
}
