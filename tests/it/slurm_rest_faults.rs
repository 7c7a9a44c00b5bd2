//! Slurm by REST and hybrid, while a part of Slurm is down or refuses: the answer reports it, and in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use goldcrest::domain::{AccountingQuery, Backend, Carrier, JobId, JobQuery};
use goldcrest::error::Classify;
use goldcrest::rest::{Client, Url};
use goldcrest::scheduler::slurm::{ApiVersion, CallersToken, Delimiter, RestSettings, SlurmCli, SlurmHybrid, SlurmRest};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use serde_json::{Value, json};

use crate::slurm::ControllerDown;
use crate::support::principal;
use crate::support::scripted::{ScriptedTransport, Step, fails, prints};
use crate::support::service::{Reply, Seen, Service};

fn rest(service: &Service) -> SlurmRest {
    let version = ApiVersion::parse("0.0.45");
    let settings = RestSettings { url: Url::parse(&service.url).unwrap(), api_version: version, timeout: Duration::from_secs(60) };
    SlurmRest::new(Client::new().unwrap(), settings, Arc::new(CallersToken))
}

fn hybrid(service: &Service, steps: impl IntoIterator<Item = Step>) -> SlurmHybrid {
    let ssh = SlurmCli::with_delimiter(Arc::new(ScriptedTransport::new(steps)), || Delimiter::fixed("test"));
    SlurmHybrid::new(rest(service), Arc::new(ssh))
}

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn job(number: u32) -> Value {
    json!({"job_id": number, "name": "x", "job_state": ["RUNNING"], "user_name": "jane", "cluster": "alps"})
}

/// A slurmrestd whose accounting does not answer.
fn without_accounting(seen: &Seen) -> Reply {
    if seen.uri.path().starts_with("/slurmdb") {
        Reply::status(502, r#"{"errors": [{"error_number": 7000, "error": "Unable to connect to database"}]}"#)
    } else {
        Reply::json(&json!({"jobs": [job(5)], "errors": []}))
    }
}

#[tokio::test]
async fn a_list_without_accounting_says_so() {
    let service = Service::start(without_accounting).await;
    let jobs = rest(&service).jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert!(jobs.missing.is_some_and(|missing| missing.contains("accounting did not answer")), "{jobs:?}");
}

#[tokio::test]
async fn a_hybrid_asks_the_commands_for_what_slurmrestds_answer_lacks() {
    let service = Service::start(without_accounting).await;
    let (record, now) = ("\u{1f}test", jiff::Timestamp::now().as_second());
    let old = ["4", "COMPLETED", "None", "0:0", &now.to_string(), &now.to_string(), "1", "00:00:00", "10", "1", "alps", "jane", "1", "g"];
    let old: String = old.iter().chain(&["a", "n1", "normal", "1", "/home/jane", "x"]).map(|field| format!("{field}{record}")).collect();
    // Of the two commands, whichever comes first gets nothing: an empty queue, or an empty history.
    let slurm = hybrid(&service, [prints("", ""), prints("", format!("{old}\n"))]);
    let jobs = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["4"]);
    assert_eq!((jobs.via, jobs.missing), (Some(Backend { by: Carrier::Ssh, fallback: true }), None));

    let down = "sacct: error: Problem talking to the database: Connection refused";
    let slurm = hybrid(&service, [prints("", ""), fails("", 1, down)]);
    let jobs = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["5"]);
    assert_eq!(jobs.via, Some(Backend { by: Carrier::Rest, fallback: false }));
    assert!(jobs.missing.is_some());
}

/// A slurmrestd that waits for a controller that is down.
async fn without_controller() -> Service {
    Service::start(|seen| match seen.uri.path() {
        "/slurm/v0.0.45/ping/" | "/slurm/v0.0.45/ping" => Reply::json(&json!({"pings": [{"responding": false}], "errors": []})),
        _ => Reply::status(500, "late").after(Duration::from_secs(60)),
    })
    .await
}

