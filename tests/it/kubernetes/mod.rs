//! Kubernetes, against an API server that misbehaves: what is believed, what is sent, and what is never sent twice.

mod answers;
mod commands;
pub mod double;
mod files;
mod kbatch;
mod kbatch_refusals;
mod machine;
mod output;
mod queues;
mod removal;
mod schedules;
mod watching;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;
use goldcrest::cluster::{Capabilities, Cluster};
use goldcrest::domain::{ClusterHealth, JobDescription, JobId, JobQuery, JobScript, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::scheduler::kubernetes::{Config, Kubernetes};
use goldcrest::scheduler::{Scheduler, SchedulerError, SubmissionKey};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::sync::watch;

use crate::api::{Api, cluster_config};
use crate::support::service::Reply;
use crate::support::{PATIENCE, principal, wait_until};
use double::{ApiServer, kubeconfig_of, refusal};

fn job() -> JobDescription {
    JobDescription {
        environment: [("WORD".to_owned(), "s3cret".to_owned())].into(),
        ..JobDescription::new(RemotePath::from_text("/work").unwrap(), JobScript::Inline("#!/bin/sh\ntrue\n".to_owned()))
    }
}

/// The API over a system of this scheduler.
fn api(scheduler: Kubernetes) -> Api {
    Api::over(cluster(scheduler))
}

/// A system of this scheduler.
fn cluster(scheduler: Kubernetes) -> Cluster {
    let mut config = cluster_config();
    config.ssh = None;
    let (_, health) = watch::channel(ClusterHealth::default());
    let capabilities = Capabilities { compute: Some(Arc::new(scheduler)), files: None, objects: None };
    Cluster::new(config, capabilities, health)
}

/// A scheduler whose API server does not listen, and its kubeconfig.
fn without_api_server() -> (NamedTempFile, Kubernetes) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), kubeconfig_of("http://127.0.0.1:1")).unwrap();
    let default_image = Some("registry.test/a:1".to_owned());
    let config = Config { kubeconfig_file: Some(file.path().to_owned()), default_image, ..Config::default() };
    let gone = Kubernetes::new(&config, Duration::from_secs(5)).unwrap();
    (file, gone)
}

/// Waits until so many requests came in on paths that end so.
async fn wait_for_sent(server: &ApiServer, end: &str, count: usize) {
    wait_until(PATIENCE, async || server.sent(&Method::GET, end).len() >= count).await;
}

#[tokio::test]
async fn a_submission_makes_a_namespace_a_job_and_its_secret_and_nothing_else() {
    let server = ApiServer::start(|_| None).await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "jobs"}, "spec": {"hard": {"pods": "9"}}});
    let scheduler = server.scheduler(json!({"namespace_manifests": [quota]}));
    let (jane, query) = (principal("jane"), JobQuery::default());
    assert_eq!(scheduler.jobs(&jane, &query).await.unwrap().value, []);
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    let made = server.paths();
    let expected = [
        "/api/v1/namespaces/goldcrest-jane".to_owned(),
        "/api/v1/namespaces/goldcrest-jane/resourcequotas/jobs".to_owned(),
        format!("/api/v1/namespaces/goldcrest-jane/secrets/{id}"),
        format!("/apis/batch/v1/namespaces/goldcrest-jane/jobs/{id}"),
    ];
    assert_eq!(made, expected);
    let jobs = scheduler.job(&jane, &id).await.unwrap().value;
    assert_eq!((jobs[0].status.state.as_str(), jobs[0].nodes.as_str()), ("RUNNING", "n1"));
    assert_eq!(scheduler.jobs(&jane, &query).await.unwrap().value.len(), 1);
    assert!(server.service.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer hunter2")));
    assert!(matches!(scheduler.job(&principal("john"), &id).await, Err(SchedulerError::JobNotFound)));
}

