//! Files in the volumes of users on a real Kubernetes node, by commands in helper pods.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::environment::{Live, wait_for};
use crate::kubernetes::{admin, pods, submit};

const SYSTEM: &str = "kubernetes-files";
const HELPER: &str = "goldcrest-files";

fn ops(operation: &str) -> String {
    format!("/filesystem/{SYSTEM}/ops/{operation}")
}

/// A folder that no other run has used.
async fn new_folder(api: &Api) -> String {
    let folder = format!("/home/live-{}", uuid::Uuid::new_v4().simple());
    api.post(&ops("mkdir"), &json!({"sourcePath": folder, "parent": true})).await.expect(201);
    folder
}

async fn archive(api: &Api, method: Method, path: &str, format: &str, content: Vec<u8>) -> Answer {
    api.send(api.request(method, &ops("archive")).query(&[("path", path), ("format", format)]).body(content)).await
}

fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

pub async fn files_go_up_are_worked_with_and_come_back(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = new_folder(&api).await;
    let content = noise(3_000_001);
    let name = "it's 'ü' $HOME";
    api.upload(SYSTEM, &folder, name, &content).await.expect(204);
    let path = format!("{folder}/{name}");
    assert!(api.file(SYSTEM, "download", &path).await.expect(200).body == content, "the content came back changed");
    let listed = api.file(SYSTEM, "ls", &folder).await.expect(200).json();
    assert_eq!((&listed["output"][0]["name"], &listed["output"][0]["user"]), (&json!(name), &json!("user")), "{listed}");
    let stat = api.file(SYSTEM, "stat", &path).await.expect(200).json();
    assert_eq!((&stat["output"]["size"], &stat["output"]["uid"]), (&json!(3_000_001), &json!(1000)), "{stat}");
    let sum = api.file(SYSTEM, "checksum", &path).await.expect(200).json();
    assert_eq!(sum["output"]["checksum"].as_str().map(str::len), Some(64), "{sum}");
    let part =
        api.send(api.request(Method::GET, &ops("download")).query(&[("path", &path)]).header("range", "bytes=5-9")).await.expect(206);
    assert_eq!(part.body, content[5..10]);
    let missing = api.file(SYSTEM, "ls", &format!("{folder}/none")).await.expect(404);
    assert!(missing.message().contains("No such file or directory"), "{}", missing.message());
    api.file(SYSTEM, "ls", "/etc").await.expect(400);
    let large = noise(40_000_000);
    api.send(api.request(Method::PUT, &ops("upload")).query(&[("path", format!("{folder}/large"))]).body(large.clone())).await.expect(201);
    assert!(api.file(SYSTEM, "download", &format!("{folder}/large")).await.expect(200).body == large, "the large file came back changed");
    // A directory that is not there is named, however much is sent after it.
    let nowhere = api.request(Method::PUT, &ops("upload")).query(&[("path", format!("{folder}/none/large"))]).body(large);
    api.send(nowhere).await.expect(404);
    api.remove(SYSTEM, &folder).await;
    api.file(SYSTEM, "ls", &folder).await.expect(404);
}

pub async fn every_operation_on_files_works_on_a_volume(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = new_folder(&api).await;
    let (file, text) = (format!("{folder}/a.txt"), "one\ntwo\nthree\n");
    api.upload(SYSTEM, &folder, "a.txt", text.as_bytes()).await.expect(204);
    for (operation, query, expected) in [
        ("head", ("lines", "1"), "one\n"),
        ("tail", ("lines", "1"), "three\n"),
        ("view", ("size", "5"), "one\nt"),
        ("file", ("x-none", ""), "ASCII text"),
    ] {
        let query: Vec<(&str, &str)> = [("path", file.as_str()), query].into_iter().filter(|(name, _)| *name != "x-none").collect();
        let answer = api.get(&ops(operation), &query).await.expect(200).json();
        assert!(answer["output"].to_string().contains(&expected.escape_default().to_string()), "{operation}: {answer}");
    }
    api.put(&ops("chmod"), &json!({"path": file, "mode": "640"})).await.expect(200);
    api.put(&ops("chown"), &json!({"path": file, "owner": "user", "group": "user"})).await.expect(200);
    api.post(&ops("symlink"), &json!({"sourcePath": file, "linkPath": format!("{folder}/link")})).await.expect(201);
    api.post(&ops("cp"), &json!({"sourcePath": file, "targetPath": format!("{folder}/b.txt")})).await.expect(201);
    api.put(&ops("mv"), &json!({"sourcePath": format!("{folder}/b.txt"), "targetPath": format!("{folder}/c.txt")})).await.expect(200);
    let batch = json!({"ordered": true, "operations": [
        {"op": "mkdir", "path": format!("{folder}/sub/deep"), "parent": true},
        {"op": "touch", "path": format!("{folder}/sub/deep/f.out")},
        {"op": "stat", "path": format!("{folder}/gone")},
    ]});
    let results = api.post(&ops("batch"), &batch).await.json();
    assert_eq!(results["results"].as_array().map(Vec::len), Some(3), "{results}");
    let found = api.get(&ops("find"), &[("path", folder.as_str()), ("name", "*.out")]).await.expect(200).json();
    assert_eq!(found["output"][0]["name"], "sub/deep/f.out", "{found}");
    for compression in ["none", "gzip", "bzip2", "xz"] {
        let (pack, target) = (format!("{folder}/{compression}.tar"), format!("{folder}/{compression}"));
        let source = format!("{folder}/sub");
        api.post(&ops("compress"), &json!({"sourcePath": source, "targetPath": pack, "compression": compression})).await.expect(204);
        api.post(&ops("mkdir"), &json!({"sourcePath": target})).await.expect(201);
        api.post(&ops("extract"), &json!({"sourcePath": pack, "targetPath": target, "compression": compression})).await.expect(204);
        api.file(SYSTEM, "stat", &format!("{target}/sub/deep/f.out")).await.expect(200);
    }
    for format in ["tar", "tar.gz", "tar.zst"] {
        let packed = archive(&api, Method::GET, &format!("{folder}/sub"), format, Vec::new()).await.expect(200).body;
        let target = format!("{folder}/from {format}");
        archive(&api, Method::PUT, &target, format, packed.to_vec()).await.expect(201);
        api.file(SYSTEM, "stat", &format!("{target}/sub/deep/f.out")).await.expect(200);
    }
    api.file(SYSTEM, "df", &folder).await.expect(200);
    let user = api.get(&format!("/status/{SYSTEM}/userinfo"), &[]).await.expect(200).json();
    assert_eq!(user["user"]["id"], "1000", "{user}");
    let refused = api
        .post(&format!("/filesystem/{SYSTEM}/transfer/cp"), &json!({"sourcePath": file, "targetPath": format!("{folder}/copy")}))
        .await
        .expect(501);
    assert!(refused.message().contains("keeps the output of jobs itself"), "{}", refused.message());
    api.remove(SYSTEM, &folder).await;
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
    assert!(!list.contains(HELPER), "the helper is no job of the user's: {list}");
    api.get(&format!("/compute/{SYSTEM}/jobs/{HELPER}"), &[]).await.expect(404);
    for name in [name.clone(), format!("{name}.copy")] {
        api.remove(SYSTEM, &format!("/home/{name}")).await;
    }
}

