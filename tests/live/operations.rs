//! File operations past the contract: streams, pages, searches, batches, copies, and files that are followed.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::environment::{Live, wait_for};

/// The lines of a stream.
async fn lines(api: &Api, system: &str, operation: &str, query: &[(&str, &str)]) -> Vec<Value> {
    let request = api.request(Method::GET, &format!("/filesystem/{system}/ops/{operation}")).query(query);
    let answer = api.send(request.header("accept", "application/x-ndjson")).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn names(entries: &[Value]) -> BTreeSet<String> {
    entries.iter().map(|entry| entry["name"].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned()).collect()
}

/// Runs a command as the user.
async fn run_as(user: &str, script: &str) {
    let status = tokio::process::Command::new("su").args(["-s", "/bin/sh", user, "-c", script]).status().await.unwrap();
    assert!(status.success(), "{script}");
}

pub async fn a_directory_is_streamed_paged_and_searched(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        run_as("fireuser", &format!("cd {folder} && mkdir -p sub/deep closed && seq 1 2500 | xargs touch && echo x > sub/deep/found.out"))
            .await;
        let listed = api.file(system, "ls", &folder).await.expect(200).json()["output"].as_array().unwrap().clone();
        assert_eq!(listed.len(), 2502);
        let streamed = lines(&api, system, "ls", &[("path", &folder)]).await;
        assert_eq!(names(&streamed), names(&listed), "{system}");

        let mut paged = Vec::new();
        let mut query = format!("path={folder}&pageSize=1000&sort=size&order=desc");
        loop {
            let answer = api.get(&format!("/filesystem/{system}/ops/ls?{query}"), &[]).await.expect(200);
            paged.extend(answer.json()["output"].as_array().unwrap().clone());
            let Some(next) = answer.header("link").strip_prefix("<?") else { break };
            next.strip_suffix(">; rel=\"next\"").unwrap().clone_into(&mut query);
        }
        assert_eq!((paged.len(), names(&paged)), (2502, names(&listed)), "{system}");

        let found = lines(&api, system, "find", &[("path", &folder), ("name", "*.out"), ("type", "f"), ("minSize", "1")]).await;
        assert_eq!(names(&found), BTreeSet::from(["sub/deep/found.out".to_owned()]), "{system}");
        let limited = api.get(&format!("/filesystem/{system}/ops/find"), &[("path", &folder), ("limit", "7")]).await.expect(200).json();
        assert_eq!((limited["output"].as_array().unwrap().len(), &limited["truncated"]), (7, &json!(true)), "{system}");

        run_as("fireuser", &format!("chmod 000 {folder}/closed")).await;
        let mut rest = lines(&api, system, "ls", &[("path", &folder), ("recursive", "true")]).await;
        let last = rest.pop().unwrap();
        assert_eq!((&last["error"]["status"], rest.len()), (&json!(403), 2504), "{system}: {last}");
        api.remove(system, &folder).await;
    }
}

pub async fn many_operations_are_one_request(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let operations = json!([
            {"op": "mkdir", "path": format!("{folder}/a/b"), "parent": true},
            {"op": "touch", "path": format!("{folder}/a/b/f")},
            {"op": "chmod", "path": format!("{folder}/a/b/f"), "mode": "600"},
            {"op": "cp", "path": format!("{folder}/a"), "targetPath": format!("{folder}/c")},
            {"op": "mv", "path": format!("{folder}/c"), "targetPath": format!("{folder}/d")},
            {"op": "symlink", "path": format!("{folder}/d"), "linkPath": format!("{folder}/l")},
            {"op": "ls", "path": format!("{folder}/d/b")},
            {"op": "stat", "path": format!("{folder}/gone")},
            {"op": "rm", "path": format!("{folder}/d")},
        ]);
        let body = json!({"operations": operations, "ordered": true});
        let done = api.post(&format!("/filesystem/{system}/ops/batch"), &body).await.expect(200).json();
        let statuses: Vec<_> = done["results"].as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 404, 409], "{system}: {done}");
        assert_eq!(done["results"][6]["output"]["entries"][0]["permissions"], "rw-------", "{system}: {done}");
        let stats: Vec<Value> = (0..200).map(|_| json!({"op": "stat", "path": format!("{folder}/a/b/f")})).collect();
        let done = api.post(&format!("/filesystem/{system}/ops/batch"), &json!({"operations": stats})).await.expect(200).json();
        assert_eq!(done["failed"], 0, "{system}: {done}");
        api.remove(system, &folder).await;
    }
}

