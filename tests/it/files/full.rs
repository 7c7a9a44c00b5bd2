//! Writes that the cluster accepts only in part: each kind of write reports it, and leaves the target unchanged.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use goldcrest::domain::RemotePath;
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::sftp::protocol::{Attributes, Request, Response, Status};
use goldcrest::filesystem::{
    ArchiveFormat, CompressOptions, Compression, CopyOptions, Expected, FileAccess, FilesystemError, PartOptions, PlaceOptions, Settings,
    UploadOptions,
};
use tokio::io::DuplexStream;

use super::faults::{behave, packet, status};
use super::transport::{Local, Subsystem};
use super::{Site, noise, on_each_site, open, pieces};
use crate::support::{principal, skip, wait_for};

on_each_site!(each_way_in_tells_that_the_file_system_is_full_and_keeps_what_was_there);

/// A file system of its own of 1 MiB, unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one on a new directory, which takes root.
    pub fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=0777", "none"]).arg(&path).status();
        mount.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    /// Shows a directory at a further path, which takes root.
    pub fn bind(directory: &Path, path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mount = Command::new("mount").arg("--bind").args([directory, &path]).status();
        mount.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    /// Leaves less room than one block of the file system has.
    pub fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[b'x'; 4096]).is_ok() {}
    }

    /// Gives the room back.
    pub fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// What is in it now.
    pub fn names(&self) -> Vec<String> {
        names(&self.0)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The ways in which content comes to a cluster's file system.
#[derive(Clone, Copy, Debug)]
enum WayIn {
    Upload(usize),
    Part(usize),
    Copy(bool),
    Move,
    Compress,
    Extract,
    Unpack,
    UnpackOver,
}

const WAYS_IN: [WayIn; 12] = [
    WayIn::Upload(5_000),
    WayIn::Upload(200_000),
    WayIn::Upload(2_500_000),
    WayIn::Part(5_000),
    WayIn::Part(2_500_000),
    WayIn::Copy(false),
    WayIn::Copy(true),
    WayIn::Move,
    WayIn::Compress,
    WayIn::Extract,
    WayIn::Unpack,
    WayIn::UnpackOver,
];

async fn write(site: &Site, way_in: WayIn) -> Result<(), FilesystemError> {
    let (target, big) = (site.path("full/old"), site.path("big"));
    match way_in {
        WayIn::Upload(length) => site.upload(&target, &noise(length), None).await,
        WayIn::Part(length) => {
            let options = PartOptions { offset: 0, length: length as u64, all_or_nothing: false };
            let part = site.path("full/.part");
            site.files.extend_part(&site.user, &part, pieces(&noise(length)), options).await?;
            site.files.place_part(&site.user, &part, &target, PlaceOptions::new(length as u64, Expected::Anything)).await.map(drop)
        }
        WayIn::Copy(dereference) => {
            let options = CopyOptions { overwrite: true, dereference };
            site.files.copy(&site.user, &big, &target, options).await
        }
        WayIn::Move => site.files.rename(&site.user, &big, &target, true).await,
        WayIn::Extract => site.files.extract(&site.user, &site.path("old.tar"), &site.path("full"), Compression::None).await,
        WayIn::UnpackOver => {
            let archive = pieces(&fs::read(site.local("old.tar")).unwrap());
            site.files.unpack(&site.user, &site.path("full"), ArchiveFormat::Tar, archive, None).await.map(drop)
        }
        WayIn::Compress => site.files.compress(&site.user, &big, &target, &CompressOptions::default()).await,
        WayIn::Unpack => {
            let archive = site.files.pack(&site.user, &big, ArchiveFormat::Tar).await?;
            let into = site.path("full/new");
            site.files.unpack(&site.user, &into, ArchiveFormat::Tar, archive, None).await.map(drop)
        }
    }
}

async fn each_way_in_tells_that_the_file_system_is_full_and_keeps_what_was_there(site: Site) {
    let Some(disk) = SmallDisk::mount(site.local("full")) else {
        return skip("only root can mount a file system");
    };
    site.write("big", noise(2_000_000));
    let old = noise(3_000);
    site.write("full/old", &old);
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(site.local("old.tar")).arg("--transform=s/big/old/").arg("-C").arg(site.local("")).arg("big");
    assert!(tar.status().unwrap().success());
    for is_full in [true, false] {
        for way_in in WAYS_IN {
            if let WayIn::Part(_) = way_in {
                site.files.begin_part(&site.user, &site.path("full/.part"), &site.path("full/old"), false).await.unwrap();
            }
            if is_full {
                disk.fill();
            }
            let before = disk.names();
            let outcome = write(&site, way_in).await;
            if is_full {
                disk.empty();
            } else if matches!(way_in, WayIn::Upload(..=200_000) | WayIn::Part(..=200_000)) {
                outcome.unwrap_or_else(|error| panic!("{way_in:?} fits: {error:?}"));
                fs::write(site.local("full/old"), &old).unwrap();
                continue;
            }
            let error = outcome.expect_err(&format!("{way_in:?} with is_full {is_full} succeeded"));
            assert_eq!(error.kind(), Kind::Conflict, "{way_in:?}: {error:?}");
            assert!(error.to_string().contains("quota"), "{way_in:?}: {error}");
            assert!(fs::read(site.local("full/old")).unwrap() == old, "{way_in:?} changed the file that was there");
            assert!(site.local("big").exists(), "{way_in:?}");
            let before: Vec<_> = before.into_iter().filter(|name| name != "filler").collect();
            wait_for(Duration::from_secs(10), || disk.names() == before).await;
            let _ = fs::remove_file(site.local("full/.part"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrived_before_the_file_system_was_full_stays_where_the_server_sets_no_sizes() {
    let Some(site) = Site::real(Subsystem::Refusing("setstat,fsetstat")) else { return };
    let Some(_disk) = SmallDisk::mount(site.local("full")) else {
        return skip("only root can mount a file system");
    };
    let part = site.path("full/.part");
    site.files.begin_part(&site.user, &part, &site.path("full/new"), false).await.unwrap();
    let extend = async |offset, length: usize, all_or_nothing| {
        let options = PartOptions { offset, length: 5_000_000, all_or_nothing };
        site.files.extend_part(&site.user, &part, pieces(&noise(length)), options).await
    };
    assert_eq!(extend(0, 100_000, false).await.unwrap(), 100_000);
    let error = extend(100_000, 2_500_000, true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error:?}");
    assert!(fs::read(site.local("full/.part")).unwrap() == noise(100_000), "a part of it that was not checked was added");
    let error = extend(100_000, 2_500_000, false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error:?}");
    let arrived = fs::read(site.local("full/.part")).unwrap();
    let added = arrived.len() - 100_000;
    assert!(added > 100_000 && arrived[100_000..] == noise(2_500_000)[..added], "{added} bytes were added");
}

type Server = fn(DuplexStream);

const OLD: u64 = 3;

/// A server that says well to all but what `refuse` names, and has a file `/d/f` of [`OLD`] bytes.
fn refusing(stream: DuplexStream, sizes: u64, refuse: fn(&Request) -> bool) {
    behave(stream, move |id, request| match request {
        request if refuse(&request) => status(id, Status::Failure),
        Request::Lstat { path } | Request::Stat { path } => match path.ends_with(b"/f") {
            true => packet(id, &Response::Attrs { attributes: Attributes { size: Some(OLD), ..Attributes::with_mode(0o100_644) } }),
            false => status(id, Status::NoSuchFile),
        },
        Request::Fstat { .. } => {
            packet(id, &Response::Attrs { attributes: Attributes { size: Some(sizes), ..Attributes::with_mode(0o100_644) } })
        }
        Request::Open { .. } => packet(id, &Response::Handle { handle: Bytes::from_static(b"h") }),
        Request::Rename { .. } | Request::PosixRename { .. } => panic!("what is not whole was put in its place"),
        _ => status(id, Status::Ok),
    });
}

#[tokio::test]
async fn a_file_is_whole_only_when_each_request_was_answered_well_and_the_server_has_as_much_as_was_sent() {
    let servers: [(&str, Server); 4] = [
        ("the only write fails after the content has ended", |stream| {
            refusing(stream, 10, |request| matches!(request, Request::Write { offset: 0, .. }));
        }),
        ("a write in the middle fails", |stream| {
            refusing(stream, 100_000, |request| matches!(request, Request::Write { offset: 32_768.., .. }));
        }),
        ("closing fails", |stream| refusing(stream, 10, |request| matches!(request, Request::Close { .. }))),
        ("the size is another", |stream| refusing(stream, 9, |_| false)),
    ];
    for (name, server) in servers {
        for length in if name == "a write in the middle fails" { [100_000, 400_000] } else { [10, 400_000] } {
            let site = Site::new(Subsystem::Hostile(server), FileAccess::Sftp, Settings::default());
            let content = stream::iter([Ok(Bytes::from(noise(length)))]).boxed();
            let path = RemotePath::from_text("/d/f").unwrap();
            let error = site.files.upload(&site.user, &path, content, UploadOptions::default()).await;
            let error = error.expect_err(name);
            assert_eq!(error.kind(), Kind::Conflict, "{name}, {length}: {error:?}");
        }
    }
}

/// A server whose user has used up the quota, and that says so in words. Its only file is the part.
fn over_quota(stream: DuplexStream) {
    let part = || Attributes { size: Some(0), ..Attributes::with_mode(0o100_644) };
    behave(stream, move |id, request| match request {
        Request::Write { .. } => {
            let message = Bytes::from_static(b"Disk quota exceeded");
            packet(id, &Response::Status { status: Status::Failure, message })
        }
        Request::Lstat { path } | Request::Stat { path } if !path.ends_with(b"/part") => status(id, Status::NoSuchFile),
        Request::Lstat { .. } | Request::Stat { .. } | Request::Fstat { .. } => packet(id, &Response::Attrs { attributes: part() }),
        Request::Open { .. } => packet(id, &Response::Handle { handle: Bytes::from_static(b"h") }),
        Request::Rename { .. } | Request::PosixRename { .. } => panic!("what is not whole was put in its place"),
        _ => status(id, Status::Ok),
    });
}

#[tokio::test]
async fn a_quota_is_told_as_one_by_each_way_in() {
    for way_in in [WayIn::Upload(10), WayIn::Upload(400_000), WayIn::Part(10), WayIn::Part(400_000)] {
        let mut transport = Local::new(Subsystem::Hostile(over_quota));
        transport.runs_commands = false;
        let transport = Arc::new(transport);
        let files = open(transport.clone(), FileAccess::Sftp, Settings::default());
        let (user, path) = (principal("ada"), |name: &str| RemotePath::from_text(name).unwrap());
        let outcome = match way_in {
            WayIn::Upload(length) => files.upload(&user, &path("/d/f"), pieces(&noise(length)), UploadOptions::default()).await.map(drop),
            WayIn::Part(length) => {
                let options = PartOptions { offset: 0, length: length as u64, all_or_nothing: false };
                files.extend_part(&user, &path("/d/part"), pieces(&noise(length)), options).await.map(drop)
            }
            _ => unreachable!(),
        };
        let error = outcome.expect_err(&format!("{way_in:?}"));
        assert!(matches!(error, FilesystemError::NoSpace(_)) && error.kind() == Kind::Conflict, "{way_in:?}: {error:?}");
    }
}
