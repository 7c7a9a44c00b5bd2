//! Directories as archives that are never stored.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use goldcrest::domain::{Compression, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{ArchiveFormat, CompressOptions, FilesystemError, Placed};

use super::rights::{is_possible, site};
use super::{Site, hostile_names, noise, on_each_site, pieces};
use crate::support::{PATIENCE, wait_for};

on_each_site!(
    a_directory_comes_back_from_its_archive,
    an_archive_of_what_is_not_there_or_cannot_be_read_does_not_end,
    an_archive_that_breaks_off_leaves_nothing,
    an_archive_that_is_cut_between_two_members_is_refused_and_of_two_in_a_row_all_members_arrive,
    content_of_another_format_than_was_said_is_refused_with_the_one_to_say,
    members_that_lead_out_of_the_directory_do_not,
    a_file_in_the_place_of_a_directory_is_named_and_nothing_is_changed,
    a_directory_in_the_place_of_a_file_is_named_and_nothing_is_changed,
    a_link_to_a_directory_is_kept_and_what_goes_below_it_arrives_there,
    a_directory_without_an_entry_in_the_archive_stays_as_it_was,
    an_archive_does_not_take_the_place_of_what_it_is_to_hold,
);

async fn pack(site: &Site, path: &RemotePath, format: ArchiveFormat) -> Result<Vec<u8>, FilesystemError> {
    Ok(site.files.pack(&site.user, path, format).await?.try_collect::<Vec<Bytes>>().await?.concat())
}

async fn unpack(site: &Site, name: &str, archive: &[u8], format: ArchiveFormat) -> Result<Placed, FilesystemError> {
    site.files.unpack(&site.user, &site.path(name), format, pieces(archive), None).await
}

async fn an_archive_that_is_cut_between_two_members_is_refused_and_of_two_in_a_row_all_members_arrive(site: Site) {
    let archive = |name: &str| {
        fs::create_dir(site.local(name)).unwrap();
        site.write(format!("{name}/f"), "content");
        Command::new("tar").arg("-C").arg(site.directory.path()).args(["-cf", "-", name]).output().unwrap().stdout
    };
    let (first, second) = (archive("a"), archive("b"));
    // The members of the first one: a directory, and a file of one block.
    let error = unpack(&site, "new", &first[..3 * 512], ArchiveFormat::Tar).await.unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("cut short"), "{error:?}");
    wait_for(PATIENCE, || site.names() == [&b"a"[..], b"b"]).await;
    unpack(&site, "new", &[first, second].concat(), ArchiveFormat::Tar).await.unwrap();
    assert!(site.local("new/a/f").is_file() && site.local("new/b/f").is_file());
}

async fn content_of_another_format_than_was_said_is_refused_with_the_one_to_say(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    let packed = pack(&site, &site.path("d"), ArchiveFormat::Gzip).await.unwrap();
    for (content, words) in [(&packed[..], "this is gzip: add `format=tar.gz`"), (&[b'x'; 2000], "this is not an archive of tar")] {
        let error = unpack(&site, "new", content, ArchiveFormat::Tar).await.unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().ends_with(words), "{error:?}");
    }
    assert_eq!(site.names(), [b"d"]);
}

async fn a_directory_comes_back_from_its_archive(site: Site) {
    fs::create_dir_all(site.local("d/sub")).unwrap();
    for name in hostile_names() {
        site.write([b"d/sub/", &name[..]].concat(), &name);
    }
    site.write("d/big", noise(3_000_000));
    symlink("sub", site.local("d/link")).unwrap();
    symlink("d", site.local("to-d")).unwrap();
    for (format, from) in [(ArchiveFormat::Tar, "d"), (ArchiveFormat::Gzip, "to-d")] {
        let archive = pack(&site, &site.path(from), format).await.unwrap();
        assert_eq!(unpack(&site, "new", &archive, format).await.unwrap(), Placed::Created);
        let same = Command::new("diff").args(["-r", "--no-dereference"]).arg(site.local("d")).arg(site.local("new/d")).status();
        assert!(same.unwrap().success());
        assert_eq!(unpack(&site, "new", &archive, format).await.unwrap(), Placed::Replaced);
        fs::remove_dir_all(site.local("new")).unwrap();
    }
    assert_eq!(site.names(), [b"d".to_vec(), b"to-d".to_vec()]);
    let file = pack(&site, &site.path("d/big"), ArchiveFormat::Tar).await.unwrap();
    assert_eq!(unpack(&site, "one", &file, ArchiveFormat::Tar).await.unwrap(), Placed::Created);
    assert!(fs::read(site.local("one/big")).unwrap() == noise(3_000_000));
    let onto_a_file = unpack(&site, "d/big", &file, ArchiveFormat::Tar).await;
    assert!(matches!(onto_a_file, Err(FilesystemError::WrongType { .. })), "{onto_a_file:?}");
}

