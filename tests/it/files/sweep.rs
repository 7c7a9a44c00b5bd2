//! Files left by a killed Goldcrest are found by the next write of the same user in the same directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::time::Duration;

use goldcrest::filesystem::{CompressOptions, Compression, CopyOptions, Expected, FileAccess, PlaceOptions, Settings};

use super::rights::{is_possible, site_with};
use super::transport::Subsystem;
use super::{Site, pieces};
use crate::support::{PATIENCE, skip, wait_for};

const HEX: &str = "0123456789abcdef0123456789abcdef";

/// The ways to write that search the directory first.
#[derive(Clone, Copy, Debug)]
enum WayIn {
    Upload,
    Part,
    Unpack,
    Copy,
    CopyTree,
    Compress,
}

const WAYS_IN: [WayIn; 6] = [WayIn::Upload, WayIn::Part, WayIn::Unpack, WayIn::Copy, WayIn::CopyTree, WayIn::Compress];

async fn write(site: &Site, way_in: WayIn) {
    match way_in {
        WayIn::Upload => site.upload(&site.path("f"), b"new", None).await.unwrap(),
        WayIn::Part => {
            let part = site.path(".part");
            site.files.begin_part(&site.user, &part, &site.path("f"), false).await.unwrap();
            site.files.place_part(&site.user, &part, &site.path("f"), PlaceOptions::new(0, Expected::Anything)).await.unwrap();
        }
        WayIn::Copy | WayIn::CopyTree => {
            let source = if let WayIn::Copy = way_in { site.write("source", "1") } else { site.path("deeper") };
            site.files.copy(&site.user, &source, &site.path("copy"), CopyOptions::default()).await.unwrap();
        }
        WayIn::Compress => {
            let source = site.write("source", "1");
            site.files.compress(&site.user, &source, &site.path("packed"), &CompressOptions::default()).await.unwrap();
        }
        WayIn::Unpack => {
            let archive = std::process::Command::new("tar").args(["--create", "--file=-", "--files-from=/dev/null"]).output().unwrap();
            let format = goldcrest::filesystem::ArchiveFormat::Tar;
            // Into a directory that is there: no temporary file of its own would look abandoned.
            fs::create_dir(site.local("into")).unwrap();
            site.files.unpack(&site.user, &site.path("into"), format, pieces(&archive.stdout), None).await.map(drop).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_for_long_is_removed_by_the_next_write_and_nothing_else_is() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can give a file away");
    }
    for access in [FileAccess::Sftp, FileAccess::Exec] {
        for way_in in WAYS_IN {
            // Nobody can make a file look older than it is in this respect, so that everything is old at once, or nothing is.
            for (abandoned, is_old) in [(Duration::ZERO, true), (Settings::default().abandoned, false)] {
                let subsystem = if access == FileAccess::Sftp { Subsystem::Own } else { Subsystem::Refused };
                let site = Site::new(subsystem, access, Settings { abandoned, ..Settings::default() });
                let abandoned = [
                    format!(".data.h5.goldcrest-{HEX}"),
                    format!(". new\nline'.goldcrest-{HEX}"),
                    format!(".link.goldcrest-{HEX}"),
                    format!(".folder.goldcrest-{HEX}"),
                    format!(".goldcrest-{HEX}"),
                    ".goldcrest-0123456789AbCdEf".to_owned(),
                    format!(".f.goldcrest-upload-{HEX}"),
                    format!(".f.goldcrest-upload-{HEX}-0123456789abcdef"),
                ];
                let kept = [
                    format!(".f.goldcrest-old-{HEX}"),
                    format!("f.goldcrest-{HEX}"),
                    format!(".f.goldcrest-{HEX}.bak"),
                    format!(".f.goldcrest-{}", &HEX[1..]),
                    format!(".others.goldcrest-{HEX}"),
                    ".goldcrest-0123456789AbCdE".to_owned(),
                    "deeper".to_owned(),
                ];
                for name in abandoned.iter().chain(&kept) {
                    match name {
                        name if name.starts_with(".link") => symlink("/etc/passwd", site.local(name)).unwrap(),
                        name if name.starts_with(".folder") || name.starts_with(".goldcrest") || name == "deeper" => {
                            fs::create_dir_all(site.local(name).join(format!(".f.goldcrest-{HEX}"))).unwrap();
                        }
                        name => fs::write(site.local(name), "left").unwrap(),
                    }
                }
                chown(site.local(format!(".others.goldcrest-{HEX}")), Some(2), None).unwrap();
                // The clock of the file system may be behind that of `find`.
                tokio::time::sleep(Duration::from_millis(50)).await;
                write(&site, way_in).await;
                let left = || abandoned.iter().filter(|name| site.local(name).symlink_metadata().is_ok()).collect::<Vec<_>>();
                if is_old {
                    wait_for(PATIENCE, || left().is_empty()).await;
                } else {
                    site.files.settle().await;
                    assert_eq!(left().len(), abandoned.len(), "{access:?}, {way_in:?}");
                }
                for name in &kept {
                    assert!(site.local(name).exists(), "{access:?}, {way_in:?}: {name:?}");
                }
                assert!(site.local("deeper").join(format!(".f.goldcrest-{HEX}")).exists());
                assert!(std::path::Path::new("/etc/passwd").exists());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_with_a_read_only_directory_in_it_is_removed_too() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "commands"] {
        let site = site_with(reach, Settings { abandoned: Duration::ZERO, ..Settings::default() });
        let left = site.local(format!(".goldcrest-{HEX}"));
        let link = site.local(format!(".link.goldcrest-{HEX}"));
        fs::create_dir_all(left.join("ro")).unwrap();
        fs::write(left.join("ro/f"), "left").unwrap();
        fs::create_dir(site.local("kept")).unwrap();
        symlink("kept", &link).unwrap();
        for path in [&left, &left.join("ro"), &left.join("ro/f"), &site.local("kept"), &link] {
            lchown(path, Some(2), Some(2)).unwrap();
        }
        for path in [left.join("ro"), site.local("kept")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        write(&site, WayIn::Upload).await;
        wait_for(PATIENCE, || !left.exists() && !link.is_symlink()).await;
        assert_eq!(fs::metadata(site.local("kept")).unwrap().permissions().mode() & 0o777, 0o555, "{reach}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_unpacking_left_in_its_target_is_removed_by_the_next_into_the_same() {
    let site = Site::new(Subsystem::Refused, FileAccess::Exec, Settings { abandoned: Duration::ZERO, ..Settings::default() });
    let left = site.local(format!("t/.goldcrest-{HEX}"));
    fs::create_dir_all(left.join("member")).unwrap();
    site.write("f", "1");
    site.files.compress(&site.user, &site.path("f"), &site.path("f.tar"), &CompressOptions::default()).await.unwrap();
    let other = Site::new(Subsystem::Refused, FileAccess::Exec, Settings { abandoned: Duration::ZERO, ..Settings::default() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    other.files.extract(&other.user, &site.path("f.tar"), &site.path("t"), Compression::Gzip).await.unwrap();
    wait_for(PATIENCE, || !left.exists()).await;
}