#[tokio::test]
async fn a_controller_that_is_down_is_told_by_a_hybrid_before_either_way_gives_up() {
    let service = without_controller().await;
    let (jane, five, began) = (principal("jane"), id("5"), Instant::now());
    // One that gave no answer is not asked again for a moment, so that each question has a hybrid of its own.
    let slurm = || SlurmHybrid::new(rest(&service), Arc::new(SlurmCli::new(Arc::new(ControllerDown))));
    let hybrids = [slurm(), slurm(), slurm()];
    let (nodes, partitions, cancelled) =
        tokio::join!(hybrids[0].nodes(&jane), hybrids[1].partitions(&jane, false), hybrids[2].cancel(&jane, &five));
    // The job is queried before its cancellation is sent.
    for error in [nodes.unwrap_err(), partitions.unwrap_err(), cancelled.unwrap_err()] {
        let told = (error.to_string().contains("the controller is down"), error.maybe_effected());
        assert_eq!(told, (true, Some(false)), "{error:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_controller_that_is_down_is_told_before_slurmrestd_gives_up() {
    let service = without_controller().await;
    let began = Instant::now();
    let error = rest(&service).nodes(&principal("jane")).await.unwrap_err();
    assert!(error.to_string().contains("the controller is down") && error.maybe_effected() == Some(false), "{error:?}");
    let error = rest(&service).cancel(&principal("jane"), &id("5")).await.unwrap_err();
    assert!(error.to_string().contains("the controller is down") && error.maybe_effected() == Some(false), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_refused_token_is_not_healthy_although_its_ping_looks_like_a_controller_that_is_down() {
    let service = Service::start(|seen| {
        if seen.uri.path().contains("/ping") {
            return Reply::json(&json!({"pings": [{"pinged": "DOWN", "responding": false}], "errors": []}));
        }
        Reply::status(511, r#"{"errors": [{"error_number": 1007, "error": "Protocol authentication error"}]}"#)
    })
    .await;
    let refused = |error: SchedulerError| matches!(&error, SchedulerError::Denied(words) if words.contains("token"));
    assert!(refused(rest(&service).ping(&principal("jane")).await.unwrap_err()));
    // The commands are not asked: they would say that all is well.
    let slurm = hybrid(&service, []);
    assert!(refused(slurm.ping(&principal("jane")).await.unwrap_err()));
}

#[tokio::test]
async fn what_a_gateway_says_is_no_answer_of_slurms() {
    for (status, body) in [(200, "{}"), (404, r#"{"message": "no Route matched with those values"}"#), (404, r#"{"detail": "Not Found"}"#)]
    {
        let service = Service::start(move |_| Reply::status(status, body)).await;
        let slurm = rest(&service);
        let jane = principal("jane");
        let unanswered = |error: &SchedulerError| matches!(error, SchedulerError::Unanswered(_));
        for error in [
            slurm.accounts(&jane).await.unwrap_err(),
            slurm.cancel(&jane, &id("5")).await.unwrap_err(),
            slurm.jobs(&jane, &JobQuery::default()).await.unwrap_err(),
            slurm.job(&jane, &id("5")).await.unwrap_err(),
            slurm.partitions(&jane, false).await.unwrap_err(),
            slurm.nodes(&jane).await.unwrap_err(),
            slurm.reservations(&jane).await.unwrap_err(),
            slurm.accounting(&jane, &AccountingQuery::default()).await.unwrap_err(),
            slurm.accounting(&jane, &AccountingQuery { jobs: vec![id("5")], ..AccountingQuery::default() }).await.unwrap_err(),
        ] {
            assert!(unanswered(&error), "{status} {body}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_waiting_component_is_listed_once_and_not_said_to_be_cancelled() {
    let component = |number: u32, offset: u32| {
        json!({"job_id": number, "het_job_id": {"set": true, "number": 125}, "het_job_offset": {"set": true, "number": offset},
            "name": "x", "job_state": ["PENDING"], "user_name": "jane", "cluster": "alps"})
    };
    let accounted = |number: u32| {
        json!({"job_id": number, "name": "x", "state": {"current": ["PENDING"]}, "user": "jane", "cluster": "alps",
            "het": {"job_id": 0, "job_offset": {"set": false}}})
    };
    let service = Service::start(move |seen| match (&seen.method, seen.uri.path().starts_with("/slurmdb")) {
        (&Method::DELETE, _) => Reply::json(&json!({"status": [], "errors": []})),
        (_, true) => Reply::json(&json!({"jobs": [accounted(125), accounted(126)], "errors": []})),
        (_, false) => Reply::json(&json!({"jobs": [component(125, 0), component(126, 1)], "errors": []})),
    })
    .await;
    let (slurm, jane) = (rest(&service), principal("jane"));
    let ids = |jobs: Vec<goldcrest::domain::Job>| jobs.into_iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(slurm.jobs(&jane, &JobQuery::default()).await.unwrap().value), ["125+0", "125+1"]);
    assert_eq!(ids(slurm.job(&jane, &id("125")).await.unwrap().value), ["125+0", "125+1"]);
    assert_eq!(ids(slurm.job(&jane, &id("125+1")).await.unwrap().value), ["125+1"]);
    assert!(matches!(slurm.job(&jane, &id("125+7")).await, Err(SchedulerError::JobNotFound)));
    let error = slurm.cancel(&jane, &id("125+1")).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Rejected(words) if words.contains("component")), "{error:?}");
    // slurmrestd would cancel it by its own number, and leave the rest of the job waiting for ever.
    assert!(service.seen().iter().all(|seen| seen.method != Method::DELETE));
}
