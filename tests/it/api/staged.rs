//! Uploads and downloads through an object store double: early refusals, failures of the store, and whole transfers by jobs of the
//! local scheduler.

mod jobs;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use goldcrest::cluster::{self, Capabilities, Cluster};
use goldcrest::domain::{ClusterHealth, FileStat, ServiceType};
use goldcrest::filesystem::FilesystemError;
use goldcrest::health::Checker;
use goldcrest::rest::Client;
use goldcrest::scheduler::SchedulerError;
use goldcrest::transfer::DataTransfer;
use goldcrest::transfer::s3::ObjectStore;
use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::callers::Source;
use super::doubles::{Reply, Script, ScriptedFiles, ScriptedScheduler, Step};
use super::transfer::{Machine, ask};
use super::{Answer, Api, cluster_config, whole};
use crate::support::scripted::ScriptedTransport;
use crate::support::service::{self, Seen, Service};
use crate::support::{PATIENCE, wait_for};

const UPLOAD: &str = r#"alice: submit JobDescription { name: Some("IngressFileTransfer"),..."#;
const DOWNLOAD: &str = r#"alice: submit JobDescription { name: Some("OutgressFileTransfer"),..."#;

/// What the played store holds.
#[derive(Default)]
struct Held {
    bucket: bool,
    parts: BTreeMap<u16, Vec<u8>>,
    objects: BTreeMap<String, Vec<u8>>,
    lifecycle: String,
}

