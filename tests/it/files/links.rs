//! Targets that links lead to, and archives that would take the place of what they hold, or lie in it.

use std::fs;
use std::os::unix::fs::{lchown, symlink};

use goldcrest::domain::RemotePath;
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{CompressOptions, Expected, FilesystemError, PartOptions, UploadOptions};

use super::rights::{self, is_possible};
use super::{Site, noise, on_each_site, pieces};
use crate::support::{PATIENCE, wait_for};

on_each_site!(
    an_archive_of_a_link_does_not_take_the_place_of_what_it_leads_to,
    an_archive_does_not_lie_in_what_it_is_to_hold_by_whatever_path,
    an_archive_of_nothing_is_refused_and_the_old_one_stays,
    what_is_to_be_new_is_not_written_through_a_link_wherever_it_leads,
);

fn options(dereference: bool, pattern: Option<&str>) -> CompressOptions {
    CompressOptions { dereference, match_pattern: pattern.map(str::to_owned), ..CompressOptions::default() }
}

async fn an_archive_of_a_link_does_not_take_the_place_of_what_it_leads_to(site: Site) {
    let target = site.write("data", "content");
    symlink("data", site.local("current")).unwrap();
    symlink("current", site.local("chain")).unwrap();
    for source in ["current", "chain"] {
        let source = site.path(source);
        for options in [options(false, None), options(true, None), options(false, Some(".*")), options(true, Some(".*"))] {
            let error = site.files.compress(&site.user, &source, &target, &options).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{options:?}: {error:?}");
            assert!(error.to_string().contains("one of the two is a link to the other"), "{options:?}: {error}");
            assert_eq!(fs::read(site.local("data")).unwrap(), b"content", "{options:?}");
        }
        let error = site.files.apart(&site.user, &source, &target, false).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    }
    // A link is packed to where there is something else.
    let other = site.write("other", "content");
    site.files.apart(&site.user, &site.path("current"), &other, false).await.unwrap();
    site.files.compress(&site.user, &site.path("current"), &other, &CompressOptions::default()).await.unwrap();
    assert_eq!(site.names(), [&b"chain"[..], b"current", b"data", b"other"]);
}

async fn an_archive_does_not_lie_in_what_it_is_to_hold_by_whatever_path(site: Site) {
    fs::create_dir_all(site.local("d/sub")).unwrap();
    fs::create_dir(site.local("d2")).unwrap();
    site.write("d/f", noise(100_000));
    symlink("d", site.local("to-d")).unwrap();
    symlink("d/sub", site.local("to-sub")).unwrap();
    for (source, target, dereference) in [
        ("d", "d/new.tgz", false),
        ("d", "d/sub/new.tgz", false),
        ("d", "to-d/new.tgz", false),
        ("d", "to-sub/new.tgz", false),
        ("to-d", "d/sub/new.tgz", true),
        ("to-d/sub", "d/sub/new.tgz", false),
    ] {
        let (from, to) = (site.path(source), site.path(target));
        for pattern in [None, Some(".*")] {
            let error = site.files.compress(&site.user, &from, &to, &options(dereference, pattern)).await.expect_err(target);
            assert!(error.kind() == Kind::Invalid && error.to_string().contains("would lie in what it is to hold"), "{target}: {error:?}");
        }
        let error = site.files.apart(&site.user, &from, &to, dereference).await.expect_err(target);
        assert_eq!(error.kind(), Kind::Invalid, "{target}: {error:?}");
        assert!(!site.local("d/new.tgz").exists() && fs::read_dir(site.local("d/sub")).unwrap().next().is_none(), "{target}");
    }
    // Beside it, with a name that begins as its own does, and into what a link leads to that is packed as a link.
    for (source, target) in [("d", "d2/new.tgz"), ("d", "d.tgz"), ("to-d", "d/link.tgz"), ("d/f", "d/f.tgz")] {
        let (from, to): (RemotePath, RemotePath) = (site.path(source), site.path(target));
        site.files.apart(&site.user, &from, &to, false).await.unwrap();
        site.files.compress(&site.user, &from, &to, &CompressOptions::default()).await.unwrap();
    }
}

