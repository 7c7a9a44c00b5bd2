//! Waiting for jobs, and their events.

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
use goldcrest::mirror::{Journal, Mirror};
use goldcrest::scheduler::{self, AttachOutput, JobMirror, MirrorAccount, Scheduler, SchedulerError, SubmissionKey, Submitted};
use goldcrest::service::{Gate, State};
use goldcrest::store::{Sqlite, SqliteConfig, Store};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use super::doubles::{Relations, Script, ScriptedFiles, Source, Tokens};
use super::metrics::{sample, text};
use super::{Answer, Api, cluster_config, whole};
use crate::support::scripted::ScriptedTransport;
use crate::support::{PATIENCE, wait_for};

/// The interval of the job mirror.
const INTERVAL: Duration = Duration::from_millis(100);

/// The time after which no earlier answer is reused (`read_freshness`).
const REMEMBERED: Duration = Duration::from_millis(1200);

/// A scheduler with a queue and accounting that a test changes as it likes, and that counts how often it is asked.
#[derive(Clone, Default)]
struct Queue(Arc<Inner>);

#[derive(Default)]
struct Inner {
    queue: Mutex<Vec<Job>>,
    accounting: Mutex<Vec<Job>>,
    lists: AtomicUsize,
    singles: AtomicUsize,
    is_down: AtomicBool,
}

impl Queue {
    fn with(jobs: impl IntoIterator<Item = Job>) -> Self {
        let queue = Self::default();
        queue.0.queue.lock().unwrap().extend(jobs);
        queue
    }

    /// Puts a job into this state.
    fn set(&self, id: &str, state: &str) {
        let mut queue = self.0.queue.lock().unwrap();
        queue.iter_mut().find(|job| job.id.as_str() == id).unwrap().status = status(state);
    }

    fn add(&self, job: Job) {
        self.0.queue.lock().unwrap().push(job);
    }

    fn remove(&self, id: &str) {
        self.0.queue.lock().unwrap().retain(|job| job.id.as_str() != id);
    }

    fn be_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }

    fn lists(&self) -> usize {
        self.0.lists.load(Ordering::SeqCst)
    }

    fn singles(&self) -> usize {
        self.0.singles.load(Ordering::SeqCst)
    }

    fn answer<T>(&self, count: &AtomicUsize, look: impl FnOnce() -> T) -> Result<T, SchedulerError> {
        count.fetch_add(1, Ordering::SeqCst);
        if self.0.is_down.load(Ordering::SeqCst) { Err(SchedulerError::Down("no controller".to_owned())) } else { Ok(look()) }
    }
}

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

const UNUSED: SchedulerError = SchedulerError::Unsupported("no test asks for it");

#[async_trait]
impl Scheduler for Queue {
    async fn submit(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        // It is not in the queue yet.
        Ok(JobId::new("77").unwrap().into())
    }

    async fn submit_once(&self, _: &Principal, _: &JobDescription, _: &SubmissionKey) -> Result<Reported<Submitted>, SchedulerError> {
        Err(UNUSED)
    }

    async fn jobs(&self, by: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let is_asked_for = |job: &&Job| query.all_users || job.user.as_deref() == Some(by.username.as_str());
        self.answer(&self.0.lists, || {
            let queue = self.0.queue.lock().unwrap();
            queue.iter().filter(is_asked_for).cloned().collect::<Vec<_>>().into()
        })
    }

    async fn job(&self, _: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let found: Vec<Job> = self.answer(&self.0.singles, || {
            let (queue, accounting) = (self.0.queue.lock().unwrap(), self.0.accounting.lock().unwrap());
            queue.iter().chain(accounting.iter()).filter(|job| job.id == *id).cloned().collect()
        })?;
        if found.is_empty() { Err(SchedulerError::JobNotFound) } else { Ok(found.into()) }
    }

