//! Targets that links lead to, and archives that would take the place of what they hold, or lie in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::StreamExt;

use goldcrest::domain::RemotePath;
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{
    CompressOptions, ContentStream, CopyOptions, Expected, FilesystemError, PartOptions, PlaceOptions, UploadOptions,
};

use super::rights::{self, is_possible};
use super::{Site, noise, on_each_site, pieces};
use crate::support::{PATIENCE, wait_for};

on_each_site!(
    an_archive_of_a_link_does_not_take_the_place_of_what_it_leads_to,
    an_archive_does_not_lie_in_what_it_is_to_hold_by_whatever_path,
    an_archive_of_what_matches_may_lie_in_its_source_and_does_not_hold_itself,
    a_link_does_not_take_the_place_of_a_link_that_it_leads_to,
    an_archive_of_nothing_is_refused_and_the_old_one_stays,
    what_is_to_be_new_is_not_written_through_a_link_wherever_it_leads,
);

async fn a_link_does_not_take_the_place_of_a_link_that_it_leads_to(site: Site) {
    site.write("f", "content");
    for (name, end) in [("l", "f"), ("l2", "l"), ("l3", "./l2"), ("l4", "l/"), ("l5", "l2/.//")] {
        symlink(end, site.local(name)).unwrap();
    }
    let as_link = CopyOptions { overwrite: true, dereference: false };
    for source in ["l2", "l3", "l4", "l5"] {
        let (from, to) = (site.path(source), site.path("l"));
        let moved = site.files.rename(&site.user, &from, &to, true).await.unwrap_err();
        let copied = site.files.copy(&site.user, &from, &to, as_link).await.unwrap_err();
        assert_eq!((moved.kind(), copied.kind()), (Kind::Invalid, Kind::Invalid), "{source}: {moved:?}, {copied:?}");
        assert_eq!(fs::read_link(site.local("l")).unwrap().to_str(), Some("f"), "{source}");
    }
    // The other way round nothing is lost.
    site.files.rename(&site.user, &site.path("l"), &site.path("l2"), true).await.unwrap();
    assert_eq!(fs::read_link(site.local("l2")).unwrap().to_str(), Some("f"));
}

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
            assert!(error.to_string().contains("the source is a symbolic link to the target"), "{options:?}: {error}");
            assert_eq!(fs::read(site.local("data")).unwrap(), b"content", "{options:?}");
        }
        let error = site.files.check_archive_target(&site.user, &source, &target, &options(false, None)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
    }
    // A link is packed to where there is something else.
    let other = site.write("other", "content");
    site.files.check_archive_target(&site.user, &site.path("current"), &other, &options(false, None)).await.unwrap();
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
        let whole = options(dereference, None);
        let error = site.files.compress(&site.user, &from, &to, &whole).await.expect_err(target);
        assert!(
            error.kind() == Kind::Invalid && error.to_string().contains("the target is inside the directory to pack"),
            "{target}: {error:?}"
        );
        let error = site.files.check_archive_target(&site.user, &from, &to, &whole).await.expect_err(target);
        assert_eq!(error.kind(), Kind::Invalid, "{target}: {error:?}");
        assert!(!site.local("d/new.tgz").exists() && fs::read_dir(site.local("d/sub")).unwrap().next().is_none(), "{target}");
    }
    // Beside it, with a name that begins as its own does, and into what a link leads to that is packed as a link.
    for (source, target) in [("d", "d2/new.tgz"), ("d", "d.tgz"), ("to-d", "d/link.tgz"), ("d/f", "d/f.tgz")] {
        let (from, to): (RemotePath, RemotePath) = (site.path(source), site.path(target));
        site.files.check_archive_target(&site.user, &from, &to, &options(false, None)).await.unwrap();
        site.files.compress(&site.user, &from, &to, &CompressOptions::default()).await.unwrap();
    }
}

