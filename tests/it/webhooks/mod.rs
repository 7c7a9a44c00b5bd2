//! Webhooks: events in a real store, real receivers on loopback, and several processes on one store.

mod addresses;
mod operations;
mod replicas;
mod turns;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use goldcrest::domain::{Interest, JobEvent, JobId, Secret, SystemName, Username};
use goldcrest::notify::{Backlog, Config, Owner, Registered, Registration, Timing, Webhooks};
use goldcrest::store::{Record, Retention, Sqlite, SqliteConfig, Store};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::records::records;
use crate::support::service::{Reply, Seen, Service};
use crate::support::{PATIENCE, wait_for, wait_until};

const RETENTION: Retention = Retention { count: 100_000, age: Duration::from_secs(600) };
const TIMING: Timing = Timing {
    request: Duration::from_secs(2),
    first_pause: Duration::from_millis(100),
    max_pause: Duration::from_millis(400),
    give_up: Duration::from_secs(600),
    turn: Duration::from_secs(10),
    tick: Duration::from_millis(50),
};

/// What the tests call is on loopback, and speaks no TLS.
pub fn permissive() -> Config {
    Config { allowed_networks: vec!["127.0.0.0/8".parse().unwrap()], allow_http: true, ..Config::default() }
}

pub fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.to_owned(), ..SqliteConfig::default() }))
}

fn ada() -> Owner {
    Owner { system: SystemName::new("daint").unwrap(), user: Username::new("ada").unwrap() }
}

fn for_all(url: &str) -> Registration {
    Registration { url: url.to_owned(), states: Vec::new() }
}

/// A store with the events of one system.
struct Site {
    store: Arc<dyn Store>,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: store(folder.path()), folder }
    }

    /// A process that works on the store, until it is dropped.
    fn process(&self, timing: Timing) -> Process {
        Process::on(store(self.folder.path()), timing)
    }

    async fn happens(&self, job: &str, owner: &str, state: &str) {
        happens(self.store.as_ref(), job, owner, state).await;
    }
}

/// Adds the change of a job to the events of the system, which is the last one of the job if its state is final.
async fn happens(store: &dyn Store, job: &str, owner: &str, state: &str) {
    add(store, job, owner, state, matches!(state, "COMPLETED" | "FAILED")).await;
}

async fn add(store: &dyn Store, job: &str, owner: &str, state: &str, ends_whole: bool) {
    let is_final = matches!(state, "COMPLETED" | "FAILED");
    let event = JobEvent {
        id: job.to_owned(),
        name: Some("relax".to_owned()),
        owner: owner.to_owned(),
        previous: Some("PENDING".to_owned()),
        state: state.to_owned(),
        exit_code: is_final.then_some(0),
        signal: None,
        is_final,
        ends_whole,
        at: "2026-01-31T08:00:00Z".parse().unwrap(),
    };
    store.append(&JobEvent::stream("daint"), &[serde_json::to_vec(&event).unwrap()], RETENTION).await.unwrap();
}

struct Process {
    webhooks: Webhooks,
    _stop: DropGuard,
}

impl Process {
    /// One that works on this store, until it is dropped.
    fn on(store: Arc<dyn Store>, timing: Timing) -> Self {
        let webhooks = Webhooks::new(store, permissive(), timing).unwrap();
        let (stop, running) = (CancellationToken::new(), webhooks.clone());
        let token = stop.clone();
        tokio::spawn(async move { running.run(|| vec![SystemName::new("daint").unwrap()], token).await });
        Self { webhooks, _stop: stop.drop_guard() }
    }
}

async fn receiver() -> Service {
    Service::start(|_| Reply::status(204, "")).await
}

fn subjects(service: &Service) -> Vec<String> {
    service.seen().iter().map(|seen| seen.json()["subject"].as_str().unwrap().to_owned()).collect()
}

