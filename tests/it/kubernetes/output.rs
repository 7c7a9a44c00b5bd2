//! The output of jobs, read and followed.

use std::time::Duration;

use axum::http::Method;
use futures::stream::StreamExt;
use goldcrest::domain::{ArrayIndices, JobChange, JobId};
use goldcrest::scheduler::{OutputPart, OutputStream, Scheduler, SchedulerError};
use serde_json::json;

use super::double::{ApiServer, refusal};
use super::{api, job};
use crate::api::request;
use crate::support::principal;

async fn text(mut output: OutputStream) -> String {
    let mut text = String::new();
    while let Some(part) = output.next().await {
        match part.unwrap() {
            OutputPart::Data(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
            OutputPart::Restarted => text.push_str("<restarted>"),
        }
    }
    text
}

async fn next(output: &mut OutputStream) -> String {
    let part = tokio::time::timeout(Duration::from_secs(10), output.next()).await.expect("the next part comes");
    match part.unwrap().unwrap() {
        OutputPart::Data(data) => String::from_utf8(data.to_vec()).unwrap(),
        OutputPart::Restarted => "<restarted>".to_owned(),
    }
}

#[tokio::test]
async fn an_output_is_read_from_any_offset_and_by_its_last_lines() {
    let server = ApiServer::start(|_| None).await;
    let scheduler = server.scheduler(json!({}));
    let id = scheduler.submit(&principal("alice"), &job()).await.unwrap().value;
    server.write("goldcrest-alice", id.as_str(), "one\ntwo\nthree\n");
    let api = api(scheduler);
    let logs = format!("/compute/daint/jobs/{id}/logs");
    for (query, offset, expected) in [
        ("", "0", "one\ntwo\nthree\n"),
        ("?offset=4", "4", "two\nthree\n"),
        ("?offset=14", "14", ""),
        ("?offset=99", "0", "one\ntwo\nthree\n"),
        ("?tail=1", "8", "three\n"),
    ] {
        let answer = api.get(&format!("{logs}{query}")).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, expected.as_bytes()), "{query}");
        assert_eq!(answer.header("goldcrest-log-offset"), Some(offset), "{query}");
        assert_eq!(answer.header("goldcrest-log-next-offset"), Some("14"), "{query}");
    }
    let answer = api.get(&format!("{logs}?stream=stderr")).await;
    assert_eq!(answer.status, 404);
    assert!(answer.everything().contains("as one stream"), "{}", answer.everything());
    assert_eq!(api.get("/compute/daint/jobs/job-1/logs").await.status, 404);
}

#[tokio::test]
async fn an_output_is_followed_over_http_until_the_job_has_ended() {
    let server = ApiServer::start(|_| None).await;
    let scheduler = server.scheduler(json!({}));
    let id = scheduler.submit(&principal("alice"), &job()).await.unwrap().value;
    server.write("goldcrest-alice", id.as_str(), "one\ntwo\n");
    let api = api(scheduler);
    let request = request(Method::GET, &format!("/compute/daint/jobs/{id}/logs?follow=true&tail=1"), Some("token-of-alice"), None);
    let followed = tokio::spawn(async move { api.send(request).await });
    super::wait_for_sent(&server, "/log", 1).await;
    server.write("goldcrest-alice", id.as_str(), "three\n");
    server.finish("goldcrest-alice", id.as_str(), 0);
    let answer = followed.await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice(), answer.header("goldcrest-log-offset")), (200, &b"two\nthree\n"[..], Some("4")));
}

#[tokio::test]
async fn lines_are_given_as_they_are_written_and_a_stream_that_is_cut_is_continued() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    let mut output = scheduler.outputs().unwrap().follow(&jane, &id, 0).await.unwrap();
    server.write("goldcrest-jane", id.as_str(), "one\n");
    assert_eq!(next(&mut output).await, "one\n");
    server.write("goldcrest-jane", id.as_str(), "two\n");
    assert_eq!(next(&mut output).await, "two\n");
    server.cut("goldcrest-jane", id.as_str());
    server.write("goldcrest-jane", id.as_str(), "three\n");
    assert_eq!(next(&mut output).await, "three\n");
    server.finish("goldcrest-jane", id.as_str(), 3);
    assert_eq!(text(output).await, "");
}

#[tokio::test]
async fn a_reader_continues_where_it_was_and_learns_that_an_output_began_anew() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    server.write("goldcrest-jane", id.as_str(), "one\ntwo\n");
    server.finish("goldcrest-jane", id.as_str(), 0);
    let outputs = scheduler.outputs().unwrap();
    assert_eq!(text(outputs.follow(&jane, &id, 4).await.unwrap()).await, "two\n");
    assert_eq!(text(outputs.follow(&jane, &id, 8).await.unwrap()).await, "");
    assert_eq!(text(outputs.follow(&jane, &id, 99).await.unwrap()).await, "<restarted>one\ntwo\n");
}

#[tokio::test]
async fn a_job_that_waits_has_an_empty_output_and_is_followed_from_its_start() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let mut held = job();
    held.options.hold = true;
    let id = scheduler.submit(&jane, &held).await.unwrap().value;
    let outputs = scheduler.outputs().unwrap();
    assert_eq!(text(outputs.read(&jane, &id).await.unwrap()).await, "");
    let mut output = outputs.follow(&jane, &id, 0).await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        scheduler.alter(&jane, &id, JobChange::Release).await.unwrap();
        server.write("goldcrest-jane", id.as_str(), "begun\n");
    };
    let (first, ()) = tokio::join!(next(&mut output), release);
    assert_eq!(first, "begun\n");
}

#[tokio::test]
async fn an_array_has_an_output_for_each_task() {
    let server = ApiServer::start(|_| None).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let mut array = job();
    array.options.array = ArrayIndices::new("0-2").ok();
    let id = scheduler.submit(&jane, &array).await.unwrap().value;
    server.write("goldcrest-jane", id.as_str(), "of task 0\n");
    let outputs = scheduler.outputs().unwrap();
    let task = |index: u32| JobId::new(&format!("{id}_{index}")).unwrap();
    assert_eq!(text(outputs.read(&jane, &task(0)).await.unwrap()).await, "of task 0\n");
    assert_eq!(text(outputs.read(&jane, &task(1)).await.unwrap()).await, "");
    assert!(matches!(outputs.read(&jane, &task(3)).await, Err(SchedulerError::JobNotFound)));
    let whole = outputs.read(&jane, &id).await.err().unwrap();
    assert!(matches!(&whole, SchedulerError::Rejected(reason) if reason.ends_with(&format!("such as {id}_0"))), "{whole:?}");
}

#[tokio::test]
async fn an_output_that_cannot_be_had_is_a_failure_and_no_empty_one() {
    let down = |seen: &crate::support::service::Seen| {
        seen.uri.path().ends_with("/log").then(|| refusal(500, "InternalError", "Get \"https://10.0.0.1:10250\": connection refused"))
    };
    let server = ApiServer::start(down).await;
    let (scheduler, jane) = (server.scheduler(json!({})), principal("jane"));
    let id = scheduler.submit(&jane, &job()).await.unwrap().value;
    let error = scheduler.outputs().unwrap().read(&jane, &id).await.err().unwrap();
    assert!(matches!(&error, SchedulerError::Down(reason) if reason.contains("connection refused")), "{error:?}");
}
