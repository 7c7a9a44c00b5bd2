//! Following files, and reading storage information, on every kind of site.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::StreamExt;
use goldcrest::domain::{AclTag, RemotePath};
use goldcrest::filesystem::{FileAccess, FilesystemError, FollowFrom, FollowStream, Followed, Settings};
use tokio::time::timeout;

use super::transport::Subsystem;
use super::{Site, on_each_site};
use crate::support::{PATIENCE, wait_for};

on_each_site!(
    a_file_is_followed_as_it_grows_is_truncated_replaced_and_removed,
    following_begins_where_it_is_asked_to,
    what_cannot_be_followed_is_told_at_once,
    a_file_system_tells_how_full_it_is,
    an_access_control_list_is_told,
);

async fn follow(site: &Site, path: &RemotePath, from: FollowFrom) -> FollowStream {
    site.files.follow(&site.user, path, from).await.unwrap()
}

async fn next(happening: &mut FollowStream) -> Followed {
    timeout(PATIENCE, happening.next()).await.expect("nothing happens").unwrap().unwrap()
}

async fn data(happening: &mut FollowStream, length: usize) -> (Vec<u8>, u64) {
    let mut all = Vec::new();
    loop {
        match next(happening).await {
            Followed::Data { data, end } => {
                all.extend_from_slice(&data);
                if all.len() >= length {
                    return (all, end);
                }
            }
            other => panic!("{other:?} after {} bytes", all.len()),
        }
    }
}

fn append(site: &Site, name: &str, content: &[u8]) {
    fs::File::options().append(true).open(site.local(name)).unwrap().write_all(content).unwrap();
}

async fn a_file_is_followed_as_it_grows_is_truncated_replaced_and_removed(site: Site) {
    let path = site.write("log", "first\n");
    let mut happening = follow(&site, &path, FollowFrom::Start(0)).await;
    assert_eq!(data(&mut happening, 6).await, (b"first\n".to_vec(), 6));
    append(&site, "log", b"second\xFF\n");
    assert_eq!(data(&mut happening, 8).await, (b"second\xFF\n".to_vec(), 14));
    let large = super::noise(300_000);
    append(&site, "log", &large);
    assert!(data(&mut happening, large.len()).await == (large, 300_014));

    fs::write(site.local("log"), "short").unwrap();
    assert_eq!(next(&mut happening).await, Followed::Truncated);
    assert_eq!(data(&mut happening, 5).await, (b"short".to_vec(), 5));

    // Rotated: what was written last to the old file is told before the new one, by who keeps it open.
    fs::rename(site.local("log"), site.local("log.1")).unwrap();
    append(&site, "log.1", b" end");
    site.write("log", "a new and longer file");
    if site.is_sftp() {
        assert_eq!(data(&mut happening, 4).await, (b" end".to_vec(), 9));
    }
    loop {
        match next(&mut happening).await {
            // Whether the moment without a file was seen is chance.
            Followed::Removed => {}
            other => break assert_eq!(other, Followed::Replaced),
        }
    }
    assert_eq!(data(&mut happening, 21).await, (b"a new and longer file".to_vec(), 21));

    fs::remove_file(site.local("log")).unwrap();
    assert_eq!(next(&mut happening).await, Followed::Removed);
    site.write("log", "again");
    assert_eq!(next(&mut happening).await, Followed::Replaced);
    assert_eq!(data(&mut happening, 5).await, (b"again".to_vec(), 5));
}

async fn following_begins_where_it_is_asked_to(site: Site) {
    let path = site.write("log", "0123456789");
    for (from, expected) in
        [(FollowFrom::Start(7), "789!"), (FollowFrom::End(2), "89!"), (FollowFrom::End(0), "!"), (FollowFrom::End(99), "0123456789!")]
    {
        fs::write(site.local("log"), "0123456789").unwrap();
        let mut happening = follow(&site, &path, from).await;
        append(&site, "log", b"!");
        assert_eq!(data(&mut happening, expected.len()).await, (expected.as_bytes().to_vec(), 11), "{from:?}");
    }
    let mut happening = follow(&site, &path, FollowFrom::Start(1_000)).await;
    assert_eq!(next(&mut happening).await, Followed::Truncated, "it is shorter than what was told of it before");
    assert_eq!(data(&mut happening, 11).await.1, 11);
}

async fn what_cannot_be_followed_is_told_at_once(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    let error = |name: &str| {
        let (path, site) = (site.path(name), &site);
        async move { site.files.follow(&site.user, &path, FollowFrom::End(0)).await.err().unwrap() }
    };
    rustix::fs::mknodat(rustix::fs::CWD, site.local("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert!(matches!(error("pipe").await, FilesystemError::WrongType { .. }));
    assert!(matches!(error("gone").await, FilesystemError::NotFound(_)));
    assert!(matches!(error("d").await, FilesystemError::WrongType { .. }));
}

async fn a_file_system_tells_how_full_it_is(site: Site) {
    let space = site.files.space(&site.user, &site.path("")).await.unwrap();
    let found = rustix::fs::statvfs(site.directory.path()).unwrap();
    assert_eq!(space.total, found.f_blocks * found.f_frsize);
    assert!(space.available <= space.free && space.free < space.total && space.files_free <= space.files);
    let error = site.files.space(&site.user, &site.path("gone")).await.unwrap_err();
    assert!(matches!(error, FilesystemError::NotFound(_)), "{error:?}");
}

async fn an_access_control_list_is_told(site: Site) {
    let path = site.write("it's a file", "");
    fs::set_permissions(site.local("it's a file"), fs::Permissions::from_mode(0o640)).unwrap();
    match site.files.acl(&site.user, &path).await {
        Ok(entries) => {
            let told: Vec<_> = entries.iter().map(|entry| (entry.tag, entry.permissions)).collect();
            assert_eq!(told, [(AclTag::User, 6), (AclTag::Group, 4), (AclTag::Other, 0)]);
            let error = site.files.acl(&site.user, &site.path("gone")).await.unwrap_err();
            assert!(matches!(error, FilesystemError::NotFound(_)), "{error:?}");
        }
        // A machine without the program.
        Err(error) => assert!(matches!(error, FilesystemError::Unsupported(_)), "{error:?}"),
    }
    if let Err(error) = site.files.quota(&site.user, &path).await {
        assert!(matches!(error, FilesystemError::Unsupported(_)), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_breaks_is_not_noticed_by_who_follows_and_the_file_is_closed_at_the_end() {
    let site = Site::new(Subsystem::Own, FileAccess::Sftp, Settings::default());
    let path = site.write("followed-to-the-end", "1");
    let file = site.local("followed-to-the-end");
    let is_open = || {
        let mut descriptors = fs::read_dir("/proc/self/fd").unwrap();
        descriptors.any(|entry| fs::read_link(entry.unwrap().path()).is_ok_and(|target| target == file))
    };
    let mut happening = follow(&site, &path, FollowFrom::Start(0)).await;
    for round in 0..5_u64 {
        assert_eq!(data(&mut happening, 1).await.1, round + 1);
        site.transport.cut_sessions();
        append(&site, "followed-to-the-end", b"2");
    }
    assert!(timeout(Duration::from_secs(1), data(&mut happening, 1)).await.is_ok());
    assert!(is_open());
    drop(happening);
    wait_for(PATIENCE, || !is_open()).await;
}
