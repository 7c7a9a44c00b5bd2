//! Parts of files, and files that change while they are read or before they are replaced.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use goldcrest::domain::{ByteRange, FileVersion, RemotePath};
use goldcrest::filesystem::{Expected, FilesystemError, Placed, UploadOptions};

use super::{Site, noise, on_each_site, pieces};
use crate::support::wait_for;

on_each_site!(
    any_range_of_a_file_is_that_part_of_it,
    ranges_at_the_same_time_make_up_the_file,
    a_file_that_is_written_over_meanwhile_is_cut_and_not_ended,
    a_file_that_grows_meanwhile_is_given_as_it_was,
    a_file_that_is_replaced_meanwhile_is_given_as_it_was,
    a_new_file_replaces_nothing,
    a_file_is_replaced_only_in_the_expected_state,
    of_several_that_expect_one_state_only_one_replaces_the_file,
);

const BIG: usize = 8 * 1024 * 1024;

async fn read(site: &Site, path: &RemotePath, range: ByteRange) -> Result<Vec<u8>, FilesystemError> {
    let download = site.files.download(&site.user, path, Some(range), None).await?;
    let length = download.range.end - download.range.start;
    let data = download.content.try_collect::<Vec<Bytes>>().await?.concat();
    assert_eq!(data.len() as u64, length);
    Ok(data)
}

/// Files in which a change shows: their last one was a while ago.
fn age(site: &Site, name: &str) {
    let file = fs::File::options().write(true).open(site.local(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
}

async fn any_range_of_a_file_is_that_part_of_it(site: Site) {
    let content = noise(1_000_003);
    let (path, end) = (site.write("f", &content), content.len());
    for (first, last) in [(0, 0), (0, 9), (262_143, 262_144), (5, 900_000), (end - 1, end - 1), (300_000, usize::MAX)] {
        let range = ByteRange::From(first as u64, Some(last as u64));
        assert!(read(&site, &path, range).await.unwrap() == content[first..end.min(last.saturating_add(1))], "{range:?}");
    }
    assert!(read(&site, &path, ByteRange::From(7, None)).await.unwrap() == content[7..]);
    assert!(read(&site, &path, ByteRange::Last(9)).await.unwrap() == content[end - 9..]);
    assert!(read(&site, &path, ByteRange::Last(u64::MAX)).await.unwrap() == content);
    let beyond = read(&site, &path, ByteRange::From(end as u64, None)).await;
    assert!(matches!(beyond, Err(FilesystemError::Range(1_000_003))), "{beyond:?}");
    let empty = site.write("empty", "");
    for range in [ByteRange::Last(5), ByteRange::From(0, None), ByteRange::From(5, Some(9))] {
        assert_eq!(read(&site, &empty, range).await.unwrap(), b"", "{range:?}");
    }
    let sizeless = RemotePath::from_text("/proc/version").unwrap();
    let refused = read(&site, &sizeless, ByteRange::From(0, None)).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("its reported size is 0")), "it is not taken for an empty one");
    assert!(!site.files.view(&site.user, &sizeless, 0, 100).await.unwrap().is_empty());
    let version = site.files.download(&site.user, &path, None, None).await.unwrap().version;
    let metadata = fs::metadata(site.local("f")).unwrap();
    assert_eq!((version.size, version.modified), (metadata.len(), metadata.mtime()));
}

async fn ranges_at_the_same_time_make_up_the_file(site: Site) {
    let content = noise(BIG);
    let path = site.write("f", &content);
    let part = BIG / 8;
    let parts = (0..8).map(|at| {
        let (first, last) = (at * part, (at + 1) * part - 1);
        read(&site, &path, ByteRange::From(first as u64, Some(last as u64)))
    });
    let parts: Vec<_> = join_all(parts).await.into_iter().map(Result::unwrap).collect();
    assert!(parts.concat() == content);
}

/// Begins to read, lets something happen, and tells how much came and how it ended.
async fn read_while(site: &Site, path: &RemotePath, meanwhile: impl FnOnce()) -> (usize, Option<FilesystemError>) {
    let mut download = site.files.download(&site.user, path, None, None).await.unwrap();
    let mut length = download.content.next().await.unwrap().unwrap().len();
    meanwhile();
    while let Some(piece) = download.content.next().await {
        match piece {
            Ok(piece) => length += piece.len(),
            Err(error) => return (length, Some(error)),
        }
    }
    (length, None)
}

async fn a_file_that_is_written_over_meanwhile_is_cut_and_not_ended(site: Site) {
    // Large enough that not all of it is on its way when the first piece is there.
    let path = site.write("f", noise(8 * BIG));
    age(&site, "f");
    let (length, error) = read_while(&site, &path, || {
        let mut file = fs::File::options().write(true).open(site.local("f")).unwrap();
        file.write_all(b"something else").unwrap();
    })
    .await;
    assert!(matches!(error, Some(FilesystemError::Changed(_))), "{error:?}");
    assert!(length < 8 * BIG, "all of it was given before that was known");
}

async fn a_file_that_grows_meanwhile_is_given_as_it_was(site: Site) {
    let path = site.write("f", noise(8 * BIG));
    age(&site, "f");
    let (length, error) = read_while(&site, &path, || {
        let mut file = fs::File::options().append(true).open(site.local("f")).unwrap();
        file.write_all(b"one more line").unwrap();
    })
    .await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(length, 8 * BIG);
}

