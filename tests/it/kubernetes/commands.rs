//! Commands in the containers of jobs, and signals.

use axum::http::Method;
use goldcrest::domain::{JobChange, JobId, Signal};
use goldcrest::error::{Classify, Kind};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use serde_json::json;

use super::double::{ApiServer, refusal};
use super::job;
use crate::support::principal;

const FAILURE: &[u8] = b"\x03{\"status\":\"Failure\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"7\"}]}}";

#[tokio::test]
async fn a_command_runs_in_the_container_of_the_job_and_its_streams_come_back_apart() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    server.answer_commands(&[b"\x01out", b"\x02err", b"\x01put", FAILURE]);
    let output = scheduler.attach(&jane, &id, "echo \"$HOME\"; exit 7").await.unwrap().value;
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice(), output.exit), (&b"output"[..], &b"err"[..], 7));
    let sent = server.sent(&Method::GET, "/exec");
    let query = sent[0].uri.query().unwrap();
    assert!(sent[0].uri.path().ends_with(&format!("/namespaces/goldcrest-jane/pods/{id}-0/exec")), "{}", sent[0].uri);
    assert!(query.contains("container=job") && query.contains("command=%2Fbin%2Fsh&command=-c&command=echo"), "{query}");
    assert!(matches!(scheduler.attach(&principal("john"), &id, "true").await, Err(SchedulerError::JobNotFound)));
}

#[tokio::test]
async fn a_signal_reaches_all_processes_of_the_job() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    let path = format!("/apis/batch/v1/namespaces/goldcrest-jane/jobs/{id}");
    assert_eq!(server.object(&path).unwrap()["spec"]["template"]["spec"]["shareProcessNamespace"], true);
    server.answer_commands(&[b"\x03{\"status\":\"Success\"}"]);
    scheduler.alter(&jane, &id, JobChange::Signal(Signal::new("USR1").unwrap())).await.unwrap();
    let sent = server.sent(&Method::GET, "/exec");
    assert!(sent[0].uri.query().unwrap().contains("command=kill+-s+USR1+-1"), "{}", sent[0].uri);
}

#[tokio::test]
async fn a_command_needs_a_running_container_and_a_status() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    server.answer_commands(&[b"\x01out"]);
    server.finish("goldcrest-jane", id.as_str(), 0);
    let error = scheduler.attach(&jane, &id, "true").await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Rejected(reason) if reason.contains("does not run")), "{error:?}");
    assert!(server.sent(&Method::GET, "/exec").is_empty());
    let unknown = JobId::new("job-1").unwrap();
    assert!(matches!(scheduler.attach(&jane, &unknown, "true").await, Err(SchedulerError::JobNotFound)));
}

#[tokio::test]
async fn a_refusal_of_a_command_is_told_with_its_reason() {
    let forbidden = |seen: &crate::support::service::Seen| {
        seen.uri
            .path()
            .ends_with("/exec")
            .then(|| refusal(403, "Forbidden", "pods \"a\" is forbidden: cannot create resource \"pods/exec\""))
    };
    let server = ApiServer::start(forbidden).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    let error = scheduler.attach(&jane, &id, "true").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden, "{error:?}");
    assert!(error.to_string().contains("pods/exec"), "{error}");
}