#[tokio::test]
async fn an_api_server_that_fails_is_never_an_empty_list() {
    for reply in [
        || refusal(401, "Unauthorized", "Unauthorized"),
        || refusal(429, "TooManyRequests", "later"),
        || refusal(500, "InternalError", "etcdserver: request timed out"),
        || refusal(503, "ServiceUnavailable", "no leader"),
        || Reply::status(502, "<html>bad gateway</html>"),
        || Reply::status(200, "not json"),
        || Reply::status(200, "{\"kind\": \"Namespace\"}"),
    ] {
        let server = ApiServer::start(move |_| Some(reply())).await;
        let scheduler = server.scheduler(json!({}));
        let jane = principal("jane");
        let error = scheduler.jobs(&jane, &JobQuery::default()).await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Unavailable | Kind::Forbidden), "{error}");
        let error = scheduler.job(&jane, &JobId::new("job-1").unwrap()).await.unwrap_err();
        assert!(!matches!(error, SchedulerError::JobNotFound), "{error}");
    }
    let (_kubeconfig, gone) = without_api_server();
    let error = gone.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
    let error = gone.submit(&principal("jane"), &job()).await.unwrap_err();
    assert_eq!(error.maybe_effected(), Some(false), "{error:?}");
}

#[tokio::test]
async fn a_submission_is_sent_once_and_told_to_have_perhaps_happened() {
    let broken = |seen: &crate::support::service::Seen| {
        (seen.method == Method::POST && seen.uri.path().ends_with("/jobs")).then(|| refusal(503, "ServiceUnavailable", "no leader"))
    };
    let server = ApiServer::start(broken).await;
    let scheduler = server.scheduler(json!({}));
    let error = scheduler.submit(&principal("jane"), &job()).await.unwrap_err();
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(true)), "{error}");
    assert_eq!(server.sent(&Method::POST, "/jobs").len(), 1);
}

#[tokio::test]
async fn a_key_is_one_job_and_what_an_attempt_left_undone_is_made_up_for() {
    let server = ApiServer::start(|_| None).await;
    let scheduler = server.scheduler(json!({}));
    let (jane, key) = (principal("jane"), SubmissionKey::new(&[1; 16], &[2; 32]));
    let first = scheduler.submit_once(&jane, &job(), &key).await.unwrap().value;
    let secret = format!("/api/v1/namespaces/goldcrest-jane/secrets/{}", first.id);
    assert!(!first.repeated && server.remove(&secret));
    let second = scheduler.submit_once(&jane, &job(), &key).await.unwrap().value;
    assert!(second.repeated && second.id == first.id);
    assert!(server.object(&secret).is_some());
    let other = SubmissionKey::new(&[1; 16], &[3; 32]);
    assert!(matches!(scheduler.submit_once(&jane, &job(), &other).await, Err(SchedulerError::KeyReused)));
    let john = scheduler.submit_once(&principal("john"), &job(), &other).await.unwrap().value;
    assert!(!john.repeated, "keys belong to their users");
}

#[tokio::test]
async fn a_key_is_answered_with_its_job_though_another_one_would_be_refused() {
    let full = Arc::new(AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let server = ApiServer::start(move |seen| {
        let is_new = seen.method == Method::POST && ["/jobs", "/secrets"].iter().any(|end| seen.uri.path().ends_with(end));
        let message = "jobs.batch \"x\" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1, used: 1, limited: 1";
        (is_new && is_full.load(Ordering::SeqCst)).then(|| refusal(403, "Forbidden", message))
    })
    .await;
    let (jane, key) = (principal("jane"), SubmissionKey::new(&[1; 16], &[2; 32]));
    let first = server.scheduler(json!({})).submit_once(&jane, &job(), &key).await.unwrap().value;
    full.store(true, Ordering::SeqCst);
    let elsewhere = JobDescription { partition: Some("gone".to_owned()), ..job() };
    for (quota, job) in [("9", job()), ("0", job()), ("9", elsewhere.clone())] {
        let quota = json!({"metadata": {"name": "jobs"}, "spec": {"hard": {"pods": quota}}});
        server.put("/api/v1/namespaces/goldcrest-jane/resourcequotas/jobs", quota);
        // Another replica, which remembers no quotas.
        let scheduler = server.scheduler(json!({}));
        let second = scheduler.submit_once(&jane, &job, &key).await.unwrap().value;
        assert!(second.repeated && second.id == first.id);
        let other = SubmissionKey::new(&[3; 16], &[2; 32]);
        let error = scheduler.submit_once(&jane, &job, &other).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Denied(_) | SchedulerError::Rejected(_) | SchedulerError::Members(_)), "{error:?}");
        let reused = SubmissionKey::new(&[1; 16], &[3; 32]);
        assert!(matches!(scheduler.submit_once(&jane, &job, &reused).await, Err(SchedulerError::KeyReused)));
    }
    // A job that lacks its Secret does not run, and is there.
    assert!(server.remove(&format!("/api/v1/namespaces/goldcrest-jane/secrets/{}", first.id)));
    for job in [job(), elsewhere] {
        let error = server.scheduler(json!({})).submit_once(&jane, &job, &key).await.unwrap_err();
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(true)), "{error}");
    }
    assert_eq!(server.paths().iter().filter(|path| path.contains("/jobs/")).count(), 1);
}

