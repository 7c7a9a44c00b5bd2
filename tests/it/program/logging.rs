//! The log as collectors of logs read it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
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

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_the_json_log_is_an_object_with_each_member_once_and_no_value_quoted_twice() {
    let double = Double::start(Behaviour::default()).await;
    let users = ["ada".to_owned()];
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = log.reopen().unwrap();
    let as_json = |command: &mut std::process::Command| {
        command.args(["--log-format", "json"]).env("GOLDCREST_LOG", "goldcrest=debug").stderr(writer);
    };
    let program = Program::spawn(&[Site::of("cluster", &double)], &users, "", "", as_json).await;
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

    let lines = || -> Vec<BTreeMap<String, Value>> {
        let text = std::fs::read_to_string(log.path()).unwrap();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str::<Line>(line).unwrap_or_else(|error| panic!("{error}: {line}")).0).collect()
    };
    let has = |name: &str, value: &str| lines().iter().any(|line| line.get(name).is_some_and(|found| found == value));
    wait_for(PATIENCE, || has("message", "a download was cut short")).await;
    assert!(has("object", &odd) && has("path", path.to_str().unwrap()) && has("path", "/filesystem/nowhere/ops/stat"));
    for line in lines() {
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
