//! Waiting for jobs, and their events.

mod events;
mod mirrors;
mod outputs;
mod queue;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use futures::future::join_all;
use futures::stream::{BoxStream, StreamExt};
use goldcrest::cluster::Cluster;
use goldcrest::domain::{
    Account, AccountingQuery, ClusterHealth, Interest, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata,
    JobQuery, JobStatus, JobTimes, JobUsage, Node, Partition, Principal, Reported, Reservation, SystemName, Username,
};
use goldcrest::mirror::{Journal, Mirror, Selection};
use goldcrest::scheduler::{
    self, AttachOutput, JobMirror, MirrorAccount, RecordPlace, Scheduler, SchedulerError, SubmissionKey, Submitted,
};
use goldcrest::service::{Gate, State};
use goldcrest::store::{Sqlite, SqliteConfig, Store};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use super::callers::{Relations, Source, Tokens};
use super::doubles::{Script, ScriptedFiles};
use super::metrics::{sample, text};
use super::{Answer, Api, cluster_config, whole};
use crate::support::scripted::ScriptedTransport;
use crate::support::{PATIENCE, wait_for, wait_until};
use queue::Queue;

/// The interval of the job mirror.
const INTERVAL: Duration = Duration::from_millis(100);

fn status(state: &str) -> JobStatus {
    let exit_code = (state == "COMPLETED").then_some(0);
    JobStatus { state: state.to_owned(), exit_code, ..JobStatus::default() }
}

fn job(id: &str, user: &str, state: &str) -> Job {
    Job {
        id: JobId::new(id).unwrap(),
        name: format!("job {id}"),
        status: status(state),
        steps: None,
        times: JobTimes::default(),
        account: None,
        allocation_nodes: 1,
        cluster: "daint".to_owned(),
        group: None,
        nodes: String::new(),
        partition: "normal".to_owned(),
        kill_request_user: None,
        user: Some(user.to_owned()),
        working_directory: "/home".to_owned(),
        priority: None,
    }
}

/// The API over a queue whose jobs are mirrored. What observes them ends with it.
struct Site {
    api: Arc<Api>,
    mirror: Arc<Mirror>,
    queue: Queue,
    stop: CancellationToken,
    _stopped: DropGuard,
}

impl Site {
    fn new(queue: &Queue) -> Self {
        Self::build(queue, INTERVAL, MirrorAccount::Caller, None)
    }

    fn build(queue: &Queue, interval: Duration, account: MirrorAccount, store: Option<Arc<dyn Store>>) -> Self {
        Self::assemble(queue, JobMirror { interval: interval.as_secs_f64(), account, push: None }, store, |mirror| mirror)
    }

    fn assemble(queue: &Queue, settings: JobMirror, store: Option<Arc<dyn Store>>, change: impl FnOnce(Mirror) -> Mirror) -> Self {
        let mut config = cluster_config();
        let Some(scheduler::Config::Slurm { common, .. }) = &mut config.scheduler else { panic!("daint has Slurm") };
        common.job_mirror = settings;
        let output = queue.output_steps();
        if !output.is_empty() {
            // Time is paused where an output is followed, but answers age by the real clock.
            common.read_freshness = 0.0;
        }
        let files = ScriptedFiles(Script::new("file system", output));
        let capabilities = whole(Arc::new(ScriptedTransport::new([])), Arc::new(queue.clone()), Arc::new(files));
        let (_, health) = watch::channel(ClusterHealth::default());
        let cluster = Arc::new(Cluster::new(config, capabilities, health));
        let journal = Arc::new(Journal::new(cluster.name(), store));
        let mirror = Arc::new(change(Mirror::new(Arc::clone(&cluster), Arc::new(Source(true)), journal)));
        let api = Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| {
            let mirrors = [(cluster.name().clone(), Arc::clone(&mirror))].into();
            let gate = Gate::new(Arc::new(Tokens), Arc::new(Relations), [cluster], State::default());
            state.gate = gate.with_mirrors(&mirrors);
            state.config.max_requests_per_user = 5000;
        });
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&mirror).run(stop.clone()));
        Self { api: Arc::new(api), mirror, queue: queue.clone(), _stopped: stop.clone().drop_guard(), stop }
    }

    async fn get(&self, user: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        self.api.send(get(user, uri, headers)).await
    }

    /// A wait of alice for a job.
    async fn wait(&self, uri: &str, seconds: u64) -> Answer {
        self.get("alice", &format!("/compute/daint/jobs/{uri}"), &[("prefer", &format!("wait={seconds}"))]).await
    }

    async fn events(&self, user: &str, path: &str, headers: &[(&str, &str)]) -> Events {
        let answer = self.api.answer(get(user, &format!("/compute/daint/jobs/{path}"), headers)).await;
        assert_eq!(answer.status(), 200);
        Events { body: answer.into_body().into_data_stream().map(|piece| piece.unwrap().to_vec()).boxed(), text: String::new() }
    }
}

