//! What goes wrong on the way: each copy ends in a clear state, and leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use super::relay::{MARK, Relay};
use super::{Site, Way, names, noise};
use crate::files::full::SmallDisk;
use crate::support::{PATIENCE, skip, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_where_it_was_after_its_connections_were_cut() {
    let mut site = Site::new();
    // Long enough to be seen waiting.
    (site.timing.first_pause, site.timing.max_pause) = (Duration::from_secs(1), Duration::from_secs(1));
    let content = noise(12 << 20);
    std::fs::write(site.from("large"), &content).unwrap();
    let (source, target) = (Arc::new(Relay::slow()), Arc::new(Relay { pause: Duration::ZERO, ..Relay::slow() }));
    let process = site.process(Way::over(source.clone()), Way::over(target.clone()));
    let address = process.begin(site.request("large", "copy")).await;
    for (inner, bytes) in [(&source.inner, 1 << 20), (&target.inner, 5 << 20)] {
        process.until(&address, |task| task["state"] == "running" && task["progress"]["bytes"].as_u64().unwrap() > bytes).await;
        inner.cut_sessions();
        let waits = process.until(&address, |task| task["state"] == "waiting" || task["state"] == "completed").await;
        assert_eq!(waits["state"], "waiting", "{waits}");
        assert_eq!(waits["reason"]["status"], 424, "{waits}");
    }
    let task = process.ends(&address, "completed").await;
    assert_eq!(task["progress"]["bytes"], json!(content.len()));
    assert!(std::fs::read(site.to("copy")).unwrap() == content);
    assert_eq!(site.names(""), ["copy"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_copy_leaves_the_files_that_are_whole_and_nothing_else() {
    let site = Site::new();
    std::fs::create_dir(site.from("tree")).unwrap();
    std::fs::write(site.from("tree/a"), "small").unwrap();
    std::fs::write(site.from("tree/b"), noise(64 << 20)).unwrap();
    let process = site.process(Way::over(Arc::new(Relay::slow())), Way::sftp());
    let address = process.begin(site.request("tree", "tree")).await;
    process.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 1 << 20).await;
    assert_eq!(process.task(&address).await["cancelRequested"], false);
    assert_eq!(process.api.call(Method::DELETE, &address, None).await.status, 204);
    let task = process.task(&address).await;
    assert!(task["cancelRequested"] == true || task["state"] == "cancelled", "{task}");
    let task = process.ends(&address, "cancelled").await;
    assert!(task["reason"].is_null() && task["progress"]["bytesPerSecond"] == 0 && task["cancelRequested"] == false, "{task}");
    wait_for(PATIENCE, || site.names("tree") == ["a"]).await;
    assert_eq!(process.api.call(Method::DELETE, &address, None).await.status, 204);
    assert_eq!(process.api.get(&address).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_ends_the_copy_with_409_and_keeps_no_half_file() {
    let site = Site::new();
    std::fs::create_dir(site.from("tree")).unwrap();
    for number in 0..8 {
        std::fs::write(site.from("tree").join(number.to_string()), noise(300_000)).unwrap();
    }
    for target in [Way::sftp(), Way::exec()] {
        let Some(disk) = SmallDisk::mount(site.to("disk")) else {
            skip("no file system can be mounted");
            return;
        };
        let process = site.process(Way::sftp(), target);
        let address = process.begin(site.request("tree", "disk/tree")).await;
        let task = process.ends(&address, "failed").await;
        assert_eq!(task["reason"]["status"], 409, "{task}");
        assert!(!site.to("disk/tree").exists(), "nothing begins for which there is no space");

        // Of what is to take the place of something, it is not known before.
        let mut over = site.request("tree", "disk/tree");
        over["overwrite"] = json!(true);
        let address = process.begin(over).await;
        let task = process.ends(&address, "failed").await;
        assert_eq!(task["reason"]["status"], 409, "{task}");
        assert!(task["reason"]["message"].as_str().unwrap().starts_with("eiger: "), "{task}");
        let there = || names(&site.to("disk/tree"));
        wait_for(PATIENCE, || there().iter().all(|name| !name.starts_with('.'))).await;
        for name in there() {
            assert!(std::fs::read(site.to("disk/tree").join(&name)).unwrap() == noise(300_000), "{name}");
        }
        drop((process, disk));
        std::fs::remove_dir(site.to("disk")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_does_not_arrive_as_it_was_is_not_put_in_its_place() {
    let site = Site::new();
    for (name, size) in [("small", 1000), ("large", 3 << 20)] {
        let mut content = noise(size);
        content[500..516].copy_from_slice(MARK);
        std::fs::write(site.from(name), &content).unwrap();
        let process = site.process(Way::sftp(), Way::over(Arc::new(Relay::corrupting())));
        let address = process.begin(site.request(name, name)).await;
        let task = process.ends(&address, "failed").await;
        assert_eq!(task["reason"]["status"], 409, "{task}");
        assert_eq!(site.names(""), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_goes_away_ends_the_copy_with_its_reason() {
    let site = Site::new();
    std::fs::create_dir(site.from("tree")).unwrap();
    for name in ["a", "b"] {
        std::fs::write(site.from("tree").join(name), noise(16 << 20)).unwrap();
    }
    let process = site.process(Way::over(Arc::new(Relay::slow())), Way::sftp());
    let address = process.begin(site.request("tree", "tree")).await;
    process.until_under_way(&address).await;
    std::fs::write(site.from("tree/b"), "another one").unwrap();
    let task = process.ends(&address, "failed").await;
    assert!(task["reason"]["message"].as_str().unwrap().starts_with("daint: "), "{task}");
    wait_for(PATIENCE, || site.names("tree").iter().all(|name| !name.starts_with('.'))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_source_that_is_removed_no_half_file_stays_at_the_target() {
    let site = Site::new();
    std::fs::create_dir_all(site.from("tree/sub")).unwrap();
    for name in ["a", "sub/b"] {
        std::fs::write(site.from("tree").join(name), noise(32 << 20)).unwrap();
    }
    let relay = Arc::new(Relay::slow());
    let process = site.process(Way::over(relay.clone()), Way::sftp());
    let address = process.begin(site.request("tree", "tree")).await;
    process.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 4 << 20).await;
    assert_eq!((site.names("tree").len(), site.names("tree/sub").len()), (2, 1), "both grow");
    std::fs::remove_dir_all(site.from("tree")).unwrap();
    relay.inner.cut_sessions();
    let task = process.ends(&address, "failed").await;
    assert_eq!(task["reason"]["status"], 404, "{task}");
    assert!(!task.to_string().contains(".goldcrest-"), "{task}");
    assert_eq!((site.names("tree"), site.names("tree/sub")), (vec!["sub".to_owned()], vec![]));
}