/// HMAC-SHA256 by its definition (RFC 2104), beside the implementation that signs.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA256, digest};
    let padded = |with: u8| -> Vec<u8> { (0..64).map(|index| key.get(index).copied().unwrap_or(0) ^ with).collect() };
    let inner = digest(&SHA256, &[&padded(0x36)[..], message].concat());
    digest(&SHA256, &[&padded(0x5c)[..], inner.as_ref()].concat()).as_ref().to_vec()
}

fn is_signed(seen: &Seen, secret: &Secret) -> bool {
    let (id, timestamp) = (seen.header("webhook-id").unwrap(), seen.header("webhook-timestamp").unwrap());
    let age = jiff::Timestamp::now().as_second() - timestamp.parse::<i64>().unwrap();
    let key = STANDARD.decode(secret.expose().strip_prefix("whsec_").unwrap()).unwrap();
    let message = [format!("{id}.{timestamp}.").as_bytes(), &seen.body].concat();
    seen.header("webhook-signature") == Some(&format!("v1,{}", STANDARD.encode(hmac(&key, &message)))) && (0..60).contains(&age)
}

#[tokio::test]
async fn a_change_of_a_job_is_delivered_once_as_a_signed_cloud_event() {
    let (site, service) = (Site::new(), receiver().await);
    let process = site.process(TIMING);
    let Registered { webhook, secret } = process.webhooks.register(&ada(), for_all(&format!("{}/hook?key=1", service.url))).await.unwrap();
    site.happens("7", "ada", "RUNNING").await;
    site.happens("8", "bob", "RUNNING").await;
    site.happens("7", "ada", "COMPLETED").await;
    // Messages are sent in order, so nothing else comes before this one.
    site.happens("9", "ada", "RUNNING").await;
    wait_for(PATIENCE, || service.seen().len() >= 3).await;
    let seen = service.seen();
    assert_eq!(subjects(&service), ["7", "7", "9"]);
    for request in &seen {
        assert!(is_signed(request, secret.as_ref().unwrap()), "{}", request.text());
        assert_eq!(request.uri.path_and_query().unwrap(), "/hook?key=1");
    }
    let event = seen[1].json();
    assert!(seen[1].header("content-type").unwrap().starts_with("application/cloudevents+json"));
    assert_eq!(event["id"].as_str(), seen[1].header("webhook-id"));
    assert_eq!(
        event,
        serde_json::json!({
            "specversion": "1.0", "id": event["id"], "source": "/compute/daint", "type": "goldcrest.job.state", "subject": "7",
            "time": "2026-01-31T08:00:00Z", "datacontenttype": "application/json",
            "data": {
                "jobId": "7", "name": "relax", "owner": "ada", "previous": "PENDING", "state": "COMPLETED", "exitCode": 0, "isFinal": true,
            },
        })
    );
    wait_until(PATIENCE, async || process.webhooks.list(&ada()).await.unwrap() == std::slice::from_ref(&webhook)).await;
}

#[tokio::test]
async fn a_webhook_is_called_for_the_states_that_it_names_and_for_what_comes_after_it() {
    let (site, service) = (Site::new(), receiver().await);
    site.happens("1", "ada", "COMPLETED").await;
    let process = site.process(TIMING);
    let ends = Registration { url: service.url.clone(), states: vec!["completed".to_owned(), "FAILED".to_owned()] };
    process.webhooks.register(&ada(), ends).await.unwrap();
    for (job, state) in [("2", "RUNNING"), ("2", "COMPLETED"), ("3", "CANCELLED"), ("4", "FAILED"), ("5", "COMPLETED")] {
        site.happens(job, "ada", state).await;
    }
    wait_for(PATIENCE, || service.seen().len() >= 3).await;
    assert_eq!(subjects(&service), ["2", "4", "5"]);
}

