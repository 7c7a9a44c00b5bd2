//! Slurm by REST, against servers that misbehave: accepted answers, repeated queries, and requests that are never sent twice.

mod hybrid;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::Method;
use goldcrest::domain::{Backend, Carrier, JobDescription, JobId, JobQuery, JobScript, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::rest::{Client, Url};
use goldcrest::scheduler::slurm::{ApiVersion, CallersToken, Delimiter, RestSettings, SlurmCli, SlurmHybrid, SlurmRest};
use goldcrest::scheduler::{Scheduler, SchedulerError, UnsupportedOperation};
use serde_json::{Value, json};

use crate::support::principal;
use crate::support::scripted::{ScriptedTransport, Step, fails, prints};
use crate::support::service::{Reply, Seen, Service};

const NOT_FOUND: &str = "Unable find requested URL. Please view /openapi/v3 for API reference.";

/// A slurmrestd that speaks these versions and answers everything else as the test says.
async fn slurmrestd(versions: &'static [&'static str], answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Service {
    Service::start(move |seen| if seen.uri.path() == "/openapi/v3" { described(versions) } else { answer(seen) }).await
}

fn described(versions: &[&str]) -> Reply {
    let paths = versions.iter().flat_map(|version| [format!("/slurm/{version}/ping"), format!("/slurmdb/{version}/jobs")]);
    Reply::json(&json!({"openapi": "3.0.3", "paths": paths.map(|path| (path, json!({"get": {}}))).collect::<serde_json::Map<_, _>>()}))
}

fn settings(url: &str) -> RestSettings {
    RestSettings { url: Url::parse(url).unwrap(), api_version: None, timeout: Duration::from_secs(20) }
}

fn rest_with(settings: RestSettings) -> SlurmRest {
    SlurmRest::new(Client::new().unwrap(), settings, Arc::new(CallersToken))
}

fn rest(service: &Service) -> SlurmRest {
    rest_with(settings(&service.url))
}

fn job() -> JobDescription {
    JobDescription {
        name: Some("x".to_owned()),
        environment: [("A".to_owned(), "b".to_owned())].into(),
        ..JobDescription::new(RemotePath::from_text("/home/jane").unwrap(), JobScript::Inline("#!/bin/sh\ntrue\n".to_owned()))
    }
}

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn sent<'a>(seen: &'a [Seen], method: &Method) -> Vec<&'a Seen> {
    seen.iter().filter(|seen| seen.method == *method).collect()
}

fn queued(id: u32, state: &str, user: &str) -> Value {
    json!({"job_id": id, "name": "x", "job_state": [state], "user_name": user, "cluster": "alps", "node_count": {"set": true, "number": 1}})
}

fn accounted(id: u32, state: &str, user: &str) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "job_id": id, "name": "x", "state": {"current": [state]}, "user": user, "cluster": "alps",
        "time": {"start": now - 100, "end": now - 40, "elapsed": 60},
    })
}

fn jobs(jobs: &[Value]) -> Reply {
    Reply::json(&json!({"jobs": jobs, "errors": [], "warnings": []}))
}

fn states(jobs: &[goldcrest::domain::Job]) -> Vec<(&str, &str)> {
    jobs.iter().map(|job| (job.id.as_str(), job.status.state.as_str())).collect()
}

#[tokio::test]
async fn the_newest_known_version_is_spoken_and_asked_for_once() {
    let service =
        slurmrestd(&["v0.0.38", "v0.0.42", "v0.0.99"], |_| Reply::json(&json!({"pings": [{"pinged": "UP"}], "errors": []}))).await;
    let slurm = rest(&service);
    let jane = principal("jane");
    let (one, other) = tokio::join!(slurm.ping(&jane), slurm.ping(&jane));
    one.and(other).unwrap();
    let seen = service.seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.uri.path()).collect();
    assert_eq!(paths, ["/openapi/v3", "/slurm/v0.0.42/ping", "/slurm/v0.0.42/ping"]);
    for request in &seen {
        assert_eq!(
            (request.header("x-slurm-user-name"), request.header("x-slurm-user-token")),
            (Some("jane"), Some("test-token")),
            "{}",
            request.uri
        );
        assert_eq!(request.header("authorization"), None);
    }
}

