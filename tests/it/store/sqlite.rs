//! Properties of the store in a file.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use goldcrest::error::{Classify, ErrorChain, Kind};
use goldcrest::store::{Inspection, Sqlite, SqliteConfig, Store, StoreError};

use super::{RETENTION, in_folder, record};
use crate::support::{PATIENCE, wait_for};

#[tokio::test]
async fn the_files_are_for_the_account_of_the_process_alone() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("new/state");
    let store = Sqlite::new(in_folder(&state));
    store.append("stream", &[vec![1]], RETENTION).await.unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.clone()), 0o700);
    let modes: Vec<u32> = std::fs::read_dir(&state).unwrap().map(|entry| mode(entry.unwrap().path())).collect();
    assert!(modes.len() >= 2 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    std::fs::set_permissions(state.join("store.sqlite"), PermissionsExt::from_mode(0o644)).unwrap();
    Sqlite::new(in_folder(&state)).list("kind", "nobody").await.unwrap();
    assert_eq!(mode(state.join("store.sqlite")), 0o600);
}

#[tokio::test]
async fn a_full_file_refuses_says_so_keeps_what_it_has_and_takes_more_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::new(SqliteConfig { max_size: 1, ..in_folder(folder.path()) });
    let mut kept = 0;
    let error = loop {
        match store.append("stream", &[vec![7; 50_000]], RETENTION).await {
            Ok(number) => kept = number,
            Err(error) => break error,
        }
    };
    assert!((10..30).contains(&kept), "{kept}");
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(false)));
    assert!(error.to_string().starts_with("the store is full: "), "{error}");
    assert_eq!(store.status().operations(), [("done", kept), ("failed", 0), ("full", 1)]);
    assert_eq!(store.read("stream", 0, 100).await.unwrap().last, kept);
    assert!(std::fs::metadata(folder.path().join("store.sqlite")).unwrap().len() <= 1024 * 1024);
    let few = goldcrest::store::Retention { count: 1, ..RETENTION };
    store.append("stream", &[vec![1]], few).await.unwrap();
    store.append("stream", &[vec![7; 50_000]], few).await.unwrap();
}

#[tokio::test]
async fn a_disk_without_space_refuses_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new("mount").args(arguments).arg(folder.path()).output().is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"]) {
        return crate::support::skip("a small file system can only be mounted by root");
    }
    let store = Sqlite::new(in_folder(folder.path()));
    store.put(&record("kind", "small", None)).await.unwrap();
    let mut error = None;
    for number in 0..100 {
        error = error.or(store.append("stream", &[vec![number; 50_000]], RETENTION).await.err());
    }
    let found = store.get("kind", "small").await;
    drop(store);
    assert!(std::process::Command::new("umount").arg("--lazy").arg(folder.path()).status().unwrap().success());
    assert!(matches!(error, Some(StoreError::Full(_))), "{error:?}");
    assert!(found.unwrap().is_some());
}

#[tokio::test]
async fn a_file_of_a_later_release_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    Sqlite::new(in_folder(folder.path())).list("kind", "nobody").await.unwrap();
    let path = folder.path().join("store.sqlite");
    // The version of the tables is the number at this place of the file's first page.
    // The thread ends, and writes everything back, a moment later.
    wait_for(PATIENCE, || !folder.path().join("store.sqlite-wal").exists()).await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = Sqlite::new(in_folder(folder.path())).list("kind", "nobody").await.unwrap_err();
    assert!(error.to_string().contains("version 99, and this release knows none later than 1"), "{error}");
}

#[tokio::test]
async fn a_look_at_a_file_creates_and_changes_nothing_and_finds_what_the_service_would() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("new #1?/state");
    let look = async || Sqlite::new(in_folder(&state)).inspect().await;
    let everything = || {
        let entries = std::fs::read_dir(&state).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = entries.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        found.sort();
        found
    };
    let path = state.join("store.sqlite").display().to_string();
    assert_eq!(look().await.unwrap(), Inspection::Absent(format!("{path}, with its directory")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::create_dir_all(&state).unwrap();
    assert_eq!(look().await.unwrap(), Inspection::Absent(path));
    assert_eq!(everything(), []);

    let store = Sqlite::new(in_folder(&state));
    store.append("stream", &[vec![1]], RETENTION).await.unwrap();
    let before = everything();
    assert_eq!((before.len(), look().await.unwrap()), (3, Inspection::Ready), "the tables are in the log beside the file");
    // The shared memory has the marks of readers.
    let contents =
        |all: Vec<(Vec<u8>, PathBuf)>| all.into_iter().filter(|(_, path)| !path.ends_with("store.sqlite-shm")).collect::<Vec<_>>();
    assert_eq!(contents(everything()), contents(before));
    drop(store);
    wait_for(PATIENCE, || everything().len() == 1).await;
    let before = everything();
    assert_eq!(look().await.unwrap(), Inspection::Ready);
    assert_eq!(everything(), before);

    let (mut bytes, file) = before.into_iter().next().unwrap();
    bytes[60..64].copy_from_slice(&0_u32.to_be_bytes());
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(look().await.unwrap(), Inspection::Outdated);
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(&file, &bytes).unwrap();
    assert!(matches!(look().await, Err(StoreError::Newer { found: 99, .. })));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    std::fs::write(&file, "this is no store, and nothing of Goldcrest's").unwrap();
    assert!(look().await.is_err());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::write(&state, "").unwrap();
    let store = Sqlite::new(in_folder(&state));
    let error = store.list("kind", "nobody").await.unwrap_err();
    let text = ErrorChain(&error).to_string();
    assert!(text.starts_with("the store does not answer: ") && text.contains("state/store.sqlite"), "{text}");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!store.status().is_up());
    std::fs::remove_file(&state).unwrap();
    store.list("kind", "nobody").await.unwrap();
    assert!(store.status().is_up());
}
