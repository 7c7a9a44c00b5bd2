//! Schedules: CronJobs in the caller's namespace.

use std::sync::Arc;

use axum::http::Method;
use goldcrest::domain::{Overlap, ScheduleDescription, ScheduleId};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use serde_json::json;
use tokio::sync::Notify;

use super::double::{ApiServer, refusal};
use super::job;
use crate::support::service::Seen;
use crate::support::{PATIENCE, principal, wait_for};

fn nightly() -> ScheduleDescription {
    ScheduleDescription {
        name: Some("Nightly run".to_owned()),
        cron: "0 3 * * *".to_owned(),
        time_zone: Some("Europe/Zurich".to_owned()),
        suspended: false,
        overlap: Overlap::Skip,
        job: job(),
    }
}

#[tokio::test]
async fn a_schedule_is_a_cron_job_with_its_secret_and_goes_with_it() {
    let server = ApiServer::start(|_| None).await;
    let scheduler = server.scheduler(json!({}));
    let (schedules, jane, john) = (scheduler.schedules().unwrap(), principal("jane"), principal("john"));
    assert_eq!(schedules.list(&jane).await.unwrap(), []);
    let id = schedules.create(&jane, &nightly()).await.unwrap();
    let path = format!("/apis/batch/v1/namespaces/goldcrest-jane/cronjobs/{}", id.as_str());
    let cron_job = server.object(&path).unwrap();
    let spec = &cron_job["spec"];
    assert_eq!(
        (&spec["schedule"], &spec["timeZone"], &spec["concurrencyPolicy"]),
        (&json!("0 3 * * *"), &json!("Europe/Zurich"), &json!("Forbid"))
    );
    let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!((&pod["automountServiceAccountToken"], &pod["restartPolicy"]), (&json!(false), &json!("Never")));
    assert!(!cron_job.to_string().contains("s3cret"), "{cron_job}");
    let secret = server.object(&format!("/api/v1/namespaces/goldcrest-jane/secrets/{}", id.as_str())).unwrap();
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("CronJob"), &cron_job["metadata"]["uid"]));

    let found = schedules.list(&jane).await.unwrap();
    assert_eq!(found, [schedules.get(&jane, &id).await.unwrap()]);
    assert_eq!((found[0].name.as_str(), found[0].overlap, found[0].partition.as_deref()), ("Nightly run", Overlap::Skip, Some("default")));
    assert_eq!(schedules.list(&john).await.unwrap(), []);
    for other in [(&john, &id), (&jane, &ScheduleId::new("nightly-0").unwrap())] {
        assert!(matches!(schedules.get(other.0, other.1).await, Err(SchedulerError::ScheduleNotFound)));
        assert!(matches!(schedules.remove(other.0, other.1).await, Err(SchedulerError::ScheduleNotFound)));
    }
    schedules.remove(&jane, &id).await.unwrap();
    assert_eq!(schedules.list(&jane).await.unwrap(), []);
}

#[tokio::test]
async fn jobs_of_a_schedule_are_listed_and_have_its_script() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.schedules().unwrap().create(&jane, &nightly()).await.unwrap();
    let cron_job = server.object(&format!("/apis/batch/v1/namespaces/goldcrest-jane/cronjobs/{}", id.as_str())).unwrap();
    let name = format!("{}-29456", id.as_str());
    server.put(&format!("/apis/batch/v1/namespaces/goldcrest-jane/jobs/{name}"), cron_job["spec"]["jobTemplate"].clone());
    let jobs = scheduler.jobs(&jane, &goldcrest::domain::JobQuery::default()).await.unwrap().value;
    assert_eq!(jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>(), [name]);
    let metadata = scheduler.metadata(&jane, &jobs[0].id).await.unwrap().value;
    assert_eq!(metadata[0].script.as_deref(), Some("#!/bin/sh\ntrue\n"));
}

#[tokio::test]
async fn a_schedule_that_is_refused_leaves_nothing() {
    let invalid = "CronJob.batch \"a\" is invalid: spec.schedule: Invalid value: \"never\": expected exactly 5 fields, found 1";
    let refuses_times = move |seen: &Seen| {
        (seen.method == Method::POST && seen.uri.path().ends_with("/cronjobs")).then(|| refusal(422, "Invalid", invalid))
    };
    let server = ApiServer::start(refuses_times).await;
    let scheduler = server.scheduler(json!({}));
    let schedule = ScheduleDescription { cron: "never".to_owned(), ..nightly() };
    let error = scheduler.schedules().unwrap().create(&principal("jane"), &schedule).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Rejected(reason) if reason.contains("expected exactly 5 fields")), "{error:?}");
    assert!(!server.paths().iter().any(|path| path.contains("/secrets/")));

    let refuses_secrets = |seen: &Seen| {
        let is_secret = seen.method == Method::POST && seen.uri.path().ends_with("/secrets");
        is_secret.then(|| refusal(403, "Forbidden", "exceeded quota: jobs, requested: secrets=1, used: secrets=5, limited: secrets=5"))
    };
    let server = ApiServer::start(refuses_secrets).await;
    let scheduler = server.scheduler(json!({}));
    let error = scheduler.schedules().unwrap().create(&principal("jane"), &nightly()).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Denied(reason) if reason.contains("limited: secrets=5")), "{error:?}");
    assert!(!server.paths().iter().any(|path| path.contains("/cronjobs/")));
}

#[tokio::test]
async fn what_belongs_together_is_made_whole_though_its_request_ends_between() {
    for owner in ["/cronjobs", "/jobs"] {
        let made = Arc::new(Notify::new());
        let notify = Arc::clone(&made);
        let between = move |seen: &Seen| {
            if seen.method == Method::POST && seen.uri.path().ends_with(owner) {
                notify.notify_one();
            }
            None
        };
        let server = ApiServer::start(between).await;
        let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
        let request = async {
            match owner {
                "/jobs" => drop(scheduler.submit(&jane, &job()).await),
                _ => drop(scheduler.schedules().unwrap().create(&jane, &nightly()).await),
            }
        };
        tokio::select! {
            biased;
            () = made.notified() => {}
            () = request => panic!("it has ended"),
        }
        wait_for(PATIENCE, || server.paths().iter().any(|path| path.contains("/goldcrest-jane/secrets/"))).await;
        scheduler.settle().await;
    }
}
