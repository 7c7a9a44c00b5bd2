//! The conformance suite of the store: each test runs on SQLite, and on a real PostgreSQL (`build/environment/postgres`).

mod killed;
mod postgres;
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use goldcrest::store::{self, Claim, Claimed, Postgres, PostgresConfig, Record, Retention, Sqlite, SqliteConfig, Store};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, skip, wait_until};

const LONG: Duration = Duration::from_secs(600);
const RETENTION: Retention = Retention { count: 100_000, age: LONG };

/// Two replicas on one store. SQLite has one.
struct Replicas {
    one: Arc<dyn Store>,
    other: Arc<dyn Store>,
    _folder: Option<TempDir>,
}

fn sqlite() -> Option<Replicas> {
    let folder = tempfile::tempdir().unwrap();
    let one: Arc<dyn Store> = Arc::new(Sqlite::new(in_folder(folder.path())));
    Some(Replicas { other: Arc::clone(&one), one, _folder: Some(folder) })
}

fn postgres() -> Option<Replicas> {
    let config = database()?;
    let open = || Arc::new(Postgres::new(&config).unwrap());
    Some(Replicas { one: open(), other: open(), _folder: None })
}

fn in_folder(folder: &Path) -> SqliteConfig {
    SqliteConfig { state_dir: folder.to_owned(), ..SqliteConfig::default() }
}

/// The database of the live environment, where it is up.
pub fn database() -> Option<PostgresConfig> {
    let root = std::env::var("GOLDCREST_ENV").unwrap_or_else(|_| "/var/tmp/goldcrest-env".to_owned());
    let config = std::fs::read_to_string(format!("{root}/postgres/env.json")).ok().map(|text| coordinates(&text));
    let is_up = |config: &PostgresConfig| {
        let authority = config.url.expose().split_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        std::net::TcpStream::connect(authority).is_ok()
    };
    let config = config.filter(is_up);
    if config.is_none() {
        skip("PostgreSQL is not up (build/environment/up.sh postgres)");
    }
    config
}

fn coordinates(text: &str) -> PostgresConfig {
    let env: serde_json::Value = serde_json::from_str(text).unwrap();
    let secret = std::fs::read_to_string(env["secretFile"].as_str().unwrap()).unwrap();
    let url = format!("postgres://goldcrest:{}@{}:{}/goldcrest", secret.trim(), env["host"].as_str().unwrap(), env["port"]);
    // Many connections are made at once, on a machine that has other work.
    serde_json::from_value(serde_json::json!({"url": url, "ca_file": env["authorityFile"], "timeout": 60})).unwrap()
}

/// A name that no other run has.
fn name(of: &str) -> String {
    format!("{of}-{}", uuid::Uuid::new_v4().simple())
}

fn kind() -> &'static str {
    name("kind").leak()
}

fn claimed(name: &str, after: u32, hold: Duration) -> Claim {
    Claim { name: name.to_owned(), digest: "digest".to_owned(), holder: "here".to_owned(), after, hold, ttl: LONG }
}

fn record(kind: &'static str, id: &str, due_in: Option<Duration>) -> Record {
    Record { kind, id: id.to_owned(), owner: "ada".to_owned(), value: id.as_bytes().to_vec(), due_in, ttl: LONG }
}

/// One test for each store.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { if let Some(replicas) = super::sqlite() { super::$name(replicas).await } })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $name() { if let Some(replicas) = super::postgres() { super::$name(replicas).await } })*
        }
    };
}

on_both! {
    of_many_who_claim_a_name_one_begins_and_all_are_told_its_result
    a_name_stands_for_one_piece_of_work
    an_attempt_without_a_result_is_followed_only_by_who_looked_for_its_effect
    an_attempt_that_had_no_effect_may_be_made_again_at_once_but_not_one_that_another_followed
    a_claim_is_forgotten_after_its_time
    entries_are_numbered_without_a_gap_whoever_appends_and_read_in_their_order
    of_many_who_append_after_the_same_entry_one_does
    a_stream_keeps_so_many_entries_for_so_long_and_says_what_is_gone
    who_watches_a_stream_is_told_of_what_any_replica_appends
    a_lease_has_one_holder_until_it_ends_or_is_given_back
    work_that_is_due_is_taken_once_and_comes_back_where_nobody_finished_it
    records_are_written_read_listed_by_owner_removed_and_end
    its_status_tells_whether_it_answers
}

