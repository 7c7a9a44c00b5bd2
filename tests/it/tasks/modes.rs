//! The permissions of copies, also where a line is cut at the worst moment, and names that lead elsewhere.

use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use goldcrest::filesystem::sftp::protocol::{OpenFlags, Request};
use serde_json::json;

use super::wire::{Cut, Which, Wire};
use super::{Site, Way, names, noise};
use crate::support::{PATIENCE, skip, wait_for};

/// Of a directory below the target.
fn makes_directory_below(request: &Request) -> bool {
    matches!(request, Request::Mkdir { path, .. } if path.ends_with(b"/secret"))
}

const CUTS: [(Which, Cut); 8] = [
    (|request| matches!(request, Request::Mkdir { .. }), Cut::After),
    (makes_directory_below, Cut::Before),
    (makes_directory_below, Cut::After),
    (|request| matches!(request, Request::Open { flags, .. } if flags.has(OpenFlags::EXCLUSIVE)), Cut::After),
    (|request| matches!(request, Request::Setstat { .. }), Cut::Before),
    (|request| matches!(request, Request::Fsetstat { .. }), Cut::Before),
    (|request| matches!(request, Request::Fsetstat { .. }), Cut::After),
    (|request| matches!(request, Request::Rename { .. } | Request::PosixRename { .. }), Cut::After),
];

const FILES: [(&str, u32); 3] = [("tree/secret/key", 0o600), ("tree/secret/closed", 0o444), ("tree/plain", 0o640)];

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree of which something is open to its owner alone.
fn tree(site: &Site) {
    std::fs::create_dir_all(site.from("tree/secret")).unwrap();
    for (name, bits) in FILES {
        std::fs::write(site.from(name), noise(5000)).unwrap();
        set_mode(&site.from(name), bits);
    }
    set_mode(&site.from("tree"), 0o750);
    set_mode(&site.from("tree/secret"), 0o700);
}