    async fn accounting(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn metadata(&self, _: &Principal, _: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn cancel(&self, _: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        self.set(id.as_str(), "CANCELLED");
        Ok(().into())
    }

    async fn alter(&self, _: &Principal, _: &JobId, _: JobChange) -> Result<Reported<()>, SchedulerError> {
        Err(UNUSED)
    }

    async fn validate(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        Err(UNUSED)
    }

    async fn attach(&self, _: &Principal, _: &JobId, _: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        Err(UNUSED)
    }

    async fn nodes(&self, _: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn partitions(&self, _: &Principal, _: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn reservations(&self, _: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn accounts(&self, _: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn usage(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn limits(&self, _: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        Err(UNUSED)
    }

    async fn ping(&self, _: &Principal) -> Result<(), SchedulerError> {
        Ok(())
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
        let files = ScriptedFiles(Script::new("file system", []));
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
        tokio::time::sleep(2 * INTERVAL).await;
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
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&begun.elapsed()));
    site.queue.set("1", "COMPLETED");
    tokio::time::sleep(REMEMBERED).await;
    assert_eq!(site.wait("1", 86_400).await.header("preference-applied"), Some("wait=50"), "a request has 60 s");
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
async fn what_happens_to_the_callers_jobs_is_told_and_nothing_of_others() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING"), job("2", "bob", "RUNNING"), job("3", "alice", "FAILED")]));
    let mut events = site.events("alice", "events", &[]).await;
    let mut of_bob = site.events("bob", "events", &[]).await;
    site.queue.set("1", "RUNNING");
    site.queue.set("2", "COMPLETED");
    site.queue.add(job("4", "alice", "COMPLETED"));
    events.until("RUNNING").await;
    events.until("\"4\"").await;
    site.queue.set("1", "COMPLETED");
    events.until("\"previousState\":\"RUNNING\"").await;
    of_bob.until("COMPLETED").await;
    assert!(events.text.starts_with("retry: 3000\nid: "), "who comes again before the first event misses nothing: {}", events.text);
    assert_eq!(events.told(), states(&[("1", "RUNNING"), ("4", "COMPLETED"), ("1", "COMPLETED")]));
    assert_eq!(of_bob.told(), states(&[("2", "COMPLETED")]));
    let last: Value = events.text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).next_back().unwrap();
    let sequence: u64 = events.last_id().parse().unwrap();
    let expected = json!({
        "sequence": sequence, "jobId": "1", "name": "job 1", "user": "alice", "previousState": "RUNNING", "state": "COMPLETED",
        "exitCode": 0, "interruptSignal": null, "isFinal": true, "time": last["time"],
    });
    assert_eq!(last, expected);
}

#[tokio::test]
async fn events_go_on_after_the_last_that_was_seen() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING")]));
    let mut events = site.events("alice", "events", &[]).await;
    site.queue.set("1", "RUNNING");
    events.until("RUNNING").await;
    let seen = events.last_id();
    drop(events);
    site.queue.set("1", "COMPLETED");
    let mut later = site.events("alice", "events", &[("last-event-id", &seen)]).await;
    later.until("COMPLETED").await;
    assert_eq!(later.told(), states(&[("1", "COMPLETED")]));
    let mut other = site.events("alice", "events", &[("last-event-id", "5")]).await;
    other.until("\"state\":\"COMPLETED\"").await;
    assert!(other.text.contains(": earlier events are no longer kept\n\n"), "{}", other.text);
}

#[tokio::test]
async fn who_names_no_event_is_told_that_the_events_begin_now() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING")]));
    for (id, said) in [("x", "is no number of an event"), ("-1", "is no number of an event"), ("99999999999999", "there was no such event")]
    {
        let mut events = site.events("alice", "events", &[("last-event-id", id)]).await;
        events.until(said).await;
        assert!(events.text.lines().any(|line| line.starts_with(": ") && line.contains(said)), "{}", events.text);
        assert_eq!(events.told(), []);
    }
}

#[tokio::test]
async fn the_events_of_a_job_begin_with_its_state_and_end_with_it() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING"), job("2", "alice", "RUNNING"), job("7", "bob", "RUNNING")]));
    let mut events = site.events("alice", "1/events", &[]).await;
    events.until("PENDING").await;
    site.queue.set("2", "FAILED");
    site.queue.set("1", "RUNNING");
    events.until("\"state\":\"RUNNING\"").await;
    let seen = events.last_id();
    site.queue.set("1", "COMPLETED");
    let text = events.rest().await;
    assert_eq!(told(&text), states(&[("1", "PENDING"), ("1", "RUNNING"), ("1", "COMPLETED")]));
    let end = "event: end\ndata: {\"reason\":\"the job has ended\"}\n\n";
    assert!(text.ends_with(end), "{text}");
    // Who comes later is told how it ended, or what came since.
    let text = site.events("alice", "1/events", &[]).await.rest().await;
    assert_eq!((told(&text), text.ends_with(end)), (states(&[("1", "COMPLETED")]), true));
    let text = site.events("alice", "1/events", &[("last-event-id", &seen)]).await.rest().await;
    assert_eq!((told(&text), text.ends_with(end)), (states(&[("1", "COMPLETED")]), true));
    // A job of somebody else's that the scheduler shows.
    let mut events = site.events("alice", "7/events", &[]).await;
    events.until("RUNNING").await;
    site.queue.set("7", "TIMEOUT");
    assert_eq!(told(&events.rest().await), states(&[("7", "RUNNING"), ("7", "TIMEOUT")]));
    assert_eq!(site.get("alice", "/compute/daint/jobs/8/events", &[]).await.status, 404);
}

#[tokio::test]
async fn the_events_of_an_array_are_those_of_its_tasks() {
    let mut tasks = job("5", "alice", "PENDING");
    tasks.name = "array".to_owned();
    let site = Site::new(&Queue::with([tasks]));
    let mut events = site.events("alice", "5/events", &[]).await;
    events.until("PENDING").await;
    site.queue.add(job("5_1", "alice", "RUNNING"));
    events.until("5_1").await;
    site.queue.remove("5");
    site.queue.add(job("5_2", "alice", "COMPLETED"));
    site.queue.0.accounting.lock().unwrap().push(job("5", "alice", "COMPLETED"));
    events.until("5_2").await;
    site.queue.set("5_1", "COMPLETED");
    let text = events.rest().await;
    assert!(told(&text).contains(&("5_1".to_owned(), "COMPLETED".to_owned())), "{text}");
}

#[tokio::test]
async fn events_are_lines_of_json_for_who_asks_for_those() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let headers = [("accept", "application/x-ndjson"), ("last-event-id", "x")];
    let events = site.events("alice", "1/events", &headers).await;
    let change = async {
        wait_for(PATIENCE, || site.queue.lists() > 1).await;
        site.queue.set("1", "COMPLETED");
    };
    let (text, ()) = tokio::join!(events.rest(), change);
    let lines: Vec<Value> = text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    let comment = "Last-Event-ID is no number of an event: the events begin now";
    assert_eq!(lines[0], json!({"comment": comment}));
    assert_eq!((&lines[1]["state"], &lines[2]["state"]), (&json!("RUNNING"), &json!("COMPLETED")));
    assert_eq!(lines.last().unwrap(), &json!({"end": {"reason": "the job has ended"}}));
}

#[tokio::test]
async fn fifty_watchers_miss_no_end_while_the_scheduler_is_away() {
    let jobs = || (0..50).map(|number| job(&number.to_string(), "alice", "RUNNING"));
    let site = Site::new(&Queue::with(jobs()));
    let site = &site;
    let watch = |number: usize| async move {
        let mut events = site.events("alice", &format!("{number}/events"), &[]).await;
        events.until("RUNNING").await;
        events
    };
    let mut watchers = join_all((0..50).map(watch)).await;
    wait_for(PATIENCE, || site.queue.lists() > 1).await;
    site.queue.be_down(true);
    join_all(watchers.iter_mut().map(|events| events.until("event: stale"))).await;
    assert!(watchers.iter().all(|events| events.told().len() == 1), "no job has ended because nobody could be asked");
    let waited = site.wait("3?since=RUNNING", 1).await;
    assert_eq!((waited.status, state(&waited).as_str()), (200, "RUNNING"));
    assert!(waited.json()["incomplete"].as_str().unwrap().contains("does not answer"), "{waited}");
    // Half of them end in the queue, half leave it for accounting.
    for number in 0..50 {
        site.queue.set(&number.to_string(), "COMPLETED");
        if number % 2 == 0 {
            site.queue.remove(&number.to_string());
            site.queue.0.accounting.lock().unwrap().push(job(&number.to_string(), "alice", "TIMEOUT"));
        }
    }
    site.queue.be_down(false);
    let texts = join_all(watchers.into_iter().map(Events::rest)).await;
    for (number, text) in texts.iter().enumerate() {
        let end = if number % 2 == 0 { "TIMEOUT" } else { "COMPLETED" };
        let number = number.to_string();
        assert_eq!(told(text), states(&[(&number, "RUNNING"), (&number, end)]));
    }
}

#[tokio::test]
async fn a_thousand_who_wait_cost_one_query_per_interval() {
    let jobs = (0..200).map(|number| job(&number.to_string(), "alice", "RUNNING"));
    let site = Site::build(&Queue::with(jobs), Duration::from_secs(1), MirrorAccount::Caller, None);
    // The first look at the jobs.
    let mut events = site.events("alice", "events", &[]).await;
    let (lists, singles, begun) = (site.queue.lists(), site.queue.singles(), Instant::now());
    let uris: Vec<String> = (0..1000).map(|number| format!("{}?since=RUNNING", number % 200)).collect();
    let answers = join_all(uris.iter().map(|uri| site.wait(uri, 4))).await;
    let list = site.get("alice", "/compute/daint/jobs", &[]).await;
    let intervals = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    assert!(answers.iter().all(|answer| answer.status == 200 && state(answer) == "RUNNING") && list.status == 200);
    assert!(site.queue.lists() - lists <= intervals, "{} lists in {intervals} intervals", site.queue.lists() - lists);
    assert!(site.queue.singles() - singles <= 10, "{} single jobs", site.queue.singles() - singles);
    site.queue.set("5", "COMPLETED");
    events.until("COMPLETED").await;
}

#[tokio::test]
async fn with_a_service_account_one_query_is_for_all_users() {
    let queue = Queue::with([job("1", "alice", "RUNNING"), job("2", "bob", "RUNNING")]);
    let site = Site::build(&queue, Duration::from_secs(2), MirrorAccount::Service, None);
    let mut events = site.events("bob", "events", &[]).await;
    let before = site.queue.lists();
    for (user, id) in [("alice", "1"), ("bob", "2")] {
        let list = site.get(user, "/compute/daint/jobs", &[]).await.json();
        let ids: Vec<&str> = list["jobs"].as_array().unwrap().iter().map(|job| job["jobId"].as_str().unwrap()).collect();
        assert_eq!(ids, [id], "each sees their own jobs");
    }
    assert!(site.queue.lists() - before <= 1, "lists are what is known already");
    site.queue.set("1", "COMPLETED");
    site.queue.set("2", "FAILED");
    events.until("FAILED").await;
    assert_eq!(events.told(), states(&[("2", "FAILED")]));
}

#[tokio::test]
async fn events_go_on_over_a_restart_and_tell_what_happened_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        || -> Arc<dyn Store> { Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.path().to_owned(), ..SqliteConfig::default() })) };
    let queue = Queue::with([job("1", "alice", "PENDING"), job("2", "alice", "RUNNING")]);
    let site = Site::build(&queue, INTERVAL, MirrorAccount::Caller, Some(store()));
    let mut events = site.events("alice", "events", &[]).await;
    queue.set("1", "RUNNING");
    events.until("RUNNING").await;
    let seen = events.last_id();
    site.stop.cancel();
    assert!(!events.rest().await.contains("event: end"), "who watches comes again");
    drop(site);

    queue.set("1", "COMPLETED");
    let mut short = job("3", "alice", "FAILED");
    short.times.end = Some(jiff::Timestamp::now().as_second() + 1);
    queue.add(short);
    let mut old = job("4", "alice", "FAILED");
    old.times.end = Some(1_000_000);
    queue.add(old);
    let site = Site::build(&queue, INTERVAL, MirrorAccount::Caller, Some(store()));
    let mut events = site.events("alice", "events", &[("last-event-id", &seen)]).await;
    events.until("COMPLETED").await;
    events.until("\"3\"").await;
    queue.set("2", "TIMEOUT");
    events.until("TIMEOUT").await;
    let mut told = events.told();
    told[..2].sort();
    assert_eq!(told, states(&[("1", "COMPLETED"), ("3", "FAILED"), ("2", "TIMEOUT")]));
}