#[tokio::test]
async fn a_secret_that_is_refused_takes_its_job_with_it() {
    let full = |seen: &crate::support::service::Seen| {
        let message = "secrets \"x\" is forbidden: exceeded quota: jobs, requested: secrets=1, used: secrets=5, limited: secrets=5";
        (seen.method == Method::POST && seen.uri.path().ends_with("/secrets")).then(|| refusal(403, "Forbidden", message))
    };
    let server = ApiServer::start(full).await;
    let error = server.scheduler(json!({})).submit(&principal("jane"), &job()).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Denied(reason) if reason.contains("limited: secrets=5")), "{error:?}");
    assert!(!server.paths().iter().any(|path| path.contains("/jobs/")));
}

#[tokio::test]
async fn requests_about_jobs_are_made_in_the_users_name_where_the_site_wants_that() {
    let server = ApiServer::start(|_| None).await;
    let scheduler = server.scheduler(json!({"impersonate": true}));
    let jane = principal("jane");
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    scheduler.jobs(&jane, &JobQuery::default()).await.unwrap();
    scheduler.metadata(&jane, &id).await.unwrap();
    scheduler.cancel(&jane, &id).await.unwrap();
    for seen in server.service.seen() {
        let is_own = ["/namespaces", "/goldcrest-jane", "/resourcequotas"].iter().any(|end| seen.uri.path().ends_with(end));
        assert_eq!(seen.header("impersonate-user"), (!is_own).then_some("jane"), "{} {}", seen.method, seen.uri);
    }
}

#[tokio::test]
async fn a_cancelled_job_stays_to_be_seen() {
    let server = ApiServer::start(|_| None).await;
    let scheduler = server.scheduler(json!({}));
    let jane = principal("jane");
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    scheduler.cancel(&jane, &id).await.unwrap();
    let jobs = scheduler.job(&jane, &id).await.unwrap().value;
    assert_eq!((jobs[0].status.state.as_str(), jobs[0].kill_request_user.as_deref()), ("CANCELLED", Some("jane")));
    assert!(matches!(scheduler.cancel(&jane, &id).await, Err(SchedulerError::Rejected(_))));
    assert!(matches!(scheduler.cancel(&principal("ada"), &id).await, Err(SchedulerError::JobNotFound)));
    assert!(server.sent(&Method::DELETE, "").is_empty());
}

#[test]
fn a_kubeconfig_that_runs_a_program_is_refused_unless_allowed() {
    let file = NamedTempFile::new().unwrap();
    let with_exec = kubeconfig_of("http://127.0.0.1:1").replace("\"token\":\"hunter2\"", "\"exec\":{\"command\":\"/bin/false\"}");
    std::fs::write(file.path(), with_exec).unwrap();
    let config = |allow: bool| Config { kubeconfig_file: Some(file.path().to_owned()), allow_exec_plugins: allow, ..Config::default() };
    let timeout = Duration::from_secs(1);
    let refused = Kubernetes::new(&config(false), timeout).err().expect("it is refused");
    assert!(refused.to_string().contains("allow_exec_plugins"), "{refused}");
    assert!(Kubernetes::new(&config(true), timeout).is_ok());
}