async fn an_archive_of_what_is_not_there_or_cannot_be_read_does_not_end(site: Site) {
    let missing = pack(&site, &site.path("missing"), ArchiveFormat::Tar).await;
    assert!(matches!(missing, Err(FilesystemError::NotFound(_))), "{missing:?}");
    fs::create_dir(site.local("d")).unwrap();
    site.write("d/f", noise(64 * 1024 * 1024));
    let mut content = site.files.pack(&site.user, &site.path("d"), ArchiveFormat::Tar).await.unwrap();
    content.next().await.unwrap().unwrap();
    fs::File::options().write(true).open(site.local("d/f")).unwrap().set_len(1_000_000).unwrap();
    let mut last = None;
    while let Some(piece) = content.next().await {
        last = Some(piece.map(drop));
    }
    assert!(matches!(last, Some(Err(_))), "{last:?}");
}

async fn an_archive_that_breaks_off_leaves_nothing(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    site.write("d/f", noise(1_000_000));
    let archive = pack(&site, &site.path("d"), ArchiveFormat::Tar).await.unwrap();
    let broken = stream::iter([Err(FilesystemError::Interrupted(std::io::ErrorKind::ConnectionReset.into()))]);
    let content = pieces(&archive[..500_000]).chain(broken).boxed();
    let outcome = site.files.unpack(&site.user, &site.path("new"), ArchiveFormat::Tar, content, None).await;
    assert!(matches!(outcome, Err(FilesystemError::Interrupted(_))), "{outcome:?}");
    wait_for(Duration::from_secs(20), || site.names() == [b"d"]).await;
    // One that is cut, or is none, is refused by tar itself.
    for bad in [&archive[..500_000], b"this is no archive"] {
        assert!(unpack(&site, "new", bad, ArchiveFormat::Tar).await.is_err());
        assert!(unpack(&site, "new", bad, ArchiveFormat::Gzip).await.is_err());
        wait_for(Duration::from_secs(20), || site.names() == [b"d"]).await;
    }
}

async fn members_that_lead_out_of_the_directory_do_not(site: Site) {
    fs::create_dir_all(site.local("inner/deep")).unwrap();
    site.write("escaped", "x");
    let tar = |arguments: &[&str]| Command::new("tar").current_dir(site.local("inner/deep")).args(arguments).output().unwrap().stdout;
    let climbing = tar(&["--create", "--file=-", "--absolute-names", "../../escaped"]);
    let absolute = tar(&["--create", "--file=-", "--absolute-names", site.local("escaped").to_str().unwrap()]);
    assert!(!climbing.is_empty() && !absolute.is_empty());
    fs::remove_file(site.local("escaped")).unwrap();
    let refused = unpack(&site, "inner/deep/new", &climbing, ArchiveFormat::Tar).await;
    assert!(refused.is_err(), "{refused:?}");
    let _ = unpack(&site, "new", &absolute, ArchiveFormat::Tar).await;
    assert!(!site.local("escaped").exists() && !site.local("inner/escaped").exists());
}

/// The archive of what is in `from`, without an entry of its own.
fn archive_of(site: &Site, from: &str, members: &[&str]) -> Vec<u8> {
    Command::new("tar").arg("-C").arg(site.local(from)).args(["-cf", "-"]).args(members).output().unwrap().stdout
}

/// The two ways to unpack into a directory.
#[derive(Clone, Copy, Debug)]
enum Into {
    Streamed,
    Extracted,
}

async fn unpack_into(site: &Site, into: Into, name: &str, archive: &[u8]) -> Result<(), FilesystemError> {
    match into {
        Into::Streamed => unpack(site, name, archive, ArchiveFormat::Tar).await.map(drop),
        Into::Extracted => {
            let source = site.write("archive.tar", archive);
            let done = site.files.extract(&site.user, &source, &site.path(name), Compression::None).await;
            fs::remove_file(site.local("archive.tar")).unwrap();
            done
        }
    }
}