#[tokio::test]
async fn who_comes_again_after_the_end_is_told_of_it_before_the_next_look_too() {
    let site = Site::build(&Queue::with([job("1", "alice", "RUNNING")]), Duration::from_secs(60), MirrorAccount::Caller, None);
    let mut events = site.events("alice", "events", &[]).await;
    let position = site.mirror.journal().last().to_string();
    site.queue.set("1", "TIMEOUT");
    let text = site.events("alice", "1/events", &[("last-event-id", &position)]).await.rest().await;
    assert_eq!(told(&text), states(&[("1", "TIMEOUT")]));
    assert!(text.ends_with("event: end\ndata: {\"reason\":\"the job has ended\"}\n\n"), "{text}");
    site.mirror.nudge(&Username::new("alice").unwrap());
    events.until("TIMEOUT").await;
}

#[tokio::test]
async fn replicas_with_one_store_ask_once_and_tell_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.path().to_owned(), ..SqliteConfig::default() }));
    let queue = Queue::with([job("1", "alice", "RUNNING")]);
    let replica = || Site::build(&queue, INTERVAL, MirrorAccount::Service, Some(Arc::clone(&store)));
    let (one, other) = (replica(), replica());
    let mut watched = [one.events("alice", "1/events", &[]).await, other.events("alice", "1/events", &[]).await];
    for events in &mut watched {
        events.until("RUNNING").await;
    }
    // Until the lease of a process that was killed would have ended, a new one queries by itself.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (before, begun) = (queue.lists(), Instant::now());
    tokio::time::sleep(10 * INTERVAL).await;
    let rounds = usize::try_from(begun.elapsed().as_millis() / INTERVAL.as_millis()).unwrap();
    assert!(queue.lists() - before <= rounds + 1, "{} lists in {rounds} rounds", queue.lists() - before);
    queue.set("1", "COMPLETED");
    let [of_one, of_other] = join_all(watched.into_iter().map(Events::rest)).await.try_into().unwrap();
    assert_eq!(told(&of_one), states(&[("1", "RUNNING"), ("1", "COMPLETED")]));
    assert_eq!(told(&of_one), told(&of_other));
    // The one that asked goes away, and the other takes its place.
    queue.add(job("2", "alice", "RUNNING"));
    drop(one);
    let mut events = other.events("alice", "2/events", &[]).await;
    events.until("RUNNING").await;
    queue.set("2", "FAILED");
    events.until("FAILED").await;
}

