//! Copies, moves and touches, on every kind of site and where one of the ways is barred.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures::future::join_all;
use goldcrest::domain::RemotePath;
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{CopyOptions, FileAccess, FilesystemError, Settings};
use goldcrest::ssh::TransportError;

use super::rights;
use super::transport::{Local, Subsystem};
use super::{Site, hostile_names, noise, on_each_site, open};
use tempfile::TempDir;

use crate::support::{skip, wait_for};

on_each_site!(
    a_file_is_copied_with_its_mode_and_times,
    a_link_is_copied_as_a_link_or_as_what_it_points_to,
    a_tree_is_copied_whole,
    what_is_in_the_way_is_replaced_only_when_that_is_asked_for,
    files_links_and_trees_are_moved,
    hostile_names_are_copied_and_moved,
    what_cannot_be_copied_leaves_nothing_behind,
    touching_makes_a_file_or_renews_its_times,
    a_name_is_not_moved_onto_another_name_of_the_same_file,
    nothing_is_copied_onto_itself_by_another_path,
    a_link_does_not_take_the_place_of_the_file_that_it_leads_to,
    of_several_that_go_to_one_name_one_arrives_and_no_other_is_lost,
    many_copies_at_once_do_not_wait_for_each_other,
);

const KEEP: CopyOptions = CopyOptions { dereference: false, overwrite: false };
const REPLACE: CopyOptions = CopyOptions { dereference: false, overwrite: true };