async fn of_many_who_claim_a_name_one_begins_and_all_are_told_its_result(Replicas { one, other, _folder }: Replicas) {
    let name = name("claim");
    let claims = (0..20).map(|number| {
        let (store, claim) = (if number % 2 == 0 { &one } else { &other }, claimed(&name, 0, LONG));
        async move { store.claim(&claim).await.unwrap() }
    });
    let outcomes = join_all(claims).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Claimed::Begun(1)).count(), 1, "{outcomes:?}");
    let waits =
        |outcome: &&Claimed| matches!(outcome, Claimed::UnderWay { holder, remaining } if holder == "here" && *remaining > LONG / 2);
    assert_eq!(outcomes.iter().filter(waits).count(), 19, "{outcomes:?}");
    one.finish_claim(&name, 1, Some("job 7")).await.unwrap();
    for store in [&one, &other] {
        assert_eq!(store.claim(&claimed(&name, 0, LONG)).await.unwrap(), Claimed::Done("job 7".to_owned()));
    }
}

async fn a_name_stands_for_one_piece_of_work(Replicas { one, .. }: Replicas) {
    let claim = claimed(&name("claim"), 0, LONG);
    one.claim(&claim).await.unwrap();
    let other = Claim { digest: "another".to_owned(), ..claim };
    assert_eq!(one.claim(&other).await.unwrap(), Claimed::OtherWork);
}

async fn an_attempt_without_a_result_is_followed_only_by_who_looked_for_its_effect(Replicas { one, other, _folder }: Replicas) {
    let (name, before) = (name("claim"), jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60));
    one.claim(&claimed(&name, 0, Duration::ZERO)).await.unwrap();
    let Claimed::Ended { attempt: 1, began } = other.claim(&claimed(&name, 0, LONG)).await.unwrap() else { panic!("it has ended") };
    assert!(began > before);
    assert_eq!(other.claim(&claimed(&name, 1, LONG)).await.unwrap(), Claimed::Begun(2));
    assert!(matches!(one.claim(&claimed(&name, 1, LONG)).await.unwrap(), Claimed::UnderWay { .. }));
    // The effect of the first is found after all: it stands.
    one.finish_claim(&name, 1, Some("job 1")).await.unwrap();
    other.finish_claim(&name, 2, Some("job 2")).await.unwrap();
    assert_eq!(one.claim(&claimed(&name, 0, LONG)).await.unwrap(), Claimed::Done("job 1".to_owned()));
}

async fn an_attempt_that_had_no_effect_may_be_made_again_at_once_but_not_one_that_another_followed(replicas: Replicas) {
    let Replicas { one, other, _folder } = replicas;
    let name = name("claim");
    one.claim(&claimed(&name, 0, LONG)).await.unwrap();
    one.finish_claim(&name, 1, None).await.unwrap();
    assert_eq!(other.claim(&claimed(&name, 0, Duration::ZERO)).await.unwrap(), Claimed::Begun(1));
    assert_eq!(one.claim(&claimed(&name, 1, LONG)).await.unwrap(), Claimed::Begun(2));
    other.finish_claim(&name, 1, None).await.unwrap();
    assert!(matches!(other.claim(&claimed(&name, 0, LONG)).await.unwrap(), Claimed::UnderWay { .. }));
}

async fn a_claim_is_forgotten_after_its_time(Replicas { one, other, _folder }: Replicas) {
    let name = name("claim");
    one.claim(&Claim { ttl: Duration::from_millis(50), ..claimed(&name, 0, LONG) }).await.unwrap();
    one.finish_claim(&name, 1, Some("job 1")).await.unwrap();
    wait_until(PATIENCE, async || other.claim(&claimed(&name, 0, LONG)).await.unwrap() == Claimed::Begun(1)).await;
}