pub async fn files_and_trees_are_copied_and_moved_on_the_cluster(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let ops = format!("/filesystem/{system}/ops");
        run_as("fireuser", &format!("cd {folder} && mkdir tree && head -c 40000000 /dev/urandom > tree/large && chmod 640 tree/large"))
            .await;
        let both = |from: &str, to: &str| json!({"sourcePath": format!("{folder}/{from}"), "targetPath": format!("{folder}/{to}")});
        let copy = api.post(&format!("{ops}/cp"), &both("tree/large", "copy")).await.expect(201).json();
        assert_eq!((&copy["output"]["size"], &copy["output"]["permissions"]), (&json!("40000000"), &json!("rw-r-----")), "{system}");
        assert!(std::fs::read(format!("{folder}/copy")).unwrap() == std::fs::read(format!("{folder}/tree/large")).unwrap(), "{system}");
        let again = api.post(&format!("{ops}/cp"), &both("tree/large", "copy")).await.expect(400);
        assert!(again.message().contains("File exists"), "{system}: {}", again.message());
        api.post(&format!("{ops}/cp"), &both("tree", "tree2")).await.expect(201);
        assert_eq!(std::fs::metadata(format!("{folder}/tree2/large")).unwrap().len(), 40_000_000, "{system}");
        api.put(&format!("{ops}/mv"), &both("tree2", "tree3")).await.expect(200);
        assert!(std::fs::metadata(format!("{folder}/tree3/large")).is_ok(), "{system}");
        let acl = api.file(system, "acl", &format!("{folder}/copy")).await.expect(200).json();
        assert_eq!(acl["output"][0]["permissions"], "rw-", "{system}: {acl}");
        let space = api.file(system, "df", &folder).await.expect(200).json();
        assert!(space["output"]["totalBytes"].as_u64().unwrap() > space["output"]["freeBytes"].as_u64().unwrap(), "{system}: {space}");
        let quota: Answer = api.file(system, "quota", &folder).await;
        assert!(quota.status == 200 || quota.status == 501, "{system}: {}", quota.status);
        api.remove(system, &folder).await;
    }
}

pub async fn a_file_is_followed_while_it_is_written(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let file = format!("{folder}/log");
    std::fs::write(&file, "one\n").unwrap();
    let follow = |id: Option<String>| {
        let request = api.request(Method::GET, "/filesystem/slurm/ops/follow").query(&[("path", file.as_str()), ("offset", "0")]);
        let request = match id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        async { request.send().await.unwrap() }
    };
    let until = async |answer: &mut Response, wanted: &str| {
        let mut text = String::new();
        while !text.contains(wanted) {
            let piece = tokio::time::timeout(Duration::from_secs(20), answer.chunk()).await;
            let piece = piece.unwrap_or_else(|_| panic!("no {wanted} in {text}")).unwrap().expect("it goes on");
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        text
    };
    let mut stream = follow(None).await;
    until(&mut stream, "id: 4\ndata: {\"content\":\"one\\n\"}\n\n").await;
    std::fs::File::options().append(true).open(&file).unwrap().write_all(b"two\n").unwrap();
    until(&mut stream, "id: 8\ndata: {\"content\":\"two\\n\"}\n\n").await;
    drop(stream);
    let mut stream = follow(Some("4".to_owned())).await;
    let text = until(&mut stream, "two").await;
    assert!(!text.contains("one"), "{text}");
    std::fs::write(&file, "x").unwrap();
    until(&mut stream, "event: truncated").await;
    drop(stream);
    // By commands, where there is no SFTP.
    let request = api.request(Method::GET, "/filesystem/slurm-nosftp/ops/follow").query(&[("path", file.as_str()), ("offset", "0")]);
    let mut stream = request.send().await.unwrap();
    until(&mut stream, "id: 1\ndata: {\"content\":\"x\"}\n\n").await;
    std::fs::File::options().append(true).open(&file).unwrap().write_all(b"y").unwrap();
    until(&mut stream, "id: 2\ndata: {\"content\":\"y\"}\n\n").await;
    drop(stream);
    api.remove("slurm", &folder).await;
    wait_for("the folder is gone", Duration::from_secs(5), || async { (!std::path::Path::new(&folder).exists()).then_some(()) }).await;
}