fn get(user: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = super::request(Method::GET, uri, Some(&format!("token-of-{user}")), None);
    for (name, value) in headers {
        request.headers_mut().insert(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    request
}

fn state(answer: &Answer) -> String {
    answer.json()["jobs"][0]["status"]["state"].as_str().unwrap().to_owned()
}

/// A stream of events, as far as it was read.
struct Events {
    body: BoxStream<'static, Vec<u8>>,
    text: String,
}

impl Events {
    /// Reads until the text is there.
    async fn until(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.text.contains(text) {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let piece = timeout(left, self.body.next()).await;
            match piece.unwrap_or_else(|_| panic!("no {text} in {}", self.text)) {
                Some(piece) => self.text.push_str(&String::from_utf8(piece).unwrap()),
                None => panic!("it ended without {text}: {}", self.text),
            }
        }
    }

    /// Reads to the end.
    async fn rest(mut self) -> String {
        while let Some(piece) = timeout(PATIENCE, self.body.next()).await.expect("it does not end") {
            self.text.push_str(&String::from_utf8(piece).unwrap());
        }
        self.text
    }

    /// The jobs and their states, in the order in which they were told.
    fn told(&self) -> Vec<(String, String)> {
        told(&self.text)
    }

    /// The id of the last event.
    fn last_id(&self) -> String {
        self.text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned()
    }
}

fn told(text: &str) -> Vec<(String, String)> {
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let states = events.filter_map(|event| Some((event["jobId"].as_str()?.to_owned(), event["state"].as_str()?.to_owned())));
    states.collect()
}

fn states(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn a_wait_ends_when_the_job_changes() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING")]));
    let change = async {
        wait_for(PATIENCE, || site.queue.lists() > 0).await;
        site.queue.set("1", "RUNNING");
    };
    let (answer, ()) = tokio::join!(site.wait("1", 30), change);
    assert_eq!((answer.status, state(&answer).as_str()), (200, "RUNNING"));
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
    // The number that it gives leads on: the next wait has nothing to tell before the next change.
    let known = answer.header("goldcrest-event-id").unwrap().to_owned();
    let change = async {
        let lists = site.queue.lists();
        wait_for(PATIENCE, || site.queue.lists() > lists + 1).await;
        site.queue.set("1", "COMPLETED");
    };
    let since_known = format!("1?since={known}");
    let (answer, ()) = tokio::join!(site.wait(&since_known, 30), change);
    assert_eq!(state(&answer), "COMPLETED");
    let answer = site.wait(&since_known, 30).await;
    assert_eq!(state(&answer), "COMPLETED", "an event was missed since, and the job has ended");
}

#[tokio::test]
async fn a_wait_is_over_at_once_where_there_is_nothing_to_wait_for() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING"), job("2", "alice", "FAILED")]));
    let begun = Instant::now();
    for (uri, expected) in
        [("2", "FAILED"), ("1?since=PENDING", "RUNNING"), ("1?since=99999999999999", "RUNNING"), ("2?since=FAILED", "FAILED")]
    {
        let answer = site.wait(uri, 30).await;
        assert_eq!((answer.status, state(&answer).as_str()), (200, expected), "{uri}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(site.wait("3", 30).await.status, 404);
    for since in ["", "no%20state", "-1", "99999999999999999999999", "DONE", "R"] {
        assert_eq!(site.wait(&format!("1?since={since}"), 30).await.status, 400, "{since}");
    }
    let misspelt = site.wait("1?since=RUNING", 30).await.json()["data"]["fields"][0].clone();
    assert_eq!((&misspelt["location"], &misspelt["name"]), (&json!("query"), &json!("since")), "{misspelt}");
    assert!(misspelt["message"].as_str().unwrap().ends_with("did you mean `RUNNING`?"), "{misspelt}");
}

#[tokio::test]
async fn a_wait_without_a_change_ends_with_its_time_and_within_that_of_a_request() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let begun = Instant::now();
    let answer = site.wait("1?since=running", 1).await;
    assert_eq!((answer.status, state(&answer).as_str()), (200, "RUNNING"));
    assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    site.queue.set("1", "COMPLETED");
    wait_until(PATIENCE, async || state(&site.get("alice", "/compute/daint/jobs/1", &[]).await) == "COMPLETED").await;
    assert_eq!(site.wait("1", 86_400).await.header("preference-applied"), Some("wait=50"), "a request has 60 s");
}

#[tokio::test]
async fn a_wait_ends_with_its_token_and_tells_what_is_known_then() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let begun = Instant::now();
    let mut request = super::request(Method::GET, "/compute/daint/jobs/1?since=RUNNING", Some("two-seconds-of-alice"), None);
    request.headers_mut().insert("prefer", "wait=40".parse().unwrap());
    let answer = site.api.send(request).await;
    assert_eq!((answer.status, state(&answer).as_str()), (200, "RUNNING"));
    assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_a_preference_nobody_waits_and_nothing_is_watched() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    for headers in [&[][..], &[("prefer", "wait=soon")], &[("prefer", "respond-async")]] {
        let answer = site.get("alice", "/compute/daint/jobs/1?since=RUNNING", headers).await;
        assert_eq!((answer.status, answer.header("preference-applied"), answer.header("goldcrest-event-id")), (200, None, None));
    }
    tokio::time::sleep(3 * INTERVAL).await;
    assert_eq!(site.queue.lists(), 0);
}

#[tokio::test]
async fn a_job_that_was_submitted_a_moment_ago_is_never_not_found() {
    let site = Site::new(&Queue::default());
    let job = json!({"job": {"script": "#!/bin/sh\n", "workingDirectory": "/home/alice", "name": "new"}});
    let submitted = site.api.call(Method::POST, "/compute/daint/jobs", Some(job)).await;
    assert_eq!(submitted.status, 201, "{submitted}");
    let answer = site.get("alice", "/compute/daint/jobs/77", &[]).await;
    assert_eq!((answer.status, state(&answer).as_str()), (200, "PENDING"));
    assert!(answer.json()["incomplete"].as_str().unwrap().contains("does not list it yet"));
    assert_eq!(site.get("bob", "/compute/daint/jobs/77", &[]).await.status, 404, "it is nobody else's");
    assert_eq!(site.get("alice", "/compute/daint/jobs/78", &[]).await.status, 404);
}

#[tokio::test]
async fn a_job_that_was_submitted_days_ago_is_not_shown_as_a_new_one_when_its_submission_is_repeated() {
    let site = Site::new(&Queue::default());
    let job = json!({"job": {"script": "#!/bin/sh\n", "workingDirectory": "/home/alice"}});
    let mut request = super::request(Method::POST, "/compute/daint/jobs", Some("token-of-alice"), Some(job));
    request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
    let submitted = site.api.send(request).await;
    assert_eq!((submitted.status, submitted.json()["jobId"].as_str()), (201, Some("78")), "{submitted}");
    assert_eq!(site.get("alice", "/compute/daint/jobs/78", &[]).await.status, 404);
}

#[tokio::test]
async fn a_job_that_left_the_queue_before_accounting_knows_its_end_is_not_gone() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let mut events = site.events("alice", "1/events", &[]).await;
    events.until("RUNNING").await;
    wait_for(PATIENCE, || site.queue.lists() > 1).await;
    site.queue.remove("1");
    let (lists, singles) = (site.queue.lists(), site.queue.singles());
    wait_for(PATIENCE, || site.queue.lists() > lists + 3).await;
    assert!(site.queue.singles() > singles, "it is looked for");
    // Until no earlier answer is reused.
    wait_until(PATIENCE, async || {
        let answer = site.get("alice", "/compute/daint/jobs/1", &[]).await;
        assert_eq!((answer.status, state(&answer).as_str()), (200, "RUNNING"));
        answer.json()["incomplete"].as_str().is_some_and(|reason| reason.contains("has left the queue"))
    })
    .await;
    site.queue.account(job("1", "alice", "OUT_OF_MEMORY"));
    assert_eq!(told(&events.rest().await), states(&[("1", "RUNNING"), ("1", "OUT_OF_MEMORY")]));
}