async fn entries_are_numbered_without_a_gap_whoever_appends_and_read_in_their_order(Replicas { one, other, _folder }: Replicas) {
    let stream = name("stream");
    assert_eq!(one.read(&stream, 0, 10).await.unwrap(), store::Page { entries: Vec::new(), first: 1, last: 0 });
    let appends = (0..40).map(|number| {
        let (store, stream) = (if number % 2 == 0 { &one } else { &other }, &stream);
        async move { store.append(stream, &[vec![number, 1], vec![number, 2], vec![number, 3]], RETENTION).await.unwrap() }
    });
    let mut numbers = join_all(appends).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).map(|number| number * 3).collect::<Vec<u64>>());
    let page = other.read(&stream, 0, 1000).await.unwrap();
    assert_eq!((page.first, page.last), (1, 120));
    assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
    let together = |three: &[store::Entry]| three.iter().zip(1_u8..).all(|(entry, place)| entry.value == [three[0].value[0], place]);
    assert!(page.entries.chunks(3).all(together));
    let page = one.read(&stream, 100, 5).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [101, 102, 103, 104, 105]);
}

async fn of_many_who_append_after_the_same_entry_one_does(Replicas { one, other, _folder }: Replicas) {
    let stream = name("stream");
    for (last, appended) in [(0, 2), (2, 4), (4, 6)] {
        let appends = (0..10_u8).map(|number| {
            let (store, stream) = (if number % 2 == 0 { &one } else { &other }, &stream);
            async move { store.append_after(stream, last, &[vec![number], vec![number]], RETENTION).await.unwrap() }
        });
        let outcomes = join_all(appends).await;
        assert_eq!(outcomes.iter().flatten().collect::<Vec<_>>(), [&appended], "{outcomes:?}");
    }
    for last in [0, 5, 7, u64::MAX] {
        assert_eq!(one.append_after(&stream, last, &[vec![1]], RETENTION).await.unwrap(), None, "{last}");
        assert_eq!(other.append_after(&name("stream"), last.max(1), &[vec![1]], RETENTION).await.unwrap(), None, "there is none yet");
    }
    let page = other.read(&stream, 0, 100).await.unwrap();
    assert_eq!((page.last, page.entries.len()), (6, 6));
    assert!(page.entries.chunks(2).all(|two| two[0].value == two[1].value));
}

async fn a_stream_keeps_so_many_entries_for_so_long_and_says_what_is_gone(Replicas { one, .. }: Replicas) {
    let stream = name("stream");
    for number in 0..10 {
        one.append(&stream, &[vec![number]], Retention { count: 3, age: LONG }).await.unwrap();
    }
    let page = one.read(&stream, 0, 100).await.unwrap();
    assert_eq!((page.first, page.last, page.entries.len()), (8, 10, 3));
    let stream = name("stream");
    one.append(&stream, &[vec![1], vec![2]], Retention { count: 3, age: Duration::from_millis(50) }).await.unwrap();
    wait_until(PATIENCE, async || one.read(&stream, 0, 100).await.unwrap() == store::Page { entries: Vec::new(), first: 3, last: 2 }).await;
    assert_eq!(one.append(&stream, &[vec![3]], RETENTION).await.unwrap(), 3);
}

