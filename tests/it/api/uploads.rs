//! Uploads by PUT: conditions, digests and size limits.

use axum::body::Body;
use axum::http::{Request, header};
use goldcrest::domain::{FileStat, RemotePath};
use goldcrest::filesystem::{FilesystemError, Placed};
use serde_json::json;

use super::doubles::{Reply, Step, version};
use super::{Answer, Api};

const TAG: &str = "\"a-6955b900\"";
const ABC: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

fn stat() -> Step {
    let found = FileStat { mode: 0o100_644, size: 10, mtime: version(10).modified, ..FileStat::default() };
    (r#"alice: stat "/home/f" true"#, Reply::Stat(found))
}

async fn put(fields: &[(&str, &str)], content: impl Into<Body>, files: Vec<Step>) -> Answer {
    let mut request = Request::put("/filesystem/daint/ops/upload?path=/home/f").header(header::AUTHORIZATION, "Bearer token-of-alice");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    Api::new(vec![], files).send(request.body(content.into()).unwrap()).await
}

#[tokio::test]
async fn a_file_is_put_as_it_is_over_the_limit_of_the_compatible_form() {
    let content = "x".repeat(5000);
    let call: &'static str = format!("alice: upload \"/home/f\" {content:?} Some(100000) Anything").leak();
    for (placed, status) in [(Placed::Created, 201), (Placed::Replaced, 204)] {
        let answer = put(&[], content.clone(), vec![(call, Reply::Placed(placed))]).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
}

#[tokio::test]
async fn content_that_says_that_it_is_too_large_is_refused_before_it_comes() {
    let answer =
        put(&[("content-length", "100001")], Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>()), vec![]);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), answer).await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert_eq!(put(&[], "x".repeat(100_001), vec![]).await.status, 413);
}

#[tokio::test]
async fn conditions_are_handed_on_to_the_moment_of_replacing() {
    let new = r#"alice: upload "/home/f" "abc" Some(100000) Nothing"#;
    let answer = put(&[("if-none-match", "*")], "abc", vec![(new, Reply::Placed(Placed::Created))]).await;
    assert_eq!(answer.status, 201);
    let path = || RemotePath::from_text("/home/f").unwrap();
    let answer = put(&[("if-none-match", "*")], "abc", vec![(new, Reply::FileFails(FilesystemError::Exists(path())))]).await;
    assert_eq!((answer.status, &answer.json()["message"]), (412, &json!("/home/f: File exists")));
    let same = r#"alice: upload "/home/f" "abc" Some(100000) Version(FileVersion { size: 10, modified: 1767225600, inode: 0 })"#;
    for field in [("if-match", TAG), ("if-match", "*"), ("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT")] {
        let answer = put(&[field], "abc", vec![stat(), (same, Reply::Placed(Placed::Replaced))]).await;
        assert_eq!(answer.status, 204, "{field:?}");
    }
    let answer = put(&[("if-match", TAG)], "abc", vec![stat(), (same, Reply::FileFails(FilesystemError::Changed(path())))]).await;
    assert_eq!(answer.status, 412);
}

#[tokio::test]
async fn a_state_that_is_not_the_expected_one_is_412_without_a_write() {
    for field in [("if-match", "\"other\""), ("if-none-match", TAG), ("if-unmodified-since", "Wed, 31 Dec 2025 23:59:59 GMT")] {
        assert_eq!(put(&[field], "abc", vec![stat()]).await.status, 412, "{field:?}");
    }
    let missing =
        || (r#"alice: stat "/home/f" true"#, Reply::FileFails(FilesystemError::NotFound(RemotePath::from_text("/home/f").unwrap())));
    for field in [("if-match", "*"), ("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT")] {
        assert_eq!(put(&[field], "abc", vec![missing()]).await.status, 412, "{field:?}");
    }
    let new = r#"alice: upload "/home/f" "abc" Some(100000) Nothing"#;
    let answer = put(&[("if-none-match", TAG)], "abc", vec![missing(), (new, Reply::Placed(Placed::Created))]).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn content_with_another_digest_than_announced_is_not_written_and_the_right_one_is() {
    let call = r#"alice: upload "/home/f" "abc" Some(100000) Anything"#;
    let right = [("repr-digest", format!("sha-256=:{ABC}:")), ("digest", format!("SHA-256={ABC}"))];
    for (name, value) in right {
        let answer = put(&[(name, &value)], "abc", vec![(call, Reply::Placed(Placed::Created))]).await;
        assert_eq!(answer.status, 201, "{name}");
        let answer = put(&[(name, &value)], "abd", vec![]).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(answer.json()["message"], "the content does not have the sha-256 digest that was announced");
    }
    assert_eq!(put(&[("repr-digest", "md5=:AAAA:")], "abc", vec![]).await.status, 400);
    let answer = put(&[("want-repr-digest", "sha-256=1")], "abc", vec![(call, Reply::Placed(Placed::Created))]).await;
    assert_eq!(answer.header("repr-digest"), Some(format!("sha-256=:{ABC}:").as_str()));
}

#[tokio::test]
async fn parts_and_packed_content_are_refused() {
    assert_eq!(put(&[("content-range", "bytes 0-2/10")], "abc", vec![]).await.status, 400);
    assert_eq!(put(&[("content-encoding", "gzip")], "abc", vec![]).await.status, 415);
    let call = r#"alice: upload "/home/f" "abc" Some(100000) Anything"#;
    assert_eq!(put(&[("content-encoding", "identity")], "abc", vec![(call, Reply::Placed(Placed::Created))]).await.status, 201);
}

#[tokio::test]
async fn a_form_is_refused_where_the_content_itself_is_stored_with_the_way_to_send_it() {
    for operation in ["upload", "archive"] {
        for form in ["multipart/form-data; boundary=x", "Multipart/Form-Data"] {
            let request = Request::put(format!("/filesystem/daint/ops/{operation}?path=/home/f")).header(header::CONTENT_TYPE, form);
            let request = request.header(header::AUTHORIZATION, "Bearer token-of-alice").body("--x--".into()).unwrap();
            let answer = Api::new(vec![], vec![]).send(request).await;
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert_eq!(answer.status, 415, "{operation} {form}: {message}");
            assert!(message.contains("curl -T FILE") && message.contains("`POST .../ops/upload`"), "{message}");
        }
    }
    // What curl sends with --data-binary.
    let call = r#"alice: upload "/home/f" "abc" Some(100000) Anything"#;
    let plain = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(put(&plain, "abc", vec![(call, Reply::Placed(Placed::Created))]).await.status, 201);
}

#[tokio::test]
async fn a_directory_at_the_path_of_a_file_is_refused_with_what_the_path_is() {
    let call = r#"alice: upload "/home/f" "abc" Some(100000) Anything"#;
    let refused = FilesystemError::WrongType { path: RemotePath::from_text("/home/f").unwrap(), reason: "Is a directory" };
    let answer = put(&[], "abc", vec![(call, Reply::FileFails(refused))]).await;
    let expected = json!("/home/f: Is a directory: the path must name the file to write");
    assert_eq!((answer.status, &answer.json()["message"]), (400, &expected));
}