#[tokio::test]
async fn receivers_that_hang_do_not_hold_up_others() {
    let (site, service) = (Site::new(), receiver().await);
    let hanging = Service::start(|_| Reply::status(204, "").after(Duration::from_secs(600))).await;
    let process = site.process(TIMING);
    // As many as one user may have, of two users, and more than are sent at once.
    for user in ["eve", "mallory"] {
        let owner = Owner { user: Username::new(user).unwrap(), ..ada() };
        for _ in 0..50 {
            process.webhooks.register(&owner, for_all(&hanging.url)).await.unwrap();
        }
        for job in 0..3 {
            site.happens(&job.to_string(), user, "RUNNING").await;
        }
    }
    wait_for(PATIENCE, || !hanging.seen().is_empty()).await;
    process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap();
    let began = std::time::Instant::now();
    for job in 0..20 {
        site.happens(&format!("1{job}"), "ada", "RUNNING").await;
    }
    wait_for(Duration::from_secs(60), || service.seen().len() == 20).await;
    // One after the other, those that hang would have taken 25 s at least, 8 at a time.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let under_way = hanging.seen().iter().filter(|seen| seen.at.elapsed() < TIMING.request / 2).count();
    assert!(under_way <= 16, "{under_way} requests to one receiver within half of the time that one may take");
}

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_id_until_it_is_taken() {
    let failures = Arc::new(AtomicUsize::new(4));
    let left = Arc::clone(&failures);
    let service = Service::start(move |_| {
        let failed = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        Reply::status(if failed { 503 } else { 200 }, "later")
    })
    .await;
    let site = Site::new();
    let process = site.process(TIMING);
    let secret = process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap().secret.unwrap();
    site.happens("7", "ada", "RUNNING").await;
    wait_for(PATIENCE, || service.seen().len() == 5).await;
    // Messages are sent in order, so the first one does not come again if the next one comes.
    site.happens("8", "ada", "RUNNING").await;
    wait_for(PATIENCE, || service.seen().len() >= 6).await;
    assert_eq!(subjects(&service), ["7", "7", "7", "7", "7", "8"]);
    let seen = &service.seen()[..5];
    assert!(seen.iter().all(|request| request.header("webhook-id") == seen[0].header("webhook-id") && is_signed(request, &secret)));
    assert!(process.webhooks.dead_letters(&ada()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_that_failed_is_not_overtaken_by_later_ones_about_the_same_job() {
    for (failing, status) in [("7", Some(500)), ("7", None)] {
        let failures = Arc::new(AtomicUsize::new(3));
        let service = Service::start(move |seen: &Seen| {
            let fails = seen.json()["subject"] == failing
                && failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            match status.filter(|_| fails) {
                Some(status) => Reply::status(status, ""),
                None if fails => Reply::status(204, "").after(Duration::from_secs(600)),
                None => Reply::status(204, ""),
            }
        })
        .await;
        let site = Site::new();
        let process = site.process(Timing { request: Duration::from_millis(300), ..TIMING });
        process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap();
        for state in ["PENDING", "RUNNING", "COMPLETED"] {
            site.happens("7", "ada", state).await;
        }
        site.happens("8", "ada", "RUNNING").await;
        wait_for(PATIENCE, || service.seen().len() == 7).await;
        let seen: Vec<(String, String)> = service
            .seen()
            .iter()
            .map(Seen::json)
            .map(|event| (event["subject"].as_str().unwrap().to_owned(), event["data"]["state"].as_str().unwrap().to_owned()))
            .collect();
        let states: Vec<&str> = seen.iter().filter(|(job, _)| job == "7").map(|(_, state)| state.as_str()).collect();
        assert_eq!(states, ["PENDING", "PENDING", "PENDING", "PENDING", "RUNNING", "COMPLETED"], "{status:?}");
        // What a receiver refuses holds up nothing about other jobs.
        let place = |job: &str, state: &str| seen.iter().position(|(of, is)| of == job && is == state).unwrap();
        assert!(status.is_none() || place("8", "RUNNING") < place("7", "RUNNING"), "{seen:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_delivered_shows_in_the_list_and_in_the_counters_until_it_is() {
    let refuses = Arc::new(AtomicUsize::new(1));
    let state = Arc::clone(&refuses);
    let service = Service::start(move |_: &Seen| Reply::status(if state.load(Ordering::SeqCst) == 1 { 404 } else { 204 }, "")).await;
    let site = Site::new();
    let process = site.process(TIMING);
    process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap();
    let shown = async || process.webhooks.list(&ada()).await.unwrap().remove(0).backlog;
    assert_eq!(shown().await, Backlog::default());
    site.happens("7", "ada", "RUNNING").await;
    site.happens("8", "ada", "RUNNING").await;
    wait_until(PATIENCE, async || shown().await.failure.is_some()).await;
    let backlog = shown().await;
    assert_eq!((backlog.waiting, backlog.failure.unwrap().reason.as_str()), (2, "the receiver answered with status 404"));
    refuses.store(0, Ordering::SeqCst);
    wait_until(PATIENCE, async || shown().await == Backlog::default()).await;
    let count = |outcome: &str| process.webhooks.deliveries().iter().find(|(name, _)| *name == outcome).unwrap().1;
    assert_eq!((count("delivered"), count("not_reached"), count("given_up")), (2, 0, 0));
    assert!(count("refused") >= 2);
}

#[tokio::test]
async fn what_is_not_taken_in_time_is_a_dead_letter_that_can_be_delivered_again() {
    let refuses = Arc::new(AtomicUsize::new(1));
    let state = Arc::clone(&refuses);
    let service = Service::start(move |_| Reply::status(if state.load(Ordering::SeqCst) == 1 { 500 } else { 204 }, "")).await;
    let site = Site::new();
    let process = site.process(Timing { give_up: Duration::from_millis(800), ..TIMING });
    let webhook = process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap().webhook;
    site.happens("7", "ada", "FAILED").await;
    wait_until(PATIENCE, async || !process.webhooks.dead_letters(&ada()).await.unwrap().is_empty()).await;
    let letters = process.webhooks.dead_letters(&ada()).await.unwrap();
    let letter = &letters[0];
    assert_eq!((&letter.webhook, letter.job.as_str(), letter.state.as_str()), (&webhook.id, "7", "FAILED"));
    assert!(letter.attempts >= 2 && letter.reason.contains("status 500"), "{letter:?}");
    let tried = service.seen().len();
    tokio::time::sleep(20 * TIMING.tick).await;
    assert_eq!(service.seen().len(), tried, "a dead letter is not sent");
    refuses.store(0, Ordering::SeqCst);
    let bob = Owner { user: Username::new("bob").unwrap(), ..ada() };
    assert!(!process.webhooks.redeliver(&bob, &letter.id).await.unwrap());
    assert!(process.webhooks.redeliver(&ada(), &letter.id).await.unwrap());
    wait_for(PATIENCE, || service.seen().len() == tried + 1).await;
    assert!(process.webhooks.dead_letters(&ada()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_written_to_the_log_once_and_again_when_it_can() {
    let (records, _guard) = records();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::write(&state, "not a directory").unwrap();
    let store = store(&state);
    let webhooks = Webhooks::new(Arc::clone(&store), permissive(), TIMING).unwrap();
    let stop = CancellationToken::new();
    let (running, token) = (webhooks.clone(), stop.clone());
    let running = tokio::spawn(async move { running.run(|| vec![SystemName::new("daint").unwrap()], token).await });
    let failed = || store.status().operations()[1].1;
    wait_for(PATIENCE, || failed() >= 20).await;
    let users = async || webhooks.users(&SystemName::new("daint").unwrap()).await;
    users().await;
    users().await;
    let is_trouble = |line: &String| ["level=WARN", "level=ERROR"].iter().any(|level| line.contains(level));
    let lines: Vec<String> = records.of("goldcrest").into_iter().filter(is_trouble).collect();
    for text in [
        "the store cannot be used",
        "the events for webhooks could not be read",
        "that are due could not be read",
        "the users with webhooks could",
    ] {
        assert_eq!(lines.iter().filter(|line| line.contains(text)).count(), 1, "{text}: {lines:#?}");
    }
    assert_eq!(lines.len(), 4, "{lines:#?}");
    std::fs::remove_file(&state).unwrap();
    let written = |text: &str| records.of("goldcrest").iter().filter(|line| line.contains(text)).count();
    wait_for(PATIENCE, || written("the events for webhooks are read again") == 1 && written("that are due are read again") == 1).await;
    users().await;
    assert_eq!((written("the store answers"), written("the users with webhooks are read again")), (1, 1));
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_was_not_delivered_before_a_restart_is_delivered_after_it() {
    let site = Site::new();
    let refusing = Service::start(|_| Reply::status(500, "")).await;
    let process = site.process(TIMING);
    process.webhooks.register(&ada(), for_all(&refusing.url)).await.unwrap();
    let address = refusing.url.strip_prefix("http://").unwrap().parse().unwrap();
    site.happens("7", "ada", "RUNNING").await;
    wait_for(PATIENCE, || !refusing.seen().is_empty()).await;
    drop(process);
    // While no process is there.
    site.happens("8", "ada", "RUNNING").await;
    drop(refusing);
    tokio::time::sleep(4 * TIMING.tick).await;
    let service = Service::start_at(address, |_| Reply::status(204, "")).await;
    let _process = site.process(TIMING);
    wait_for(Duration::from_secs(60), || service.seen().len() >= 2).await;
    let mut subjects = subjects(&service);
    subjects.sort();
    assert_eq!(subjects, ["7", "8"]);
}

#[tokio::test]
async fn a_redirection_is_not_followed_and_an_endless_answer_is_not_read() {
    let site = Site::new();
    let elsewhere = receiver().await;
    let target = elsewhere.url.clone();
    let redirecting = Service::start(move |_| Reply::status(307, "").header("location", target.clone())).await;
    let wordy = Service::start(|_| Reply::status(200, vec![b'x'; 32 << 20])).await;
    let process = site.process(TIMING);
    for url in [&redirecting.url, &wordy.url] {
        process.webhooks.register(&ada(), for_all(url)).await.unwrap();
    }
    site.happens("7", "ada", "RUNNING").await;
    wait_for(PATIENCE, || redirecting.seen().len() >= 2 && !wordy.seen().is_empty()).await;
    assert!(elsewhere.seen().is_empty());
    assert_eq!(wordy.seen().len(), 1, "it was taken at once");
}

#[tokio::test]
async fn a_webhook_of_a_job_hears_of_it_alone_and_ends_with_it() {
    let (site, service) = (Site::new(), receiver().await);
    let process = site.process(TIMING);
    let prepared = process.webhooks.prepare(&ada(), for_all(&service.url), None).await.unwrap();
    // Before the id of the job is known here.
    site.happens("7", "ada", "PENDING").await;
    site.happens("6", "ada", "PENDING").await;
    tokio::time::sleep(5 * TIMING.tick).await;
    let registered = process.webhooks.bind(prepared, &JobId::new("7").unwrap()).await.unwrap();
    assert!(registered.secret.is_some() && registered.webhook.job.is_some());
    site.happens("7_1", "ada", "RUNNING").await;
    site.happens("70", "ada", "RUNNING").await;
    add(site.store.as_ref(), "7_1", "ada", "COMPLETED", false).await;
    wait_for(PATIENCE, || service.seen().len() >= 3).await;
    tokio::time::sleep(5 * TIMING.tick).await;
    assert!(!process.webhooks.list(&ada()).await.unwrap().is_empty(), "another task is open");
    add(site.store.as_ref(), "7_2", "ada", "COMPLETED", true).await;
    wait_for(PATIENCE, || service.seen().len() >= 4).await;
    assert_eq!(subjects(&service), ["7", "7_1", "7_1", "7_2"]);
    wait_until(PATIENCE, async || process.webhooks.list(&ada()).await.unwrap().is_empty()).await;
}

#[tokio::test]
async fn users_with_webhooks_are_to_be_watched_until_they_have_none() {
    let (site, service) = (Site::new(), receiver().await);
    let process = site.process(TIMING);
    let (daint, eiger) = (SystemName::new("daint").unwrap(), SystemName::new("eiger").unwrap());
    assert!(process.webhooks.users(&daint).await.unwrap().is_empty());
    let one = process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap().webhook;
    let other = process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap().webhook;
    assert_eq!(process.webhooks.users(&daint).await.unwrap(), [ada().user]);
    assert!(process.webhooks.users(&eiger).await.unwrap().is_empty());
    assert!(process.webhooks.remove(&ada(), &one.id).await.unwrap());
    assert_eq!(process.webhooks.users(&daint).await.unwrap(), [ada().user]);
    assert!(process.webhooks.remove(&ada(), &other.id).await.unwrap());
    assert!(process.webhooks.users(&daint).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_user_whose_webhooks_have_expired_is_not_watched_any_more() {
    let (site, service) = (Site::new(), receiver().await);
    let daint = SystemName::new("daint").unwrap();
    let bob = Record {
        kind: "webhook-user",
        id: "daint/bob".to_owned(),
        owner: "daint".to_owned(),
        value: Vec::new(),
        due_in: None,
        ttl: Duration::from_secs(3600),
    };
    site.store.put(&bob).await.unwrap();
    let before = Webhooks::new(Arc::clone(&site.store), permissive(), TIMING).unwrap();
    before.register(&ada(), for_all(&service.url)).await.unwrap();
    assert_eq!(before.users(&daint).await.unwrap().len(), 2);
    let process = site.process(TIMING);
    wait_until(PATIENCE, async || process.webhooks.users(&daint).await.unwrap() == [ada().user]).await;
}

#[tokio::test]
async fn the_job_of_a_webhook_is_to_be_watched_until_it_has_ended() {
    let (site, service) = (Site::new(), receiver().await);
    let process = site.process(TIMING);
    let (daint, eiger, ada, job) = (SystemName::new("daint").unwrap(), SystemName::new("eiger").unwrap(), ada(), JobId::new("7").unwrap());
    process.webhooks.register(&ada, for_all(&service.url)).await.unwrap();
    let prepared = process.webhooks.prepare(&ada, for_all(&service.url), None).await.unwrap();
    process.webhooks.bind(prepared, &job).await.unwrap();
    assert_eq!(process.webhooks.jobs(&daint, Some(&ada.user)).await, std::slice::from_ref(&job));
    assert_eq!(process.webhooks.jobs(&daint, None).await, [job]);
    assert!(process.webhooks.jobs(&eiger, None).await.is_empty());
    assert!(process.webhooks.jobs(&daint, Some(&Username::new("bob").unwrap())).await.is_empty());
    site.happens("7", "ada", "COMPLETED").await;
    wait_until(PATIENCE, async || process.webhooks.jobs(&daint, None).await.is_empty()).await;
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_was_removed_is_dropped() {
    let site = Site::new();
    let service = Service::start(|_| Reply::status(500, "")).await;
    let process = site.process(TIMING);
    let webhook = process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap().webhook;
    site.happens("7", "ada", "RUNNING").await;
    wait_for(PATIENCE, || !service.seen().is_empty()).await;
    process.webhooks.remove(&ada(), &webhook.id).await.unwrap();
    wait_until(PATIENCE, async || {
        let tried = service.seen().len();
        tokio::time::sleep(3 * TIMING.max_pause).await;
        service.seen().len() == tried
    })
    .await;
    assert!(process.webhooks.dead_letters(&ada()).await.unwrap().is_empty());
}
