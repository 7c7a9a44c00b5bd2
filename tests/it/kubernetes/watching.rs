//! The cache of all jobs: when it answers, and when it must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::Method;
use goldcrest::domain::{JobQuery, Username};
use goldcrest::scheduler::kubernetes::Kubernetes;
use goldcrest::scheduler::{Scheduler, SchedulerError};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;

use super::double::{ApiServer, refusal};
use super::{job, wait_for_sent};
use crate::support::{PATIENCE, principal, wait_until};

/// A scheduler whose cache is kept current, and the users who were named as those whose jobs have changed.
struct Watched {
    scheduler: Arc<Kubernetes>,
    changed: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Watched {
    async fn start(server: &ApiServer) -> Self {
        let (scheduler, changed) = (Arc::new(server.scheduler(json!({}))), Arc::new(Mutex::new(Vec::new())));
        let (kept, users) = (Arc::clone(&scheduler), Arc::clone(&changed));
        let task = tokio::spawn(async move {
            let note = |user: &Username| users.lock().push(user.to_string());
            kept.keep_current(&note).await;
        });
        for kind in ["/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/events"] {
            wait_for_sent(server, kind, 2).await;
        }
        Self { scheduler, changed, task }
    }

    /// Waits until the jobs of a user are answered from the cache, and returns how many lists were asked for until then.
    async fn current(&self, server: &ApiServer, user: &str) -> usize {
        let is_current = async || {
            let before = lists(server);
            state(&self.scheduler, user).await;
            lists(server) == before
        };
        wait_until(PATIENCE.max(Duration::from_secs(30)), is_current).await;
        lists(server)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How many lists of jobs and pods were asked for in namespaces.
fn lists(server: &ApiServer) -> usize {
    let of = |kind| server.sent(&Method::GET, kind).into_iter().filter(|seen| seen.uri.path().contains("/namespaces/")).count();
    of("/jobs") + of("/pods")
}

async fn state(scheduler: &Kubernetes, user: &str) -> Vec<String> {
    let jobs = scheduler.jobs(&principal(user), &JobQuery::default()).await.unwrap().value;
    jobs.into_iter().map(|job| job.status.state).collect()
}

#[tokio::test]
async fn lists_are_answered_from_the_watches_and_changes_name_their_user() {
    let server = ApiServer::start(|_| None).await;
    let watched = Watched::start(&server).await;
    let jane = principal("jane");
    let id = watched.scheduler.submit(&jane, &job()).await.unwrap().value;
    assert_eq!(state(&watched.scheduler, "jane").await.len(), 1, "a user sees their own submission at once");
    let asked = watched.current(&server, "jane").await;
    wait_until(PATIENCE, async || state(&watched.scheduler, "jane").await == ["RUNNING"]).await;
    assert_eq!(state(&watched.scheduler, "john").await, Vec::<String>::new());
    server.finish("goldcrest-jane", id.as_str(), 7);
    wait_until(PATIENCE, async || state(&watched.scheduler, "jane").await == ["FAILED"]).await;
    assert_eq!(watched.scheduler.job(&jane, &id).await.unwrap().value[0].status.exit_code, Some(7));
    assert_eq!(lists(&server), asked, "nothing was listed");
    let changed = watched.changed.lock().clone();
    assert!(!changed.is_empty() && changed.iter().all(|user| user == "jane"), "{changed:?}");
    let path = format!("/apis/batch/v1/namespaces/goldcrest-jane/jobs/{id}");
    let mut ended = server.object(&path).unwrap();
    ended["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
    server.put(&path, ended);
    server.remove(&path);
    wait_until(PATIENCE, async || state(&watched.scheduler, "jane").await.is_empty()).await;
}

#[tokio::test]
async fn a_pod_that_cannot_be_created_is_known_by_its_event() {
    let server = ApiServer::start(|_| None).await;
    let watched = Watched::start(&server).await;
    let mut held = job();
    held.options.hold = true;
    let id = watched.scheduler.submit(&principal("jane"), &held).await.unwrap().value;
    let path = format!("/apis/batch/v1/namespaces/goldcrest-jane/jobs/{id}");
    let mut kept = server.object(&path).unwrap();
    kept["spec"]["suspend"] = json!(false);
    let uid = kept["metadata"]["uid"].clone();
    server.put(&path, kept);
    let message = "Error creating: pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\"";
    let event = json!({
        "reason": "FailedCreate", "message": message, "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": {"kind": "Job", "name": id.as_str(), "uid": uid}, "metadata": {},
    });
    server.put(&format!("/api/v1/namespaces/goldcrest-jane/events/{id}.1"), event);
    wait_until(PATIENCE, async || state(&watched.scheduler, "jane").await == ["FAILED"]).await;
    let jobs = watched.scheduler.job(&principal("jane"), &id).await.unwrap().value;
    assert_eq!(jobs[0].status.reason.as_deref(), Some(format!("FailedCreate: {message}").as_str()));
    // Nothing will come of it: it was ended.
    assert_eq!(server.object(&path).unwrap()["spec"]["parallelism"], 0);
}

#[tokio::test]
async fn an_api_server_that_went_away_is_told_and_not_what_was_known_before() {
    let is_away = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_away);
    let server = ApiServer::start(move |seen| {
        let is_namespace = seen.uri.path().ends_with("/goldcrest-jane");
        (flag.load(Ordering::SeqCst) && !is_namespace).then(|| refusal(503, "ServiceUnavailable", "no leader"))
    })
    .await;
    let watched = Watched::start(&server).await;
    let jane = principal("jane");
    watched.scheduler.submit(&jane, &job()).await.unwrap();
    assert_eq!(state(&watched.scheduler, "jane").await.len(), 1);
    is_away.store(true, Ordering::SeqCst);
    server.end_watches();
    let is_told = async || {
        let outcome = watched.scheduler.jobs(&jane, &JobQuery::default()).await;
        matches!(outcome, Err(SchedulerError::Down(_)))
    };
    wait_until(PATIENCE, is_told).await;
    // What happened meanwhile is known when it is back.
    let path = server.paths().into_iter().find(|path| path.contains("/jobs/")).unwrap();
    server.remove(&path);
    is_away.store(false, Ordering::SeqCst);
    watched.current(&server, "jane").await;
    assert_eq!(state(&watched.scheduler, "jane").await, ["CANCELLED"]);
}

#[tokio::test]
async fn who_may_not_watch_is_answered_by_queries() {
    let server = ApiServer::start(|seen| {
        let query = seen.uri.query().unwrap_or_default();
        query.contains("watch=true").then(|| refusal(403, "Forbidden", "jobs.batch is forbidden: cannot watch resource \"jobs\""))
    })
    .await;
    let watched = Watched::start(&server).await;
    watched.scheduler.submit(&principal("jane"), &job()).await.unwrap();
    assert_eq!(state(&watched.scheduler, "jane").await, ["RUNNING"]);
    assert!(lists(&server) >= 2);
}

#[tokio::test]
async fn a_list_of_one_user_among_many_is_short_and_costs_the_api_server_nothing() {
    let server = ApiServer::start(|_| None).await;
    for user in 0..100 {
        let namespace = format!("/api/v1/namespaces/goldcrest-user{user}");
        server.put(&namespace, json!({"metadata": {"annotations": {"goldcrest/user": format!("user{user}")}}}));
        for job in 0..10 {
            let metadata = json!({"labels": {"app.kubernetes.io/managed-by": "goldcrest"}, "uid": format!("{user}-{job}")});
            let job = format!("/apis/batch/v1/namespaces/goldcrest-user{user}/jobs/sim-{job}");
            server.put(&job, json!({"metadata": metadata, "spec": {"template": {"spec": {"containers": [{"name": "job"}]}}}}));
        }
    }
    let watched = Watched::start(&server).await;
    let asked = watched.current(&server, "user7").await;
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        assert_eq!(state(&watched.scheduler, "user7").await.len(), 10);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    // In a release build on an idle machine it is 5 ms.
    assert!(times[10] < Duration::from_millis(500), "{times:?}");
    assert_eq!(lists(&server), asked);
}