#[tokio::test]
async fn what_is_observed_is_counted() {
    let queue = Queue::with([job("1", "alice", "RUNNING")]);
    let site = Site::new(&queue);
    let (api, mirror) = (Arc::clone(&site.api), Arc::clone(&site.mirror));
    let value = async |series: &str| sample(&text(&api).await, &format!("goldcrest_mirror_{series}"));
    assert_eq!(value("queries_total{system=\"daint\",query=\"list\",outcome=\"answered\"}").await, Some(0.0));
    assert_eq!(value("last_answer_timestamp_seconds{system=\"daint\"}").await, None);
    let router = goldcrest::http::pushes("0123456789abcdef".to_owned().into(), move |ended| mirror.hint(ended));
    let record = |user: &str| json!({"jobid": 1, "username": user}).to_string();
    let mut events = site.events("alice", "events", &[]).await;
    let other = site.events("alice", "1/events", &[]).await;
    assert_eq!(value("watchers{system=\"daint\"}").await, Some(2.0));
    for user in ["alice", "bob", "$(id)"] {
        assert_eq!(push(&router, "/0123456789abcdef", record(user)).await, 200);
    }
    for outcome in ["taken", "unwatched", "unreadable"] {
        assert_eq!(value(&format!("pushes_total{{system=\"daint\",outcome=\"{outcome}\"}}")).await, Some(1.0), "{outcome}");
    }
    let before = value("events_total{system=\"daint\"}").await.unwrap();
    queue.set("1", "COMPLETED");
    events.until("COMPLETED").await;
    assert_eq!(value("events_total{system=\"daint\"}").await, Some(before + 1.0));
    let answered = value("last_answer_timestamp_seconds{system=\"daint\"}").await.unwrap();
    assert!((answered - jiff::Timestamp::now().as_second() as f64).abs() < 60.0, "{answered}");
    queue.be_down(true);
    events.until("event: stale").await;
    assert!(value("queries_total{system=\"daint\",query=\"list\",outcome=\"failed\"}").await.unwrap() >= 1.0);
    drop((events, other));
    assert_eq!(value("watchers{system=\"daint\"}").await, Some(0.0));
}

