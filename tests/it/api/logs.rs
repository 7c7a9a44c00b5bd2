//! The output of jobs, read and followed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use goldcrest::cluster::Cluster;
use goldcrest::domain::{ClusterHealth, FileStat, Job, JobId, JobMetadata, RemotePath};
use goldcrest::filesystem::{ClusterFiles, FileAccess, FilesystemError, Followed, Settings};
use goldcrest::http::Draining;
use goldcrest::scheduler::SchedulerError;
use goldcrest::scheduler::local::Local;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::compute::job;
use super::doubles::{Reply, Script, ScriptedFiles, ScriptedScheduler, Step, version};
use super::{Answer, Api, cluster_config, request, whole};
use crate::support::local_shell::LocalShell;
use crate::support::scripted::ScriptedTransport;

const STAT: &str = r#"alice: stat "/home/alice/7.out" true"#;
const LOGS: &str = "/compute/daint/jobs/7/logs";

fn files_of(id: &str, output: &str) -> JobMetadata {
    let (standard_output, standard_error) = (Some(output.to_owned()), Some(format!("{output}.err")));
    JobMetadata { id: JobId::new(id).unwrap(), script: None, standard_input: None, standard_output, standard_error, is_array: false }
}

fn metadata() -> Step {
    (r#"alice: metadata "7""#, Reply::Metadata(vec![files_of("7", "/home/alice/7.out")]))
}

fn state(state: &str) -> Step {
    let mut found: Job = job("7");
    state.clone_into(&mut found.status.state);
    (r#"alice: job "7""#, Reply::Jobs(vec![found]))
}

/// The list of the mirror.
fn listed(name: &str) -> Step {
    ("alice: jobs...", state(name).1)
}

fn size(size: u64) -> Step {
    (STAT, Reply::Stat(FileStat { mode: 0o100_644, size, ..FileStat::default() }))
}

fn missing() -> FilesystemError {
    FilesystemError::NotFound(RemotePath::from_text("/home/alice/7.out").unwrap())
}

fn gone() -> Step {
    (STAT, Reply::FileFails(missing()))
}

fn content(data: &'static [u8], file: u64) -> Reply {
    Reply::Stream(stream::iter([Ok(Bytes::from_static(data))]).boxed(), version(file))
}

fn grown(data: &'static [u8], end: u64) -> Result<Followed, FilesystemError> {
    Ok(Followed::Data { data: Bytes::from_static(data), end })
}

/// These, and then nothing for as long as it is followed.
fn happening(events: Vec<Result<Followed, FilesystemError>>) -> Reply {
    Reply::Follow(stream::iter(events).chain(stream::pending()).boxed())
}

/// The API over a scheduler that is asked each time anew.
fn api(scheduler: Vec<Step>, files: Vec<Step>) -> Api {
    let mut config = serde_json::to_value(json!({"type": "slurm", "version": "24.11.0", "timeout": 11, "read_freshness": 0})).unwrap();
    let mut cluster = cluster_config();
    cluster.scheduler = Some(serde_json::from_value(config.take()).unwrap());
    let (_, health) = watch::channel(ClusterHealth::default());
    let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", scheduler)));
    let files = Arc::new(ScriptedFiles(Script::new("file system", files)));
    Api::over(Cluster::new(cluster, whole(Arc::new(ScriptedTransport::new([])), scheduler, files), health))
}

async fn get(query: &str, scheduler: Vec<Step>, files: Vec<Step>) -> Answer {
    api(scheduler, files).get(&format!("{LOGS}{query}")).await
}

fn events(query: &str) -> Request<Body> {
    let mut request = request(Method::GET, &format!("{LOGS}{query}"), Some("token-of-alice"), None);
    request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    request
}

fn offsets(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("goldcrest-log-offset"), answer.header("goldcrest-log-next-offset"))
}

#[tokio::test]
async fn an_output_is_given_from_the_start_with_the_offset_of_the_next_request() {
    let download = (r#"alice: download "/home/alice/7.out" Some(From(0, None)) None"#, content(b"one\n\xFFtwo\n", 9));
    let answer = get("", vec![metadata()], vec![size(9), download]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!((answer.body.as_slice(), offsets(&answer)), (&b"one\n\xFFtwo\n"[..], (Some("0"), Some("9"))));
    assert_eq!((answer.header("content-length"), answer.header("vary")), (Some("9"), Some("accept")));

    let download = (r#"alice: download "/home/alice/7.out" Some(From(4, None)) None"#, content(b"two\n", 8));
    let answer = get("?offset=4", vec![metadata()], vec![size(8), download]).await;
    assert_eq!((answer.body.as_slice(), offsets(&answer)), (&b"two\n"[..], (Some("4"), Some("8"))));

    let answer = get("?offset=8", vec![metadata()], vec![size(8)]).await;
    assert_eq!((answer.status, answer.body.len(), offsets(&answer)), (200, 0, (Some("8"), Some("8"))));

    // It is shorter than what was given of it: it began anew, as after a requeue.
    let download = (r#"alice: download "/home/alice/7.out" Some(From(0, None)) None"#, content(b"new", 3));
    let answer = get("?offset=8", vec![metadata()], vec![size(3), download]).await;
    assert_eq!((answer.body.as_slice(), offsets(&answer)), (&b"new"[..], (Some("0"), Some("3"))));
}

#[tokio::test]
async fn the_other_stream_is_the_other_file() {
    let stat = Reply::Stat(FileStat { mode: 0o100_644, size: 4, ..FileStat::default() });
    let files = vec![(r#"alice: stat "/home/alice/7.out.err" true"#, stat), ("alice: download...", content(b"oops", 4))];
    assert_eq!(get("?stream=stderr", vec![metadata()], files).await.body, b"oops");
    let answer = get("?stream=stdin", vec![], vec![]).await;
    assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!("stream")));
}

#[tokio::test]
async fn the_last_lines_are_found_from_the_end() {
    // The limit of what is shown, and so of a block, is 1000 bytes here.
    let view = (r#"alice: view "/home/alice/7.out" 1000 1000"#, Reply::Bytes(b"a\nbb\nccc\n".to_vec()));
    let download = (r#"alice: download "/home/alice/7.out" Some(From(1002, None)) None"#, content(b"bb\nccc\n", 2000));
    let answer = get("?tail=2", vec![metadata()], vec![size(2000), view, download]).await;
    assert_eq!((answer.status, answer.header("goldcrest-log-offset")), (200, Some("1002")));
    for query in ["?tail=1000001", "?tail=-1", "?tail=1&offset=1", "?last=1"] {
        assert_eq!(get(query, vec![], vec![]).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_job_that_waits_has_an_empty_output_and_one_that_left_none_is_told_so() {
    let answer = get("", vec![metadata(), state("PENDING")], vec![gone()]).await;
    assert_eq!((answer.status, answer.body.len(), offsets(&answer)), (200, 0, (Some("0"), Some("0"))));
    let could_not_ask = (r#"alice: job "7""#, Reply::SchedulerFails(SchedulerError::Down("no controller".to_owned())));
    let answer = get("", vec![metadata(), could_not_ask], vec![gone()]).await;
    assert_eq!(answer.status, 200, "that the scheduler could not be asked does not mean that the job has ended");
    for query in ["", "?follow=true"] {
        let answer = get(query, vec![metadata(), state("CANCELLED")], vec![gone()]).await;
        assert_eq!(answer.status, 404);
        assert!(answer.json()["detail"].as_str().unwrap().starts_with("the job has ended, and its output file does not exist"));
    }
}

#[tokio::test]
async fn what_cannot_be_told_or_read_has_a_reason() {
    let unknown = (r#"alice: metadata "7""#, Reply::SchedulerFails(SchedulerError::JobNotFound));
    let answer = get("", vec![unknown], vec![]).await;
    assert_eq!((answer.status, &answer.json()["message"]), (404, &json!("Job not found")));

    let nowhere = JobMetadata { standard_output: None, ..files_of("7", "/home/alice/7.out") };
    let answer = get("", vec![(r#"alice: metadata "7""#, Reply::Metadata(vec![nowhere]))], vec![]).await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["detail"].as_str().unwrap().contains("where the job's output is"), "{}", answer.json());

    let tasks = vec![files_of("7_1", "/home/alice/1.out"), files_of("7_2", "/home/alice/2.out")];
    let answer = get("", vec![(r#"alice: metadata "7""#, Reply::Metadata(tasks))], vec![]).await;
    assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!("job_id")));

    // Until its first task starts, an array has one record, and no file.
    let waiting = JobMetadata { is_array: true, ..files_of("7", "/home/alice/7_%a.out") };
    let answer = get("", vec![(r#"alice: metadata "7""#, Reply::Metadata(vec![waiting.clone()]))], vec![]).await;
    assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!("job_id")));
    let answer =
        get("", vec![(r#"alice: metadata "7""#, Reply::Metadata(vec![waiting, files_of("7_1", "/home/alice/1.out")]))], vec![]).await;
    assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!("job_id")));

    let outside = (r#"alice: metadata "7""#, Reply::Metadata(vec![files_of("7", "/dev/shm/7.out")]));
    let answer = get("", vec![outside], vec![]).await;
    let field = answer.json()["data"]["fields"][0].clone();
    assert_eq!((answer.status, &field["name"]), (400, &json!("job_id")));
    let message = field["message"].as_str().unwrap();
    assert!(message.contains("its output is in /dev/shm/7.out") && message.contains("choose `workingDirectory`"), "{message}");

    let denied = FilesystemError::Denied(RemotePath::from_text("/home/alice/7.out").unwrap());
    let answer = get("?follow=true", vec![metadata()], vec![size(1), ("alice: follow...", Reply::FileFails(denied))]).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_file_named_in_the_jobs_directory_is_found_there() {
    let relative = (r#"alice: metadata "7""#, Reply::Metadata(vec![files_of("7", "7.out")]));
    let answer = get("", vec![relative, state("RUNNING")], vec![size(0)]).await;
    assert_eq!((answer.status, offsets(&answer)), (200, (Some("0"), Some("0"))));
}

#[tokio::test(start_paused = true)]
async fn following_ends_when_the_job_has_ended_and_the_rest_was_read() {
    let follow = (r#"alice: follow "/home/alice/7.out" Start(4)"#, happening(vec![grown(b"two\n", 8), grown(b"three\n", 14)]));
    let scheduler = vec![metadata(), state("RUNNING"), listed("RUNNING"), listed("COMPLETED"), state("COMPLETED")];
    let answer = get("?follow=true&offset=4", scheduler, vec![size(8), follow, size(14)]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"two\nthree\n"[..]));
    assert_eq!(offsets(&answer), (Some("4"), None));
}

#[tokio::test(start_paused = true)]
async fn following_waits_for_the_file_and_through_a_requeue() {
    let not_yet = || (r#"alice: follow "/home/alice/7.out" Start(0)"#, Reply::FileFails(missing()));
    let changes = vec![grown(b"first try\n", 10), Ok(Followed::Truncated), grown(b"second\n", 7)];
    let files = vec![gone(), not_yet(), not_yet(), (r#"alice: follow "/home/alice/7.out" Start(0)"#, happening(changes)), size(7)];
    let mut scheduler = vec![metadata(), state("PENDING"), state("PENDING")];
    scheduler.extend([listed("PENDING"), listed("REQUEUED"), listed("COMPLETED"), state("COMPLETED")]);
    let answer = api(scheduler, files).send(events("?follow=true")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let expected = [
        "retry: 3000\n\n",
        "id: 10\ndata: {\"content\":\"first try\\n\"}\n\n",
        "event: truncated\nid: 0\ndata: {}\n\n",
        "id: 7\ndata: {\"content\":\"second\\n\"}\n\n",
        "event: end\ndata: {\"reason\":\"the job has ended\"}\n\n",
    ];
    assert_eq!(String::from_utf8(answer.body).unwrap(), expected.concat());
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_does_not_answer_ends_nothing() {
    let down = |call| (call, Reply::SchedulerFails(SchedulerError::Down("no controller".to_owned())));
    let follow = ("alice: follow...", happening(vec![grown(b"all\n", 4)]));
    let scheduler = vec![metadata(), down(r#"alice: job "7""#), down("alice: jobs..."), listed("FAILED"), state("FAILED")];
    let answer = get("?follow=true", scheduler, vec![size(4), follow, size(4)]).await;
    assert_eq!(answer.body, b"all\n");
}

#[tokio::test]
async fn following_ends_when_the_server_drains_and_does_not_look_complete() {
    let bytes = || request(Method::GET, &format!("{LOGS}?follow=true"), Some("token-of-alice"), None);
    for (mut request, is_cut) in [(bytes(), true), (events("?follow=true"), false)] {
        let follow = ("alice: follow...", happening(vec![grown(b"one\n", 4)]));
        let draining = CancellationToken::new();
        request.extensions_mut().insert(Draining(draining.clone()));
        let answer = api(vec![metadata()], vec![size(4), follow]).answer(request).await;
        let (mut body, mut text) = (answer.into_body().into_data_stream(), Vec::new());
        while !text.windows(3).any(|word| word == b"one") {
            text.extend(body.next().await.unwrap().unwrap());
        }
        draining.cancel();
        let rest: Vec<_> = body.collect().await;
        match rest.last().unwrap() {
            Ok(last) => {
                assert!(!is_cut && last.ends_with(b"{\"reason\":\"Goldcrest is stopping: reconnect to continue\"}\n\n"), "{last:?}")
            }
            Err(_) => assert!(is_cut),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_resume_and_end_where_no_more_is_asked_for() {
    let follow = (r#"alice: follow "/home/alice/7.out" Start(99)"#, happening(vec![grown(b"x", 100)]));
    let mut again = events("?follow=true&offset=7");
    again.headers_mut().insert("last-event-id", "99".parse().unwrap());
    let answer = api(vec![metadata(), state("COMPLETED")], vec![size(100), follow, size(100)]).send(again).await;
    assert!(String::from_utf8(answer.body).unwrap().contains("id: 100\ndata: {\"content\":\"x\"}"));

    let download = ("alice: download...", content(b"now", 3));
    let answer = api(vec![metadata()], vec![size(3), download]).send(events("")).await;
    let told = String::from_utf8(answer.body).unwrap();
    assert!(
        told.contains("id: 3\ndata: {\"content\":\"now\"}") && told.ends_with("{\"reason\":\"this is all there is now\"}\n\n"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hundred_readers_of_one_output_cost_one() {
    let slowly = stream::iter(0..3_u64).then(|index| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        grown(b"line\n", 5 * (index + 1))
    });
    let follow = ("alice: follow...", Reply::Follow(slowly.chain(stream::pending()).boxed()));
    let mut files: Vec<Step> = vec![size(0), follow];
    files.extend((1..100).map(|_| size(0)));
    files.push(size(15));
    // Equal questions at the same time are one; each of the others may come by itself.
    let mut scheduler: Vec<Step> = (0..100).map(|_| metadata()).collect();
    scheduler.push(state("COMPLETED"));
    let api = Arc::new(api(scheduler, files));
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(api.answer(request(Method::GET, &format!("{LOGS}?follow=true"), Some("token-of-alice"), None)).await);
    }
    let read = answers.into_iter().map(|answer| axum::body::to_bytes(answer.into_body(), 1 << 20));
    for body in futures::future::join_all(read).await {
        assert_eq!(body.unwrap(), "line\nline\nline\n");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_bytes_that_ends_with_the_token_does_not_look_whole() {
    let follow = ("alice: follow...", happening(vec![grown(b"some", 4)]));
    let running = (0..800).map(|_| state("RUNNING"));
    let scheduler: Vec<Step> = std::iter::once(metadata()).chain(running).collect();
    let api = std::mem::ManuallyDrop::new(api(scheduler, vec![size(4), follow]));
    let answer = api.answer(request(Method::GET, &format!("{LOGS}?follow=true"), Some("token-of-alice"), None)).await;
    assert!(axum::body::to_bytes(answer.into_body(), 1 << 20).await.is_err());
}

#[tokio::test]
async fn seventeen_outputs_are_too_many_for_one_user() {
    let mut scheduler: Vec<Step> = Vec::new();
    let mut files: Vec<Step> = Vec::new();
    for index in 0..17 {
        scheduler.push(("alice: metadata...", Reply::Metadata(vec![files_of(&format!("{index}"), "/home/alice/7.out")])));
        files.push(size(1));
        if index < 16 {
            files.push(("alice: follow...", happening(vec![])));
        }
    }
    let api = api(scheduler, files);
    let mut held = Vec::new();
    for index in 1..17 {
        let uri = format!("/compute/daint/jobs/{index}/logs?follow=true");
        held.push(api.answer(request(Method::GET, &uri, Some("token-of-alice"), None)).await);
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    let refused = api.get("/compute/daint/jobs/17/logs?follow=true").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("10")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_of_the_local_scheduler_is_followed_by_commands() {
    let shell = LocalShell::new("dash").or_else(|| LocalShell::new("bash")).unwrap();
    let mut config = cluster_config();
    config.file_systems[0].path = RemotePath::from_text(shell.home().to_str().unwrap()).unwrap();
    let (_, health) = watch::channel(ClusterHealth::default());
    let scheduler = Arc::new(Local::new(shell.clone(), goldcrest::scheduler::local::Config::default()));
    let files = ClusterFiles::open(shell.clone(), FileAccess::Exec, Settings::default());
    let api = Api::over(Cluster::new(config, whole(shell.clone(), scheduler, files), health));
    let script = "#!/bin/sh\necho one\nsleep 1\necho two\necho wrong >&2\n";
    let files = json!({"name": "talks", "workingDirectory": shell.home(), "standardError": "errors", "script": script});
    let answer = api.call(Method::POST, "/compute/daint/jobs", Some(json!({"job": files}))).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    let logs = format!("/compute/daint/jobs/{}/logs", answer.json()["jobId"].as_str().unwrap());
    let followed = api.get(&format!("{logs}?follow=true")).await;
    assert_eq!((followed.status, String::from_utf8(followed.body).unwrap()), (200, "one\ntwo\n".to_owned()));
    let last = api.get(&format!("{logs}?tail=1")).await;
    assert_eq!((last.body.as_slice(), offsets(&last)), (&b"two\n"[..], (Some("4"), Some("8"))));
    assert_eq!(api.get(&format!("{logs}?stream=stderr")).await.body, b"wrong\n");
}
