//! Uploads and downloads of whole files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use goldcrest::filesystem::{FilesystemError, UploadOptions};
use tokio::sync::oneshot;

use super::{Site, noise, on_each_site, pieces};
use crate::support::wait_for;

on_each_site!(
    contents_of_every_size_come_back,
    a_big_file_streams_in_and_out,
    an_upload_over_a_file_keeps_its_mode,
    an_upload_through_a_link_replaces_the_file_it_leads_to,
    an_upload_that_fails_leaves_the_target_and_nothing_else,
    an_upload_whose_client_goes_away_leaves_nothing,
    a_file_that_becomes_shorter_fails_rather_than_ends,
    a_directory_that_takes_the_place_of_the_target_meanwhile_is_named,
);

async fn contents_of_every_size_come_back(site: Site) {
    for length in [0, 1, 32_767, 32_768, 32_769, 262_143, 262_144, 262_145, 1_000_003] {
        let (path, content) = (site.path("f"), noise(length));
        site.upload(&path, &content, None).await.unwrap();
        assert!(fs::read(site.local("f")).unwrap() == content, "{length} bytes in");
        assert!(site.download(&path).await.unwrap() == content, "{length} bytes out");
    }
    assert_eq!(site.names(), [b"f"]);
}

async fn a_big_file_streams_in_and_out(site: Site) {
    const PIECE: usize = 1024 * 1024;
    let piece = Bytes::from(noise(PIECE));
    let content = { stream::iter(0..64).map(move |_| Ok(piece.clone())).boxed() };
    site.files.upload(&site.user, &site.path("big"), content, UploadOptions::default()).await.unwrap();
    let mut download = site.files.download(&site.user, &site.path("big"), None, None).await.unwrap();
    assert_eq!(download.version.size, 64 * PIECE as u64);
    let (expected, mut at) = (noise(PIECE), 0);
    while let Some(piece) = download.content.next().await {
        let piece = piece.unwrap();
        assert!(piece.len() <= PIECE, "pieces are bounded");
        for byte in piece.chunks(PIECE).flatten() {
            assert_eq!(*byte, expected[at % PIECE]);
            at += 1;
        }
    }
    assert_eq!(at, 64 * PIECE);
}

async fn a_directory_that_takes_the_place_of_the_target_meanwhile_is_named(site: Site) {
    let path = site.write("f", "old");
    let at = site.local("f");
    let last = stream::once(async move {
        fs::remove_file(&at).unwrap();
        fs::create_dir(&at).unwrap();
        Ok(Bytes::from_static(b"new"))
    });
    let content = stream::iter([Ok(Bytes::from(noise(300_000)))]).chain(last).boxed();
    let error = site.files.upload(&site.user, &path, content, UploadOptions::default()).await.unwrap_err();
    assert!(matches!(&error, FilesystemError::WrongType { reason: "Is a directory", .. }), "{error:?}");
    wait_for(Duration::from_secs(10), || site.names() == [b"f"]).await;
    assert!(site.local("f").is_dir());
}

async fn an_upload_over_a_file_keeps_its_mode(site: Site) {
    for (mode, length) in [(0o600, 10), (0o755, 10), (0o4711, 400_000)] {
        let path = site.write("f", "old");
        fs::set_permissions(site.local("f"), fs::Permissions::from_mode(mode)).unwrap();
        site.upload(&path, &noise(length), None).await.unwrap();
        let metadata = fs::metadata(site.local("f")).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.len()), (mode, length as u64));
    }
}

async fn an_upload_through_a_link_replaces_the_file_it_leads_to(site: Site) {
    fs::create_dir(site.local("d")).unwrap();
    site.write("d/real", "old");
    symlink("d/real", site.local("link")).unwrap();
    symlink("d/new", site.local("dangling")).unwrap();
    for (link, real) in [("link", "d/real"), ("dangling", "d/new")] {
        site.upload(&site.path(link), b"new", None).await.unwrap();
        assert!(site.local(link).is_symlink());
        assert_eq!(fs::read(site.local(real)).unwrap(), b"new");
    }
    assert_eq!(fs::read_dir(site.local("d")).unwrap().count(), 2);
}

async fn an_upload_that_fails_leaves_the_target_and_nothing_else(site: Site) {
    let path = site.write("f", "old");
    for length in [100_000, 1_000_000] {
        let over = site.upload(&path, &noise(length), Some(length as u64 - 1)).await;
        assert!(matches!(over, Err(FilesystemError::TooLarge(_))), "{over:?}");
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let content = pieces(&noise(length)).chain(stream::iter([Err(FilesystemError::Interrupted(broken))])).boxed();
        let cut = site.files.upload(&site.user, &path, content, UploadOptions::default()).await;
        assert!(matches!(cut, Err(FilesystemError::Interrupted(_))), "{cut:?}");
    }
    wait_for(Duration::from_secs(10), || site.names() == [b"f"]).await;
    assert_eq!(fs::read(site.local("f")).unwrap(), b"old");
}

async fn an_upload_whose_client_goes_away_leaves_nothing(site: Site) {
    let (reached, was_reached) = oneshot::channel();
    let end = stream::once(async move {
        reached.send(()).unwrap();
        futures::future::pending().await
    });
    let content = pieces(&noise(2_000_000)).chain(end).boxed();
    let (files, user, path) = (site.files.clone(), site.user.clone(), site.path("f"));
    let upload = tokio::spawn(async move { files.upload(&user, &path, content, UploadOptions::default()).await });
    was_reached.await.unwrap();
    wait_for(Duration::from_secs(10), || site.names().len() == 1).await;
    assert!(site.names()[0].starts_with(b".f.goldcrest-"));
    upload.abort();
    wait_for(Duration::from_secs(10), || site.names().is_empty()).await;
}

async fn a_file_that_becomes_shorter_fails_rather_than_ends(site: Site) {
    let path = site.write("f", noise(64 * 1024 * 1024));
    let mut download = site.files.download(&site.user, &path, None, None).await.unwrap();
    download.content.next().await.unwrap().unwrap();
    fs::File::options().write(true).open(site.local("f")).unwrap().set_len(1_000_000).unwrap();
    let mut last = None;
    while let Some(piece) = download.content.next().await {
        last = Some(piece.map(drop));
    }
    assert!(matches!(last, Some(Err(FilesystemError::Sftp { .. }))), "{last:?}");
}