async fn an_archive_of_nothing_is_refused_and_the_old_one_stays(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    site.write("d/f.txt", "content");
    let target = site.write("old.tgz", "old");
    for pattern in [".*\\.dat", ""] {
        let error = site.files.compress(&site.user, &site.path("d"), &target, &options(false, Some(pattern))).await.unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("nothing in it matches"), "{error:?}");
        assert_eq!(fs::read(site.local("old.tgz")).unwrap(), b"old");
    }
    assert_eq!(site.names(), [&b"d"[..], b"old.tgz"]);
}

/// Writes the file in one piece, or in a part that takes its place.
async fn write(site: &Site, path: &RemotePath, length: Option<usize>, expected: Expected) -> Result<(), FilesystemError> {
    if let Some(length) = length {
        let options = UploadOptions { expected, ..UploadOptions::default() };
        return site.files.upload(&site.user, path, pieces(&noise(length)), options).await.map(drop);
    }
    let part = site.path(".part");
    site.files.begin_part(&site.user, &part, path).await?;
    let all = PartOptions { offset: 0, length: 10, all_or_nothing: false };
    site.files.extend_part(&site.user, &part, pieces(&noise(10)), all).await?;
    let placed = site.files.place_part(&site.user, &part, path, 10, expected).await;
    if placed.is_err() {
        fs::remove_file(site.local(".part")).unwrap();
    }
    placed.map(drop)
}

async fn what_is_to_be_new_is_not_written_through_a_link_wherever_it_leads(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    site.write("file", "content");
    for (link, end) in [("nowhere", "d/new"), ("deeper", "none/new"), ("to-file", "file"), ("itself", "itself")] {
        symlink(end, site.local(link)).unwrap();
        for length in [Some(10), Some(1_000_000), None] {
            if length.is_none() && ["deeper", "itself"].contains(&link) {
                continue;
            }
            let error = write(&site, &site.path(link), length, Expected::Nothing).await.expect_err(link);
            assert!(matches!(error, FilesystemError::Exists(_)), "{link}, {length:?}: {error:?}");
            assert!(site.local(link).is_symlink() && fs::read_dir(site.local("d")).unwrap().next().is_none(), "{link}, {length:?}");
        }
    }
    assert_eq!(fs::read(site.local("file")).unwrap(), b"content");
    // Without the condition one's own link leads to the new file.
    for length in [Some(10), Some(1_000_000), None] {
        write(&site, &site.path("nowhere"), length, Expected::Anything).await.unwrap();
        assert!(site.local("nowhere").is_symlink() && site.local("d/new").is_file(), "{length:?}");
        fs::remove_file(site.local("d/new")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_link_that_leads_nowhere_is_not_written_through() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "sftp without commands", "commands"] {
        let site = rights::site(reach);
        fs::create_dir(site.local("d")).unwrap();
        std::os::unix::fs::chown(site.local("d"), Some(2), Some(2)).unwrap();
        for (link, owner) in [("theirs", 1), ("mine", 2), ("roots", 0)] {
            symlink(format!("d/{link}"), site.local(link)).unwrap();
            lchown(site.local(link), Some(owner), Some(owner)).unwrap();
            for length in [Some(10), Some(1_000_000), None] {
                let _ = fs::remove_file(site.local(".part"));
                let written = write(&site, &site.path(link), length, Expected::Anything).await;
                if link == "theirs" {
                    assert_eq!(written.unwrap_err().kind(), Kind::Forbidden, "{reach}, {length:?}");
                    wait_for(PATIENCE, || fs::read_dir(site.local("d")).unwrap().next().is_none()).await;
                } else {
                    written.unwrap();
                    fs::remove_file(site.local("d").join(link)).unwrap();
                }
            }
            assert!(!site.local(".part").exists(), "{reach}");
        }
    }
}
