//! How jobs are observed: the number of queries, several processes with one store, records of ended jobs.

use super::*;

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
    wait_until(PATIENCE, async || {
        let (before, begun) = (queue.lists(), Instant::now());
        tokio::time::sleep(10 * INTERVAL).await;
        let rounds = usize::try_from(begun.elapsed().as_millis() / INTERVAL.as_millis()).unwrap();
        queue.lists() - before <= rounds + 1
    })
    .await;
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
    wait_until(PATIENCE, async || {
        assert!(lease().await.unwrap());
        let lists = queue.lists();
        tokio::time::sleep(5 * INTERVAL).await;
        queue.lists() == lists
    })
    .await;
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

/// Users who want to hear of their jobs and do not look.
struct Subscribers(Mutex<Option<Vec<Username>>>, Vec<JobId>);

#[async_trait]
impl Interest for Subscribers {
    async fn users(&self, _: &SystemName) -> Option<Vec<Username>> {
        self.0.lock().unwrap().clone()
    }

    async fn jobs(&self, _: &SystemName, _: Option<&Username>) -> Vec<JobId> {
        self.1.clone()
    }
}

#[tokio::test]
async fn the_jobs_of_who_wants_to_hear_of_them_are_watched_although_nobody_looks() {
    let queue = Queue::with([job("1", "alice", "RUNNING"), job("2", "bob", "RUNNING")]);
    let subscribers = Arc::new(Subscribers(Mutex::new(Some(vec![Username::new("alice").unwrap()])), Vec::new()));
    let settings = JobMirror { interval: INTERVAL.as_secs_f64(), ..JobMirror::default() };
    let site = Site::assemble(&queue, settings, None, |mirror| mirror.with_interest(subscribers.clone()));
    let first = site.mirror.journal().last();
    wait_for(PATIENCE, || site.mirror.journal().last() == first + 1).await;
    queue.set("1", "COMPLETED");
    wait_for(PATIENCE, || site.mirror.journal().last() == first + 2).await;
    // They are still watched while the store does not answer.
    *subscribers.0.lock().unwrap() = None;
    let lists = queue.lists();
    wait_for(PATIENCE, || queue.lists() > lists + 10).await;
    *subscribers.0.lock().unwrap() = Some(Vec::new());
    // Nobody wants to hear of them any more.
    queue.until_quiet().await;
}

#[tokio::test]
async fn the_end_of_a_job_with_a_subscriber_is_reported_although_it_was_over_before_the_first_list() {
    for account in [MirrorAccount::Caller, MirrorAccount::Service] {
        let queue = Queue::with([job("1", "alice", "COMPLETED"), job("2", "alice", "COMPLETED")]);
        let subscribers = Subscribers(Mutex::new(Some(vec![Username::new("alice").unwrap()])), vec![JobId::new("2").unwrap()]);
        let settings = JobMirror { interval: INTERVAL.as_secs_f64(), account, ..JobMirror::default() };
        let site = Site::assemble(&queue, settings, None, |mirror| mirror.with_interest(Arc::new(subscribers)));
        let first = site.mirror.journal().last();
        wait_for(PATIENCE, || queue.lists() >= 3).await;
        assert_eq!(site.mirror.journal().last(), first + 1, "of the two jobs, the one with a subscriber alone");
        assert_eq!(site.mirror.last_event(&Selection::jobs(["2"])), first + 1);
    }
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
