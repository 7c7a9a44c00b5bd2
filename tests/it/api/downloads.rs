//! Downloads: ranges, conditions and size limits.

use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use goldcrest::domain::{FileStat, FileVersion, RemotePath};
use goldcrest::filesystem::{FilesystemError, ListOptions, WalkOptions};
use serde_json::json;

use super::doubles::{Reply, Step, version};
use super::{Answer, Api};

const TAG: &str = "\"a-6955b900\"";
const FIRST: &str = r#"alice: view "/home/f" 0 1"#;
const MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

fn content(text: &'static str, version: FileVersion) -> Reply {
    Reply::Stream(stream::iter([Ok(Bytes::from_static(text.as_bytes()))]).boxed(), version)
}

fn stat(size: u64) -> Step {
    let found = FileStat { mode: 0o100_644, size, mtime: version(size).modified, ..FileStat::default() };
    (r#"alice: stat "/home/f" true"#, Reply::Stat(found))
}

async fn ask(method: Method, fields: &[(&str, &str)], files: Vec<Step>) -> Answer {
    let mut request = Request::builder().method(method).uri("/filesystem/daint/ops/download?path=/home/f");
    request = request.header(header::AUTHORIZATION, "Bearer token-of-alice");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    Api::new(vec![], files).send(request.body(Body::empty()).unwrap()).await
}

async fn get(fields: &[(&str, &str)], files: Vec<Step>) -> Answer {
    ask(Method::GET, fields, files).await
}

#[tokio::test]
async fn a_download_says_what_it_is_and_that_it_can_be_had_in_parts() {
    let answer = get(&[], vec![(r#"alice: download "/home/f" None Some(100000)"#, content("0123456789", version(10)))]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"0123456789"[..]));
    for (name, value) in [
        ("etag", TAG),
        ("last-modified", MODIFIED),
        ("accept-ranges", "bytes"),
        ("content-length", "10"),
        ("cache-control", "private, no-cache"),
        ("vary", "authorization"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_range_is_answered_with_206() {
    let cases = [
        ("bytes=2-4", r#"alice: download "/home/f" Some(From(2, Some(4))) Some(100000)"#, "234", "bytes 2-4/10"),
        ("bytes=7-", r#"alice: download "/home/f" Some(From(7, None)) Some(100000)"#, "789", "bytes 7-9/10"),
        ("bytes=-4", r#"alice: download "/home/f" Some(Last(4)) Some(100000)"#, "6789", "bytes 6-9/10"),
        ("bytes=0-", r#"alice: download "/home/f" Some(From(0, None)) Some(100000)"#, "0123456789", "bytes 0-9/10"),
    ];
    for (range, call, text, said) in cases {
        let answer = get(&[("range", range)], vec![(call, content(text, version(10)))]).await;
        assert_eq!((answer.status, answer.body.as_slice()), (206, text.as_bytes()), "{range}");
        assert_eq!((answer.header("content-range"), answer.header("etag")), (Some(said), Some(TAG)), "{range}");
        assert_eq!(answer.header("content-length"), Some(text.len().to_string().as_str()), "{range}");
    }
}

#[tokio::test]
async fn a_file_over_the_limit_of_the_forms_is_downloaded_like_any_other_and_the_limit_is_still_shown() {
    let call = r#"alice: download "/home/f" None Some(100000)"#;
    for fields in [&[][..], &[("user-agent", "curl/8.14.1"), ("accept", "*/*")], &[("if-match", "*")]] {
        let looked = fields.iter().any(|(name, _)| *name == "if-match").then(|| stat(50_000));
        let whole = Bytes::from(vec![b'x'; 50_000]);
        let reply = Reply::Stream(stream::iter([Ok(whole)]).boxed(), version(50_000));
        let answer = get(fields, looked.into_iter().chain([(call, reply)]).collect()).await;
        assert_eq!((answer.status, answer.body.len()), (200, 50_000), "{fields:?}");
    }
    let systems = Api::new(vec![], vec![]).get("/status/systems").await;
    let operation = &systems.json()["systems"][0]["dataOperation"];
    assert_eq!((&operation["max_ops_file_size"], &operation["max_stream_size"]), (&json!(1000), &json!(100_000)));
}

#[tokio::test]
async fn several_ranges_and_what_is_none_are_answered_whole() {
    for range in ["bytes=0-1,3-4", "lines=0-1", "bytes=5-4"] {
        let call = r#"alice: download "/home/f" None Some(100000)"#;
        let answer = get(&[("range", range)], vec![(call, content("0123456789", version(10)))]).await;
        assert_eq!((answer.status, answer.header("content-range"), answer.body.len()), (200, None, 10), "{range}");
    }
}

#[tokio::test]
async fn a_range_beyond_the_end_is_416_with_the_size() {
    let call = r#"alice: download "/home/f" Some(From(10, None)) Some(100000)"#;
    let answer = get(&[("range", "bytes=10-")], vec![(call, content("", version(10)))]).await;
    assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */10")));
    assert_eq!(answer.json()["type"], "urn:goldcrest:problem:range-not-satisfiable");
}

#[tokio::test]
async fn the_end_of_an_empty_file_is_the_empty_file() {
    let call = r#"alice: download "/home/f" Some(Last(5)) Some(100000)"#;
    let answer = get(&[("range", "bytes=-5")], vec![(call, content("", version(0)))]).await;
    assert_eq!((answer.status, answer.header("content-range"), answer.header("content-length")), (200, None, Some("0")));
}

#[tokio::test]
async fn a_client_that_has_the_file_gets_304_without_a_download() {
    for field in [("if-none-match", TAG), ("if-modified-since", MODIFIED)] {
        let answer = get(&[field], vec![stat(10)]).await;
        assert_eq!((answer.status, answer.body.len(), answer.header("etag")), (304, 0, Some(TAG)), "{field:?}");
    }
    let call = r#"alice: download "/home/f" None Some(100000)"#;
    let answer = get(&[("if-none-match", "\"other\"")], vec![stat(10), (call, content("0123456789", version(10)))]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 10));
}

#[tokio::test]
async fn a_state_that_is_not_the_expected_one_is_412() {
    for field in [("if-match", "\"other\""), ("if-unmodified-since", "Wed, 31 Dec 2025 23:59:59 GMT")] {
        let answer = get(&[field], vec![stat(10)]).await;
        assert_eq!((answer.status, &answer.json()["type"]), (412, &json!("urn:goldcrest:problem:precondition-failed")), "{field:?}");
    }
}

#[tokio::test]
async fn a_range_of_another_state_is_the_whole_file() {
    let part = r#"alice: download "/home/f" Some(From(5, None)) Some(100000)"#;
    let whole = r#"alice: download "/home/f" None Some(100000)"#;
    for (validator, call, status) in [(TAG, part, 206), (MODIFIED, part, 206), ("\"other\"", whole, 200), ("W/\"x\"", whole, 200)] {
        let files = vec![stat(10), (call, content("56789", version(10)))];
        let answer = get(&[("range", "bytes=5-"), ("if-range", validator)], files).await;
        assert_eq!(answer.status, status, "{validator}");
    }
}

#[tokio::test]
async fn a_file_that_changes_between_the_look_and_the_opening_is_looked_at_again() {
    let part = r#"alice: download "/home/f" Some(From(5, None)) Some(100000)"#;
    let whole = r#"alice: download "/home/f" None Some(100000)"#;
    let files = vec![stat(10), (part, content("56789", version(11))), stat(11), (whole, content("01234567890", version(11)))];
    let answer = get(&[("range", "bytes=5-"), ("if-range", TAG)], files).await;
    assert_eq!((answer.status, answer.body.len()), (200, 11));
    let mut files = Vec::new();
    for size in [10, 12, 14] {
        files.extend([stat(size), (whole, content("", version(size + 1)))]);
    }
    let answer = get(&[("range", "lines=5-"), ("if-match", "*")], files).await;
    assert_eq!(answer.status, 409, "{}", answer.everything());
}

#[tokio::test]
async fn head_tells_what_a_download_would_without_one() {
    let answer = ask(Method::HEAD, &[], vec![stat(50_000), (FIRST, Reply::Bytes(b"0".to_vec()))]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!((answer.header("content-length"), answer.header("accept-ranges")), (Some("50000"), Some("bytes")));
    assert!(answer.header("etag").is_some() && answer.header("content-disposition").is_some());
    let answer = ask(Method::HEAD, &[("if-none-match", TAG)], vec![stat(10)]).await;
    assert_eq!((answer.status, answer.header("etag")), (304, Some(TAG)));
    assert_eq!(ask(Method::HEAD, &[], vec![stat(100_001)]).await.status, 413);
}

#[tokio::test]
async fn head_of_what_cannot_be_read_is_refused_as_its_download_is() {
    let path = |name: &str| RemotePath::from_text(name).unwrap();
    let denied = |name: &str| Reply::FileFails(FilesystemError::Denied(path(name)));
    let answer = ask(Method::HEAD, &[], vec![stat(10), (FIRST, denied("/home/f"))]).await;
    assert_eq!((answer.status, answer.body.len()), (403, 0));
    // A file without a size that has content, such as those of /proc, is refused by a download.
    let answer = ask(Method::HEAD, &[], vec![stat(0), (FIRST, Reply::Bytes(b"0".to_vec()))]).await;
    assert_eq!(answer.status, 400);
    let answer = ask(Method::HEAD, &[], vec![stat(0), (FIRST, Reply::Bytes(Vec::new()))]).await;
    assert_eq!(answer.status, 200);
    let walk: &'static str = format!(
        "alice: walk \"/home/d\" {:?}",
        WalkOptions { list: ListOptions { hidden: true, ..ListOptions::default() }, ..WalkOptions::default() }
    )
    .leak();
    for (mode, call) in [(0o040_000, walk), (0o100_000, r#"alice: view "/home/d" 0 1"#)] {
        let found = Reply::Stat(FileStat { mode, ..FileStat::default() });
        let files = vec![(r#"alice: stat "/home/d" true"#, found), (call, denied("/home/d"))];
        let answer = Api::new(vec![], files).call(Method::HEAD, "/filesystem/daint/ops/archive?path=/home/d", None).await;
        assert_eq!((answer.status, answer.body.len()), (403, 0), "{call}");
    }
}

#[tokio::test]
async fn head_tells_what_an_archive_would_and_packs_none() {
    let uri = "/filesystem/daint/ops/archive?path=/home/alice/run&format=tar.gz";
    let looked = ("alice: stat \"/home/alice/run\" true", Reply::Stat(FileStat::default()));
    let answer = Api::new(vec![], vec![looked]).call(Method::HEAD, uri, None).await;
    assert_eq!((answer.status, answer.body.len(), answer.header("content-type")), (200, 0, Some("application/gzip")));
    assert_eq!(answer.header("content-length"), None);
    assert!(answer.header("content-disposition").unwrap().contains("run.tar.gz"));
}

#[tokio::test]
async fn a_directory_has_no_versions() {
    let found = FileStat { mode: 0o040_755, ..FileStat::default() };
    let answer = ask(Method::GET, &[("if-none-match", "*")], vec![(r#"alice: stat "/home/f" true"#, Reply::Stat(found))]).await;
    assert_eq!((answer.status, &answer.json()["message"]), (400, &json!("/home/f: Is a directory")));
}
