//! What another user puts in the place of a part of the source while it is copied.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldcrest::filesystem::FileAccess;
use goldcrest::filesystem::sftp::protocol::Request;
use serde_json::{Value, json};

use super::relay::Relay;
use super::{Site, Way, noise};
use crate::files::swap::{Steps, Swapping};
use crate::files::transport::{Local, Subsystem};

fn way(access: FileAccess) -> (Way, Steps) {
    let transport = Swapping::new(Local::new(if access == FileAccess::Exec { Subsystem::Refused } else { Subsystem::Own }));
    let steps = transport.steps.clone();
    (Way { transport, access }, steps)
}

const WAYS: [FileAccess; 2] = [FileAccess::Sftp, FileAccess::Exec];

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree of which `f` is copied first, and a private file with the names of the tree beside it.
fn tree(site: &Site) {
    for directory in ["tree/z", "private"] {
        std::fs::create_dir_all(site.from(directory)).unwrap();
    }
    for (name, content) in [("tree/f", "first"), ("tree/z/g", "public"), ("private/g", "secret")] {
        std::fs::write(site.from(name), content).unwrap();
        set_mode(&site.from(name), 0o644);
    }
    set_mode(&site.from("private/g"), 0o600);
}

fn replace_by_link(place: PathBuf, end: PathBuf) -> impl FnOnce() + Send + 'static {
    move || {
        std::fs::rename(&place, place.with_extension("old")).unwrap();
        symlink(end, place).unwrap();
    }
}

fn is_open(request: &Request) -> bool {
    matches!(request, Request::Open { .. })
}

/// Copies the tree; the task, when it has ended.
async fn copied(site: &Site, way: Way, state: &str) -> Value {
    let process = site.process(way, Way::sftp());
    let address = process.begin(site.request("tree", "copy")).await;
    process.ends(&address, state).await
}

fn assert_nothing_leaked(site: &Site, task: &Value, named: &str) {
    assert_eq!(task["reason"]["status"], 409, "{task}");
    assert!(task["reason"]["message"].as_str().unwrap().contains(named), "{task}");
    let leaked = std::fs::read_to_string(site.to("copy/z/g"));
    assert!(leaked.as_deref().map_or(true, |content| content == "public"), "{leaked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_or_directory_that_becomes_a_link_after_it_was_listed_ends_the_copy() {
    for access in WAYS {
        for (place, end, at) in [
            // When the file before it is read, when its directory was entered, and when it is opened itself.
            ("tree/z/g", "private/g", "/tree/f"),
            ("tree/z", "private", "/tree/f"),
            ("tree/z/g", "private/g", "/tree/z/g"),
            ("tree/z", "private", "/tree/z/g"),
        ] {
            let site = Site::new();
            tree(&site);
            let (way, steps) = way(access);
            steps.add(is_open, "dd ", at, replace_by_link(site.from(place), site.from(end)));
            let process = site.process(way, Way::sftp());
            let address = process.begin(site.request("tree", "copy")).await;
            let task = process.until(&address, |task| task["isFinal"] == true).await;
            assert!(steps.are_done(), "{access:?}, {place}, {at}");
            // While the file before it is read, the file itself may be open already, and is copied as it was; or not be listed yet, and is a link
            // that is left out.
            match std::fs::read_to_string(site.to("copy/z/g")) {
                Ok(content) if at == "/tree/f" && task["state"] == "completed" => assert_eq!(content, "public", "{access:?}, {place}"),
                Err(_) if at == "/tree/f" && task["state"] == "completed" => {
                    assert_eq!((place, &task["progress"]["skipped"]), ("tree/z/g", &json!(1)), "{access:?}, {task}");
                }
                _ => assert_nothing_leaked(&site, &task, "/tree/z"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_has_the_mode_of_the_file_that_was_read_and_not_that_of_the_listing() {
    for access in WAYS {
        let site = Site::new();
        tree(&site);
        let (way, steps) = way(access);
        let (place, private) = (site.from("tree/z/g"), site.from("private/g"));
        steps.add(is_open, "dd ", "/tree/f", move || std::fs::rename(private, place).unwrap());
        copied(&site, way, "completed").await;
        assert!(steps.are_done());
        assert_eq!(std::fs::read_to_string(site.to("copy/z/g")).unwrap(), "secret");
        assert_eq!(std::fs::metadata(site.to("copy/z/g")).unwrap().permissions().mode() & 0o777, 0o600, "{access:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_does_not_go_on_with_another_source_than_it_began_with() {
    let site = Site::new();
    tree(&site);
    std::fs::write(site.from("tree/z/g"), noise(16 << 20)).unwrap();
    symlink("tree", site.from("link")).unwrap();
    let first = site.process(Way::over(Arc::new(Relay::slow())), Way::sftp());
    let address = first.begin(site.request("link", "copy")).await;
    first.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 1 << 20).await;
    first.drain().await;
    std::fs::remove_file(site.from("link")).unwrap();
    symlink("private", site.from("link")).unwrap();
    let second = site.process(Way::sftp(), Way::sftp());
    // What is below the path that the link led to when the task began is copied, or the task fails.
    let task = second.until(&address, |task| task["isFinal"] == true).await;
    match std::fs::read(site.to("copy/z/g")) {
        Ok(content) => assert!(content == noise(16 << 20) && task["state"] == "completed", "{task}"),
        Err(_) => assert_nothing_leaked(&site, &task, "/link"),
    }
    assert!(!site.names("copy").contains(&"g".to_owned()), "it is of the other directory");
}