/// A store that does as S3 does, but that it checks no signatures.
fn answer(held: &Mutex<Held>, request: &Seen) -> service::Reply {
    let mut held = held.lock().unwrap();
    let path = request.uri.path().to_owned();
    let query: BTreeMap<&str, &str> = request.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    assert!(query.contains_key("X-Amz-Signature"), "{}", request.uri);
    let is_bucket = path == "/alice/";
    match (request.method.as_str(), is_bucket) {
        ("HEAD", true) => service::Reply::status(if held.bucket { 200 } else { 404 }, ""),
        ("PUT", true) if query.contains_key("lifecycle") => {
            assert!(request.header("content-md5").is_some_and(|digest| digest.len() == 24));
            held.lifecycle = String::from_utf8(request.body.to_vec()).unwrap();
            service::Reply::status(200, "")
        }
        ("PUT", true) => {
            held.bucket = true;
            service::Reply::status(200, "")
        }
        ("POST", false) if query.contains_key("uploads") => begun("2~up"),
        ("PUT", false) => {
            assert_eq!((query["uploadId"], request.header("transfer-encoding")), ("2~up", None), "{}", request.text());
            let number: u16 = query["partNumber"].parse().unwrap();
            held.parts.insert(number, request.body.to_vec());
            service::Reply::status(200, "").header("etag", format!("\"tag-{number}\""))
        }
        ("POST", false) => {
            let list = String::from_utf8(request.body.to_vec()).unwrap();
            let parts = std::mem::take(&mut held.parts);
            let tags: Vec<&str> = list.split("<ETag>").skip(1).map(|rest| rest.split_once("</ETag>").unwrap().0).collect();
            assert_eq!(tags, parts.keys().map(|number| format!("\"tag-{number}\"")).collect::<Vec<_>>(), "{list}");
            held.objects.insert(path, parts.into_values().flatten().collect());
            service::Reply::status(200, "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
        }
        ("GET" | "HEAD", false) => match held.objects.get(&path) {
            Some(content) => service::Reply::status(200, content.clone()),
            None => service::Reply::status(404, "<Error><Code>NoSuchKey</Code></Error>"),
        },
        ("DELETE", false) => {
            match query.contains_key("uploadId") {
                true => held.parts.clear(),
                false => drop(held.objects.remove(&path)),
            }
            service::Reply::status(204, "")
        }
        (method, _) => panic!("{method} {path}"),
    }
}

fn begun(id: &str) -> service::Reply {
    service::Reply::status(
        200,
        format!(
            "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        ),
    )
}

async fn played() -> (Service, Arc<Mutex<Held>>) {
    let held = Arc::new(Mutex::new(Held::default()));
    let shared = Arc::clone(&held);
    (Service::start(move |request| answer(&shared, request)).await, held)
}

/// The configuration of a store at this address, with parts of 1000 bytes.
pub(super) fn data_transfer(url: &str, change: impl FnOnce(&mut Value)) -> DataTransfer {
    let mut config = json!({
        "service_type": "s3", "name": "store", "private_url": url, "public_url": url, "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "hunter2", "region": "eu", "ttl": 600, "multipart": {"max_part_size": 1000, "parallel_runs": 2},
    });
    change(&mut config);
    serde_json::from_value(config).unwrap()
}

/// The store that is configured so; it is waited for shortly.
pub(super) fn store(config: &DataTransfer) -> ObjectStore {
    let DataTransfer::S3(config) = config else { panic!("no object store") };
    ObjectStore::new(config, Client::new().unwrap()).unwrap().patient(Duration::from_secs(2))
}

/// `daint` with a store at this address, and a scheduler and files that do just this.
fn api(url: &str, scheduler: Vec<Step>, files: Vec<Step>, change: impl FnOnce(&mut cluster::Config)) -> Api {
    let mut config = cluster_config();
    let service = data_transfer(url, |_| {});
    let store = store(&service);
    config.data_operation.data_transfer = Some(vec![service]);
    change(&mut config);
    let (_, health) = watch::channel(ClusterHealth::default());
    let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", scheduler)));
    let files = Arc::new(ScriptedFiles(Script::new("file system", files)));
    let whole = whole(Arc::new(ScriptedTransport::new([])), scheduler, files);
    Api::over(Cluster::new(config, Capabilities { objects: Some(Arc::new(store)), ..whole }, health))
}

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

fn up(path: &str, size: impl Into<Value>) -> Value {
    json!({"path": path, "transfer_directives": {"transfer_method": "s3", "file_size": size.into()}})
}

fn down(path: &str) -> Value {
    json!({"source_path": path, "transfer_directives": {"transferMethod": "s3"}})
}

fn regular(size: u64) -> Reply {
    Reply::Stat(FileStat { mode: 0o100_644, size, ..FileStat::default() })
}

fn directory() -> Reply {
    Reply::Stat(FileStat { mode: 0o040_755, ..FileStat::default() })
}

fn missing() -> Reply {
    Reply::FileFails(FilesystemError::NotFound(goldcrest::domain::RemotePath::from_text("/home/a").unwrap()))
}

/// What files answer about a path that nothing has, in a directory that is there.
fn free() -> Vec<Step> {
    vec![("alice: stat ...", missing()), ("alice: stat ...", directory())]
}

/// The answer without what differs each time.
fn constant(answer: &Answer, service: &Service) -> String {
    let mut text = super::transfer::without_ids(answer).replace(&service.url, "http://store");
    for (name, end) in [("X-Amz-Date=", "&"), ("X-Amz-Signature=", "\""), ("AKIDEXAMPLE%2F", "%2Feu"), ("/alice/", "/file")] {
        let mut from = 0;
        while let Some(found) = text[from..].find(name) {
            let value = from + found + name.len();
            let length = text[value..].find(end).unwrap();
            text.replace_range(value..value + length, "...");
            from = value;
        }
    }
    text
}

#[tokio::test]
async fn an_upload_is_answered_with_every_member_of_the_contract() {
    let (service, held) = played().await;
    let answer = ask(&api(&service.url, vec![(UPLOAD, Reply::Id("42"))], free(), |_| {}), "upload", up("/home/alice/file", 2001)).await;
    assert_snapshot!(constant(&answer, &service));
    let asked: Vec<String> = service.seen().iter().map(|seen| format!("{} {}", seen.method, seen.uri.path().len() > 8)).collect();
    assert_eq!(asked, ["HEAD false", "PUT false", "PUT false", "POST true"]);
    assert!(held.lock().unwrap().lifecycle.contains("<Days>10</Days>"));
}

#[tokio::test]
async fn a_download_is_answered_with_every_member_of_the_contract() {
    let (service, held) = played().await;
    held.lock().unwrap().bucket = true;
    let files = vec![(r#"alice: stat "/home/alice/file" true"#, regular(2001))];
    let answer = ask(&api(&service.url, vec![(DOWNLOAD, Reply::Id("42"))], files, |_| {}), "download", down("/home/alice/file")).await;
    assert_snapshot!(constant(&answer, &service));
    assert_eq!(service.seen().len(), 2, "a bucket that is there is left as it is");
}

#[tokio::test]
async fn the_forms_of_older_clients_are_understood() {
    let (service, _) = played().await;
    let old = json!({"source_path": "/home/alice", "fileName": "file", "fileSize": "2001", "account": null});
    let answer = ask(&api(&service.url, vec![(UPLOAD, Reply::Id("42"))], free(), |_| {}), "upload", old).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    let directives = &answer.json()["transferDirectives"];
    assert_eq!(directives["partsUploadUrls"].as_array().unwrap().len(), 3);
    assert!(directives["completeUploadUrl"].as_str().unwrap().split('?').next().unwrap().ends_with("/file"), "{directives}");
    let files = vec![("alice: stat ...", regular(0))];
    let old = json!({"sourcePath": "/home/alice/file"});
    let answer = ask(&api(&service.url, vec![(DOWNLOAD, Reply::Id("42"))], files, |_| {}), "download", old).await;
    assert_eq!((answer.status, &answer.json()["transferDirectives"]["transferMethod"]), (201, &json!("s3")), "{}", answer.everything());
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_the_store_is_asked() {
    let api = api(NOWHERE, vec![], vec![], |config| {
        config.data_operation.datatransfer_jobs_directives = vec!["#SBATCH --account={account}".to_owned()];
    });
    let size = "transferDirectives.fileSize";
    for (body, field) in [
        (json!({"path": "/home/a", "transferDirectives": {"transferMethod": "s3"}}), size),
        (up("/home/a", Value::Null), size),
        (up("/home/a", 10_000_001), size),
        (up("/home/a", -1), "transfer_directives.file_size"),
        (up("/home/a", "many"), "transfer_directives.file_size"),
        (up("/home/a", 1), "account"),
        (json!({"path": "/home/a", "account": "a\n#SBATCH", "transferDirectives": {"transferMethod": "s3", "fileSize": 1}}), "account"),
        (json!({"path": "/home/a", "transferDirectives": {"transferMethod": "ftp"}}), "transferDirectives.transferMethod"),
        (json!({"path": "/home/a", "transferDirectives": {}}), "transferDirectives.transferMethod"),
        (json!({"transferDirectives": {"transferMethod": "s3"}}), "sourcePath"),
    ] {
        let answer = ask(&api, "upload", body).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!(field)), "{}", answer.everything());
    }
    for path in ["/etc/a", "a", "/home/../etc/a", "/home", "/"] {
        assert_eq!(ask(&api, "upload", up(path, 1)).await.status, 400, "{path}");
    }
    assert_eq!(ask(&api, "download", down("/etc/a")).await.status, 400);
}

#[tokio::test]
async fn only_a_regular_file_that_is_there_is_downloaded() {
    for (reply, status, words) in [
        (missing(), 404, "No such file or directory"),
        (directory(), 400, "Is a directory"),
        (Reply::Stat(FileStat { mode: 0o010_644, ..FileStat::default() }), 400, "not a regular file"),
        (regular(10_000_001), 400, "max_part_size"),
    ] {
        let answer = ask(&api(NOWHERE, vec![], vec![("alice: stat ...", reply)], |_| {}), "download", down("/home/a")).await;
        assert_eq!(answer.status, status, "{}", answer.everything());
        assert!(answer.json()["message"].as_str().unwrap().contains(words), "{answer}");
    }
}

#[tokio::test]
async fn an_upload_to_what_can_be_no_file_is_refused_before_the_store_is_asked() {
    let link = || Reply::Stat(FileStat { mode: 0o120_777, ..FileStat::default() });
    for (replies, status, words) in [
        (vec![directory()], 400, "Is a directory: the path must name the file to write"),
        (vec![link(), directory()], 400, "Is a directory: the path must name the file to write"),
        (vec![missing(), missing()], 404, "No such file or directory"),
        (vec![missing(), regular(1)], 400, "Not a directory"),
        // What can be replaced, or made, goes on to the store, which is not there.
        (vec![regular(1)], 503, "store"),
        (vec![link(), missing()], 503, "store"),
    ] {
        let steps = replies.into_iter().map(|reply| ("alice: stat ...", reply)).collect();
        let answer = ask(&api(NOWHERE, vec![], steps, |_| {}), "upload", up("/home/d/a", 1)).await;
        assert_eq!(answer.status, status, "{}", answer.everything());
        assert!(answer.json()["message"].as_str().unwrap().contains(words), "{answer}");
    }
}

#[tokio::test]
async fn a_method_that_the_system_has_not_is_refused_with_what_it_has() {
    for (method, service, status, words) in [
        ("streamer", json!([{"service_type": "wormhole"}]), 400, "Requested transfer method is not available. This system has wormhole"),
        (
            "s3",
            json!([{"service_type": "streamer"}]),
            400,
            "Requested transfer method is not available. This system has streamer: give `transferMethod: streamer`, or send",
        ),
        (
            "s3",
            json!([{"service_type": "streamer"}, {"service_type": "wormhole"}]),
            400,
            "Requested transfer method is not available. This system has streamer, wormhole",
        ),
        ("wormhole", json!([{"service_type": "wormhole"}]), 501, "file operations upload and download"),
        ("wormhole", json!([{"service_type": "streamer"}, {"service_type": "wormhole"}]), 501, "file operations upload and download"),
        ("s3", json!([]), 501, "file operations upload and download"),
        ("s3", Value::Null, 501, "file operations upload and download"),
    ] {
        let api = api(NOWHERE, vec![], vec![], |config| {
            config.data_operation.data_transfer = serde_json::from_value(service.clone()).unwrap();
        });
        for operation in ["upload", "download"] {
            let body = json!({"path": "/home/a", "transferDirectives": {"transferMethod": method, "wormholeCode": "1-a", "fileSize": 1}});
            let answer = ask(&api, operation, body).await;
            assert_eq!(answer.status, status, "{}", answer.everything());
            assert!(answer.json()["message"].as_str().unwrap().contains(words), "{answer}");
        }
        let unsupported = &api.get("/status/systems").await.json()["systems"][0]["unsupported"];
        let has_streamer = service.to_string().contains("streamer");
        let of_files =
            unsupported.as_array().unwrap().iter().filter(|entry| entry["operations"].as_str().unwrap().starts_with("/filesystem"));
        assert_eq!(of_files.count(), if has_streamer { 0 } else { 2 }, "{unsupported}");
    }
}

/// Asks for an upload of a store that answers so; nothing is submitted.
async fn failed(reply: impl Fn(&Seen) -> service::Reply + Send + Sync + 'static) -> Answer {
    let service = Service::start(reply).await;
    let answer = ask(&api(&service.url, vec![], free(), |_| {}), "upload", up("/home/a", 1)).await;
    for secret in ["hunter2", "AKIDEXAMPLE", "127.0.0.1", "X-Amz"] {
        assert!(!answer.everything().contains(secret), "{}", answer.everything());
    }
    assert!(answer.json()["message"].as_str().unwrap().contains("the object store store "), "{answer}");
    assert_eq!(answer.json()["maybeEffected"], false);
    answer
}

#[tokio::test]
async fn a_store_that_refuses_is_told_with_its_word_for_the_reason() {
    let answer = failed(|_| service::Reply::status(403, "")).await;
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (424, &json!("the object store store refused to look for a bucket: status 403"))
    );
    let code = |code: &'static str| {
        move |seen: &Seen| match seen.method {
            Method::HEAD => service::Reply::status(200, ""),
            _ => service::Reply::status(403, format!("<Error><Code>{code}</Code><Message>hunter2</Message></Error>")),
        }
    };
    let answer = failed(code("InvalidAccessKeyId")).await;
    let expected = "the object store store refused to begin an upload: status 403, InvalidAccessKeyId";
    assert_eq!((answer.status, &answer.json()["message"]), (424, &json!(expected)));
    // What is no word of a store is not repeated.
    assert_eq!(failed(code("AKIDEXAMPLE hunter2")).await.status, 424);
}

#[tokio::test]
async fn a_store_that_cannot_or_does_not_answer_is_unavailable() {
    for status in [500, 503, 429] {
        assert_eq!(failed(move |_| service::Reply::status(status, "<Error><Code>SlowDown</Code></Error>")).await.status, 503);
    }
    assert_eq!(failed(|_| service::Reply::status(200, "").after(Duration::from_secs(30))).await.status, 503);
    let answer = ask(&api(NOWHERE, vec![], free(), |_| {}), "upload", up("/home/a", 1)).await;
    assert_eq!(answer.status, 503, "{}", answer.everything());
    assert!(!answer.everything().contains("127.0.0.1"), "{}", answer.everything());
}

#[tokio::test]
async fn an_answer_that_names_no_upload_is_not_understood() {
    let long = "a".repeat(100_000);
    for body in ["", "{}", "<html>", "<UploadId></UploadId>", "<UploadId>a b</UploadId>", "<UploadId>a&b=c</UploadId>", &long] {
        let body = body.to_owned();
        let status = failed(move |_| service::Reply::status(200, body.clone())).await.status;
        assert!([424, 503].contains(&status), "{status}");
    }
}

#[tokio::test]
async fn an_upload_whose_job_is_not_submitted_is_aborted() {
    for failure in [SchedulerError::Rejected("no".to_owned()), SchedulerError::Unanswered("cut off".to_owned())] {
        let (service, _) = played().await;
        let answer =
            ask(&api(&service.url, vec![(UPLOAD, Reply::SchedulerFails(failure))], free(), |_| {}), "upload", up("/home/a", 1)).await;
        assert!([400, 503].contains(&answer.status), "{}", answer.everything());
        let last = service.seen().pop().unwrap();
        assert!(last.method == Method::DELETE && last.uri.query().unwrap().contains("uploadId=2~up"), "{}", last.text());
    }
}

#[tokio::test]
async fn a_store_that_is_unhealthy_is_not_asked() {
    for (operation, body) in [("upload", up("/home/a", 1)), ("download", down("/home/a"))] {
        let answer = ask(&Api::unhealthy(ServiceType::S3, None), operation, body).await;
        assert_eq!(answer.status, 503, "{}", answer.everything());
    }
}

#[tokio::test]
async fn the_store_is_probed_where_the_site_wants_it() {
    for (status, message) in [(200, None), (403, Some("the object store store refused to list buckets: status 403"))] {
        let service = Service::start(move |seen| {
            assert_eq!((&seen.method, seen.uri.path()), (&Method::GET, "/"));
            service::Reply::status(status, "")
        })
        .await;
        let mut config = cluster_config();
        config.probing.services = serde_json::from_value(json!({"storage": {"timeout": 5}})).unwrap();
        let (sender, health) = watch::channel(ClusterHealth::default());
        let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", [])));
        let files = Arc::new(ScriptedFiles(Script::new("file system", [])));
        let objects = Some(Arc::new(store(&data_transfer(&service.url, |_| {}))));
        let capabilities = Capabilities { objects, ..whole(Arc::new(ScriptedTransport::new([])), scheduler, files) };
        let cluster = Arc::new(Cluster::new(config, capabilities, health.clone()));
        Checker::new(cluster, sender, Arc::new(Source(true))).check().await;
        let found = health.borrow().services.clone();
        assert_eq!((found.len(), found[0].service, found[0].message.as_deref()), (1, ServiceType::S3, message));
    }
}

#[tokio::test]
async fn an_upload_that_the_store_began_is_aborted_though_its_request_has_ended() {
    let (held, begun) = (Arc::new(Mutex::new(Held::default())), Arc::new(Notify::new()));
    let notify = Arc::clone(&begun);
    let reply = move |request: &Seen| {
        if request.method == Method::POST {
            notify.notify_one();
        }
        answer(&held, request)
    };
    let service = Service::start(reply).await;
    let refused = Reply::SchedulerFails(SchedulerError::Rejected("no".to_owned()));
    let api = api(&service.url, vec![(UPLOAD, refused)], free(), |_| {});
    tokio::select! {
        biased;
        () = begun.notified() => {}
        answer = ask(&api, "upload", up("/home/alice/file", 2001)) => panic!("{}", answer.everything()),
    }
    wait_for(PATIENCE, || service.seen().iter().any(|seen| seen.method == Method::DELETE)).await;
}
