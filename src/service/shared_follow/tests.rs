use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream;

use super::*;
use crate::filesystem::FilesystemError;

/// An output that grows while it is read, and everything that opens it.
#[derive(Clone, Default)]
struct Output {
    content: Arc<Mutex<Vec<u8>>>,
    /// How often it began anew.
    epoch: Arc<Mutex<u64>>,
    grown: Arc<tokio::sync::Notify>,
    ended: Arc<Mutex<bool>>,
    opened: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

/// How much a source reads at once.
const PIECE: usize = 64 * 1024;

impl Output {
    fn append(&self, data: &[u8]) {
        self.content.lock().extend_from_slice(data);
        self.grown.notify_waiters();
    }

    fn truncate(&self) {
        self.content.lock().clear();
        *self.epoch.lock() += 1;
        self.grown.notify_waiters();
    }

    fn end(&self) {
        *self.ended.lock() = true;
        self.grown.notify_waiters();
    }

    fn opener(&self) -> OpenSource {
        let output = self.clone();
        Box::new(move |offset| output.clone().source(offset))
    }

    fn source(self, offset: u64) -> Source {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let epoch = *self.epoch.lock();
        let rest = stream::unfold((self, usize::try_from(offset).unwrap(), epoch), |(output, at, epoch)| async move {
            let notify = Arc::clone(&output.grown);
            loop {
                let grown = notify.notified();
                let now = *output.epoch.lock();
                if now != epoch {
                    return Some((Event::Change(Followed::Truncated), (output, 0, now)));
                }
                let data = output.content.lock().get(at..).map(|rest| rest[..rest.len().min(PIECE)].to_vec()).unwrap_or_default();
                if !data.is_empty() {
                    output.reads.fetch_add(1, Ordering::SeqCst);
                    let end = at + data.len();
                    return Some((Event::Change(Followed::Data { data: data.into(), end: end as u64 }), (output, end, epoch)));
                }
                if *output.ended.lock() {
                    return Some((Event::Ended, (output, at, epoch)));
                }
                grown.await;
            }
        });
        stream::iter([Event::Opened]).chain(rest).boxed()
    }
}

fn key() -> FollowKey {
    FollowKey {
        system: SystemName::new("daint").unwrap(),
        user: Username::new("ada").unwrap(),
        subject: "ada".to_owned(),
        job: JobId::new("7").unwrap(),
        stream: LogStream::Stdout,
    }
}

fn later() -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_secs(600)
}

async fn join(follows: &SharedFollows, output: &Output, offset: u64) -> Follower {
    follows.join(key(), offset, later(), || Ok(Arc::new(())), output.opener()).await.unwrap()
}

/// Reads until the end, and gives the content with the marks of what happened to the file.
async fn all(mut follower: Follower) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(update) = follower.next().await {
        match update.unwrap() {
            Update::Change(Followed::Data { data, end }) => {
                all.extend_from_slice(&data);
                assert_eq!(end, follower.offset);
            }
            Update::Change(change) => all.extend_from_slice(format!("<{change:?}>").as_bytes()),
            Update::End(reason) => assert_eq!(reason, EndReason::JobEnded),
        }
    }
    all
}

#[tokio::test]
async fn a_hundred_who_follow_one_output_cost_one_reader() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    output.append(b"first\n");
    let mut tasks = Vec::new();
    for _ in 0..100 {
        tasks.push(tokio::spawn(all(join(&follows, &output, 0).await)));
    }
    for line in [&b"second\n"[..], b"third\n"] {
        tokio::task::yield_now().await;
        output.append(line);
    }
    output.end();
    for task in tasks {
        assert_eq!(task.await.unwrap(), b"first\nsecond\nthird\n");
    }
    assert_eq!(output.opened.load(Ordering::SeqCst), 1);
    assert!(output.reads.load(Ordering::SeqCst) <= 3);
    assert!(follows.hubs(&key()).is_empty(), "nobody follows any more");
}

#[tokio::test]
async fn each_begins_where_it_asks_to_within_what_is_kept() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    output.append(b"0123456789");
    let mut first = join(&follows, &output, 0).await;
    assert!(matches!(first.next().await, Some(Ok(Update::Change(_)))));
    let (third, end) = (join(&follows, &output, 3).await, join(&follows, &output, 10).await);
    output.append(b"ab");
    output.end();
    assert_eq!(all(third).await, b"3456789ab");
    assert_eq!(all(end).await, b"ab");
    assert_eq!(all(first).await, b"ab");
    assert_eq!(output.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_comes_late_reads_alone_and_then_with_the_others() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    let long = vec![b'x'; 4 * MAX_KEPT];
    output.append(&long);
    let mut first = join(&follows, &output, 0).await;
    while first.offset < long.len() as u64 {
        first.next().await.unwrap().unwrap();
    }
    let mut late = join(&follows, &output, 0).await;
    let same = join(&follows, &output, 0).await;
    assert_eq!(output.opened.load(Ordering::SeqCst), 2, "both of them share a reader of their own");
    while late.offset < long.len() as u64 {
        late.next().await.unwrap().unwrap();
    }
    output.append(b"end");
    output.end();
    let (first, late) = tokio::join!(all(first), all(late));
    assert_eq!((first, late), (b"end".to_vec(), b"end".to_vec()));
    assert_eq!(all(same).await.len(), long.len() + 3);
    assert!(output.opened.load(Ordering::SeqCst) <= 3);
    assert!(follows.hubs(&key()).is_empty());
}