fn tree(site: &Site, name: &str) -> Vec<String> {
    let find = Command::new("find").arg(site.local(name)).args(["-printf", "%P %y %m %l\\n"]).output().unwrap().stdout;
    let mut lines: Vec<String> = String::from_utf8(find).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn a_file_in_the_place_of_a_directory_is_named_and_nothing_is_changed(site: Site) {
    for name in ["new/a", "new/deep/b", "t/deep/b/c"] {
        fs::create_dir_all(site.local(name)).unwrap();
    }
    for name in ["new/a/f", "new/g", "new/z"] {
        site.write(name, "new");
    }
    fs::remove_dir(site.local("new/deep/b")).unwrap();
    site.write("new/deep/b", "a file");
    site.write("t/g", "gold");
    let archive = archive_of(&site, "new", &["a", "deep", "g", "z"]);
    for into in [Into::Streamed, Into::Extracted] {
        let before = tree(&site, "t");
        let error = unpack_into(&site, into, "t", &archive).await.unwrap_err();
        let place = site.path("t/deep/b");
        assert!(matches!(&error, FilesystemError::WrongType { path, reason: "Is a directory" } if *path == place), "{into:?}: {error:?}");
        assert_eq!(error.maybe_effected(), None, "{into:?}");
        wait_for(Duration::from_secs(20), || tree(&site, "t") == before).await;
        assert_eq!(fs::read(site.local("t/g")).unwrap(), b"gold", "{into:?}");
    }
}

async fn a_directory_in_the_place_of_a_file_is_named_and_nothing_is_changed(site: Site) {
    for name in ["new/a", "new/file", "new/link", "t"] {
        fs::create_dir_all(site.local(name)).unwrap();
    }
    for name in ["new/a/f", "new/file/x", "new/link/x"] {
        site.write(name, "new");
    }
    site.write("t/file", "gold");
    symlink("file", site.local("t/link")).unwrap();
    for into in [Into::Streamed, Into::Extracted] {
        for member in ["file", "link"] {
            let before = tree(&site, "t");
            let error = unpack_into(&site, into, "t", &archive_of(&site, "new", &["a", member])).await.unwrap_err();
            let place = site.path(format!("t/{member}"));
            assert!(matches!(&error, FilesystemError::WrongType { path, .. } if *path == place), "{into:?}: {error:?}");
            assert_eq!((error.kind(), error.maybe_effected()), (Kind::Invalid, None), "{into:?}");
            wait_for(Duration::from_secs(20), || tree(&site, "t") == before).await;
            assert_eq!(fs::read(site.local("t/file")).unwrap(), b"gold", "{into:?}");
        }
    }
}

async fn a_link_to_a_directory_is_kept_and_what_goes_below_it_arrives_there(site: Site) {
    for name in ["new/l/m", "t", "real", "elsewhere"] {
        fs::create_dir_all(site.local(name)).unwrap();
    }
    site.write("new/l/x", "x");
    site.write("new/l/m/y", "y");
    site.write("real/kept", "kept");
    symlink("../real", site.local("t/l")).unwrap();
    symlink("t", site.local("to-t")).unwrap();
    let archive = archive_of(&site, "new", &["l/x", "l/m"]);
    for (into, target) in [(Into::Streamed, "t"), (Into::Extracted, "t"), (Into::Streamed, "to-t"), (Into::Extracted, "to-t")] {
        unpack_into(&site, into, target, &archive).await.unwrap();
        assert_eq!(fs::read_link(site.local("t/l")).unwrap().to_str(), Some("../real"), "{into:?}");
        assert_eq!(fs::read_link(site.local("to-t")).unwrap().to_str(), Some("t"), "{into:?}");
        assert_eq!(tree(&site, "t").len(), 2, "{:?}", tree(&site, "t"));
        for name in ["kept", "x", "m/y"] {
            assert!(site.local("real").join(name).exists(), "{into:?}: {name}");
        }
        fs::remove_file(site.local("real/x")).unwrap();
        fs::remove_dir_all(site.local("real/m")).unwrap();
    }
}

async fn a_directory_without_an_entry_in_the_archive_stays_as_it_was(site: Site) {
    fs::create_dir_all(site.local("new/h/deep")).unwrap();
    for name in ["new/h/a", "new/h/deep/b"] {
        site.write(name, "new");
    }
    let mode = |name: &str, mode| fs::set_permissions(site.local(name), fs::Permissions::from_mode(mode)).unwrap();
    let attributes = |name: &str| {
        let found = fs::metadata(site.local(name)).unwrap();
        (found.mode() & 0o7777, found.mtime())
    };
    mode("new/h", 0o751);
    assert!(Command::new("touch").args(["-d", "2020-02-02"]).arg(site.local("new/h")).status().unwrap().success());
    for into in [Into::Streamed, Into::Extracted] {
        fs::create_dir_all(site.local("t/h/deep")).unwrap();
        for (name, bits) in [("t/h", 0o710), ("t/h/deep", 0o711)] {
            mode(name, bits);
        }
        unpack_into(&site, into, "t", &archive_of(&site, "new", &["h/a", "h/deep/b"])).await.unwrap();
        assert_eq!((attributes("t/h").0, attributes("t/h/deep").0), (0o710, 0o711), "{into:?}");
        assert!(site.local("t/h/a").exists() && site.local("t/h/deep/b").exists(), "{into:?}");
        // One that has an entry is as the entry says, as tar does it.
        unpack_into(&site, into, "t", &archive_of(&site, "new", &["h/a", "--no-recursion", "h"])).await.unwrap();
        assert_eq!((attributes("t/h"), attributes("t/h/deep").0), (attributes("new/h"), 0o711), "{into:?}");
        fs::remove_dir_all(site.local("t")).unwrap();
    }
}

async fn an_archive_does_not_take_the_place_of_what_it_is_to_hold(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    let source = site.write("d/f", "content");
    symlink("d", site.local("to-d")).unwrap();
    let before = tree(&site, "");
    for match_pattern in [None, Some(".*".to_owned())] {
        let options = CompressOptions { match_pattern, ..CompressOptions::default() };
        for target in ["d/f", "to-d/f"] {
            let error = site.files.compress(&site.user, &source, &site.path(target), &options).await.expect_err(target);
            assert!(error.kind() == Kind::Invalid && error.to_string().contains("would replace its own source"), "{target}: {error:?}");
            assert_eq!((fs::read(site.local("d/f")).unwrap(), tree(&site, "")), (b"content".to_vec(), before.clone()), "{target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_the_user_may_not_put_in_their_places_are_named_and_what_was_done_is_not_denied() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "commands"] {
        for into in [Into::Streamed, Into::Extracted] {
            let site = site(reach);
            let mode = |name: &str, mode| fs::set_permissions(site.local(name), fs::Permissions::from_mode(mode)).unwrap();
            for name in ["t", "new", "new/a", "t/closed", "new/closed", "t/sticky", "new/sticky", "new/read-only"] {
                fs::create_dir(site.local(name)).unwrap();
            }
            for name in ["new/a/f", "new/g", "new/closed/f", "new/sticky/f", "t/sticky/f", "new/read-only/f"] {
                site.write(name, "new");
            }
            site.write("t/g", "gold");
            chown(site.local("t"), Some(2), Some(2)).unwrap();
            mode("t/closed", 0o755);
            mode("t/sticky", 0o1777);
            mode("new/sticky", 0o1777);
            mode("new/read-only", 0o555);
            // A directory that is closed shows beforehand.
            let before = tree(&site, "t");
            let error = unpack_into(&site, into, "t", &archive_of(&site, "new", &["a", "g", "closed"])).await.unwrap_err();
            assert!(matches!(&error, FilesystemError::Denied(path) if *path == site.path("t/closed/f")), "{reach}, {into:?}: {error:?}");
            assert_eq!(error.maybe_effected(), None, "{reach}, {into:?}");
            wait_for(Duration::from_secs(20), || tree(&site, "t") == before).await;
            assert_eq!(fs::read(site.local("t/g")).unwrap(), b"gold", "{reach}, {into:?}");
            // That a name in a sticky directory is another user's shows only then.
            let archive = archive_of(&site, "new", &["a", "read-only", "sticky"]);
            let error = unpack_into(&site, into, "t", &archive).await.unwrap_err();
            assert_eq!((error.kind(), error.maybe_effected()), (Kind::Forbidden, Some(true)), "{reach}, {into:?}: {error:?}");
            assert!(error.to_string().starts_with(&format!("{}: Operation not permitted", site.path("t/sticky/f"))), "{error}");
            assert!(site.local("t/a/f").exists() && site.local("t/read-only/f").exists(), "{reach}, {into:?}");
            assert_eq!(fs::metadata(site.local("t/read-only")).unwrap().mode() & 0o7777, 0o555);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_directories_of_an_archive_that_does_not_fit_are_removed_again() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "commands"] {
        for into in [Into::Streamed, Into::Extracted] {
            let site = site(reach);
            for name in ["t/x", "new/ro"] {
                fs::create_dir_all(site.local(name)).unwrap();
            }
            for name in ["new/ro/f", "new/x"] {
                site.write(name, "new");
            }
            fs::set_permissions(site.local("new/ro"), fs::Permissions::from_mode(0o555)).unwrap();
            chown(site.local("t"), Some(2), Some(2)).unwrap();
            let before = tree(&site, "t");
            let error = unpack_into(&site, into, "t", &archive_of(&site, "new", &["ro", "x"])).await.unwrap_err();
            assert!(matches!(error, FilesystemError::WrongType { .. }), "{reach}, {into:?}: {error:?}");
            wait_for(Duration::from_secs(20), || tree(&site, "t") == before).await;
        }
    }
}
