//! Directories as archives that are never stored.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use goldcrest::domain::{Compression, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{ArchiveFormat, FilesystemError, Placed};

use super::{Site, hostile_names, noise, on_each_site, pieces};
use crate::support::wait_for;

on_each_site!(
    a_directory_comes_back_from_its_archive,
    an_archive_of_what_is_not_there_or_cannot_be_read_does_not_end,
    an_archive_of_which_a_member_does_not_fit_says_that_others_may_be_in_place,
    an_archive_that_breaks_off_leaves_nothing,
    members_that_lead_out_of_the_directory_do_not,
);

async fn pack(site: &Site, path: &RemotePath, format: ArchiveFormat) -> Result<Vec<u8>, FilesystemError> {
    Ok(site.files.pack(&site.user, path, format).await?.try_collect::<Vec<Bytes>>().await?.concat())
}

async fn unpack(site: &Site, name: &str, archive: &[u8], format: ArchiveFormat) -> Result<Placed, FilesystemError> {
    site.files.unpack(&site.user, &site.path(name), format, pieces(archive), None).await
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

async fn an_archive_of_which_a_member_does_not_fit_says_that_others_may_be_in_place(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    for name in ["a", "m", "z"] {
        site.write(format!("d/{name}"), "new");
    }
    let archive = pack(&site, &site.path("d"), ArchiveFormat::Tar).await.unwrap();
    site.write("d.tar", &archive);
    for way in ["unpack", "extract"] {
        let _ = fs::remove_dir_all(site.local("t"));
        fs::create_dir_all(site.local("t/d/m")).unwrap();
        site.write("t/d/a", "old");
        let outcome = match way {
            "unpack" => unpack(&site, "t", &archive, ArchiveFormat::Tar).await.map(drop),
            _ => site.files.extract(&site.user, &site.path("d.tar"), &site.path("t"), Compression::None).await,
        };
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Invalid, Some(true)), "{way}: {error:?}");
        assert!(error.to_string().ends_with("what was put in place before it stays"), "{way}: {error}");
        assert_eq!(fs::read(site.local("t/d/a")).unwrap(), b"new");
    }
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