#[tokio::test]
async fn a_list_that_cannot_be_had_is_the_last_one_with_its_age_where_somebody_watches() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let mut events = site.events("alice", "events", &[]).await;
    site.queue.be_down(true);
    events.until("event: stale").await;
    // Until no earlier answer is reused.
    wait_until(PATIENCE, async || {
        let list = site.get("alice", "/compute/daint/jobs", &[]).await;
        assert_eq!((list.status, state(&list).as_str()), (200, "RUNNING"));
        let is_old = list.header("age").is_some_and(|age| age.parse::<u64>().unwrap() >= 1);
        is_old && list.header("goldcrest-incomplete").is_some_and(|reason| reason.contains("does not answer"))
    })
    .await;
    assert_eq!(site.get("bob", "/compute/daint/jobs", &[]).await.status, 503, "nothing is known of another's jobs");
    site.queue.be_down(false);
    events.until("event: current").await;
}

#[tokio::test]
async fn a_change_by_the_user_is_seen_before_the_interval_is_over() {
    let site = Site::build(&Queue::with([job("1", "alice", "RUNNING")]), Duration::from_secs(30), MirrorAccount::Caller, None);
    let mut events = site.events("alice", "1/events", &[]).await;
    events.until("RUNNING").await;
    let begun = Instant::now();
    let cancelled = site.api.call(Method::DELETE, "/compute/daint/jobs/1", None).await;
    assert_eq!(cancelled.status, 204);
    events.until("CANCELLED").await;
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn jobs_are_not_watched_when_nobody_looks_any_more() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let mut events = site.events("alice", "1/events", &[]).await;
    events.until("RUNNING").await;
    drop(events);
    site.queue.until_quiet().await;
}
