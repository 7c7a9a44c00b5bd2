//! The log, as log collectors read it.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::support::service::{Reply, Service};
use crate::support::{PATIENCE, wait_for};

/// A line, none of whose members is there twice.
struct Line(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{name} is there twice")));
                    }
                }
                Ok(Line(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Starts a program whose log is this file, as JSON.
fn as_json(log: &NamedTempFile) -> impl FnOnce(&mut Command) + use<> {
    let writer = log.reopen().unwrap();
    move |command| {
        command.args(["--log-format", "json"]).env("GOLDCREST_LOG", "goldcrest=debug").stderr(writer);
    }
}

/// The whole lines of a log.
fn lines(log: &NamedTempFile) -> Vec<BTreeMap<String, Value>> {
    let text = std::fs::read_to_string(log.path()).unwrap();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str::<Line>(line).unwrap_or_else(|error| panic!("{error}: {line}")).0).collect()
}

/// The line with this message, once it is there.
async fn line(log: &NamedTempFile, message: &str) -> BTreeMap<String, Value> {
    let find = || lines(log).into_iter().find(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message)));
    wait_for(PATIENCE, || find().is_some()).await;
    find().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_whose_ssh_login_was_refused_and_where() {
    let double = Double::start(Behaviour { refuse_logins: true, ..Behaviour::default() }).await;
    let log = NamedTempFile::new().unwrap();
    let program = Program::spawn(&[Site::of("cluster", &double)], &["ada".to_owned()], "", "", as_json(&log)).await;
    program.is_up().await;
    assert_eq!(program.stat("cluster", &program.token("ada")).await.0, 424);
    let line = line(&log, "an SSH login was refused").await;
    assert_eq!(line["user"], "ada", "{line:?}");
    assert!(line["reason"].as_str().unwrap().contains(&format!("127.0.0.1:{}", double.port)), "{line:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_at_the_start_that_openfga_refuses_the_token() {
    let double = Double::start(Behaviour::default()).await;
    let refusal = r#"{"code": "invalid_bearer_token", "message": "invalid bearer token"}"#;
    let server = Service::start(move |_| Reply::status(401, refusal)).await;
    let section = format!("auth:\n  authorization: {{ url: \"{}\", store_id: 01STORE, api_token: hunter2 }}\n", server.url);
    let log = NamedTempFile::new().unwrap();
    let with = |text: String| text.replacen("auth:\n", &section, 1);
    let program = Program::spawn_changed(&[Site::of("cluster", &double)], &["ada".to_owned()], "", with, as_json(&log)).await;
    // Nobody has asked for anything yet.
    let line = line(&log, "the authorization service cannot decide").await;
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains(&server.url) && reason.contains("401"), "{line:?}");
    assert!(lines(&log).iter().all(|line| !format!("{line:?}").contains("hunter2")));
    program.is_up().await;
    assert_eq!(program.stat("cluster", &program.token("ada")).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_the_json_log_is_an_object_with_each_member_once_and_no_value_quoted_twice() {
    let double = Double::start(Behaviour::default()).await;
    let users = ["ada".to_owned()];
    let log = NamedTempFile::new().unwrap();
    let program = Program::spawn(&[Site::of("cluster", &double)], &users, "", "", as_json(&log)).await;
    program.is_up().await;
    let token = program.token("ada");
    assert_eq!(program.stat("cluster", &token).await.0, 200);
    assert_eq!(program.stat("cluster", "no token").await.0, 401);
    assert_eq!(program.stat("nowhere", &token).await.0, 404);
    let ops = format!("{}/filesystem/cluster/ops", program.url);
    let odd = program.files.path().join("it's \"odd\"\n{\"a\":1}").to_str().unwrap().to_owned();
    let made = program.http.post(format!("{ops}/mkdir")).bearer_auth(&token).json(&serde_json::json!({"sourcePath": odd}));
    assert_eq!(made.send().await.unwrap().status(), 201);
    // It becomes shorter while it is sent.
    let (path, size) = (program.files.path().join("large"), 256 << 20);
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(size).unwrap();
    let download = program.http.get(format!("{ops}/download")).query(&[("path", path.to_str().unwrap())]).header("range", "bytes=0-");
    let download = download.bearer_auth(&token).send().await.unwrap();
    file.set_len(10).unwrap();
    assert!(download.bytes().await.is_err());

    let has = |name: &str, value: &str| lines(&log).iter().any(|line| line.get(name).is_some_and(|found| found == value));
    wait_for(PATIENCE, || has("message", "a download was cut short")).await;
    assert!(has("object", &odd) && has("path", path.to_str().unwrap()) && has("path", "/filesystem/nowhere/ops/stat"));
    for line in lines(&log) {
        for (name, value) in &line {
            let quoted = value.as_str().is_some_and(|text| text.len() > 1 && text.starts_with('"') && text.ends_with('"'));
            assert!(!quoted, "{name} is quoted twice: {line:?}");
        }
        if line["target"] == "goldcrest::http::middleware::access_log" {
            assert!(
                ["method", "path", "status", "milliseconds", "request_id", "correlation_id"].iter().all(|name| line.contains_key(*name)),
                "{line:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_where_nobody_reads_the_log_any_more() {
    let double = Double::start(Behaviour::default()).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let logging = |command: &mut Command| {
        command.env("GOLDCREST_LOG", "debug").stderr(writer);
    };
    let program = Program::spawn(&[Site::of("good", &double)], &["ada".to_owned()], "", "", logging).await;
    program.is_up().await;
    assert_eq!(program.stat("good", &program.token("ada")).await.0, 200);
}