async fn an_archive_of_what_matches_may_lie_in_its_source_and_does_not_hold_itself(site: Site) {
    fs::create_dir_all(site.local("d/sub")).unwrap();
    site.write("d/f", noise(100_000));
    site.write("d/sub/g", noise(10));
    symlink("d", site.local("to-d")).unwrap();
    for (source, target, dereference) in [("d", "d/new.tgz", false), ("d", "to-d/sub/new.tgz", false), ("to-d", "d/new.tgz", true)] {
        let (from, to, options) = (site.path(source), site.path(target), options(dereference, Some(".*")));
        // The second time there is an archive, which matches too.
        for _ in 0..2 {
            site.files.check_archive_target(&site.user, &from, &to, &options).await.unwrap();
            site.files.compress(&site.user, &from, &to, &options).await.unwrap();
            let listed = Command::new("tar").arg("tf").arg(site.local(target)).output().unwrap();
            let mut names: Vec<_> = str::from_utf8(&listed.stdout).unwrap().lines().map(|name| name.trim_start_matches("./")).collect();
            names.sort_unstable();
            assert_eq!(names, [format!("{source}/f"), format!("{source}/sub/g")], "{target}");
        }
        fs::remove_file(site.local(target)).unwrap();
    }
    let hidden = fs::read_dir(site.local("d")).unwrap().chain(fs::read_dir(site.local("d/sub")).unwrap()).count();
    assert_eq!(hidden, 3, "something is left beside the archive");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_what_matches_is_not_replaced_where_a_directory_cannot_be_read() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "commands"] {
        let site = rights::site(reach);
        fs::create_dir_all(site.local("d/closed")).unwrap();
        site.write("d/f", "content");
        fs::set_permissions(site.local("d/closed"), fs::Permissions::from_mode(0o700)).unwrap();
        for old in [None, Some("old")] {
            if let Some(old) = old {
                site.write("a.tgz", old);
            }
            let before = site.names();
            let packed = site.files.compress(&site.user, &site.path("d"), &site.path("a.tgz"), &options(false, Some(".*"))).await;
            assert!(matches!(packed, Err(FilesystemError::Denied(_))), "{reach}: {packed:?}");
            assert_eq!(fs::read_to_string(site.local("a.tgz")).ok().as_deref(), old, "{reach}");
            assert_eq!(site.names(), before, "{reach}");
        }
    }
}