#[tokio::test]
async fn the_files_of_a_job_are_read_with_the_commands_where_there_are_some() {
    let service = slurmrestd(&["v0.0.42"], |_| Reply::status(500, "nobody asks")).await;
    let jane = principal("jane");
    let told = |error: SchedulerError| (error.kind(), error.public_message().into_owned());
    let (kind, message) = told(rest(&service).metadata(&jane, &id("7")).await.unwrap_err());
    assert!(kind == Kind::Unsupported && message.contains("no `ssh` section"), "{message}");

    let commands = |steps: Vec<Step>| {
        let cli = SlurmCli::with_delimiter(Arc::new(ScriptedTransport::new(steps)), || Delimiter::fixed("test"));
        rest(&service).reading_files_with(Some(Arc::new(cli)))
    };
    let show = "env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol --oneliner show job '7'";
    let script = "env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol write batch_script '7' -";
    let slurm = commands(vec![
        prints(show, "JobId=7 JobName=x JobState=RUNNING StdErr=/h/e StdIn=/dev/null StdOut=/h/o\n"),
        prints(script, "#!/bin/sh\n"),
    ]);
    let files = slurm.metadata(&jane, &id("7")).await.unwrap().value;
    assert_eq!(files[0].standard_output.as_deref(), Some("/h/o"));
    let gaps = |slurm: &SlurmRest| slurm.unsupported().iter().map(|(gap, _)| *gap).collect::<Vec<_>>();
    let (with, without) = (gaps(&slurm), gaps(&rest(&service)));
    assert!(!with.contains(&UnsupportedOperation::Metadata) && without.contains(&UnsupportedOperation::Metadata));
    assert_eq!(with.len() + 1, without.len());

    let none = commands(vec![fails(show, 127, "sh: 1: scontrol: not found\n")]);
    let (kind, message) = told(none.metadata(&jane, &id("7")).await.unwrap_err());
    assert!(kind == Kind::Unsupported && message.contains("has no Slurm commands"), "{message}");
}

#[tokio::test]
async fn a_configured_version_is_spoken_without_asking() {
    let service = slurmrestd(&[], |_| Reply::json(&json!({"pings": [{"ping": "UP"}]}))).await;
    rest_with(RestSettings { api_version: ApiVersion::parse("0.0.36"), ..settings(&service.url) }).ping(&principal("jane")).await.unwrap();
    assert_eq!(service.seen()[0].uri.path(), "/slurm/v0.0.36/ping");
}

#[tokio::test]
async fn a_server_with_only_the_older_address_of_its_description_is_understood() {
    let service = Service::start(|seen| match seen.uri.path() {
        "/openapi/v3" => Reply::status(404, NOT_FOUND),
        "/openapi" => described(&["v0.0.37"]),
        _ => Reply::json(&json!({"pings": [{"ping": "UP"}]})),
    })
    .await;
    rest(&service).ping(&principal("jane")).await.unwrap();
    assert_eq!(service.seen().last().unwrap().uri.path(), "/slurm/v0.0.37/ping");
}

#[tokio::test]
async fn an_upgraded_server_is_asked_anew_and_the_call_is_made_in_its_version() {
    let upgraded = AtomicUsize::new(0);
    let service = Service::start(move |seen| match (seen.uri.path(), upgraded.load(Ordering::SeqCst)) {
        ("/openapi/v3", 0) => described(&["v0.0.40"]),
        ("/openapi/v3", _) => described(&["v0.0.42"]),
        ("/slurm/v0.0.40/job/submit", _) => {
            upgraded.store(1, Ordering::SeqCst);
            Reply::status(404, NOT_FOUND)
        }
        _ => Reply::json(&json!({"job_id": 7, "errors": []})),
    })
    .await;
    assert_eq!(rest(&service).submit(&principal("jane"), &job()).await.unwrap().value, id("7"));
    let seen = service.seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.uri.path()).collect();
    assert_eq!(paths, ["/openapi/v3", "/slurm/v0.0.40/job/submit", "/openapi/v3", "/slurm/v0.0.42/job/submit"]);
    assert_eq!((&seen[1].json()["script"], &seen[3].json()["job"]["script"]), (&json!("#!/bin/sh\ntrue\n"), &json!("#!/bin/sh\ntrue\n")));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_down_and_nothing_happened() {
    let slurm = rest_with(settings("http://127.0.0.1:1"));
    let error = slurm.submit(&principal("jane"), &job()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(false)));
    assert!(
        error.to_string().contains("slurmrestd at http://127.0.0.1:1/: ") && error.to_string().contains("Connection refused"),
        "{error}"
    );
}

