//! The permissions of overwritten files: kept, or narrowed, by each kind of write; and names that lead elsewhere by then.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use futures::TryStreamExt;
use goldcrest::domain::{ByteRange, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{
    ArchiveFormat, CompressOptions, CopyOptions, Expected, FileAccess, FilesystemError, PartOptions, PlaceOptions, Settings,
};

use super::transport::{Local, OPENSSH, Subsystem, User};
use super::{Site, noise, open, pieces};
use crate::support::{PATIENCE, principal, skip, wait_for};

/// `bin` and `daemon`, who have an entry on each machine: OpenSSH's server does not start for others.
const ME: u32 = 2;
const SOMEBODY: u32 = 1;
/// A group that I am in, beside my own.
const PROJECT: u32 = 60_010;
const STRANGERS: u32 = 60_011;

/// The ways to reach files that these tests have, as an ordinary user.
const REACHES: [&str; 4] = ["sftp", "sftp without setstat", "sftp without commands", "commands"];

pub(super) fn site(reach: &str) -> Site {
    site_with(reach, Settings::default())
}

pub(super) fn site_with(reach: &str, settings: Settings) -> Site {
    let (subsystem, access) = match reach {
        "commands" => (Subsystem::Refused, FileAccess::Exec),
        "sftp without copy-data and commands" => (Subsystem::Refusing("copy-data"), FileAccess::Sftp),
        "sftp without extensions and commands" => (Subsystem::Plain, FileAccess::Sftp),
        reach if reach.starts_with("sftp without setstat") => (Subsystem::Refusing("setstat,fsetstat"), FileAccess::Sftp),
        _ => (Subsystem::OpenSsh, FileAccess::Sftp),
    };
    let mut transport = Local::new(subsystem);
    transport.user = Some(User { user: ME, group: ME, groups: PROJECT });
    transport.runs_commands = !reach.ends_with("commands") || reach == "commands";
    let transport = Arc::new(transport);
    let files = open(transport.clone(), access, settings);
    let site = Site { directory: tempfile::tempdir().unwrap(), transport, files, user: principal("ada"), access, _pod: None };
    chown(site.directory.path(), Some(ME), Some(ME)).unwrap();
    site
}

pub(super) fn is_possible() -> bool {
    let possible = rustix::process::geteuid().is_root() && Path::new(OPENSSH).exists();
    if !possible {
        skip(&format!("only root can act as several users, on a machine with {OPENSSH}"));
    }
    possible
}

#[derive(Clone, Copy, Debug)]
enum WayIn {
    Upload(usize),
    Part,
    Copy,
    Compress,
}

const WAYS_IN: [WayIn; 5] = [WayIn::Upload(1_000), WayIn::Upload(400_000), WayIn::Part, WayIn::Copy, WayIn::Compress];

/// Those that there are by one reach: it takes a command to pack.
fn ways_in(reach: &str) -> impl Iterator<Item = WayIn> {
    let packs = reach != "sftp without commands";
    WAYS_IN.into_iter().filter(move |way_in| packs || !matches!(way_in, WayIn::Compress))
}

/// Writes over `f` what is there already, in one of the ways. A copy has the rights of its source, which then are those of `f`.
async fn write(site: &Site, way_in: WayIn) -> Result<(), FilesystemError> {
    let target = site.path("f");
    match way_in {
        WayIn::Upload(length) => site.upload(&target, &noise(length), None).await,
        WayIn::Part => {
            let part = site.path(".part");
            site.files.begin_part(&site.user, &part, &target, false).await?;
            let rights = |name| fs::metadata(site.local(name)).unwrap().mode() & 0o077;
            assert_eq!(rights(".part") & !rights("f"), 0, "the part is open to more people than its target");
            let options = PartOptions { offset: 0, length: 10, all_or_nothing: false };
            site.files.extend_part(&site.user, &part, pieces(&noise(10)), options).await?;
            site.files.place_part(&site.user, &part, &target, PlaceOptions::new(10, Expected::Anything)).await.map(drop)
        }
        WayIn::Copy => {
            let options = CopyOptions { overwrite: true, dereference: false };
            let copy = site.path("copy");
            site.files.copy(&site.user, &target, &copy, options).await?;
            fs::rename(site.local("copy"), site.local("f")).unwrap();
            Ok(())
        }
        WayIn::Compress => {
            site.write("packed", noise(500));
            let packed = site.files.compress(&site.user, &site.path("packed"), &target, &CompressOptions::default()).await;
            fs::remove_file(site.local("packed")).unwrap();
            packed
        }
    }
}

fn set(site: &Site, mode: u32, group: u32) {
    let _ = fs::remove_file(site.local("f"));
    site.write("f", noise(500));
    chown(site.local("f"), Some(ME), Some(group)).unwrap();
    fs::set_permissions(site.local("f"), fs::Permissions::from_mode(mode)).unwrap();
}

fn rights(site: &Site) -> (u32, u32) {
    let found = fs::metadata(site.local("f")).unwrap();
    (found.mode() & 0o7777, found.gid())
}

fn list(site: &Site) -> Vec<u8> {
    Command::new("getfacl").args(["-cnp"]).arg(site.local("f")).output().unwrap().stdout
}

fn set_list(site: &Site, name: &str, entries: &str) {
    assert!(Command::new("setfacl").args(["-m", entries]).arg(site.local(name)).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_over_keeps_its_group_and_mode_or_has_fewer_rights_by_each_way_in() {
    if !is_possible() {
        return;
    }
    for reach in REACHES {
        let site = site(reach);
        for way_in in ways_in(reach) {
            for (mode, group) in
                [(0o660, PROJECT), (0o640, PROJECT), (0o600, ME), (0o660, STRANGERS), (0o664, STRANGERS), (0o606, STRANGERS)]
            {
                set(&site, mode, group);
                let context = format!("{reach}, {way_in:?}, {mode:o} {group}");
                write(&site, way_in).await.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                let both = mode >> 3 & mode & 7;
                let narrowed = mode & 0o700 | both << 3 | both;
                let kept = group != STRANGERS && (matches!(reach, "sftp" | "commands") || matches!(way_in, WayIn::Compress));
                let found = rights(&site);
                match kept {
                    true => assert_eq!(found, (mode, group), "{context}"),
                    // Where nothing can be set, the umask may have taken more.
                    false => assert_eq!(found.0 & !narrowed, 0, "{context}: {:o}", found.0),
                }
                if !kept && reach != "sftp without setstat" {
                    assert_eq!(found.0, narrowed, "{context}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_user_may_not_read_is_refused_before_the_first_byte_by_each_way_out() {
    if !is_possible() {
        return;
    }
    for reach in REACHES {
        let site = site(reach);
        set(&site, 0, ME);
        fs::create_dir(site.local("d")).unwrap();
        fs::create_dir(site.local("closed")).unwrap();
        for (name, mode) in [("d/open", 0o644), ("d/shut", 0o600)] {
            site.write(name, noise(500));
            fs::set_permissions(site.local(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(site.local("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink(site.local("d/shut"), site.local("link")).unwrap();
        let user = &site.user;
        for range in [None, Some(ByteRange::From(0, None)), Some(ByteRange::From(100, Some(200))), Some(ByteRange::Last(5))] {
            for name in ["f", "d/shut", "link"] {
                let refused = site.files.download(user, &site.path(name), range, None).await.map(drop);
                assert!(matches!(&refused, Err(FilesystemError::Denied(_))), "{reach}, {name}, {range:?}: {refused:?}");
            }
        }
        if reach == "sftp without commands" {
            continue;
        }
        for (name, named) in [("f", "f"), ("d", "d/shut"), ("d/shut", "d/shut"), ("closed", "closed"), ("link", "link")] {
            for format in [ArchiveFormat::Tar, ArchiveFormat::Gzip] {
                let refused = site.files.pack(user, &site.path(name), format).await.map(drop);
                let is_named = |path: &RemotePath| *path == site.path(named);
                assert!(matches!(&refused, Err(FilesystemError::Denied(path)) if is_named(path)), "{reach}, {name}: {refused:?}");
            }
        }
        let content = site.files.pack(user, &site.path("d/open"), ArchiveFormat::Tar).await.unwrap();
        assert!(content.try_collect::<Vec<_>>().await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_loses_rights_while_it_is_uploaded_in_parts_is_replaced_without_them() {
    if !is_possible() {
        return;
    }
    for reach in REACHES.into_iter().chain(["sftp without setstat and commands"]) {
        for (before, after) in [(Some(0o644), 0o600), (None, 0o600), (Some(0o444), 0o444), (Some(0o644), 0o440)] {
            let site = site(reach);
            let (part, target) = (site.path(".part"), site.path("f"));
            if let Some(before) = before {
                set(&site, before, ME);
            }
            site.files.begin_part(&site.user, &part, &target, false).await.unwrap();
            let options = PartOptions { offset: 0, length: 10, all_or_nothing: false };
            site.files.extend_part(&site.user, &part, pieces(&noise(10)), options).await.unwrap();
            set(&site, after, ME);
            let placed = site.files.place_part(&site.user, &part, &target, PlaceOptions::new(10, Expected::Anything)).await;
            let (context, found, length) =
                (format!("{reach}, {before:?}, {after:o}"), rights(&site).0, fs::metadata(site.local("f")).unwrap().len());
            assert_eq!(found & !after, 0, "{context}: {found:o}");
            match reach {
                // Nothing takes the rights away there, and the old file stays.
                "sftp without setstat and commands" => {
                    assert!(matches!(&placed, Err(error) if error.kind() == Kind::Forbidden), "{context}: {placed:?}");
                    assert_eq!(length, 500, "{context}");
                }
                _ => assert_eq!((placed.is_ok(), length), (true, 10), "{context}: {placed:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_file_that_is_written_over_becomes_mine_with_no_more_rights_by_each_way_in() {
    if !is_possible() {
        return;
    }
    for reach in REACHES {
        let site = site(reach);
        for way_in in ways_in(reach) {
            for mode in [0o644, 0o664, 0o4755, 0o2664] {
                set(&site, 0o600, PROJECT);
                chown(site.local("f"), Some(SOMEBODY), Some(PROJECT)).unwrap();
                fs::set_permissions(site.local("f"), fs::Permissions::from_mode(mode)).unwrap();
                let context = format!("{reach}, {way_in:?}, {mode:o}");
                write(&site, way_in).await.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                let found = fs::metadata(site.local("f")).unwrap();
                assert_eq!(found.uid(), ME, "{context}");
                assert_eq!(found.mode() & 0o7777 & !(mode & 0o3777), 0, "{context}: {:o}", found.mode());
            }
        }
        // Where the directory is another's and sticky, it cannot be replaced, and stays.
        set(&site, 0o666, PROJECT);
        chown(site.local("f"), Some(SOMEBODY), Some(PROJECT)).unwrap();
        chown(site.directory.path(), Some(SOMEBODY), Some(PROJECT)).unwrap();
        fs::set_permissions(site.directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        for length in [1_000, 400_000] {
            let error = site.upload(&site.path("f"), &noise(length), None).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Forbidden, "{reach}: {error:?}");
            assert!(fs::read(site.local("f")).unwrap() == noise(500), "{reach}");
            wait_for(PATIENCE, || site.names() == [b"f"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_control_list_is_kept_and_its_mask_never_becomes_the_rights_of_the_group() {
    if !is_possible() {
        return;
    }
    if Command::new("setfacl").arg("--version").output().is_err() {
        return skip("there is no setfacl");
    }
    for reach in REACHES {
        let site = site(reach);
        for way_in in ways_in(reach) {
            for (group, has_default) in [(ME, false), (PROJECT, false), (STRANGERS, false), (ME, true)] {
                set(&site, 0o600, group);
                if has_default {
                    set_list(&site, "", &format!("d:u:{SOMEBODY}:rwx"));
                } else {
                    set_list(&site, "f", &format!("u:{SOMEBODY}:r"));
                }
                let before = list(&site);
                let context = format!("{reach}, {way_in:?}, {group}, {has_default}");
                write(&site, way_in).await.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                // A list can be set by a command where the server sets no modes.
                let by_command = reach == "sftp without setstat" && (group == ME || matches!(way_in, WayIn::Compress));
                let can_keep = group != STRANGERS && (by_command || matches!(reach, "sftp" | "commands"));
                match can_keep && !has_default {
                    true => assert_eq!(list(&site), before, "{context}"),
                    false => assert_eq!(rights(&site).0 & 0o077, 0, "{context}"),
                }
                assert!(Command::new("setfacl").args(["-b", "-k"]).arg(site.directory.path()).status().unwrap().success());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_whose_name_leads_elsewhere_by_now_is_refused_and_what_it_leads_to_is_as_it_was() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "commands"] {
        for kind in ["link", "hard link"] {
            let site = site(reach);
            set(&site, 0o666, ME);
            let secret = site.write("secret", noise(10));
            chown(site.local("secret"), Some(ME), Some(ME)).unwrap();
            fs::set_permissions(site.local("secret"), fs::Permissions::from_mode(0o600)).unwrap();
            let (part, target) = (site.path(".part"), site.path("f"));
            site.files.begin_part(&site.user, &part, &target, false).await.unwrap();
            fs::remove_file(site.local(".part")).unwrap();
            match kind {
                "link" => symlink(site.local("secret"), site.local(".part")).unwrap(),
                _ => fs::hard_link(site.local("secret"), site.local(".part")).unwrap(),
            }
            let options = PartOptions { offset: 10, length: 20, all_or_nothing: false };
            let extended = site.files.extend_part(&site.user, &part, pieces(&noise(10)), options).await;
            assert!(matches!(extended, Err(FilesystemError::Changed(_))), "{reach}, {kind}: {extended:?}");
            let placed = site.files.place_part(&site.user, &part, &target, PlaceOptions::new(10, Expected::Anything)).await;
            assert!(matches!(placed, Err(FilesystemError::Changed(_))), "{reach}, {kind}: {placed:?}");
            assert_eq!(fs::metadata(site.local("secret")).unwrap().mode() & 0o777, 0o600, "{reach}, {kind}");
            assert_eq!(fs::metadata(site.local("f")).unwrap().len(), 500, "{reach}, {kind}");
            assert!(site.download(&secret).await.unwrap() == noise(10), "{reach}, {kind}");
        }
    }
}