async fn arrives_with_its_modes(overwrite: bool) {
    for (number, (which, cut)) in CUTS.into_iter().enumerate() {
        let site = Site::new();
        tree(&site);
        let process = site.process(Way::sftp(), Way::over(Wire::new(which, cut)));
        let mut body = site.request("tree", "tree");
        body["overwrite"] = json!(overwrite);
        let address = process.begin(body).await;
        process.ends(&address, "completed").await;
        for (name, bits) in FILES {
            assert!(std::fs::read(site.to(name)).unwrap() == noise(5000), "{number}: {name}");
            assert_eq!(mode(&site.to(name)), bits, "{number}: {name}");
        }
        assert_eq!((mode(&site.to("tree")), mode(&site.to("tree/secret"))), (0o750, 0o700), "{number}");
        assert_eq!((site.names("tree"), site.names("tree/secret").len()), (vec!["plain".to_owned(), "secret".to_owned()], 2), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_has_the_modes_of_its_source_wherever_its_line_was_cut() {
    arrives_with_its_modes(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_may_overwrite_has_the_modes_of_its_source_wherever_its_line_was_cut() {
    arrives_with_its_modes(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_whose_permissions_could_not_be_set_is_known_as_the_tasks_own() {
    let site = Site::new();
    tree(&site);
    // The umask of the server takes something away from this one, and the command that gives it back does not reach the cluster.
    set_mode(&site.from("tree"), 0o777);
    let wire = Wire::new(|request| matches!(request, Request::Mkdir { .. }), Cut::Away);
    let process = site.process(Way::sftp(), Way::over(wire.clone()));
    let address = process.begin(site.request("tree", "tree")).await;
    process.ends(&address, "waiting").await;
    assert!(site.to("tree").exists() && site.names("tree").is_empty());
    wire.is_away.store(false, Ordering::SeqCst);
    process.ends(&address, "completed").await;
    assert_eq!((mode(&site.to("tree")), site.names("tree").len()), (0o777, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_sets_a_mode_by_a_name() {
    let site = Site::new();
    tree(&site);
    // The umask of the server takes something away from this one, which is given back.
    set_mode(&site.from("tree"), 0o777);
    let wire = Wire::counting(|request| matches!(request, Request::Setstat { .. }));
    let process = site.process(Way::sftp(), Way::over(wire.clone()));
    let address = process.begin(site.request("tree", "tree")).await;
    process.ends(&address, "completed").await;
    assert_eq!((mode(&site.to("tree")), wire.seen.load(Ordering::SeqCst)), (0o777, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_growing_file_is_open_to_its_owner_alone() {
    for target in [Way::sftp(), Way::exec()] {
        let site = Site::new();
        std::fs::write(site.from("large"), noise(64 << 20)).unwrap();
        set_mode(&site.from("large"), 0o666);
        let process = site.process(Way::over(Arc::new(super::relay::Relay::slow())), target);
        let address = process.begin(site.request("large", "copy")).await;
        process.until_under_way(&address).await;
        let part = names(site.target.path()).pop().unwrap();
        assert_eq!(mode(&site.to(&part)), 0o600);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_target_a_link_of_another_user_is_not_followed() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a link of another user");
        return;
    }
    for target in [|| Way::sftp(), || Way::exec()] {
        for (owner, follows) in [(12_345, false), (0, true)] {
            let site = Site::new();
            tree(&site);
            std::fs::create_dir_all(site.to("elsewhere")).unwrap();
            set_mode(&site.to("elsewhere"), 0o711);
            std::fs::create_dir(site.to("tree")).unwrap();
            symlink(site.to("elsewhere"), site.to("tree/secret")).unwrap();
            lchown(site.to("tree/secret"), Some(owner), None).unwrap();
            let process = site.process(Way::sftp(), target());
            let mut body = site.request("tree", "tree");
            body["overwrite"] = json!(true);
            let address = process.begin(body).await;
            let task = process.until(&address, |task| task["isFinal"] == true).await;
            assert_eq!(
                (&task["state"], mode(&site.to("elsewhere"))),
                (&json!(if follows { "completed" } else { "failed" }), 0o711),
                "{task}"
            );
            assert_eq!(site.names("elsewhere").len(), if follows { 2 } else { 0 }, "{task}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_somebody_made_before_anything_was_copied_is_not_entered() {
    let site = Site::new();
    tree(&site);
    let asked = site.process(Way::sftp(), Way::sftp());
    asked.stop.cancel();
    let address = asked.begin(site.request("tree", "tree")).await;
    let source = Wire::counting(|_| false);
    source.is_away.store(true, Ordering::SeqCst);
    let process = site.process(Way::over(source.clone()), Way::sftp());
    process.ends(&address, "waiting").await;
    std::fs::create_dir(site.to("tree")).unwrap();
    set_mode(&site.to("tree"), 0o700);
    source.is_away.store(false, Ordering::SeqCst);
    let task = process.ends(&address, "failed").await;
    assert_eq!(task["reason"]["status"], 409, "{task}");
    assert_eq!((mode(&site.to("tree")), site.names("tree")), (0o700, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_read_once_however_many_entries_it_has() {
    let site = Site::new();
    std::fs::create_dir(site.from("tree")).unwrap();
    for number in 0..1200 {
        symlink("nowhere", site.from("tree").join(number.to_string())).unwrap();
    }
    let wire = Wire::counting(|request| matches!(request, Request::Opendir { .. }));
    let process = site.process(Way::over(wire.clone()), Way::sftp());
    let address = process.begin(site.request("tree", "tree")).await;
    let task = process.ends(&address, "completed").await;
    assert_eq!(task["progress"]["skipped"], 1200, "{task}");
    wait_for(PATIENCE, || wire.seen.load(Ordering::SeqCst) >= 2).await;
    assert_eq!(wire.seen.load(Ordering::SeqCst), 2, "to count, and to copy");
}