#[tokio::test]
async fn a_slow_server_costs_the_time_limit_and_the_submission_may_have_happened() {
    let service = slurmrestd(&["v0.0.42"], |_| Reply::json(&json!({"job_id": 7})).after(Duration::from_secs(60))).await;
    let slurm = rest_with(RestSettings { timeout: Duration::from_millis(300), ..settings(&service.url) });
    let started = Instant::now();
    let error = slurm.submit(&principal("jane"), &job()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Unanswered(_)) && error.maybe_effected() == Some(true), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(sent(&service.seen(), &Method::POST).len(), 1);
}

#[tokio::test]
async fn a_submission_without_a_clear_answer_is_sent_once_and_may_have_happened() {
    for reply in [
        || Reply::status(200, "not json"),
        || Reply::status(200, "{}"),
        || Reply::json(&json!({"job_id": 0, "errors": []})),
        || Reply::status(502, "<html>Bad Gateway</html>"),
        || Reply::status(500, r#"{"errors": []}"#),
    ] {
        let service = slurmrestd(&["v0.0.40"], move |_| reply()).await;
        let error = rest(&service).submit(&principal("jane"), &job()).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Unanswered(_)) && error.maybe_effected() == Some(true), "{error:?}");
        assert_eq!(sent(&service.seen(), &Method::POST).len(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_refusal_keeps_slurms_words_whatever_its_status() {
    for status in [200, 400, 500] {
        let body = r#"{"errors": [{"description": "Batch job submission failed", "error_number": 2000, "error": "Invalid partition name specified"}]}"#;
        let service = slurmrestd(&["v0.0.42"], move |_| Reply::status(status, body)).await;
        let error = rest(&service).submit(&principal("jane"), &job()).await.unwrap_err();
        let expected = "Batch job submission failed: Invalid partition name specified";
        assert!(matches!(&error, SchedulerError::Rejected(words) if words == expected), "{status}: {error:?}");
    }
}

#[tokio::test]
async fn a_description_that_is_garbage_stops_a_submission_before_it_is_sent() {
    for body in ["", "[]", r#"{"paths": {"/slurm/v0.0.20/ping": {}}}"#] {
        let service = Service::start(move |_| Reply::status(200, body)).await;
        let error = rest(&service).submit(&principal("jane"), &job()).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Down(_)) && error.maybe_effected() == Some(false), "{error:?}");
        assert!(sent(&service.seen(), &Method::POST).is_empty());
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_a_denial() {
    for status in [401, 511] {
        let service = slurmrestd(&["v0.0.42"], move |_| Reply::status(status, "Authentication failure")).await;
        let error = rest(&service).jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Denied(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_list_holds_what_either_side_knows_and_nobody_elses_jobs() {
    let service = slurmrestd(&["v0.0.42"], |seen| match seen.uri.path() {
        "/slurm/v0.0.42/jobs" => jobs(&[queued(5, "RUNNING", "jane"), queued(6, "PENDING", "ada"), queued(7, "CANCELLED", "jane")]),
        _ => jobs(&[accounted(4, "COMPLETED", "jane"), accounted(5, "RUNNING", "jane"), accounted(3, "FAILED", "ada")]),
    })
    .await;
    let list = rest(&service).jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!(states(&list), [("4", "COMPLETED"), ("5", "RUNNING"), ("7", "CANCELLED")]);
    let all = rest(&service).jobs(&principal("jane"), &JobQuery { all_users: true, ..JobQuery::default() }).await.unwrap();
    assert_eq!(all.len(), 5);
    let seen = service.seen();
    let asked = seen.iter().find(|seen| seen.uri.path().starts_with("/slurmdb")).unwrap().uri.query().unwrap();
    for part in ["start_time=now-24hours", "end_time=now", "state=CANCELLED", "users=jane", "skip_steps=true"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
}

#[tokio::test]
async fn a_list_without_accounting_still_holds_the_controllers_jobs() {
    let silent =
        json!({"jobs": [], "errors": [{"error_number": 7000, "error": "Unable to connect to database", "source": "openapi_get_db_conn"}]});
    let service = slurmrestd(&["v0.0.42"], move |seen| match seen.uri.path() {
        "/slurm/v0.0.42/jobs" => jobs(&[queued(5, "RUNNING", "jane")]),
        "/slurm/v0.0.42/job/9" => Reply::status(404, r#"{"errors": [{"error_number": 2017, "error": "Invalid job id specified"}]}"#),
        _ => Reply::status(502, silent.to_string()),
    })
    .await;
    let slurm = rest(&service);
    assert_eq!(states(&slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap()), [("5", "RUNNING")]);
    // A job that only accounting could know is not "not found".
    let error = slurm.job(&principal("jane"), &id("9")).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
}

#[tokio::test]
async fn records_that_came_without_the_help_of_accounting_are_whole() {
    let partitions = json!({
        "partitions": [{"name": "normal", "partition": {"state": ["UP"]}, "cpus": {"total": 4}, "nodes": {"total": 2}}],
        "errors": [{"error_number": 5003, "error": "Header lengths are longer than data received", "source": "slurmdb_tres_get"}],
    });
    let service = slurmrestd(&["v0.0.42"], move |_| Reply::status(502, partitions.to_string())).await;
    let partitions = rest(&service).partitions(&principal("jane"), false).await.unwrap();
    assert_eq!((partitions[0].name.as_str(), partitions[0].cpus, partitions[0].total_nodes), ("normal", Some(4), Some(2)));
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let controller =
        json!({"jobs": [], "errors": [{"error": "Unable to contact slurm controller (connect failure)", "source": "slurm_load_jobs()"}]});
    let service = slurmrestd(&["v0.0.42"], move |_| Reply::status(200, controller.to_string())).await;
    let error = rest(&service).nodes(&principal("jane")).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Down(words) if words.contains("the controller is down")), "{error:?}");
    for body in [r#"{"errors": []}"#, "garbage", ""] {
        let service = slurmrestd(&["v0.0.42"], move |_| Reply::status(200, body)).await;
        let error = rest(&service).nodes(&principal("jane")).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Unanswered(_)), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn a_task_is_found_whether_it_runs_or_waits_in_its_arrays_record() {
    let array = |seen: &Seen| match seen.uri.path() {
        path if path.starts_with("/slurmdb") => jobs(&[]),
        _ => jobs(&[
            json!({"job_id": 8, "array_job_id": 8, "array_task_string": "2-9%1", "job_state": "PENDING", "name": "a", "cluster": "alps"}),
            json!({"job_id": 12, "array_job_id": 8, "array_task_id": 1, "job_state": "RUNNING", "name": "a", "cluster": "alps"}),
        ]),
    };
    for (versions, path) in [(&["v0.0.36"][..], "/slurmdb/v0.0.36/job/8"), (&["v0.0.38"], "/slurmdb/v0.0.38/job/8_1")] {
        let service = slurmrestd(versions, array).await;
        let found = rest(&service).job(&principal("jane"), &id("8_1")).await.unwrap();
        assert_eq!(states(&found), [("8_1", "RUNNING")]);
        assert!(service.seen().iter().any(|seen| seen.uri.path() == path), "{path}");
        assert_eq!(states(&rest(&service).job(&principal("jane"), &id("8_5")).await.unwrap()), [("8_5", "PENDING")]);
        assert!(matches!(rest(&service).job(&principal("jane"), &id("8_77")).await, Err(SchedulerError::JobNotFound)));
        assert_eq!(rest(&service).job(&principal("jane"), &id("8")).await.unwrap().len(), 2);
        assert_eq!(states(&rest(&service).job(&principal("jane"), &id("12")).await.unwrap()), [("8_1", "RUNNING")]);
    }
}

#[tokio::test]
async fn a_cancellation_that_the_version_does_not_tell_of_is_verified() {
    for (state, done) in [("CANCELLED", true), ("RUNNING", false), ("PENDING", false)] {
        let is_sent = AtomicBool::new(false);
        let service = slurmrestd(&["v0.0.40"], move |seen| match seen.method {
            Method::DELETE => {
                is_sent.store(true, Ordering::Relaxed);
                Reply::json(&json!({"errors": [], "warnings": []}))
            }
            _ => jobs(&[queued(5, if is_sent.load(Ordering::Relaxed) { state } else { "RUNNING" }, "ada")]),
        })
        .await;
        let outcome = rest(&service).cancel(&principal("jane"), &id("5")).await;
        match outcome {
            Ok(_) => assert!(done, "{state}"),
            Err(error) => assert!(!done && matches!(error, SchedulerError::Denied(_)), "{state}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_cancellation_that_the_version_tells_of_is_believed() {
    let status = json!({"status": [{"error": {"string": "Access/permission denied", "code": 2002}}], "errors": []});
    let service = slurmrestd(&["v0.0.42"], move |seen| match seen.method {
        Method::DELETE => Reply::json(&status),
        _ => jobs(&[queued(5, "RUNNING", "ada")]),
    })
    .await;
    let error = rest(&service).cancel(&principal("jane"), &id("5")).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn cancelling_a_job_that_ended_long_ago_succeeds_and_one_that_never_was_is_not_found() {
    let service = slurmrestd(&["v0.0.42"], |seen| match (&seen.method, seen.uri.path()) {
        (&Method::DELETE, _) => Reply::status(404, r#"{"errors": [{"error_number": 2017, "error": "Invalid job id specified"}]}"#),
        (_, "/slurmdb/v0.0.42/job/5") => jobs(&[accounted(5, "COMPLETED", "jane")]),
        _ => jobs(&[]),
    })
    .await;
    rest(&service).cancel(&principal("jane"), &id("5")).await.unwrap();
    assert!(matches!(rest(&service).cancel(&principal("ada"), &id("5")).await, Err(SchedulerError::Denied(_))));
    assert!(matches!(rest(&service).cancel(&principal("jane"), &id("6")).await, Err(SchedulerError::JobNotFound)));
}

/// Whatever a version says of it: that it is over, or nothing.
#[tokio::test]
async fn cancelling_a_job_that_ended_succeeds_for_its_owner_alone() {
    let over = json!({"errors": [{"error_number": 2021, "error": "Job/step already completing or completed"}]});
    for (versions, answer) in [(&["v0.0.36"], json!({"errors": []})), (&["v0.0.40"], json!({"errors": []})), (&["v0.0.42"], over)] {
        // The job ends before the cancellation, or while it is sent.
        for ends_meanwhile in [false, true] {
            let (answer, is_sent) = (answer.clone(), AtomicBool::new(!ends_meanwhile));
            let service = slurmrestd(versions, move |seen| match (&seen.method, seen.uri.path().starts_with("/slurmdb")) {
                (&Method::DELETE, _) => {
                    is_sent.store(true, Ordering::Relaxed);
                    Reply::json(&answer)
                }
                (_, true) => jobs(&[accounted(5, "COMPLETED", "jane")]),
                (_, false) => {
                    let mut job = queued(5, if is_sent.load(Ordering::Relaxed) { "COMPLETED" } else { "RUNNING" }, "jane");
                    if versions == &["v0.0.36"] {
                        job.as_object_mut().unwrap().remove("user_name");
                    }
                    jobs(&[job])
                }
            })
            .await;
            rest(&service).cancel(&principal("jane"), &id("5")).await.unwrap();
            if !ends_meanwhile {
                let error = rest(&service).cancel(&principal("ada"), &id("5")).await.unwrap_err();
                assert!(matches!(error, SchedulerError::Denied(_)), "{versions:?}: {error:?}");
                assert!(sent(&service.seen(), &Method::DELETE).is_empty(), "{versions:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_component_is_cancelled_by_its_own_number() {
    let service = slurmrestd(&["v0.0.42"], |seen| match seen.method {
        Method::DELETE => Reply::json(&json!({"status": [{"error": {"string": "", "code": 0}}]})),
        _ => jobs(&[json!({"job_id": 10, "het_job_id": 9, "het_job_offset": 1, "job_state": ["RUNNING"]})]),
    })
    .await;
    rest(&service).cancel(&principal("jane"), &id("9+1")).await.unwrap();
    assert_eq!(sent(&service.seen(), &Method::DELETE)[0].uri.path(), "/slurm/v0.0.42/job/10");
}

#[tokio::test]
async fn a_component_that_waits_is_not_cancelled_and_the_first_one_only_with_the_whole_job() {
    for (component, state, outcome) in [
        ("9+1", "PENDING", Err(Kind::Invalid)),
        ("9+0", "RUNNING", Err(Kind::Unsupported)),
        ("9+0", "PENDING", Ok("9")),
        ("9+1", "RUNNING", Ok("10")),
    ] {
        let service = slurmrestd(&["v0.0.42"], move |seen| {
            if seen.method == Method::DELETE {
                return Reply::json(&json!({"status": [{"error": {"string": "", "code": 0}}]}));
            }
            let part = |number: u32, offset: u32| {
                json!({"job_id": number, "het_job_id": 9, "het_job_offset": offset, "job_state": [state], "cluster": "alps"})
            };
            jobs(&[part(9, 0), part(10, 1)])
        })
        .await;
        let cancelled = rest(&service).cancel(&principal("jane"), &id(component)).await;
        let seen = service.seen();
        let paths: Vec<&str> = sent(&seen, &Method::DELETE).iter().map(|seen| seen.uri.path()).collect();
        match outcome {
            // As scancel does it, which ends a whole job that waits by its first component.
            Ok(number) => {
                assert_eq!((cancelled.is_ok(), paths), (true, vec![format!("/slurm/v0.0.42/job/{number}").as_str()]), "{component} {state}")
            }
            Err(kind) => assert_eq!((cancelled.unwrap_err().kind(), paths.len()), (kind, 0), "{component} {state}"),
        }
    }
    let ended = slurmrestd(&["v0.0.42"], |_| {
        jobs(&[
            json!({"job_id": 9, "het_job_id": 9, "het_job_offset": 0, "job_state": ["COMPLETED"], "cluster": "alps", "user_name": "jane"}),
        ])
    })
    .await;
    rest(&ended).cancel(&principal("jane"), &id("9+0")).await.unwrap();
    assert!(sent(&ended.seen(), &Method::DELETE).is_empty(), "it would cancel the whole job");
}

#[tokio::test]
async fn a_task_that_waits_is_never_cancelled_by_its_arrays_number() {
    let array = || jobs(&[json!({"job_id": 8, "array_job_id": 8, "array_task_string": "2-9%1", "job_state": "PENDING"})]);
    let service = slurmrestd(&["v0.0.36"], move |_| array()).await;
    let error = rest(&service).cancel(&principal("jane"), &id("8_5")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error:?}");
    assert!(sent(&service.seen(), &Method::DELETE).is_empty());
}

#[tokio::test]
async fn what_slurmrestd_cannot_do_is_not_supported() {
    let slurm = rest_with(settings("http://127.0.0.1:1"));
    let jane = principal("jane");
    let errors =
        [slurm.metadata(&jane, &id("1")).await.map(drop).unwrap_err(), slurm.attach(&jane, &id("1"), "date").await.map(drop).unwrap_err()];
    assert!(errors.iter().all(|error| error.kind() == Kind::Unsupported), "{errors:?}");
    let service = slurmrestd(&["v0.0.42"], |_| Reply::status(500, "")).await;
    let path = JobDescription { script: JobScript::Path(RemotePath::from_text("/home/jane/x.sh").unwrap()), ..job() };
    assert_eq!(rest(&service).submit(&jane, &path).await.unwrap_err().kind(), Kind::Unsupported);
    assert!(sent(&service.seen(), &Method::POST).is_empty());
}