async fn a_file_is_copied_with_its_mode_and_times(site: Site) {
    // Small, and over several requests of the server's own copying.
    for (name, length) in [("empty", 0), ("small", 1_000), ("large", 40_000_000)] {
        let source = site.write(name, noise(length));
        fs::set_permissions(site.local(name), fs::Permissions::from_mode(0o4751)).unwrap();
        let file = fs::File::options().write(true).open(site.local(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
        let target = site.path(format!("copy of {name}"));
        site.files.copy(&site.user, &source, &target, KEEP).await.unwrap();
        let copy = fs::metadata(site.local(format!("copy of {name}"))).unwrap();
        assert_eq!((copy.mode() & 0o7777, copy.mtime()), (0o4751, 1_000_000), "{name}");
        assert!(fs::read(site.local(format!("copy of {name}"))).unwrap() == noise(length), "{name}");
    }
    assert_eq!(site.names().len(), 6, "{:?}", site.names());
}

/// As many as one session of SFTP has open files, of which each copy needs two.
async fn many_copies_at_once_do_not_wait_for_each_other(site: Site) {
    let source = site.write("source", noise(1_000));
    let targets: Vec<RemotePath> = (0..64).map(|number| site.path(format!("copy {number}"))).collect();
    let copies = targets.iter().map(|target| site.files.copy(&site.user, &source, target, KEEP));
    for copied in join_all(copies).await {
        copied.unwrap();
    }
}

async fn a_link_is_copied_as_a_link_or_as_what_it_points_to(site: Site) {
    site.write("file", "12345");
    symlink("file", site.local("link")).unwrap();
    symlink("nowhere\n", site.local("dangling")).unwrap();
    let copy = async |from: &str, to: &str, options| site.files.copy(&site.user, &site.path(from), &site.path(to), options).await;
    copy("link", "l", KEEP).await.unwrap();
    copy("dangling", "d", KEEP).await.unwrap();
    copy("link", "f", CopyOptions { dereference: true, ..KEEP }).await.unwrap();
    assert_eq!(fs::read_link(site.local("l")).unwrap().to_str(), Some("file"));
    assert_eq!(fs::read_link(site.local("d")).unwrap().to_str(), Some("nowhere\n"));
    assert!(fs::symlink_metadata(site.local("f")).unwrap().is_file());
    let error = copy("dangling", "x", CopyOptions { dereference: true, ..KEEP }).await.unwrap_err();
    assert!(matches!(error, FilesystemError::NotFound(_)), "{error:?}");
}

async fn a_tree_is_copied_whole(site: Site) {
    fs::create_dir_all(site.local("tree/a/b")).unwrap();
    site.write("tree/a/b/f", "deep");
    site.write("tree/.hidden", "");
    symlink("a/b/f", site.local("tree/link")).unwrap();
    fs::set_permissions(site.local("tree/a"), fs::Permissions::from_mode(0o750)).unwrap();
    site.files.copy(&site.user, &site.path("tree"), &site.path("copy"), KEEP).await.unwrap();
    assert_eq!(fs::read(site.local("copy/a/b/f")).unwrap(), b"deep");
    assert!(site.local("copy/.hidden").exists());
    assert_eq!(fs::read_link(site.local("copy/link")).unwrap().to_str(), Some("a/b/f"));
    assert_eq!(fs::metadata(site.local("copy/a")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(site.names(), [b"copy".to_vec(), b"tree".to_vec()]);
}

async fn what_is_in_the_way_is_replaced_only_when_that_is_asked_for(site: Site) {
    let source = site.write("source", "new");
    site.write("file", "old");
    symlink("file", site.local("link")).unwrap();
    fs::create_dir_all(site.local("directory/x")).unwrap();
    for name in ["file", "link", "directory"] {
        let target = site.path(name);
        for error in [
            site.files.copy(&site.user, &source, &target, KEEP).await.unwrap_err(),
            site.files.rename(&site.user, &source, &target, false).await.unwrap_err(),
        ] {
            assert!(matches!(&error, FilesystemError::Exists(path) if *path == target), "{name}: {error:?}");
        }
    }
    assert_eq!(fs::read(site.local("file")).unwrap(), b"old");
    for result in [
        site.files.copy(&site.user, &source, &site.path("directory"), REPLACE).await,
        site.files.rename(&site.user, &source, &site.path("directory"), true).await,
    ] {
        assert!(matches!(result, Err(FilesystemError::WrongType { .. })), "{result:?}");
    }
    site.files.copy(&site.user, &source, &site.path("link"), REPLACE).await.unwrap();
    assert!(fs::symlink_metadata(site.local("link")).unwrap().is_file(), "a link is replaced, and not followed");
    assert_eq!(fs::read(site.local("file")).unwrap(), b"old");
    site.files.rename(&site.user, &source, &site.path("file"), true).await.unwrap();
    assert_eq!(fs::read(site.local("file")).unwrap(), b"new");
    assert_eq!(site.names(), [b"directory".to_vec(), b"file".to_vec(), b"link".to_vec()]);
}

async fn files_links_and_trees_are_moved(site: Site) {
    site.write("f", "1");
    symlink("nowhere", site.local("l")).unwrap();
    fs::create_dir_all(site.local("d/e")).unwrap();
    site.write("d/e/f", "2");
    for name in ["f", "l", "d"] {
        site.files.rename(&site.user, &site.path(name), &site.path(format!("new-{name}")), false).await.unwrap();
    }
    assert_eq!(site.names(), [b"new-d".to_vec(), b"new-f".to_vec(), b"new-l".to_vec()]);
    assert_eq!(fs::read(site.local("new-d/e/f")).unwrap(), b"2");
    let error = site.files.rename(&site.user, &site.path("f"), &site.path("g"), false).await.unwrap_err();
    assert!(matches!(error, FilesystemError::NotFound(_)), "{error:?}");
    let error = site.files.rename(&site.user, &site.path("new-f"), &site.path("no/g"), false).await.unwrap_err();
    assert!(matches!(error, FilesystemError::NotFound(_) | FilesystemError::NoDirectory(_)), "{error:?}");
}

async fn hostile_names_are_copied_and_moved(site: Site) {
    for name in hostile_names() {
        let source = site.write(&name, &name);
        let copy = [&name[..name.len().min(200)], b" copy"].concat();
        let moved = [&name[..name.len().min(200)], b" moved"].concat();
        site.files.copy(&site.user, &source, &site.path(&copy), KEEP).await.unwrap();
        site.files.rename(&site.user, &site.path(&copy), &site.path(&moved), true).await.unwrap();
        assert_eq!(fs::read(site.local(&moved)).unwrap(), name);
        fs::create_dir(site.local(&copy)).unwrap();
        site.files.copy(&site.user, &site.path(&copy), &site.path([&copy[..], b"!"].concat()), KEEP).await.unwrap();
    }
    assert_eq!(site.names().len(), hostile_names().len() * 4, "no shell ran any of them");
}

async fn what_cannot_be_copied_leaves_nothing_behind(site: Site) {
    let error = site.files.copy(&site.user, &site.path("gone"), &site.path("x"), KEEP).await.unwrap_err();
    assert!(matches!(error, FilesystemError::NotFound(_)), "{error:?}");
    site.write("f", "1");
    let error = site.files.copy(&site.user, &site.path("f"), &site.path("no/x"), KEEP).await.unwrap_err();
    assert!(matches!(&error, FilesystemError::NoDirectory(path) if *path == site.path("no")), "{error:?}");
    let error = site.files.copy(&site.user, &site.path("f"), &site.path("f/x"), KEEP).await.unwrap_err();
    assert!(matches!(error, FilesystemError::WrongType { .. } | FilesystemError::NoDirectory(_)), "{error:?}");
    wait_for(Duration::from_secs(10), || site.names() == [b"f"]).await;
}

async fn touching_makes_a_file_or_renews_its_times(site: Site) {
    let now = || std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let before = now();
    let old = site.write("old", "kept");
    fs::File::options().write(true).open(site.local("old")).unwrap().set_modified(UNIX_EPOCH).unwrap();
    site.files.touch(&site.user, &old).await.unwrap();
    site.files.touch(&site.user, &site.path("new")).await.unwrap();
    assert_eq!(fs::read(site.local("old")).unwrap(), b"kept");
    for name in ["old", "new"] {
        assert!((before - 1..=now() + 1).contains(&fs::metadata(site.local(name)).unwrap().mtime()), "{name}");
    }
    let error = site.files.touch(&site.user, &site.path("no/file")).await.unwrap_err();
    assert!(matches!(&error, FilesystemError::NoDirectory(path) if *path == site.path("no")), "{error:?}");
}

async fn a_name_is_not_moved_onto_another_name_of_the_same_file(site: Site) {
    let source = site.write("f", "1");
    fs::hard_link(site.local("f"), site.local("hard")).unwrap();
    let target = site.path("hard");
    let error = site.files.rename(&site.user, &source, &target, true).await.unwrap_err();
    assert!(matches!(&error, FilesystemError::WrongType { path, .. } if *path == target), "{error:?}");
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(site.names(), [b"f".to_vec(), b"hard".to_vec()]);
    // A link to the file is no name of it, and another file of the same content is another file.
    symlink("f", site.local("link")).unwrap();
    site.files.rename(&site.user, &source, &site.path("link"), true).await.unwrap();
    assert_eq!(site.names(), [b"hard".to_vec(), b"link".to_vec()]);
    site.write("same", "1");
    site.files.rename(&site.user, &site.path("same"), &target, true).await.unwrap();
    assert_eq!(site.names(), [b"hard".to_vec(), b"link".to_vec()]);
}

async fn nothing_is_copied_onto_itself_by_another_path(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    symlink("d", site.local("to-d")).unwrap();
    let source = site.write("d/f", "1");
    symlink("f", site.local("d/link")).unwrap();
    fs::hard_link(site.local("d/f"), site.local("hard")).unwrap();
    let inode = fs::metadata(site.local("d/f")).unwrap().ino();
    let follow = CopyOptions { dereference: true, ..REPLACE };
    for (from, to, options) in [("d/f", "to-d/f", REPLACE), ("d/f", "hard", REPLACE), ("d/f", "to-d/f", follow), ("d/link", "d/f", follow)]
    {
        let target = site.path(to);
        let error = site.files.copy(&site.user, &site.path(from), &target, options).await.expect_err(to);
        assert!(matches!(&error, FilesystemError::WrongType { path, .. } if *path == target), "{from} {to}: {error:?}");
        assert_eq!(fs::metadata(site.local("d/f")).unwrap().ino(), inode, "{from} {to}");
    }
    // A copy that was made before is another file, and a link to the file is no name of it.
    for _ in 0..2 {
        site.files.copy(&site.user, &source, &site.path("copy"), REPLACE).await.unwrap();
    }
    site.files.copy(&site.user, &source, &site.path("d/link"), REPLACE).await.unwrap();
    assert!(fs::symlink_metadata(site.local("d/link")).unwrap().is_file());
}

/// The links that the tests put over the file `f`, which all of them lead to, and what else there is.
fn make_links_to_a_file(site: &Site) -> [&'static str; 4] {
    fs::create_dir(site.local("d")).unwrap();
    site.write("f", "content");
    symlink("f", site.local("relative")).unwrap();
    symlink(site.local("f"), site.local("absolute")).unwrap();
    symlink("../f", site.local("d/elsewhere")).unwrap();
    symlink("absolute", site.local("chain")).unwrap();
    ["relative", "absolute", "d/elsewhere", "chain"]
}

async fn a_link_does_not_take_the_place_of_the_file_that_it_leads_to(site: Site) {
    let target = site.path("f");
    for link in make_links_to_a_file(&site) {
        let source = site.path(link);
        let outcomes =
            [site.files.rename(&site.user, &source, &target, true).await, site.files.copy(&site.user, &source, &target, REPLACE).await];
        for outcome in outcomes {
            let error = outcome.expect_err(link);
            assert!(
                matches!(&error, FilesystemError::WrongType { path, reason } if *path == target && reason.contains("link")),
                "{link}: {error:?}"
            );
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(fs::symlink_metadata(site.local(link)).unwrap().is_symlink(), "{link}");
            assert_eq!(fs::read(site.local("f")).unwrap(), b"content", "{link}");
        }
    }
    // In the place of another file, or of another link, nothing is lost.
    site.write("other", "1");
    site.files.copy(&site.user, &site.path("relative"), &site.path("other"), REPLACE).await.unwrap();
    site.files.rename(&site.user, &site.path("relative"), &site.path("other"), true).await.unwrap();
    site.files.rename(&site.user, &site.path("other"), &site.path("chain"), true).await.unwrap();
    assert_eq!(fs::read_link(site.local("chain")).unwrap().to_str(), Some("f"));
    assert_eq!(site.names(), ["absolute", "chain", "d", "f"].map(|name| name.as_bytes().to_vec()));
    assert_eq!(fs::read(site.local("chain")).unwrap(), b"content");
    wait_for(Duration::from_secs(10), || fs::read_dir(site.local("d")).unwrap().count() == 1).await;
}

/// Where no command can be run, two files of equal attributes count as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_does_not_take_the_place_of_its_file_where_no_command_runs_either() {
    let mut transport = Local::new(Subsystem::Own);
    transport.runs_commands = false;
    let transport = Arc::new(transport);
    let mut site = Site::sftp().unwrap();
    site.files = open(transport.clone(), FileAccess::Sftp, Settings::default());
    site.transport = transport;
    let target = site.path("f");
    for link in make_links_to_a_file(&site) {
        for outcome in [
            site.files.rename(&site.user, &site.path(link), &target, true).await,
            site.files.copy(&site.user, &site.path(link), &target, REPLACE).await,
        ] {
            assert_eq!(outcome.expect_err(link).kind(), Kind::Invalid, "{link}");
            assert_eq!(fs::read(site.local("f")).unwrap(), b"content", "{link}");
        }
    }
    site.write("other", "1");
    site.files.rename(&site.user, &site.path("relative"), &site.path("other"), true).await.unwrap();
    assert_eq!(fs::read_link(site.local("other")).unwrap().to_str(), Some("f"));
}

async fn of_several_that_go_to_one_name_one_arrives_and_no_other_is_lost(site: Site) {
    for (round, is_move) in [true, false, true, false, true, false].into_iter().enumerate() {
        let target = site.path(format!("{round}/target"));
        fs::create_dir(site.local(format!("{round}"))).unwrap();
        let sources: Vec<_> = (0..5).map(|number| site.write(format!("{round}/{number}"), format!("{number}"))).collect();
        let all = join_all(sources.iter().map(|source| async {
            match is_move {
                true => site.files.rename(&site.user, source, &target, false).await,
                false => site.files.copy(&site.user, source, &target, KEEP).await,
            }
        }));
        one_arrived(&all.await, is_move, &site.local(format!("{round}")));
    }
}

/// Checks that the results are one success and otherwise refusals, and that each of five sources is there, or has arrived.
fn one_arrived(all: &[Result<(), FilesystemError>], is_move: bool, folder: &Path) {
    assert_eq!(all.iter().filter(|result| result.is_ok()).count(), 1, "{all:?}");
    assert!(all.iter().filter_map(|result| result.as_ref().err()).all(|error| matches!(error, FilesystemError::Exists(_))), "{all:?}");
    let first = all.iter().position(Result::is_ok).unwrap();
    assert_eq!(fs::read_to_string(folder.join("target")).unwrap(), first.to_string());
    for number in 0..all.len() {
        assert_eq!(folder.join(number.to_string()).exists(), !is_move || number != first, "{number}: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_that_go_to_one_name_on_another_file_system_one_arrives_and_no_other_is_lost() {
    let Some((site, other)) = on_two_file_systems(Site::sftp().unwrap()) else { return };
    let target = RemotePath::from_text(other.path().join("target").to_str().unwrap()).unwrap();
    for (subsystem, access) in [(Subsystem::OpenSsh, FileAccess::Sftp), (Subsystem::Refused, FileAccess::Exec)] {
        let files = Site::new(subsystem, access, Settings::default());
        let sources: Vec<_> = (0..5).map(|number| site.write(format!("{number}"), format!("{number}"))).collect();
        let all = join_all(sources.iter().map(|source| files.files.rename(&site.user, source, &target, false))).await;
        assert_eq!(all.iter().filter(|result| result.is_ok()).count(), 1, "{access:?}: {all:?}");
        let first = all.iter().position(Result::is_ok).unwrap();
        assert_eq!(fs::read_to_string(other.path().join("target")).unwrap(), first.to_string());
        assert_eq!(site.names().len(), 4, "{access:?}: {all:?}");
        fs::remove_file(other.path().join("target")).unwrap();
        wait_for(Duration::from_secs(10), || fs::read_dir(other.path()).unwrap().next().is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_whose_source_cannot_be_removed_whole_says_what_was_done() {
    if !rights::is_possible() {
        return;
    }
    for reach in ["sftp", "commands"] {
        let Some((site, other)) = on_two_file_systems(rights::site(reach)) else { return };
        fs::set_permissions(other.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::create_dir_all(site.local("tree/closed")).unwrap();
        site.write("tree/closed/f", "1");
        site.write("tree/f", "2");
        let user = fs::metadata(site.local("")).unwrap().uid();
        for name in ["tree", "tree/closed", "tree/closed/f", "tree/f"] {
            chown(site.local(name), Some(user), Some(user)).unwrap();
        }
        fs::set_permissions(site.local("tree/closed"), fs::Permissions::from_mode(0o555)).unwrap();
        let target = RemotePath::from_text(other.path().join("tree").to_str().unwrap()).unwrap();
        let error = site.files.rename(&site.user, &site.path("tree"), &target, false).await.unwrap_err();
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Forbidden, Some(true)), "{reach}: {error:?}");
        assert!(error.to_string().contains("its copy at the new name is complete"), "{reach}: {error}");
        assert!(other.path().join("tree/closed/f").exists() && other.path().join("tree/f").exists(), "{reach}");
    }
}

/// The site, and a folder on another file system than its own, if there is one here.
fn on_two_file_systems(site: Site) -> Option<(Site, TempDir)> {
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        skip("there is no /dev/shm");
        return None;
    };
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(site.local("")).unwrap().dev() {
        skip("/dev/shm is no other file system than that of temporary files");
        return None;
    }
    Some((site, other))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_to_another_file_system_by_a_command() {
    let Some((site, other)) = on_two_file_systems(Site::sftp().unwrap()) else { return };
    let source = site.write("f", "12345");
    let target = RemotePath::from_text(other.path().join("f").to_str().unwrap()).unwrap();
    site.files.rename(&site.user, &source, &target, false).await.unwrap();
    assert_eq!(fs::read(other.path().join("f")).unwrap(), b"12345");
    assert_eq!(site.names().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_runs_where_the_server_can_copy_itself() {
    let site = Site::new(Subsystem::Own, FileAccess::Sftp, Settings::default());
    let source = site.write("f", noise(1_000_000));
    // Others than the owner have rights by a mode or by a list, and only a command tells of that.
    fs::set_permissions(site.local("f"), fs::Permissions::from_mode(0o600)).unwrap();
    site.files.copy(&site.user, &source, &site.path("g"), KEEP).await.unwrap();
    site.files.rename(&site.user, &site.path("g"), &site.path("h"), true).await.unwrap();
    site.files.settle().await;
    let commands = site.transport.commands.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(commands, 1, "one looks for abandoned files afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_connection_breaks_leaves_nothing_beside_its_target() {
    for (subsystem, access) in [(Subsystem::Own, FileAccess::Sftp), (Subsystem::Refused, FileAccess::Exec)] {
        let site = Site::new(subsystem, access, Settings::default());
        let source = site.write("source", vec![7_u8; 400_000_000]);
        let target = site.write("target", "old");
        let (files, user) = (site.files.clone(), site.user.clone());
        let copy = tokio::spawn(async move { files.copy(&user, &source, &target, REPLACE).await });
        wait_for(Duration::from_secs(10), || site.names().len() == 3).await;
        site.transport.cut_sessions();
        let error = copy.await.unwrap().unwrap_err();
        assert!(matches!(error, FilesystemError::Transport(TransportError::Broken { .. })), "{access:?}: {error:?}");
        wait_for(Duration::from_secs(20), || site.names() == [b"source".to_vec(), b"target".to_vec()]).await;
        assert_eq!(fs::read(site.local("target")).unwrap(), b"old", "{access:?}");
    }
}