/// Writes the file in one piece, or in a part that takes its place.
async fn write(site: &Site, path: &RemotePath, length: Option<usize>, expected: Expected) -> Result<(), FilesystemError> {
    if let Some(length) = length {
        let options = UploadOptions { expected, ..UploadOptions::default() };
        return site.files.upload(&site.user, path, pieces(&noise(length)), options).await.map(drop);
    }
    let part = site.path(".part");
    site.files.begin_part(&site.user, &part, path, false).await?;
    let all = PartOptions { offset: 0, length: 10, all_or_nothing: false };
    site.files.extend_part(&site.user, &part, pieces(&noise(10)), all).await?;
    let placed = site.files.place_part(&site.user, &part, path, PlaceOptions::new(10, expected)).await;
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

/// The ways in which an ordinary user reaches files.
const REACHES: [&str; 3] = ["sftp", "sftp without commands", "commands"];

/// A link of this owner, by number.
fn link_of(site: &Site, owner: u32, name: &str, end: &str) {
    symlink(end, site.local(name)).unwrap();
    lchown(site.local(name), Some(owner), Some(owner)).unwrap();
}

/// Content whose arrival is counted.
fn counted(content: &[u8], taken: &Arc<AtomicUsize>) -> ContentStream {
    let taken = Arc::clone(taken);
    pieces(content).inspect(move |_| _ = taken.fetch_add(1, Ordering::SeqCst)).boxed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_link_that_leads_nowhere_is_not_written_through_wherever_it_is_in_a_chain() {
    if !is_possible() {
        return;
    }
    for reach in REACHES {
        let site = rights::site(reach);
        fs::create_dir(site.local("d")).unwrap();
        chown(site.local("d"), Some(2), Some(2)).unwrap();
        for (link, owner) in [("theirs", 1), ("mine", 2), ("roots", 0)] {
            link_of(&site, owner, link, &format!("d/{link}"));
        }
        link_of(&site, 2, "to-theirs", "./theirs");
        link_of(&site, 2, "to-mine", "mine");
        for (link, end) in
            [("theirs", None), ("to-theirs", None), ("mine", Some("mine")), ("to-mine", Some("mine")), ("roots", Some("roots"))]
        {
            for length in [Some(10), Some(1_000_000), None] {
                let _ = fs::remove_file(site.local(".part"));
                let written = write(&site, &site.path(link), length, Expected::Anything).await;
                if let Some(end) = end {
                    written.unwrap();
                    fs::remove_file(site.local("d").join(end)).unwrap();
                } else {
                    assert_eq!(written.unwrap_err().kind(), Kind::Forbidden, "{reach}, {link}, {length:?}");
                    wait_for(PATIENCE, || fs::read_dir(site.local("d")).unwrap().next().is_none()).await;
                }
            }
            assert!(!site.local(".part").exists(), "{reach}");
        }
        let touched = site.files.touch(&site.user, &site.path("to-theirs")).await;
        assert_eq!(touched.unwrap_err().kind(), Kind::Forbidden, "{reach}");
        assert!(fs::read_dir(site.local("d")).unwrap().next().is_none(), "{reach}");
        site.files.touch(&site.user, &site.path("to-mine")).await.unwrap();
        fs::remove_file(site.local("d/mine")).unwrap();
        // It is refused before more of the content than a small file has is taken.
        let taken = Arc::new(AtomicUsize::new(0));
        let content = counted(&noise(1_000_000), &taken);
        let refused = site.files.upload(&site.user, &site.path("theirs"), content, UploadOptions::default()).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden, "{reach}");
        assert!(taken.load(Ordering::SeqCst) < 50, "{reach}: {taken:?} pieces were taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_link_in_a_directory_of_all_is_not_written_through() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "sftp without commands", "commands"] {
        let site = rights::site(reach);
        fs::create_dir(site.local("tmp")).unwrap();
        for (name, owner) in [("mine", 2), ("theirs", 1), ("roots", 0)] {
            link_of(&site, owner, &format!("tmp/{name}"), "../file");
        }
        link_of(&site, 2, "to-theirs", "tmp/theirs");
        for (mode, link, is_written) in [
            (0o1777, "tmp/theirs", false),
            (0o1777, "to-theirs", false),
            (0o1777, "tmp/mine", true),
            (0o1777, "tmp/roots", true),
            (0o755, "tmp/theirs", true),
            (0o777, "tmp/theirs", true),
        ] {
            fs::set_permissions(site.local("tmp"), fs::Permissions::from_mode(mode)).unwrap();
            site.write("file", "content");
            chown(site.local("file"), Some(2), Some(2)).unwrap();
            for length in [Some(10), Some(1_000_000), None] {
                let _ = fs::remove_file(site.local(".part"));
                let written = write(&site, &site.path(link), length, Expected::Anything).await;
                let context = format!("{reach}, {mode:o}, {link}, {length:?}");
                assert_eq!(written.map_err(|error| error.kind()), if is_written { Ok(()) } else { Err(Kind::Forbidden) }, "{context}");
                assert_eq!(fs::read(site.local("file")).unwrap() == b"content", !is_written, "{context}");
                assert!(site.local(link).is_symlink(), "{context}");
                fs::write(site.local("file"), "content").unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_keeps_the_rights_and_times_of_its_source_and_replaces_a_link_where_the_server_copies_no_data() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp without copy-data and commands", "sftp without extensions and commands"] {
        copies_well(&rights::site(reach)).await;
    }
}

async fn copies_well(site: &Site) {
    let source = site.write("source", noise(100_000));
    chown(site.local("source"), Some(2), Some(2)).unwrap();
    fs::set_permissions(site.local("source"), fs::Permissions::from_mode(0o600)).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(site.local("source")).unwrap().set_modified(old).unwrap();
    site.write("other", "content");
    link_of(site, 2, "link", "other");
    for target in ["new", "link"] {
        let options = CopyOptions { overwrite: true, dereference: false };
        site.files.copy(&site.user, &source, &site.path(target), options).await.unwrap();
        let copy = fs::symlink_metadata(site.local(target)).unwrap();
        assert!(copy.is_file() && copy.mode() & 0o7777 == 0o600 && copy.modified().unwrap() == old, "{target}: {copy:?}");
        assert_eq!(fs::read(site.local(target)).unwrap(), noise(100_000));
    }
    assert_eq!(fs::read(site.local("other")).unwrap(), b"content");
    let again = site.files.copy(&site.user, &source, &site.path("new"), CopyOptions { overwrite: false, dereference: false }).await;
    assert!(matches!(again, Err(FilesystemError::Exists(_))), "{again:?}");
}
