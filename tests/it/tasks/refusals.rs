//! Copies that are refused before anything begins.

use std::sync::Arc;

use axum::http::{Method, header};
use goldcrest::domain::ClusterHealth;
use goldcrest::service::{Gate, State};
use serde_json::json;

use super::{COPY_TO, Site, Way, cluster};
use crate::api::callers::{Relations, Tokens};
use crate::api::{Api, request};
use crate::files::full::SmallDisk;
use crate::support::skip;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_copied_is_refused_and_leaves_no_task() {
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    std::fs::write(site.to("file"), "").unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    for (change, status, word) in [
        (json!({"sourcePath": site.from("none")}), 404, "No such file"),
        (json!({"sourcePath": "/etc/passwd"}), 400, "does not match any"),
        (json!({"targetPath": "/etc/passwd"}), 400, "does not match any"),
        (json!({"targetPath": site.to("none/a")}), 404, "No such file"),
        (json!({"targetPath": site.to("file/a")}), 400, "Not a directory"),
        (json!({"targetPath": format!("{}/", site.to("new").display())}), 400, "slash"),
        (json!({"targetSystem": "daint"}), 400, "ops/cp"),
        (json!({"targetSystem": "none"}), 404, "System not found"),
        (json!({"targetSystem": null}), 400, "targetSystem"),
    ] {
        let mut body = site.request("a", "copy");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = process.ask(body).await;
        assert_eq!(answer.status, status, "{change}: {}", answer.everything());
        assert!(answer.everything().contains(word), "{change}: {}", answer.everything());
    }
    assert_eq!(process.api.get("/tasks").await.json(), json!({"tasks": []}));
    assert_eq!(site.names(""), ["file"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_copied_onto_itself_or_into_itself_by_another_path_of_files_that_two_systems_share() {
    for (source, target) in [(Way::exec(), Way::exec()), (Way::sftp(), Way::sftp()), (Way::sftp(), Way::exec()), (Way::exec(), Way::sftp())]
    {
        let site = Site::new();
        std::fs::create_dir_all(site.from("tree/sub")).unwrap();
        std::fs::write(site.from("tree/a"), "content").unwrap();
        std::os::unix::fs::symlink(site.from("tree"), site.to("shared")).unwrap();
        std::os::unix::fs::symlink(site.from("tree/sub"), site.to("deep")).unwrap();
        std::os::unix::fs::symlink(site.from("tree/a"), site.to("link")).unwrap();
        let process = site.process(source, target);
        for (from, to, status) in [
            ("tree", "shared/new", 400),
            ("tree", "shared/sub/new", 400),
            ("tree", "shared", 400),
            ("tree", "deep", 400),
            ("tree", "deep/new", 400),
            ("tree/a", "shared/a", 400),
            ("tree/a", "link", 400),
            ("tree/a", "shared/b", 201),
        ] {
            let mut body = site.request(from, to);
            body["overwrite"] = json!(true);
            let answer = process.ask(body).await;
            assert_eq!(answer.status, status, "{to}: {}", answer.everything());
            assert!(status != 400 || answer.everything().contains("share their files"), "{to}: {}", answer.everything());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_copied_into_itself_at_another_place_of_shared_files_is_copied_without_the_copy() {
    for overwrite in [false, true] {
        let site = Site::new();
        std::fs::create_dir_all(site.from("tree/sub/copy")).unwrap();
        std::fs::write(site.from("tree/sub/copy/a"), "content").unwrap();
        let Some(_mount) = SmallDisk::bind(&site.from("tree"), site.to("shared")) else {
            skip("no directory can be mounted");
            return;
        };
        if overwrite {
            std::fs::create_dir(site.from("tree/copy")).unwrap();
        }
        let process = site.process(Way::sftp(), Way::sftp());
        let mut body = site.request("tree", "shared/copy");
        body["overwrite"] = json!(overwrite);
        let task = process.ends(&process.begin(body).await, "completed").await;
        assert_eq!((&task["progress"]["skipped"], &task["progress"]["firstSkipped"]), (&json!(1), &json!("copy")), "{task}");
        assert_eq!(site.names("shared"), ["copy", "sub"]);
        assert_eq!(site.names("shared/copy"), ["sub"]);
        assert_eq!(std::fs::read(site.to("shared/copy/sub/copy/a")).unwrap(), b"content");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_rights_are_needed() {
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    for (user, status) in [("mallory", 403), ("reader", 403), ("submitter", 403), ("nobody", 503), ("bob", 201)] {
        let token = format!("token-of-{user}");
        let answer = process.api.send(request(Method::POST, COPY_TO, Some(&token), Some(site.request("a", user)))).await;
        assert_eq!(answer.status, status, "{user}: {}", answer.everything());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_so_many_unfinished_tasks_at_most() {
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    process.stop.cancel();
    for number in 0..16 {
        process.begin(site.request("a", &number.to_string())).await;
    }
    let answer = process.ask(site.request("a", "more")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("10")), "{}", answer.everything());
    assert!(answer.everything().contains("16 tasks"), "{}", answer.everything());
    let first = process.api.get("/tasks").await.json()["tasks"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(process.api.call(Method::DELETE, &format!("/tasks/{first}"), None).await.status, 204);
    // No process works on it, which would end it.
    let listed = process.api.get("/tasks").await.json();
    for task in [&listed["tasks"][0], &process.task(&format!("/tasks/{first}")).await] {
        assert_eq!((&task["state"], &task["cancelRequested"]), (&json!("queued"), &json!(true)), "{task}");
    }
    assert_eq!(listed["tasks"][1]["cancelRequested"], false, "{listed}");
    let next = site.process(Way::sftp(), Way::sftp());
    next.ends(&format!("/tasks/{first}"), "cancelled").await;
    next.begin(site.request("a", "more")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_follows_so_many_tasks_at_most() {
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    process.stop.cancel();
    let address = process.begin(site.request("a", "copy")).await;
    let follow = async || {
        let mut follow = request(Method::GET, &address, Some("token-of-alice"), None);
        follow.headers_mut().insert(header::ACCEPT, "text/event-stream".parse().unwrap());
        process.api.answer(follow).await
    };
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(follow().await);
        assert_eq!(streams.last().unwrap().status(), 200);
    }
    assert_eq!(follow().await.status(), 429);
    drop(streams);
    assert_eq!(follow().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_for_which_there_is_no_space_is_refused() {
    let site = Site::new();
    std::fs::write(site.from("large"), vec![b'x'; 2 << 20]).unwrap();
    let Some(_disk) = SmallDisk::mount(site.to("disk")) else {
        skip("no file system can be mounted");
        return;
    };
    for target in [Way::sftp(), Way::exec()] {
        let process = site.process(Way::sftp(), target);
        let answer = process.ask(site.request("large", "disk/large")).await;
        assert_eq!(answer.status, 409, "{}", answer.everything());
        assert!(answer.everything().contains("no space left"), "{}", answer.everything());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_with_a_file_that_is_too_large_ends_before_anything_is_copied_and_the_file_is_named() {
    let mut site = Site::new();
    site.max_size = json!(1000);
    std::fs::create_dir_all(site.from("tree/sub")).unwrap();
    std::fs::write(site.from("tree/a"), "small").unwrap();
    std::fs::write(site.from("tree/sub/large"), [b'x'; 1001]).unwrap();
    let process = site.process(Way::sftp(), Way::exec());
    let answer = process.ask(site.request("tree/sub/large", "copy")).await;
    assert_eq!(answer.status, 413, "{}", answer.everything());
    let address = process.begin(site.request("tree", "tree")).await;
    let reason = process.ends(&address, "failed").await["reason"].clone();
    assert_eq!(reason["status"], 413, "{reason}");
    let message = format!("daint: {}: the file is larger than the limit of 1000 bytes", site.from("tree/sub/large").display());
    assert_eq!(reason["message"], message, "{reason}");
    assert!(site.names("").is_empty(), "{:?}", site.names(""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_below_the_target_is_named() {
    let site = Site::new();
    std::fs::create_dir_all(site.from("tree/sub")).unwrap();
    for name in ["tree/sub/a", "tree/sub/b"] {
        std::fs::write(site.from(name), "new").unwrap();
    }
    std::fs::create_dir_all(site.to("tree/sub/b")).unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    let mut body = site.request("tree", "tree");
    body["overwrite"] = json!(true);
    let address = process.begin(body).await;
    let reason = process.ends(&address, "failed").await["reason"].clone();
    assert!(reason["message"].as_str().unwrap().contains(&site.to("tree/sub/b").display().to_string()), "{reason}");
}

#[tokio::test]
async fn without_a_store_there_are_no_tasks() {
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let clusters = [("daint", &site.source), ("eiger", &site.target)];
    let clusters = clusters.map(|(name, directory)| cluster(name, Way::sftp(), directory.path(), &json!("none")));
    let gate = Gate::new(Arc::new(Tokens), Arc::new(Relations), clusters, State::default());
    let api = Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| state.gate = gate);
    let answers = [
        api.call(Method::POST, COPY_TO, Some(site.request("a", "a"))).await,
        api.get("/tasks").await,
        api.get("/tasks/task-1").await,
        api.call(Method::DELETE, "/tasks/task-1", None).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 501, "{}", answer.everything());
        assert!(answer.everything().contains("`store`"), "{}", answer.everything());
    }
}
