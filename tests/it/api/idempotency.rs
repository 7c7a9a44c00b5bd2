//! `Idempotency-Key` on a submission.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use goldcrest::scheduler::SchedulerError;
use serde_json::json;

use super::doubles::Reply;
use super::{Answer, Api};

const ONCE: &str = "alice: submit_once...";

async fn submit(api: &Api, key: &str) -> Answer {
    let body = json!({"job": {"workingDirectory": "/home", "script": "#!/bin/sh"}}).to_string();
    let builder = Request::builder().method(Method::POST).uri("/compute/daint/jobs").header("authorization", "Bearer token-of-alice");
    api.send(builder.header("content-type", "application/json").header("idempotency-key", key).body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_submission_with_a_key_is_made_once_and_says_when_it_was_made_before() {
    // The second job of the script was there before.
    let api = Api::new(vec![(ONCE, Reply::Id("7")), (ONCE, Reply::Known("7"))], vec![]);
    let first = submit(&api, "8e03978e-40d5-43dd-bc93-6894a57f9324").await;
    assert_eq!((first.status, first.json(), first.header("idempotency-key-reply")), (201, json!({"jobId": "7"}), None));
    assert_eq!(first.header("idempotency-key-record"), Some("cluster"));
    let again = submit(&api, "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"").await;
    assert_eq!((again.status, again.json(), again.header("idempotency-key-reply")), (201, json!({"jobId": "7"}), Some("hit")));
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    for key in ["", "a b", &"k".repeat(256)] {
        let answer = submit(&Api::new(vec![], vec![]), key).await;
        assert_eq!(answer.status, 400, "{key:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains("Idempotency-Key"), "{}", answer.json());
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_repeated_submission_is_told() {
    for (error, status, retry_after, retryable) in [
        (SchedulerError::KeyReused, 422, None, false),
        (SchedulerError::UnderWay { wait: Duration::from_secs(9), host: None }, 409, Some("9"), true),
        (SchedulerError::Undecidable { reason: "no accounting".to_owned() }, 409, None, false),
        (SchedulerError::NoRecord("/home/alice/.goldcrest/submit".to_owned()), 424, None, false),
    ] {
        let answer = submit(&Api::new(vec![(ONCE, Reply::SchedulerFails(error))], vec![]), "k").await;
        let json = answer.json();
        assert_eq!(
            (answer.status, json["retryable"].as_bool(), answer.header("retry-after")),
            (status, Some(retryable), retry_after),
            "{json}"
        );
    }
}

#[tokio::test]
async fn an_attempt_under_way_names_its_host_and_one_that_is_undecided_says_that_the_job_may_be_there() {
    let elsewhere = SchedulerError::UnderWay { wait: Duration::from_secs(2), host: Some("login2".to_owned()) };
    let answer = submit(&Api::new(vec![(ONCE, Reply::SchedulerFails(elsewhere))], vec![]), "k").await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("under way on login2"), "{}", answer.json());
    let undecided = SchedulerError::Undecided { wait: Duration::from_secs(30), reason: "it gave no answer".to_owned() };
    let answer = submit(&Api::new(vec![(ONCE, Reply::SchedulerFails(undecided))], vec![]), "k").await;
    assert_eq!((answer.status, answer.header("retry-after")), (409, Some("30")));
    assert_eq!(answer.json()["maybeEffected"], true, "{}", answer.json());
}

#[tokio::test]
async fn a_lost_answer_says_how_to_find_out() {
    let lost = || Reply::SchedulerFails(SchedulerError::Unanswered("no answer".to_owned()));
    let keyed = submit(&Api::new(vec![(ONCE, lost())], vec![]), "k").await.json();
    assert!(keyed["maybeEffected"] == true && keyed["message"].as_str().unwrap().contains("same `Idempotency-Key`"), "{keyed}");
    let api = Api::new(vec![("alice: submit JobDescription...", lost())], vec![]);
    let body = json!({"job": {"workingDirectory": "/home", "script": "#!/bin/sh"}});
    let plain = api.call(Method::POST, "/compute/daint/jobs", Some(body)).await.json();
    assert!(plain["maybeEffected"] == true && plain["message"].as_str().unwrap().contains("GET /compute/daint/jobs"), "{plain}");
}
