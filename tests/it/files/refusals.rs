//! What cannot be done is said so, on every kind of site.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use futures::TryStreamExt;
use goldcrest::domain::{ContentUnit, FileMode, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{
    ArchiveFormat, CompressOptions, Compression, CopyOptions, Expected, FilesystemError, ListOptions, PageRequest, Part, PartOptions,
    PlaceOptions, Sort, WalkOptions,
};

use super::operations::{HIDDEN, RECURSIVE};
use super::{Site, noise, on_each_site, pieces};
use crate::support::{PATIENCE, was_run_as_nobody};

on_each_site!(
    what_is_missing_or_of_the_wrong_kind_is_said_so,
    a_path_through_a_file_or_a_loop_of_links_says_so,
    what_is_forbidden_is_said_so,
    a_tree_that_cannot_be_removed_whole_is_not_said_to_be_as_it_was,
    a_file_in_a_directory_that_is_closed_is_not_replaced,
    a_directory_that_cannot_be_searched_is_not_taken_for_an_empty_one,
    nothing_waits_for_the_other_end_of_a_named_pipe,
    what_goes_wrong_is_said_of_the_target_and_of_no_hidden_file,
);

async fn what_is_missing_or_of_the_wrong_kind_is_said_so(site: Site) {
    let missing = site.path("missing");
    let part = Part { unit: ContentUnit::Lines, count: 1, skip: false };
    let user = &site.user;
    let errors = [
        site.files.list(user, &missing, ListOptions::default()).await.err(),
        site.files.entry(user, &missing).await.err(),
        site.files.stat(user, &missing, true).await.err(),
        site.files.file_type(user, &missing).await.err(),
        site.files.head(user, &missing, part).await.err(),
        site.files.tail(user, &missing, part).await.err(),
        site.files.view(user, &missing, 0, 1).await.err(),
        site.files.checksum(user, &missing).await.err(),
        site.files.chmod(user, &missing, &FileMode::Bits(0o600)).await.err(),
        site.files.chown(user, &missing, Some("root"), None).await.err(),
        site.files.remove(user, &missing).await.err(),
        site.files.download(user, &missing, None, None).await.err(),
        site.upload(&site.path("missing/file"), b"", None).await.err(),
        site.files.compress(user, &missing, &site.path("out"), &CompressOptions::default()).await.err(),
        site.files.extract(user, &missing, &site.path(""), Compression::Gzip).await.err(),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        let error = error.unwrap();
        assert!(error.to_string().contains("No such file or directory"), "{number}: {error:?}");
        assert_eq!(error.kind(), Kind::NotFound, "{number}");
    }
    assert!(site.names().is_empty(), "{:?}", site.names());
    let directory = site.path("");
    for error in [
        site.files.head(user, &directory, part).await.err(),
        site.files.view(user, &directory, 0, 1).await.err(),
        site.files.checksum(user, &directory).await.err(),
        site.files.download(user, &directory, None, None).await.err(),
        site.upload(&directory, b"", None).await.err(),
    ] {
        assert!(matches!(error, Some(FilesystemError::WrongType { reason: "Is a directory", .. })), "{error:?}");
    }
    let long = site.path(vec![b'x'; 256]);
    assert_eq!(site.files.stat(user, &long, false).await.unwrap_err().kind(), Kind::Invalid);
    rustix::fs::mknodat(rustix::fs::CWD, site.local("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let result = site.files.download(user, &site.path("pipe"), None, None).await;
    assert!(matches!(result.err(), Some(FilesystemError::WrongType { reason: "not a regular file", .. })));
}

async fn a_path_through_a_file_or_a_loop_of_links_says_so(site: Site) {
    site.write("file", "1");
    for (target, link) in [("loop", "loop"), ("b", "a"), ("a", "b"), ("nowhere", "dangling"), ("file", "to-file")] {
        symlink(target, site.local(link)).unwrap();
    }
    let (user, part) = (&site.user, Part { unit: ContentUnit::Lines, count: 1, skip: false });
    let (directory, links) = ("Not a directory", "Too many levels of symbolic links");
    for (name, reason) in
        [("file/x", directory), ("to-file/x/y", directory), ("loop/x", links), ("a/x", links), ("b/x/y", links), ("loop", links)]
    {
        let path = site.path(name);
        let mut errors = vec![
            site.files.stat(user, &path, true).await.err(),
            site.files.head(user, &path, part).await.err(),
            site.files.tail(user, &path, part).await.err(),
            site.files.view(user, &path, 0, 1).await.err(),
            site.files.checksum(user, &path).await.err(),
            site.files.chmod(user, &path, &FileMode::Bits(0o600)).await.err(),
            site.files.download(user, &path, None, None).await.err(),
            site.upload(&path, b"1", None).await.err(),
            site.upload(&path, &[b'1'; 3_000_000], None).await.err(),
            site.files.copy(user, &path, &site.path("copy"), CopyOptions { dereference: true, overwrite: true }).await.err(),
        ];
        // What looks at a link itself finds it.
        if name != "loop" {
            errors.extend([
                site.files.list(user, &path, ListOptions::default()).await.err(),
                site.files.entry(user, &path).await.err(),
                site.files.file_type(user, &path).await.err(),
                site.files.remove(user, &path).await.err(),
                site.files.mkdir(user, &path, false).await.err(),
                site.files.symlink(user, &site.path("file"), &path).await.err(),
            ]);
        }
        for (number, error) in errors.into_iter().enumerate() {
            let error = error.unwrap_or_else(|| panic!("{name} {number}"));
            assert!(matches!(error, FilesystemError::WrongType { reason: told, .. } if told == reason), "{name} {number}: {error:?}");
        }
    }
    for name in ["dangling", "nowhere/x"] {
        let error = site.files.stat(user, &site.path(name), true).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{name}: {error:?}");
    }
    assert_eq!(site.names(), ["a", "b", "dangling", "file", "loop", "to-file"].map(|name| name.as_bytes().to_vec()));
}

async fn what_is_forbidden_is_said_so(site: Site) {
    if was_run_as_nobody() {
        return;
    }
    let (user, part) = (&site.user, Part { unit: ContentUnit::Lines, count: 1, skip: false });
    fs::create_dir_all(site.local("closed/sub")).unwrap();
    let (closed, file) = (site.path("closed"), site.write("file", "1"));
    for (name, mode) in [("closed", 0), ("file", 0)] {
        fs::set_permissions(site.local(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let errors = [
        site.files.list(user, &closed, ListOptions::default()).await.err(),
        site.files.list(user, &site.path(""), RECURSIVE).await.err(),
        site.files.stat(user, &closed.join(b"sub"), false).await.err(),
        site.files.head(user, &file, part).await.err(),
        site.files.tail(user, &file, part).await.err(),
        site.files.view(user, &file, 0, 1).await.err(),
        site.files.checksum(user, &file).await.err(),
        site.files.file_type(user, &file).await.err(),
        site.files.mkdir(user, &closed.join(b"new"), false).await.err(),
        site.files.mkdir(user, &closed.join(b"new"), true).await.err(),
        site.files.symlink(user, &file, &closed.join(b"link")).await.err(),
        site.files.remove(user, &closed).await.err(),
        site.files.compress(user, &closed, &site.path("out"), &CompressOptions::default()).await.err(),
        site.upload(&closed.join(b"new"), b"", None).await.err(),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("{number} was allowed"));
        assert!(matches!(error, FilesystemError::Denied(_)), "{number}: {error:?}");
        assert!(error.to_string().contains("Permission denied"), "{number}");
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Forbidden, None), "{number}: nothing was done");
    }
    let content = match site.files.download(user, &file, None, None).await {
        Ok(download) => download.content.try_collect::<Vec<_>>().await.err(),
        Err(error) => Some(error),
    };
    assert!(content.is_some());
    let foreign = site.files.chmod(user, &RemotePath::from_text("/etc/passwd").unwrap(), &FileMode::Bits(0o600)).await.unwrap_err();
    assert!(matches!(foreign, FilesystemError::NotPermitted(_)), "{foreign:?}");
    fs::set_permissions(site.local("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(site.names(), [&b"closed"[..], b"file"]);
}

/// What can be removed is gone: the error says so, and names what is still there.
async fn a_tree_that_cannot_be_removed_whole_is_not_said_to_be_as_it_was(site: Site) {
    if was_run_as_nobody() {
        return;
    }
    for directory in ["tree/a", "tree/closed", "up/tree/a"] {
        fs::create_dir_all(site.local(directory)).unwrap();
    }
    for file in ["tree/a/gone", "tree/closed/kept", "up/tree/a/gone"] {
        site.write(file, "");
    }
    for closed in ["tree/closed", "up"] {
        fs::set_permissions(site.local(closed), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let outcomes = [("tree", "tree/closed/kept", "tree/a/gone"), ("up/tree", "up/tree", "up/tree/a/gone")]
        .map(|(path, named, gone)| (site.path(path), site.path(named), site.local(gone)));
    for (path, named, gone) in outcomes {
        let error = site.files.remove(&site.user, &path).await.unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with(&format!("{named}: Permission denied")), "{said}");
        // A directory in one that is closed is refused as a whole over SFTP.
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Forbidden, (!gone.exists()).then_some(true)), "{error:?}");
        assert_eq!(said.contains("may be gone"), !gone.exists(), "{said}");
    }
    assert!(site.local("tree/closed/kept").exists() && !site.local("tree/a/gone").exists());
    for closed in ["tree/closed", "up"] {
        fs::set_permissions(site.local(closed), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A file that may be written to, in a directory that may not: each way in says that it is the directory, and changes nothing.
async fn a_file_in_a_directory_that_is_closed_is_not_replaced(site: Site) {
    if was_run_as_nobody() {
        return;
    }
    fs::create_dir(site.local("closed")).unwrap();
    let (user, source, target) = (&site.user, site.write("source", "new"), site.write("closed/f", "old"));
    fs::set_permissions(site.local("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    let archive = || async { site.files.pack(user, &source, ArchiveFormat::Tar).await.unwrap() };
    let overwrite = CopyOptions { overwrite: true, dereference: false };
    let new = site.path("closed/new");
    let outcomes = [
        ("a small upload", site.upload(&target, b"new", None).await),
        ("a big upload", site.upload(&target, &noise(600_000), None).await),
        ("a part", site.files.begin_part(user, &site.path("closed/.f.goldcrest-upload-0"), &target, false).await),
        ("a copy", site.files.copy(user, &source, &target, overwrite).await),
        ("an archive", site.files.compress(user, &source, &target, &CompressOptions::default()).await),
        ("a directory", site.files.unpack(user, &new, ArchiveFormat::Tar, archive().await, None).await.map(drop)),
    ];
    for (name, outcome) in outcomes {
        let error = outcome.expect_err(name);
        assert!(matches!(&error, FilesystemError::ClosedDirectory(path) if *path == site.path("closed")), "{name}: {error:?}");
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Forbidden, None), "{name}: nothing was done");
    }
    fs::set_permissions(site.local("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fs::read_dir(site.local("closed")).unwrap().count(), 1);
    assert_eq!(fs::read(site.local("closed/f")).unwrap(), b"old");
}

async fn a_directory_that_cannot_be_searched_is_not_taken_for_an_empty_one(site: Site) {
    if was_run_as_nobody() {
        return;
    }
    fs::create_dir(site.local("names")).unwrap();
    let (user, names) = (&site.user, site.path("names"));
    assert_eq!(site.files.list(user, &names, HIDDEN).await.unwrap(), [], "one that is empty is");
    site.write("names/file", "1");
    fs::set_permissions(site.local("names"), fs::Permissions::from_mode(0o444)).unwrap();
    let page = PageRequest { size: 10, sort: Sort::Name, descending: false, after: None };
    let errors = [
        site.files.list(user, &names, HIDDEN).await.err(),
        site.files.page(user, &names, HIDDEN, &page).await.err(),
        match site.files.walk(user, &names, WalkOptions::default()).await {
            Ok(entries) => entries.try_collect::<Vec<_>>().await.err(),
            Err(error) => Some(error),
        },
    ];
    fs::set_permissions(site.local("names"), fs::Permissions::from_mode(0o755)).unwrap();
    for (number, error) in errors.into_iter().enumerate() {
        assert!(matches!(error, Some(FilesystemError::Denied(_) | FilesystemError::Incomplete { .. })), "{number}: {error:?}");
    }
}

/// Content waits under a hidden name until it takes its place: each way in speaks of that place alone.
async fn what_goes_wrong_is_said_of_the_target_and_of_no_hidden_file(site: Site) {
    if was_run_as_nobody() {
        return;
    }
    let (user, source) = (&site.user, site.write("source", "1"));
    site.write("file", "1");
    fs::create_dir(site.local("tree")).unwrap();
    let archive = site.path("archive");
    let gzip = CompressOptions { compression: Compression::Gzip, ..CompressOptions::default() };
    site.files.compress(user, &source, &archive, &gzip).await.unwrap();
    for closed in ["closed", "it's closed"] {
        fs::create_dir(site.local(closed)).unwrap();
        fs::set_permissions(site.local(closed), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let overwrite = CopyOptions { overwrite: true, dereference: false };
    let packed = || async { site.files.pack(user, &source, ArchiveFormat::Tar).await.unwrap() };
    let reasons = ["Permission denied", "Not a directory", "No such file or directory"];
    for (name, reason) in [("closed", 0), ("it's closed", 0), ("file", 1), ("missing", 2), ("it's missing", 2)] {
        let (directory, target) = (site.path(name), site.path(format!("{name}/new")));
        let outcomes = [
            ("a small upload", site.upload(&target, b"new", None).await),
            ("a big upload", site.upload(&target, &noise(600_000), None).await),
            ("a copy", site.files.copy(user, &source, &target, overwrite).await),
            ("a copy of a tree", site.files.copy(user, &site.path("tree"), &target, overwrite).await),
            ("a move", site.files.rename(user, &archive, &target, true).await),
            ("an archive", site.files.compress(user, &source, &target, &gzip).await),
            ("an extraction", site.files.extract(user, &archive, &directory, Compression::Gzip).await),
            ("a directory", site.files.unpack(user, &target, ArchiveFormat::Tar, packed().await, None).await.map(drop)),
        ];
        for (way, outcome) in outcomes {
            let error = outcome.expect_err(way);
            let message = error.public_message();
            assert!(
                !message.contains(".goldcrest-") && reasons[reason..].iter().any(|reason| message.contains(reason)),
                "{name}, {way}: {message}"
            );
            // For a move, SFTP does not say which of the two directories is closed.
            if way == "a move" && reason == 0 {
                continue;
            }
            let is_named = message.contains(&directory.to_text()) || message.contains("it'\\''s");
            assert!(is_named, "{name}, {way}: {message}");
        }
        let nowhere = site.files.extract(user, &archive, &directory, Compression::Gzip).await.unwrap_err();
        match &nowhere {
            FilesystemError::Denied(path) | FilesystemError::NoDirectory(path) | FilesystemError::WrongType { path, .. } => {
                assert_eq!(*path, directory, "{nowhere}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(site.names().iter().all(|name| !name.starts_with(b".")), "{:?}", site.names());
}

async fn nothing_waits_for_the_other_end_of_a_named_pipe(site: Site) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, site.local("pipe"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(site.local("socket")).unwrap();
    let (user, part) = (&site.user, Part { unit: ContentUnit::Bytes, count: 1, skip: false });
    for path in [site.path("pipe"), site.path("socket"), RemotePath::from_text("/dev/zero").unwrap()] {
        let errors = [
            site.files.head(user, &path, part).await.err(),
            site.files.tail(user, &path, part).await.err(),
            site.files.view(user, &path, 0, 1).await.err(),
            site.files.checksum(user, &path).await.err(),
            site.files.download(user, &path, None, None).await.err(),
        ];
        for (number, error) in errors.into_iter().enumerate() {
            let refused = matches!(&error, Some(FilesystemError::WrongType { reason: "not a regular file", .. }));
            assert!(refused, "{path} {number}: {error:?}");
        }
    }
    // Nor does what writes. Never `/dev/zero` here: a copy over it would be put in its place.
    let (file, overwrite) = (site.write("file", "1"), CopyOptions { overwrite: true, dereference: false });
    for name in ["pipe", "socket"] {
        let (path, parts) = (site.path(name), [site.path(".part"), site.path("copy")]);
        let work = async {
            let part = async {
                site.files.begin_part(user, &parts[0], &path, false).await?;
                site.files.extend_part(user, &parts[0], pieces(b"1"), PartOptions { offset: 0, length: 1, all_or_nothing: false }).await?;
                site.files.place_part(user, &parts[0], &path, PlaceOptions::new(1, Expected::Anything)).await
            };
            let uploads = [site.upload(&path, b"1", None).await, site.upload(&path, &noise(400_000), None).await, part.await.map(drop)];
            (uploads, site.files.copy(user, &path, &parts[1], overwrite).await, site.files.copy(user, &file, &path, overwrite).await)
        };
        let (uploads, from, onto) = tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{name}: something waits"));
        for (number, outcome) in uploads.into_iter().enumerate() {
            assert!(
                matches!(outcome, Err(FilesystemError::WrongType { reason: "not a regular file", .. })),
                "{name} {number}: {outcome:?}"
            );
        }
        assert!(from.is_ok() || matches!(from, Err(FilesystemError::WrongType { .. })), "{name}: {from:?}");
        assert!(
            onto.is_ok() && fs::symlink_metadata(site.local(name)).unwrap().is_file() && fs::read(site.local(name)).unwrap() == b"1",
            "{name}: {onto:?}"
        );
    }
}
