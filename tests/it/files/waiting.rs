//! Sessions of transfers: kept for the next transfer if usable, for a short time.

use std::time::Duration;

use futures::StreamExt;
use goldcrest::filesystem::{FileAccess, Settings};
use goldcrest::ssh::LaneKind;

use super::transport::Subsystem;
use super::{Site, noise};
use crate::support::{principal, wait_for};

const LARGE: usize = 1024 * 1024;

fn transfer_sessions(site: &Site) -> usize {
    site.transport.opened.lock().unwrap().iter().filter(|(_, kind)| *kind == LaneKind::Bulk).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_one_after_the_other_share_a_session() {
    let site = Site::sftp().unwrap();
    let content = noise(LARGE);
    let path = site.write("f", &content);
    for _ in 0..5 {
        assert!(site.download(&path).await.unwrap() == content);
        site.upload(&site.path("g"), &content, None).await.unwrap();
    }
    assert_eq!(transfer_sessions(&site), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_at_the_same_time_have_sessions_of_their_own() {
    let site = Site::sftp().unwrap();
    let path = site.write("f", noise(LARGE));
    let under_way = site.files.download(&site.user, &path, None, None).await.unwrap();
    site.download(&path).await.unwrap();
    site.download(&path).await.unwrap();
    assert_eq!(transfer_sessions(&site), 2);
    drop(under_way);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_serves_nobody_else() {
    let site = Site::sftp().unwrap();
    let path = site.write("f", noise(LARGE));
    for user in ["ada", "bob"] {
        let mut download = site.files.download(&principal(user), &path, None, None).await.unwrap();
        while let Some(piece) = download.content.next().await {
            piece.unwrap();
        }
    }
    let opened = site.transport.opened.lock().unwrap().clone();
    assert!(opened.contains(&("ada".to_owned(), LaneKind::Bulk)) && opened.contains(&("bob".to_owned(), LaneKind::Bulk)), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_broke_while_it_waited_is_not_noticed() {
    let site = Site::sftp().unwrap();
    let content = noise(LARGE);
    let path = site.write("f", &content);
    for _ in 0..10 {
        site.transport.cut_sessions();
        site.upload(&site.path("g"), &content, None).await.unwrap();
        site.transport.cut_sessions();
        assert!(site.download(&path).await.unwrap() == content);
    }
    assert_eq!(site.names(), [b"f", b"g"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_waits_no_longer_than_it_is_told() {
    let settings = Settings { transfer_session_idle: Duration::from_millis(100), ..Settings::default() };
    let site = Site::new(Subsystem::Own, FileAccess::Sftp, settings);
    let path = site.write("f", noise(LARGE));
    site.download(&path).await.unwrap();
    wait_for(Duration::from_secs(5), || site.transport.sessions() == 1).await;
    site.files.stat(&site.user, &path, false).await.unwrap();
    assert_eq!(site.transport.opened.lock().unwrap().len(), 2, "the session for small requests goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_much_still_to_come_is_let_go() {
    let site = Site::sftp().unwrap();
    let path = site.write("f", noise(32 * LARGE));
    let mut download = site.files.download(&site.user, &path, None, None).await.unwrap();
    download.content.next().await.unwrap().unwrap();
    drop(download);
    wait_for(Duration::from_secs(5), || site.transport.sessions() == 1).await;
}
