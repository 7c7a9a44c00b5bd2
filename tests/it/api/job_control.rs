//! Operations on a job between its submission and its end.

use axum::http::Method;
use goldcrest::domain::JobEstimate;
use goldcrest::scheduler::SchedulerError;
use serde_json::{Value, json};

use super::Api;
use super::doubles::Reply;

#[tokio::test]
async fn each_change_reaches_the_scheduler_and_answers_204() {
    for (path, body, call) in [
        ("12_3/hold", None, r#"alice: alter "12_3" hold"#),
        ("12+1/release", None, r#"alice: alter "12+1" release"#),
        ("12/requeue", None, r#"alice: alter "12" requeue"#),
        ("12/signal", Some(json!({"signal": "sigusr1"})), r#"alice: alter "12" signal USR1"#),
        ("12/time-limit", Some(json!({"timeLimit": 5400})), r#"alice: alter "12" time limit 1:30:00"#),
    ] {
        let api = Api::new(vec![(call, Reply::Done)], vec![]);
        let answer = api.call(Method::PUT, &format!("/compute/daint/jobs/{path}"), body).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_is_refused_before_the_scheduler_is_asked() {
    let cases: [(&str, Value, &str); 6] = [
        ("12/signal", json!({"signal": "USR3"}), "signal"),
        ("12/signal", json!({}), "signal"),
        ("12/signal", json!({"signal": "USR1", "to": "all"}), "to"),
        ("12/time-limit", json!({"timeLimit": 0}), "timeLimit"),
        ("12/time-limit", json!({"timeLimit": "1:00:00"}), "timeLimit"),
        ("-1/hold", json!({}), "job_id"),
    ];
    for (path, body, name) in cases {
        let answer = Api::new(vec![], vec![]).call(Method::PUT, &format!("/compute/daint/jobs/{path}"), Some(body)).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!(name)), "{path}: {}", answer.json());
    }
}

#[tokio::test]
async fn the_schedulers_reason_is_told() {
    let over = "Job has already finished";
    for (error, status, words) in [
        (SchedulerError::Rejected(over.to_owned()), 400, over),
        (SchedulerError::Denied("Invalid user id for job 7".to_owned()), 403, "Invalid user id"),
        (SchedulerError::JobNotFound, 404, "Job not found"),
        (SchedulerError::Unsupported("it holds none"), 501, "it holds none"),
    ] {
        let api = Api::new(vec![(r#"alice: alter "7" hold"#, Reply::SchedulerFails(error))], vec![]);
        let answer = api.call(Method::PUT, "/compute/daint/jobs/7/hold", None).await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{}", answer.json());
    }
}

#[tokio::test]
async fn a_job_is_validated_and_not_submitted() {
    let body = || Some(json!({"job": {"workingDirectory": "/home/alice", "script": "#!/bin/sh\n", "nodes": 2}}));
    let estimate = JobEstimate { start: Some(1_800_000_000), cpus: Some(2), nodes: Some("n[1-2]".to_owned()), partition: None };
    let api = Api::new(vec![("alice: validate ...", Reply::Estimate(estimate))], vec![]);
    let answer = api.call(Method::POST, "/compute/daint/jobs/validate", body()).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"expectedStart": 1_800_000_000, "cpus": 2, "nodes": "n[1-2]"})));
    let refused = SchedulerError::Rejected("allocation failure: Requested node configuration is not available".to_owned());
    let api = Api::new(vec![("alice: validate ...", Reply::SchedulerFails(refused))], vec![]);
    let answer = api.call(Method::POST, "/compute/daint/jobs/validate", body()).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["detail"].as_str().unwrap().contains("Requested node configuration"), "{}", answer.json());
}
