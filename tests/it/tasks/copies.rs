//! What arrives at the target.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use axum::http::{Method, header};
use serde_json::json;

use super::{Site, Way, noise};
use crate::api::request;
use crate::files::transport::{Local, OPENSSH, Subsystem};
use crate::support::skip;

fn ways() -> Vec<(Way, Way)> {
    let mut ways = vec![(Way::sftp(), Way::exec()), (Way::exec(), Way::sftp()), (Way::sftp(), Way::sftp())];
    if Path::new(OPENSSH).exists() {
        let openssh = |subsystem| Way::over(Arc::new(Local::new(subsystem)));
        ways.push((openssh(Subsystem::OpenSsh), openssh(Subsystem::Plain)));
    } else {
        skip(&format!("there is no {OPENSSH}"));
    }
    ways
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_any_size_is_copied_with_its_mode_and_nothing_else_is_left() {
    for (source, target) in ways() {
        let site = Site::new();
        let process = site.process(source, target);
        for (name, size, bits) in
            [("empty", 0, 0o644), ("small", 10, 0o644), ("secret", 10, 0o600), ("closed", 5, 0o444), ("large", 3 << 20, 0o750)]
        {
            std::fs::write(site.from(name), noise(size)).unwrap();
            set_mode(&site.from(name), bits);
            let address = process.begin(site.request(name, name)).await;
            let task = process.ends(&address, "completed").await;
            assert_eq!(task["progress"]["bytes"], json!(size), "{task}");
            assert_eq!(
                (&task["progress"]["files"], &task["progress"]["totalFiles"], &task["isFinal"]),
                (&json!(1), &json!(1), &json!(true))
            );
            assert!(task["reason"].is_null() && task["ended"].is_string());
            assert!(std::fs::read(site.to(name)).unwrap() == noise(size), "{name}");
            assert_eq!(mode(&site.to(name)), bits, "{name}");
        }
        assert_eq!(site.names(""), ["closed", "empty", "large", "secret", "small"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_copied_with_all_below_it_whatever_the_names_and_links_are_counted() {
    for (source, target) in ways() {
        let site = Site::new();
        let tree = site.from("tree");
        for directory in ["a/b/c", "empty", "z"] {
            std::fs::create_dir_all(tree.join(directory)).unwrap();
        }
        let odd = OsString::from_vec(b"a/new\nline \xFF 'and' \"quotes\"".to_vec());
        let mut files = vec![("a/b/c/deep".into(), 3 << 20), (OsString::from(".hidden"), 7), (odd, 9), ("z/last".into(), 0)];
        files.extend((0..30).map(|number| (format!("a/b/{number}").into(), number)));
        for (name, size) in &files {
            std::fs::write(tree.join(name), noise(*size)).unwrap();
        }
        symlink("nowhere", tree.join("link")).unwrap();
        set_mode(&tree.join("empty"), 0o700);
        // What is made in it belongs to its group, as in the directories of projects.
        set_mode(site.target.path(), 0o2755);
        set_mode(&tree.join("z"), 0o555);

        let process = site.process(source, target);
        let address = process.begin(site.request("tree", "copy")).await;
        let task = process.ends(&address, "completed").await;
        let bytes: usize = files.iter().map(|(_, size)| size).sum();
        let progress = &task["progress"];
        assert_eq!((&progress["files"], &progress["totalFiles"]), (&json!(files.len()), &json!(files.len())), "{task}");
        assert_eq!((&progress["bytes"], &progress["totalBytes"]), (&json!(bytes), &json!(bytes)), "{task}");
        assert_eq!((&progress["skipped"], &progress["firstSkipped"]), (&json!(1), &json!("link")), "{task}");
        for (name, size) in &files {
            assert!(std::fs::read(site.to("copy").join(name)).unwrap() == noise(*size), "{name:?}");
        }
        assert_eq!((mode(&site.to("copy/empty")), mode(&site.to("copy/z"))), (0o700, 0o555));
        for directory in ["copy", "copy/empty", "copy/a/b"] {
            assert_eq!(std::fs::metadata(site.to(directory)).unwrap().permissions().mode() & 0o2000, 0o2000, "{directory}");
        }
        assert_eq!(site.names("copy"), [".hidden", "a", "empty", "z"]);
        assert_eq!(site.names("copy/a/b/c"), ["deep"]);
        for tree in [tree.join("z"), site.to("copy/z")] {
            set_mode(&tree, 0o755);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_there_are_replaced_only_where_the_request_says_so_and_the_rest_of_a_directory_stays() {
    for (source, target) in ways() {
        let site = Site::new();
        std::fs::create_dir_all(site.from("tree/sub")).unwrap();
        std::fs::create_dir_all(site.to("tree/sub")).unwrap();
        for name in ["tree/a", "tree/sub/b"] {
            std::fs::write(site.from(name), noise(100)).unwrap();
            std::fs::write(site.to(name), "old").unwrap();
        }
        set_mode(&site.to("tree/a"), 0o600);
        std::fs::write(site.to("tree/own"), "own").unwrap();
        let process = site.process(source, target);
        for name in ["tree", "tree/a"] {
            let answer = process.ask(site.request(name, name)).await;
            assert_eq!(answer.status, 409, "{}", answer.everything());
            assert!(answer.json()["message"].as_str().unwrap().contains("overwrite"), "{}", answer.everything());
        }
        assert_eq!(std::fs::read(site.to("tree/a")).unwrap(), b"old");
        let mut wrong = site.request("tree", "tree/a");
        wrong["overwrite"] = json!(true);
        assert_eq!(process.ask(wrong).await.status, 409);

        let mut over = site.request("tree", "tree");
        over["overwrite"] = json!(true);
        let address = process.begin(over).await;
        process.ends(&address, "completed").await;
        for name in ["tree/a", "tree/sub/b"] {
            assert!(std::fs::read(site.to(name)).unwrap() == noise(100), "{name}");
        }
        assert_eq!(std::fs::read(site.to("tree/own")).unwrap(), b"own");
        assert_eq!(mode(&site.to("tree/a")), 0o600, "a file keeps the rights that it had");
        assert_eq!(site.names("tree"), ["a", "own", "sub"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_listed_for_its_user_followed_to_its_end_and_removed() {
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    let address = process.begin(site.request("a", "a")).await;

    let mut follow = request(Method::GET, &address, Some("token-of-alice"), None);
    follow.headers_mut().insert(header::ACCEPT, "text/event-stream".parse().unwrap());
    let events = process.api.send(follow).await;
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    let text = String::from_utf8(events.body).unwrap();
    assert!(text.starts_with("retry: 3000\n\ndata: {\"id\":\"task-"), "{text}");
    assert!(
        text.contains("\"state\":\"completed\"") && text.ends_with("event: end\ndata: {\"reason\":\"the task has ended\"}\n\n"),
        "{text}"
    );

    let listed = process.api.get("/tasks").await.json();
    assert_eq!((listed["tasks"].as_array().unwrap().len(), &listed["tasks"][0]["state"]), (1, &json!("completed")));
    let of_bob = process.api.send(request(Method::GET, "/tasks", Some("token-of-bob"), None)).await;
    assert_eq!(of_bob.json(), json!({"tasks": []}));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(process.api.send(request(method, &address, Some("token-of-bob"), None)).await.status, 404);
    }
    assert_eq!(process.api.call(Method::DELETE, &address, None).await.status, 204);
    assert_eq!(process.api.get(&address).await.status, 404);
    assert_eq!(process.api.get("/tasks").await.json(), json!({"tasks": []}));
}

#[tokio::test]
async fn the_audit_trail_has_the_beginning_and_the_end_of_a_copy() {
    let (records, _guard) = crate::support::records::records();
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    let address = process.begin(site.request("a", "a")).await;
    process.ends(&address, "completed").await;
    let lines = records.of("audit");
    let object = format!("daint:{} to eiger:{}", site.from("a").display(), site.to("a").display());
    for (line, action) in lines.iter().zip(["transfers.copy_to.begin", "transfers.copy_to"]) {
        for part in [&format!("action=\"{action}\""), "outcome=\"done\"", "user=alice", "system=eiger", &object] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert_eq!(lines.len(), 2, "{lines:#?}");
}
