//! Processes that stop, and others that go on with their tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;

use super::relay::Relay;
use super::{Process, Site, Way, noise};
use crate::support::{PATIENCE, wait_for, wait_until};
use crate::webhooks::store;

fn slow(site: &Site) -> Process {
    site.process(Way::over(Arc::new(Relay::slow())), Way::sftp())
}

/// The bytes that wait beside the target.
fn arrived(site: &Site, below: &str) -> u64 {
    let hidden = site.names(below).into_iter().filter(|name| name.starts_with('.'));
    hidden.map(|name| std::fs::metadata(site.to(below).join(name)).unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_goes_on_where_a_drained_one_stopped() {
    let site = Site::new();
    std::fs::create_dir(site.from("tree")).unwrap();
    for (name, size) in [("a", 10), ("b", 12 << 20), ("c", 20)] {
        std::fs::write(site.from("tree").join(name), noise(size)).unwrap();
    }
    let first = slow(&site);
    let address = first.begin(site.request("tree", "tree")).await;
    first.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 2 << 20).await;
    first.drain().await;
    let before = arrived(&site, "tree");
    assert!(before > 1 << 20, "{:?}", site.names("tree"));
    assert!(!site.names("tree").contains(&"b".to_owned()), "half a file has the name of the whole");

    let second = site.process(Way::sftp(), Way::sftp());
    let task = second.ends(&address, "completed").await;
    assert_eq!((&task["progress"]["files"], &task["progress"]["bytes"]), (&json!(3), &json!((12 << 20) + 30)), "{task}");
    assert!(std::fs::read(site.to("tree/b")).unwrap() == noise(12 << 20));
    assert_eq!(site.names("tree"), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_process_was_killed_is_taken_by_another_one() {
    let site = Site::new();
    std::fs::create_dir(site.from("tree")).unwrap();
    // Beyond the first one, which takes long, others are whole already when the process is killed.
    for (name, size) in [("a", 12 << 20), ("b", 10), ("d", 20)] {
        std::fs::write(site.from("tree").join(name), noise(size)).unwrap();
    }
    std::os::unix::fs::symlink("a", site.from("tree/c")).unwrap();
    let first = slow(&site);
    let address = first.begin(site.request("tree", "tree")).await;
    first.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 2 << 20).await;
    first.worker.abort();
    let second = site.process(Way::sftp(), Way::sftp());
    assert_eq!(second.task(&address).await["state"], "running");
    let task = second.ends(&address, "completed").await;
    let progress = &task["progress"];
    assert_eq!((&progress["files"], &progress["bytes"], &progress["skipped"]), (&json!(3), &json!((12 << 20) + 30), &json!(1)), "{task}");
    assert!(std::fs::read(site.to("tree/a")).unwrap() == noise(12 << 20));
    assert_eq!(site.names("tree"), ["a", "b", "d"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_has_lost_a_task_neither_ends_it_nor_removes_what_grows() {
    let mut site = Site::new();
    // As if the process were suspended: it does not learn in between that its lease has ended.
    let never = Duration::from_secs(600);
    (site.timing.save, site.timing.tick, site.timing.lease) = (never, never, Duration::from_millis(500));
    std::fs::write(site.from("large"), noise(64 << 20)).unwrap();
    let source = Arc::new(Relay::slow());
    let process = site.process(Way::over(source.clone()), Way::sftp());
    let address = process.begin(site.request("large", "copy")).await;
    wait_for(PATIENCE, || !site.names("").is_empty()).await;
    let (records, name) = (store(site.state.path()), address.replace("/tasks/", "task/"));
    wait_until(PATIENCE, async || records.lease(&name, "another process", never).await.unwrap()).await;
    std::fs::remove_file(site.from("large")).unwrap();
    source.inner.cut_sessions();
    let began = Instant::now();
    wait_for(PATIENCE, || began.elapsed() > Duration::from_secs(2)).await;
    assert_eq!(process.task(&address).await["state"], "running");
    assert_eq!(site.names("").len(), 1, "what grows is that of another process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_cancelled_by_a_request_to_another_process() {
    let site = Site::new();
    std::fs::write(site.from("large"), noise(64 << 20)).unwrap();
    let (first, mut other) = (slow(&site), slow(&site));
    other.stop.cancel();
    (&mut other.worker).await.unwrap();
    let address = first.begin(site.request("large", "copy")).await;
    first.until_under_way(&address).await;
    assert_eq!(other.api.call(Method::DELETE, &address, None).await.status, 204);
    other.ends(&address, "cancelled").await;
    wait_for(PATIENCE, || site.names("").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_on_one_store_share_the_tasks_and_do_each_once() {
    let site = Site::new();
    for number in 0..6 {
        std::fs::write(site.from(&number.to_string()), noise(2 << 20)).unwrap();
    }
    let relays = [Arc::new(Relay::slow()), Arc::new(Relay::slow())];
    let [first, second] = relays.clone().map(|relay| site.process(Way::over(relay), Way::sftp()));
    let mut addresses = Vec::new();
    for number in 0..6 {
        let process = if number % 2 == 0 { &first } else { &second };
        addresses.push(process.begin(site.request(&number.to_string(), &number.to_string())).await);
    }
    // Each is due all the time, as if its process had been suspended for long: the lease alone keeps the other one away.
    let database = rusqlite::Connection::open(site.state.path().join("store.sqlite")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let make_due = || database.execute("UPDATE records SET due = 0 WHERE kind = 'task' AND due IS NOT NULL", []).unwrap();
    wait_until(3 * PATIENCE, async || make_due() == 0).await;
    for address in addresses {
        let task = second.ends(&address, "completed").await;
        assert_eq!((&task["progress"]["files"], &task["progress"]["bytes"]), (&json!(1), &json!(2 << 20)), "{task}");
    }
    assert_eq!(site.names(""), ["0", "1", "2", "3", "4", "5"]);
    let read = relays.map(|relay| relay.received.load(Ordering::Relaxed));
    let (content, beside) = (6 * (2 << 20), 1 << 20);
    assert!((content..content + beside).contains(&(read[0] + read[1])), "files were read twice: {read:?}");
    assert!(read.iter().all(|read| *read > 2 << 20), "one process has done all: {read:?}");
}
