//! Files in the volumes of users on a real Kubernetes node, by commands in helper pods.

use std::time::Duration;

use serde_json::json;

use crate::environment::{Live, wait_for};
use crate::kubernetes::{pods, submit};

const SYSTEM: &str = "kubernetes-files";

pub async fn files_go_up_are_worked_with_and_come_back(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = format!("/home/live-{}", uuid::Uuid::new_v4().simple());
    api.post(&format!("/filesystem/{SYSTEM}/ops/mkdir"), &json!({"sourcePath": folder, "parent": true})).await.expect(201);
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    let name = "it's 'ü' $HOME \"x\"";
    api.upload(SYSTEM, &folder, name, &content).await.expect(204);
    let path = format!("{folder}/{name}");
    assert!(api.file(SYSTEM, "download", &path).await.expect(200).body == content, "the content came back changed");
    let listed = api.file(SYSTEM, "ls", &folder).await.expect(200).json();
    assert_eq!(listed["output"][0]["name"], name, "{listed}");
    let sum = api.file(SYSTEM, "checksum", &path).await.expect(200).json();
    assert_eq!(sum["output"]["checksum"].as_str().map(str::len), Some(64), "{sum}");
    let missing = api.file(SYSTEM, "ls", &format!("{folder}/none")).await.expect(404);
    assert!(missing.message().contains("No such file or directory"), "{}", missing.message());
    api.file(SYSTEM, "ls", "/etc").await.expect(400);
    api.remove(SYSTEM, &folder).await;
    api.file(SYSTEM, "ls", &folder).await.expect(404);
}

pub async fn jobs_and_requests_see_the_same_files_and_other_users_do_not(live: &Live) {
    let (api, other) = (live.api("fireuser").await, live.api("otheruser").await);
    let name = format!("live-{}", uuid::Uuid::new_v4().simple());
    api.upload(SYSTEM, "/home", &name, b"from the request\n").await.expect(204);
    let script = format!("#!/bin/sh -e\ncat /home/{name} >/home/{name}.copy\necho 'from the job' >>/home/{name}.copy\n");
    let id = submit(&api, SYSTEM, &json!({"job": {"workingDirectory": "/home", "script": script}})).await;
    api.wait_for_state(SYSTEM, &id, &["COMPLETED"]).await;
    let copy = api.file(SYSTEM, "download", &format!("/home/{name}.copy")).await.expect(200).body;
    assert_eq!(copy, "from the request\nfrom the job\n");
    other.file(SYSTEM, "stat", &format!("/home/{name}")).await.expect(404);
    let list = api.get(&format!("/compute/{SYSTEM}/jobs"), &[]).await.expect(200).json().to_string();
    assert!(!list.contains("goldcrest-files"), "the helper is no job of the user's: {list}");
    for name in [name.clone(), format!("{name}.copy")] {
        api.remove(SYSTEM, &format!("/home/{name}")).await;
    }
}

pub async fn a_helper_pod_without_use_ends_and_comes_back(live: &Live) {
    let api = live.api("fireuser").await;
    api.file(SYSTEM, "ls", "/home").await.expect(200);
    let is_there = || async { !pods(live, "files-fireuser", "goldcrest-files").await.is_empty() };
    assert!(is_there().await);
    wait_for("the helper pod is gone", Duration::from_secs(90), || async { (!is_there().await).then_some(()) }).await;
    api.file(SYSTEM, "ls", "/home").await.expect(200);
}