#[tokio::test]
async fn the_lease_of_a_process_that_was_killed_delays_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.path().to_owned(), ..SqliteConfig::default() }));
    let lease = || store.lease("mirror/daint/alice", "one that was killed", Duration::from_secs(600));
    assert!(lease().await.unwrap());
    let queue = Queue::with([job("1", "alice", "RUNNING")]);
    let site = Site::build(&queue, INTERVAL, MirrorAccount::Caller, Some(Arc::clone(&store)));
    let begun = Instant::now();
    let mut events = site.events("alice", "1/events", &[]).await;
    events.until("RUNNING").await;
    queue.set("1", "COMPLETED");
    events.until("COMPLETED").await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // The lease of a process that renews it is of one that lives, which does the asking.
    let mut others = site.events("alice", "events", &[]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(lease().await.unwrap());
    let lists = queue.lists();
    tokio::time::sleep(5 * INTERVAL).await;
    assert_eq!(queue.lists(), lists, "it is left to the other");
    others.until("retry").await;
}

#[tokio::test]
async fn replicas_that_look_at_the_same_time_tell_a_change_once() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.path().to_owned(), ..SqliteConfig::default() }));
    let queue = Queue::with((0..50).map(|number| job(&number.to_string(), "alice", "RUNNING")));
    let replicas: Vec<Site> =
        (0..3).map(|_| Site::build(&queue, Duration::from_millis(10), MirrorAccount::Service, Some(Arc::clone(&store)))).collect();
    let mut watched = Vec::new();
    for replica in &replicas {
        watched.push(replica.events("alice", "events", &[]).await);
    }
    for number in 0..50 {
        queue.set(&number.to_string(), "COMPLETED");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    queue.add(job("last", "alice", "FAILED"));
    for events in &mut watched {
        events.until("\"last\"").await;
        let mut told: Vec<String> = events.told().into_iter().filter(|(_, state)| state != "RUNNING").map(|(id, _)| id).collect();
        let count = told.len();
        told.sort();
        told.dedup();
        assert_eq!((count, told.len()), (51, 51), "{}", events.text);
    }
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
async fn a_job_that_left_the_queue_before_accounting_knows_its_end_is_not_gone() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let mut events = site.events("alice", "1/events", &[]).await;
    events.until("RUNNING").await;
    wait_for(PATIENCE, || site.queue.lists() > 1).await;
    site.queue.remove("1");
    let (lists, singles) = (site.queue.lists(), site.queue.singles());
    wait_for(PATIENCE, || site.queue.lists() > lists + 3).await;
    assert!(site.queue.singles() > singles, "it is looked for");
    tokio::time::sleep(REMEMBERED).await;
    let answer = site.get("alice", "/compute/daint/jobs/1", &[]).await;
    assert_eq!((answer.status, state(&answer).as_str()), (200, "RUNNING"));
    assert!(answer.json()["incomplete"].as_str().unwrap().contains("has left the queue"), "{answer}");
    site.queue.0.accounting.lock().unwrap().push(job("1", "alice", "OUT_OF_MEMORY"));
    assert_eq!(told(&events.rest().await), states(&[("1", "RUNNING"), ("1", "OUT_OF_MEMORY")]));
}

