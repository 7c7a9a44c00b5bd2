//! Commands on a real login node.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::environment::{Live, wait_for};
use crate::instance::Instance;
use crate::openfga::Store;
use crate::processes;

/// The section, below the cluster `slurm`.
const COMMANDS: &str = r#"
    commands:
      allow:
        - [squeue, --me, --noheader]
        - [id, -un]
        - [sh, -c, "~[a-z0-9 ;>&.]+"]
      max_output: 100000
      time_limit: 30
"#;

fn lines(body: &[u8]) -> Vec<Value> {
    String::from_utf8(body.to_vec()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub async fn allowed_commands_run_as_the_caller_who_has_the_relation(live: &Live) {
    let store = Store::new(
        live,
        &[
            ["user:fireuser", "access", "system:slurm"],
            ["user:fireuser", "run", "system:slurm"],
            ["user:otheruser", "access", "system:slurm"],
        ],
    )
    .await;
    let edit = |config: String| config.replacen("  - name: slurm\n", &format!("  - name: slurm\n{}", COMMANDS.trim_start_matches('\n')), 1);
    let instance = Instance::start_edited(live, &["--authorization-store", &store.name], edit).await;
    let (api, other) = (live.api_at(&instance.url(), "fireuser").await, live.api_at(&instance.url(), "otheruser").await);
    let path = "/compute/slurm/commands";
    let run = async |command: &[&str]| api.post(path, &json!({"command": command})).await;

    let answer = run(&["id", "-un"]).await.expect(200);
    assert_eq!(lines(&answer.body), [json!({"stdout": "fireuser\n"}), json!({"exitCode": 0})]);
    let answer = run(&["squeue", "--me", "--noheader"]).await.expect(200);
    assert_eq!(lines(&answer.body).last(), Some(&json!({"exitCode": 0})));
    let answer = run(&["sh", "-c", "echo out; echo err >&2; exit 3"]).await.expect(200);
    let told = lines(&answer.body);
    assert!(told.contains(&json!({"stdout": "out\n"})) && told.contains(&json!({"stderr": "err\n"})), "{told:?}");
    assert_eq!(told.last(), Some(&json!({"exitCode": 3})));

    assert!(run(&["id"]).await.expect(403).message().contains("`id -un`"));
    other.post(path, &json!({"command": ["id", "-un"]})).await.expect(403);
    api.post("/compute/slurm-nosftp/commands", &json!({"command": ["id", "-un"]})).await.expect(403);

    let answer = run(&["sh", "-c", "yes"]).await.expect(200);
    let told = lines(&answer.body);
    assert_eq!(told.last().unwrap()["error"]["status"], 413, "{:?}", told.last());
    let begun = Instant::now();
    let answer =
        api.post(path, &json!({"command": ["sh", "-c", "echo begun; sleep 20.125; echo ended"], "timeLimit": 1})).await.expect(200);
    assert_eq!(lines(&answer.body), [json!({"stdout": "begun\n"}), json!({"exitCode": 124})]);
    assert!(begun.elapsed() < Duration::from_secs(5) && processes::running("sleep 20.125").is_empty(), "{:?}", begun.elapsed());

    // It ends on the cluster when the client goes away.
    let mut leaving =
        api.request(Method::POST, path).json(&json!({"command": ["sh", "-c", "echo begun; sleep 25.125"]})).send().await.unwrap();
    assert!(leaving.chunk().await.unwrap().is_some_and(|piece| piece.starts_with(b"{\"stdout\":\"begun")));
    assert!(!processes::running("sleep 25.125").is_empty());
    drop(leaving);
    wait_for("the command is gone", Duration::from_secs(10), || async { processes::running("sleep 25.125").is_empty().then_some(()) })
        .await;

    let log = instance.log();
    let audited: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|line: &Value| line["action"] == "commands.run").collect();
    assert!(
        audited.iter().any(|line| line["object"] == "id with 1 arguments" && line["outcome"] == "done" && line["relation"] == "run"),
        "{audited:?}"
    );
    assert!(audited.iter().any(|line| line["outcome"] == "cancelled"), "{audited:?}");
    assert!(audited.iter().all(|line| !line.to_string().contains("25.125")), "no argument is written down");
}