#[tokio::test]
async fn who_is_slow_misses_nothing_and_holds_up_nobody() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    output.append(b"begin");
    let (mut slow, mut fast) = (join(&follows, &output, 0).await, join(&follows, &output, 0).await);
    slow.next().await.unwrap().unwrap();
    output.append(&vec![b'x'; 4 * MAX_KEPT]);
    let all_there = 5 + 4 * MAX_KEPT as u64;
    while fast.offset < all_there {
        fast.next().await.unwrap().unwrap();
    }
    assert!(fast.hub.window.lock().kept <= MAX_KEPT);
    output.append(b"end");
    output.end();
    assert_eq!(all(slow).await.len(), 4 * MAX_KEPT + 3);
    assert_eq!(all(fast).await, b"end");
}

#[tokio::test]
async fn a_file_that_begins_anew_is_reported_to_all_even_to_those_behind() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    output.append(b"old");
    let (mut near, mut behind) = (join(&follows, &output, 0).await, join(&follows, &output, 0).await);
    near.next().await.unwrap().unwrap();
    behind.next().await.unwrap().unwrap();
    output.truncate();
    assert!(matches!(near.next().await, Some(Ok(Update::Change(Followed::Truncated)))));
    output.append(&vec![b'n'; 3 * MAX_KEPT]);
    while near.offset < 3 * MAX_KEPT as u64 {
        near.next().await.unwrap().unwrap();
    }
    output.end();
    let content = all(behind).await;
    assert!(content.starts_with(b"<Truncated>nnn") && content.len() == 3 * MAX_KEPT + 11, "{}", content.len());
}

#[tokio::test]
async fn what_cannot_be_opened_is_reported_to_all_who_wait_and_tried_anew_by_the_next() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    let failing = || -> OpenSource {
        Box::new(|_| {
            let error = FilesystemError::Unsupported("none of it").into();
            stream::iter([Event::Failed(Arc::new(error))]).boxed()
        })
    };
    for _ in 0..2 {
        let refused = follows.join(key(), 0, later(), || Ok(Arc::new(())), failing()).await;
        assert_eq!(refused.err().map(|error| error.to_string()), Some("none of it".to_owned()));
    }
    output.append(b"now");
    output.end();
    assert_eq!(all(join(&follows, &output, 0).await).await, b"now");
}

#[tokio::test]
async fn when_the_token_of_the_first_ends_the_others_go_on_with_their_own() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    output.append(b"one");
    let short = output.clone();
    let ends_soon: OpenSource = Box::new(move |offset| {
        let data = Event::Change(Followed::Data { data: Bytes::from_static(b"one"), end: offset + 3 });
        short.opened.fetch_add(1, Ordering::SeqCst);
        stream::iter([Event::Opened, data, Event::Expired]).boxed()
    });
    let first = follows.join(key(), 0, Timestamp::now(), || Ok(Arc::new(())), ends_soon).await.unwrap();
    let other = join(&follows, &output, 0).await;
    output.append(b"two");
    output.end();
    let mut first = first.updates();
    assert!(matches!(first.next().await, Some(Ok(Update::Change(_)))));
    assert!(matches!(first.next().await, Some(Ok(Update::End(EndReason::TokenEnded)))));
    assert!(first.next().await.is_none());
    assert_eq!(all(other).await, b"onetwo");
    assert_eq!(output.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn who_goes_away_while_driving_leaves_the_work_to_the_others() {
    let (follows, output) = (SharedFollows::default(), Output::default());
    let (mut driver, other) = (join(&follows, &output, 0).await, join(&follows, &output, 0).await);
    let driving = tokio::spawn(async move { driver.next().await.is_some() });
    tokio::task::yield_now().await;
    let waiting = tokio::spawn(all(other));
    tokio::task::yield_now().await;
    driving.abort();
    let _ = driving.await;
    output.append(b"still read");
    output.end();
    assert_eq!(waiting.await.unwrap(), b"still read");
    assert_eq!(output.opened.load(Ordering::SeqCst), 1);
}
