//! Jobs whose Job somebody removes from the cluster: they are gone when the API server says so, and never because it does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use super::double::{ApiServer, refusal};
use super::{api, wait_for_sent};
use crate::api::{Answer, Api};
use crate::support::service::Seen;
use crate::support::{PATIENCE, wait_until};

async fn submit(api: &Api) -> String {
    let job = json!({"job": {"name": "sim", "workingDirectory": "/work", "script": "#!/bin/sh\ntrue\n"}});
    let answer = api.call(Method::POST, "/compute/daint/jobs", Some(job)).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    answer.json()["jobId"].as_str().unwrap().to_owned()
}

/// The states of a job, or the status of the answer.
async fn states(api: &Api, uri: &str) -> Result<Vec<String>, u16> {
    let answer: Answer = api.get(uri).await;
    if answer.status != 200 {
        return Err(answer.status);
    }
    let jobs = answer.json()["jobs"].as_array().unwrap().clone();
    Ok(jobs.iter().map(|job| job["status"]["state"].as_str().unwrap().to_owned()).collect())
}

fn path_of(id: &str) -> String {
    format!("/apis/batch/v1/namespaces/goldcrest-alice/jobs/{id}")
}

#[tokio::test]
async fn a_job_that_was_removed_a_moment_after_its_submission_is_cancelled_and_waits_for_nothing() {
    let server = ApiServer::start(|_| None).await;
    let api = api(server.scheduler(json!({})));
    for kind in ["/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/events"] {
        wait_for_sent(&server, kind, 2).await;
    }
    let (ended, ending, removed) = (submit(&api).await, submit(&api).await, submit(&api).await);
    let of = |id: &str| format!("/compute/daint/jobs/{id}");
    for id in [&ended, &ending, &removed] {
        wait_until(PATIENCE, async || states(&api, &of(id)).await == Ok(vec!["RUNNING".to_owned()])).await;
    }
    for id in [&ended, &ending] {
        server.finish("goldcrest-alice", id, 0);
        wait_until(PATIENCE, async || states(&api, &of(id)).await == Ok(vec!["COMPLETED".to_owned()])).await;
    }
    let mut job = server.object(&path_of(&ended)).unwrap();
    job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    server.put(&path_of(&ended), job);
    server.remove(&path_of(&ended));
    server.remove(&path_of(&ending));
    server.remove(&path_of(&removed));
    wait_until(PATIENCE, async || states(&api, &of(&removed)).await == Ok(vec!["CANCELLED".to_owned()])).await;
    // One that had ended is gone with its Job, and not shown as if it were to begin.
    wait_until(PATIENCE, async || states(&api, &of(&ended)).await == Err(404)).await;
    // Of one whose Job had not followed its pod yet, the end remains.
    let is_complete = async || {
        let mut states = states(&api, "/compute/daint/jobs").await.unwrap();
        states.sort();
        states == ["CANCELLED", "COMPLETED"]
    };
    wait_until(PATIENCE, is_complete).await;
    assert_eq!(states(&api, &of(&ending)).await, Ok(vec!["COMPLETED".to_owned()]));
    let shown = api.get(&of(&removed)).await.json()["jobs"][0].clone();
    assert!(shown["status"]["stateReason"].as_str().unwrap().starts_with("Removed: "), "{shown}");
    assert!(shown["time"]["end"].is_i64(), "{shown}");
    assert_eq!(api.call(Method::DELETE, &of(&removed), None).await.status, 400);
    assert_eq!(api.get(&format!("{}/logs", of(&removed))).await.status, 200);
    // The end is an event.
    let events = api.get(&format!("{}/events", of(&removed))).await;
    assert!(events.everything().contains("CANCELLED"), "{}", events.everything());
}

#[tokio::test]
async fn a_job_that_is_removed_while_no_watch_stands_is_cancelled_too() {
    let is_closed = Arc::new(AtomicBool::new(false));
    let closed = Arc::clone(&is_closed);
    let server = ApiServer::start(move |seen| {
        let is_watch = seen.uri.query().unwrap_or_default().contains("watch=true");
        (is_watch && closed.load(Ordering::SeqCst)).then(|| refusal(403, "Forbidden", "cannot watch"))
    })
    .await;
    let api = api(server.scheduler(json!({})));
    for kind in ["/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/events"] {
        wait_for_sent(&server, kind, 2).await;
    }
    let id = submit(&api).await;
    let uri = format!("/compute/daint/jobs/{id}");
    wait_until(PATIENCE, async || states(&api, &uri).await == Ok(vec!["RUNNING".to_owned()])).await;
    is_closed.store(true, Ordering::SeqCst);
    server.end_watches();
    server.remove(&path_of(&id));
    wait_until(PATIENCE, async || states(&api, &uri).await == Ok(vec!["CANCELLED".to_owned()])).await;
}

#[tokio::test]
async fn a_job_that_goldcrest_removes_because_its_secret_is_refused_is_not_shown() {
    let secrets = |seen: &Seen| {
        let is_creation = seen.method == Method::POST && seen.uri.path().ends_with("/secrets");
        is_creation.then(|| refusal(403, "Forbidden", "exceeded quota: no-more"))
    };
    let server = ApiServer::start(secrets).await;
    let api = api(server.scheduler(json!({})));
    for kind in ["/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/events"] {
        wait_for_sent(&server, kind, 2).await;
    }
    let job = json!({"job": {"name": "sim", "workingDirectory": "/work", "script": "#!/bin/sh\ntrue\n"}});
    for _ in 0..5 {
        assert_eq!(api.call(Method::POST, "/compute/daint/jobs", Some(job.clone())).await.status, 403);
    }
    // The reports of the creation and of the removal arrive meanwhile.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(states(&api, "/compute/daint/jobs").await, Ok(vec![]));
    assert!(!server.paths().iter().any(|path| path.contains("/jobs/")), "{:?}", server.paths());
}

#[tokio::test]
async fn a_job_that_cannot_be_queried_is_not_gone_and_one_that_is_gone_is_not_pending() {
    let failure = Arc::new(AtomicU16::new(0));
    let code = Arc::clone(&failure);
    // Without watches, every answer is the API server's.
    let server = ApiServer::start(move |seen| {
        let code = code.load(Ordering::SeqCst);
        let is_watch = seen.uri.query().unwrap_or_default().contains("watch=true");
        let is_of_job = seen.uri.path().contains("/jobs") || seen.uri.path().contains("/pods");
        match code {
            _ if is_watch => Some(refusal(403, "Forbidden", "cannot watch")),
            0 => None,
            code => is_of_job.then(|| refusal(code, "Unavailable", "not now")),
        }
    })
    .await;
    let api = api(server.scheduler(json!({})));
    let id = submit(&api).await;
    let uri = format!("/compute/daint/jobs/{id}");
    server.remove(&path_of(&id));
    for code in [429, 500, 503] {
        failure.store(code, Ordering::SeqCst);
        let answer = states(&api, &uri).await;
        assert!(matches!(answer, Err(424 | 503)), "{code}: {answer:?}");
    }
    failure.store(0, Ordering::SeqCst);
    assert_eq!(states(&api, &uri).await, Ok(vec!["CANCELLED".to_owned()]));
}