async fn a_file_that_is_replaced_meanwhile_is_given_as_it_was(site: Site) {
    let path = site.write("f", noise(8 * BIG));
    age(&site, "f");
    let (length, error) = read_while(&site, &path, || {
        site.write("g", "shorter");
        fs::rename(site.local("g"), site.local("f")).unwrap();
    })
    .await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(length, 8 * BIG);
}

async fn store(site: &Site, name: &str, content: &[u8], expected: Expected) -> Result<Placed, FilesystemError> {
    let options = UploadOptions { expected, ..UploadOptions::default() };
    site.files.upload(&site.user, &site.path(name), pieces(content), options).await
}

async fn a_new_file_replaces_nothing(site: Site) {
    for length in [10, 1_000_000] {
        let content = noise(length);
        assert_eq!(store(&site, "f", &content, Expected::Nothing).await.unwrap(), Placed::Created);
        let again = store(&site, "f", b"other", Expected::Nothing).await;
        assert!(matches!(again, Err(FilesystemError::Exists(_))), "{again:?}");
        assert!(fs::read(site.local("f")).unwrap() == content);
        // Of many at the same time one is first, and the others are told so.
        let contents: Vec<_> = (0..8_u8).map(|number| vec![number; length]).collect();
        let all = join_all(contents.iter().map(|content| store(&site, "g", content, Expected::Nothing))).await;
        let first: Vec<_> = all.iter().enumerate().filter(|(_, placed)| placed.is_ok()).map(|(number, _)| number).collect();
        assert_eq!(first.len(), 1, "{all:?}");
        assert!(all.iter().filter_map(|placed| placed.as_ref().err()).all(|error| matches!(error, FilesystemError::Exists(_))), "{all:?}");
        assert!(fs::read(site.local("g")).unwrap() == contents[first[0]]);
        wait_for(Duration::from_secs(10), || site.names() == [b"f", b"g"]).await;
        fs::remove_file(site.local("f")).unwrap();
        fs::remove_file(site.local("g")).unwrap();
    }
}

async fn a_file_is_replaced_only_in_the_expected_state(site: Site) {
    let path = site.write("f", "old");
    age(&site, "f");
    fs::set_permissions(site.local("f"), fs::Permissions::from_mode(0o640)).unwrap();
    let version = site.files.download(&site.user, &path, None, None).await.unwrap().version;
    let other = FileVersion { modified: version.modified + 1, ..version };
    let refused = store(&site, "f", b"new", Expected::Version(other)).await;
    assert!(matches!(refused, Err(FilesystemError::Changed(_))), "{refused:?}");
    assert_eq!(fs::read(site.local("f")).unwrap(), b"old");
    // What changes while the content comes in is seen as well.
    let (reached, was_reached) = tokio::sync::oneshot::channel();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let end = futures::stream::once(async move {
        reached.send(()).unwrap();
        gone.await.unwrap();
        Ok(Bytes::from_static(b"end"))
    });
    let content = pieces(&noise(1_000_000)).chain(end).boxed();
    let options = UploadOptions { expected: Expected::Version(version), ..UploadOptions::default() };
    let upload = site.files.upload(&site.user, &path, content, options);
    let change = async {
        was_reached.await.unwrap();
        site.write("f", "changed");
        go.send(()).unwrap();
    };
    let (refused, ()) = tokio::join!(upload, change);
    assert!(matches!(refused, Err(FilesystemError::Changed(_))), "{refused:?}");
    assert_eq!(fs::read(site.local("f")).unwrap(), b"changed");
    age(&site, "f");
    let version = site.files.download(&site.user, &path, None, None).await.unwrap().version;
    assert_eq!(store(&site, "f", b"new", Expected::Version(version)).await.unwrap(), Placed::Replaced);
    let metadata = fs::metadata(site.local("f")).unwrap();
    assert_eq!((fs::read(site.local("f")).unwrap(), metadata.mode() & 0o7777), (b"new".to_vec(), 0o640));
    let missing = store(&site, "missing", b"new", Expected::Version(version)).await;
    assert!(matches!(missing, Err(FilesystemError::NotFound(_))), "{missing:?}");
    wait_for(Duration::from_secs(10), || site.names() == [b"f"]).await;
}

async fn of_several_that_expect_one_state_only_one_replaces_the_file(site: Site) {
    for round in 0..5 {
        let path = site.write("f", "old");
        age(&site, "f");
        let version = site.files.download(&site.user, &path, None, None).await.unwrap().version;
        let contents: Vec<_> = (0..6).map(|number| format!("by {number} in round {round}")).collect();
        let all = join_all(contents.iter().map(|content| store(&site, "f", content.as_bytes(), Expected::Version(version)))).await;
        let first: Vec<_> = all.iter().enumerate().filter(|(_, placed)| placed.is_ok()).map(|(number, _)| number).collect();
        assert_eq!(first.len(), 1, "{all:?}");
        assert!(all.iter().filter_map(|placed| placed.as_ref().err()).all(|error| matches!(error, FilesystemError::Changed(_))), "{all:?}");
        assert_eq!(fs::read(site.local("f")).unwrap(), contents[first[0]].as_bytes());
    }
}