pub async fn a_helper_pod_that_is_lost_or_not_used_comes_back(live: &Live) {
    let api = live.api("fireuser").await;
    let list = async || api.file(SYSTEM, "ls", "/home").await.expect(200);
    list().await;
    let names = async || {
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        pods(live, "files-fireuser", HELPER).await.iter().map(name).collect::<Vec<String>>()
    };
    let first = names().await;
    assert_eq!(first.len(), 1);
    admin(live, Method::DELETE, &format!("/api/v1/namespaces/files-fireuser/pods/{}?gracePeriodSeconds=0", first[0]), None)
        .await
        .expect(200);
    wait_for("another pod works on the files", Duration::from_secs(60), || async {
        let status = api.file(SYSTEM, "ls", "/home").await.status;
        // A command may run in the pod when it is killed.
        assert!(matches!(status, 200 | 424 | 503), "{status}");
        (status == 200 && !names().await.contains(&first[0])).then_some(())
    })
    .await;
    // A client that leaves in the middle of a file keeps nothing alive.
    let file = format!("/home/live-{}", uuid::Uuid::new_v4().simple());
    api.send(api.request(Method::PUT, &ops("upload")).query(&[("path", &file)]).body(noise(40_000_000))).await.expect(201);
    let mut download = api.request(Method::GET, &ops("download")).query(&[("path", &file)]).send().await.unwrap();
    download.chunk().await.unwrap().unwrap();
    drop(download);
    wait_for("the helper pod is gone", Duration::from_secs(240), || async { names().await.is_empty().then_some(()) }).await;
    api.remove(SYSTEM, &file).await;
}

pub async fn what_keeps_a_helper_pod_from_running_is_said_in_seconds(live: &Live) {
    let api = live.api("otheruser").await;
    let begun = Instant::now();
    let answer = api.file("kubernetes-no-image", "ls", "/home").await.expect(424);
    assert!(answer.message().contains("registry.test/none:1"), "{}", answer.message());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_ne!(answer.json()["maybeEffected"], true, "{}", answer.json());
    api.file(SYSTEM, "ls", "/home").await.expect(200);
    let namespace = "/api/v1/namespaces/files-otheruser";
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    admin(live, Method::POST, &format!("{namespace}/resourcequotas"), Some(&quota)).await.expect(201);
    let helper = format!("/apis/batch/v1/namespaces/files-otheruser/jobs/{HELPER}?propagationPolicy=Background");
    admin(live, Method::DELETE, &helper, None).await.expect(200);
    let refused = wait_for("the quota is said", Duration::from_secs(30), || async {
        let answer = api.file(SYSTEM, "ls", "/home").await;
        // The pod that was removed may run for another moment.
        (answer.status != 200).then_some(answer)
    })
    .await
    .expect(424);
    admin(live, Method::DELETE, &format!("{namespace}/resourcequotas/none"), None).await.expect(200);
    assert!(refused.message().contains("exceeded quota: none"), "{}", refused.message());
    wait_for("the files are back", Duration::from_secs(30), || async {
        (api.file(SYSTEM, "ls", "/home").await.status == 200).then_some(())
    })
    .await;
}

pub async fn an_api_server_that_is_away_is_no_missing_file(live: &Live) {
    let api = live.api("fireuser").await;
    for operation in ["ls", "stat", "download"] {
        let answer = api.file("kubernetes-away", operation, "/home/a").await.expect(503);
        assert_ne!(answer.json()["maybeEffected"], true, "{}", answer.json());
    }
}