#[tokio::test]
async fn a_list_that_cannot_be_had_is_the_last_one_with_its_age_where_somebody_watches() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let mut events = site.events("alice", "events", &[]).await;
    site.queue.be_down(true);
    events.until("event: stale").await;
    tokio::time::sleep(REMEMBERED).await;
    let list = site.get("alice", "/compute/daint/jobs", &[]).await;
    assert_eq!((list.status, state(&list).as_str()), (200, "RUNNING"));
    assert!(list.header("age").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(list.header("goldcrest-incomplete").unwrap().contains("does not answer"));
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
    tokio::time::sleep(5 * INTERVAL).await;
    let lists = site.queue.lists();
    tokio::time::sleep(5 * INTERVAL).await;
    assert!(site.queue.lists() <= lists + 1);
}

/// Users who want to hear of their jobs and do not look.
struct Subscribers(Mutex<Vec<Username>>);

#[async_trait]
impl Interest for Subscribers {
    async fn users(&self, _: &SystemName) -> Vec<Username> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_jobs_of_who_wants_to_hear_of_them_are_watched_although_nobody_looks() {
    let queue = Queue::with([job("1", "alice", "RUNNING"), job("2", "bob", "RUNNING")]);
    let subscribers = Arc::new(Subscribers(Mutex::new(vec![Username::new("alice").unwrap()])));
    let settings = JobMirror { interval: INTERVAL.as_secs_f64(), ..JobMirror::default() };
    let site = Site::assemble(&queue, settings, None, |mirror| mirror.with_interest(subscribers.clone()));
    let first = site.mirror.journal().last();
    wait_for(PATIENCE, || site.mirror.journal().last() == first + 1).await;
    queue.set("1", "COMPLETED");
    wait_for(PATIENCE, || site.mirror.journal().last() == first + 2).await;
    subscribers.0.lock().unwrap().clear();
    tokio::time::sleep(6 * INTERVAL).await;
    let lists = queue.lists();
    tokio::time::sleep(5 * INTERVAL).await;
    assert!(queue.lists() <= lists + 1, "nobody wants to hear of them any more");
}

/// Sends a record to the listener for records of ended jobs.
async fn push(router: &Router, path: &str, record: impl Into<Body>) -> u16 {
    let request = Request::builder().method(Method::POST).uri(path).header("content-type", "application/json").body(record.into());
    router.clone().oneshot(request.unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_push_has_one_job_looked_at_and_is_not_believed() {
    let queue = Queue::with([job("1", "alice", "RUNNING"), job("2", "alice", "RUNNING")]);
    let site = Site::build(&queue, Duration::from_secs(60), MirrorAccount::Caller, None);
    let mirror = Arc::clone(&site.mirror);
    let router = goldcrest::http::pushes("0123456789abcdef".to_owned().into(), move |ended| mirror.hint(ended));
    let record = |id: u64| json!({"jobid": id, "username": "alice", "state": "COMPLETED", "exit_code": "0:0"}).to_string();
    let mut events = site.events("alice", "events", &[]).await;
    let lists = queue.lists();
    for path in ["/0123456789abcdeX", "/", "/0123456789abcde"] {
        assert_eq!(push(&router, path, record(1)).await, 404, "{path}");
    }
    assert_eq!(queue.singles(), 0);
    // It says that the job has ended, which is not so.
    assert_eq!(push(&router, "/0123456789abcdef", record(1)).await, 200);
    wait_for(PATIENCE, || queue.singles() == 1).await;
    queue.set("2", "FAILED");
    let begun = Instant::now();
    assert_eq!(push(&router, "/0123456789abcdef/slurm/_doc", record(2)).await, 200);
    events.until("FAILED").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "an interval is a minute");
    assert_eq!(events.told(), states(&[("2", "FAILED")]));
    // One that is still cleaned up when its end is reported is looked at until that is done.
    queue.add(job("3", "alice", "COMPLETING"));
    assert_eq!(push(&router, "/0123456789abcdef", record(3)).await, 200);
    events.until("COMPLETING").await;
    queue.set("3", "COMPLETED");
    let begun = Instant::now();
    events.until("\"previousState\":\"COMPLETING\"").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "an interval is a minute");
    let singles = queue.singles();
    // It comes twice, and what cannot be read comes too.
    assert_eq!(push(&router, "/0123456789abcdef", record(2)).await, 200);
    for record in [Body::from("no record"), Body::from(vec![b' '; 5 << 20]), Body::from("{\"jobid\": 1, \"username\": \"$(id)\"}")] {
        assert_eq!(push(&router, "/0123456789abcdef", record).await, 200);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((queue.lists(), queue.singles()), (lists, singles), "a job that is known to have ended is not asked for");
}
