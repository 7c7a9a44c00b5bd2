//! Commands on the login node.

use std::sync::Arc;

use axum::http::Method;
use goldcrest::cluster::Cluster;
use goldcrest::domain::ClusterHealth;
use goldcrest::ssh::{RawOutput, TransportError};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::doubles::{Script, ScriptedFiles, ScriptedScheduler};
use super::{Answer, Api, cluster_config, request, whole};
use crate::support::scripted::{ScriptedTransport, Step, breaks, prints};

const COMMANDS: &str = "/compute/daint/commands";

fn api(steps: Vec<Step>, change: impl FnOnce(&mut goldcrest::cluster::Config)) -> Api {
    let mut config = cluster_config();
    change(&mut config);
    let (_, health) = watch::channel(ClusterHealth::default());
    let (scheduler, files) = (ScriptedScheduler(Script::new("scheduler", [])), ScriptedFiles(Script::new("file system", [])));
    let capabilities = whole(Arc::new(ScriptedTransport::new(steps)), Arc::new(scheduler), Arc::new(files));
    Api::over(Cluster::new(config, capabilities, health))
}

async fn run(steps: Vec<Step>, body: Value) -> Answer {
    api(steps, |_| {}).call(Method::POST, COMMANDS, Some(body)).await
}

/// The line that runs a command.
fn running(command: &str) -> String {
    format!("{}goldcrest_run {command}", include_str!("../../../src/service/commands.sh"))
}

fn lines(answer: &Answer) -> Vec<Value> {
    String::from_utf8(answer.body.clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_command_that_is_allowed_is_run_word_by_word_and_told_line_by_line() {
    let printed = RawOutput { stdout: b"a\xFFb\n".to_vec(), stderr: b"warning\n".to_vec(), exit: 3 };
    let line = running(r"60 'myquota' '--user' 'it'\''s; $(id)'");
    let answer = run(vec![Step { line, reply: Ok(printed) }], json!({"command": ["myquota", "--user", "it's; $(id)"]})).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    assert_eq!(lines(&answer), [json!({"stdout": "a\u{EFFF}b\n"}), json!({"stderr": "warning\n"}), json!({"exitCode": 3})]);

    let answer =
        run(vec![prints(&running("7 'hostname'"), "nid1\n")], json!({"command": ["hostname"], "stdin": "text", "timeLimit": 7})).await;
    assert_eq!(lines(&answer), [json!({"stdout": "nid1\n"}), json!({"exitCode": 0})]);
}

#[tokio::test]
async fn a_command_that_no_pattern_allows_is_refused_with_those_that_are() {
    for command in [&["rm", "-rf", "/"][..], &["hostname", "-f"], &["myquota", "--user", ""], &["sh", "-c", "hostname"]] {
        let answer = run(vec![], json!({"command": command})).await;
        assert_eq!(answer.status, 403, "{command:?}");
        let json = answer.json();
        let detail = json["detail"].as_str().unwrap();
        assert!(detail.contains("`hostname`, `myquota --user ~.+`"), "{detail}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    for (body, status, name) in [
        (json!({"command": []}), 400, "command"),
        (json!({"command": "hostname"}), 400, "command"),
        (json!({"command": ["hostname\u{0}"]}), 400, "command"),
        (json!({"command": vec!["hostname"; 300]}), 400, "command"),
        (json!({"command": ["hostname"], "timeLimit": 0}), 400, "timeLimit"),
        (json!({"command": ["hostname"], "timeLimit": 61}), 400, "timeLimit"),
        (json!({"command": ["hostname"], "shell": true}), 400, "shell"),
    ] {
        let answer = run(vec![], body.clone()).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (status, &json!(name)), "{body}");
    }
    let answer = run(vec![], json!({"command": ["hostname"], "stdin": "x".repeat(100_000)})).await;
    assert_eq!(answer.status, 413);
    assert!(answer.json()["detail"].as_str().unwrap().contains("commands.max_input"));
}

#[tokio::test]
async fn a_system_without_commands_is_501_and_the_relation_is_asked_for_where_there_are_some() {
    let body = || Some(json!({"command": ["hostname"]}));
    let none = api(vec![], |config| config.commands = None);
    let answer = none.call(Method::POST, COMMANDS, body()).await;
    assert_eq!(answer.status, 501);
    let status = none.get("/status/systems").await.json();
    let listed = status["systems"][0]["unsupported"].as_array().unwrap();
    assert!(listed.iter().any(|entry| entry["operations"] == "/compute/{system_name}/commands"), "{listed:?}");
    for (token, status) in [("token-of-reader", 501), ("token-of-mallory", 403)] {
        assert_eq!(none.send(request(Method::POST, COMMANDS, Some(token), body())).await.status, status, "{token}");
    }
    // Who may read and submit may not run commands.
    for token in ["token-of-reader", "token-of-submitter", "token-of-mallory"] {
        let answer = api(vec![], |_| {}).send(request(Method::POST, COMMANDS, Some(token), body())).await;
        assert_eq!(answer.status, 403, "{token}");
        let told = answer.json()["detail"].clone();
        assert_eq!(told, "access to system daint is denied: this operation needs the relation `access` to it", "{token}");
    }
}

#[tokio::test]
async fn what_keeps_a_command_from_its_end_is_told() {
    let line = &running("60 'hostname'");
    for (error, status, words) in [
        (TransportError::Output(1_048_576), 413, "commands.max_output"),
        (TransportError::Connect("login: refused".to_owned()), 424, "could not connect"),
    ] {
        let answer = run(vec![breaks(line, error)], json!({"command": ["hostname"]})).await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{}", answer.json());
    }
}