async fn who_watches_a_stream_is_told_of_what_any_replica_appends(Replicas { one, other, _folder }: Replicas) {
    let (stream, stop) = (name("stream"), CancellationToken::new());
    let upkeep = tokio::spawn({
        let (store, stop) = (Arc::clone(&one), stop.clone());
        async move { store.run(stop).await }
    });
    let (mut watch, mut elsewhere) = (one.watch(&stream), one.watch(&name("stream")));
    // Whoever watches reads what is there after each waking; the connection for it may still be opened.
    for number in 1..=3 {
        other.append(&stream, &[vec![number]], RETENTION).await.unwrap();
        let heard = async {
            while one.read(&stream, u64::from(number) - 1, 1).await.unwrap().entries.is_empty() {
                watch.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
    }
    stop.cancel();
    upkeep.await.unwrap();
    let mut quiet = false;
    while !quiet {
        quiet = tokio::time::timeout(Duration::from_millis(50), elsewhere.changed()).await.is_err();
    }
}

async fn a_lease_has_one_holder_until_it_ends_or_is_given_back(Replicas { one, other, _folder }: Replicas) {
    let name = name("lease");
    assert!(one.lease(&name, "one", LONG).await.unwrap());
    assert!(!other.lease(&name, "other", LONG).await.unwrap());
    assert!(one.lease(&name, "one", LONG).await.unwrap(), "it is renewed");
    other.release(&name, "other").await.unwrap();
    assert!(!other.lease(&name, "other", LONG).await.unwrap(), "only its holder gives it back");
    one.release(&name, "one").await.unwrap();
    assert!(other.lease(&name, "other", Duration::from_millis(50)).await.unwrap());
    wait_until(PATIENCE, async || one.lease(&name, "one", LONG).await.unwrap()).await;
    assert!(!other.lease(&name, "other", LONG).await.unwrap());
}

async fn work_that_is_due_is_taken_once_and_comes_back_where_nobody_finished_it(Replicas { one, other, _folder }: Replicas) {
    let kind = kind();
    for number in 0..40 {
        one.put(&record(kind, &format!("{number:02}"), Some(Duration::ZERO))).await.unwrap();
    }
    one.put(&record(kind, "later", Some(LONG))).await.unwrap();
    one.put(&record(kind, "never", None)).await.unwrap();
    let takers = (0..10).map(|number| if number % 2 == 0 { &one } else { &other });
    let taken = join_all(takers.map(|store| async move { store.due(kind, 4, LONG).await.unwrap() })).await;
    let mut ids: Vec<String> = taken.into_iter().flatten().map(|record| record.id).collect();
    // Two who ask at the same moment may pass over what the other looks at.
    ids.extend(one.due(kind, 100, LONG).await.unwrap().into_iter().map(|record| record.id));
    ids.sort();
    assert_eq!(ids, (0..40).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    one.put(&record(kind, "00", Some(Duration::ZERO))).await.unwrap();
    assert_eq!(other.due(kind, 10, Duration::from_millis(50)).await.unwrap()[0].value, b"00");
    wait_until(PATIENCE, async || one.due(kind, 10, LONG).await.unwrap().iter().map(|record| &*record.id).eq(["00"])).await;
}

async fn records_are_written_read_listed_by_owner_removed_and_end(Replicas { one, other, _folder }: Replicas) {
    let kind = kind();
    for id in ["b", "a"] {
        one.put(&record(kind, id, None)).await.unwrap();
    }
    one.put(&Record { owner: "eve".to_owned(), ..record(kind, "c", None) }).await.unwrap();
    let ids = async |owner| other.list(kind, owner).await.unwrap().into_iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!((ids("ada").await, ids("eve").await), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    one.put(&Record { value: b"changed".to_vec(), ..record(kind, "a", None) }).await.unwrap();
    let found = other.get(kind, "a").await.unwrap().unwrap();
    assert_eq!((found.value.as_slice(), found.owner.as_str()), (&b"changed"[..], "ada"));
    assert!(found.ttl > LONG / 2 && found.ttl <= LONG, "{:?}", found.ttl);
    assert!(other.remove(kind, "a").await.unwrap() && !one.remove(kind, "a").await.unwrap());
    assert_eq!(one.get(kind, "a").await.unwrap(), None);
    one.put(&Record { ttl: Duration::from_millis(50), ..record(kind, "b", None) }).await.unwrap();
    wait_until(PATIENCE, async || one.get(kind, "b").await.unwrap().is_none() && ids("ada").await.is_empty()).await;
}

async fn its_status_tells_whether_it_answers(Replicas { one, .. }: Replicas) {
    assert!(!one.status().is_up());
    one.list("kind", "nobody").await.unwrap();
    assert!(one.status().is_up());
    assert_eq!(one.status().operations(), [("done", 1), ("failed", 0), ("full", 0)]);
}
