//! Followed files, and the answers about storage.

use std::sync::Arc;

use axum::http::Method;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use goldcrest::domain::{AclEntry, AclTag, Quota, QuotaHolder, QuotaUse, RemotePath, Space};
use goldcrest::filesystem::{FilesystemError, Followed};
use serde_json::{Value, json};

use super::doubles::{Reply, Step};
use super::{Answer, Api, request};

fn happening(events: Vec<Result<Followed, FilesystemError>>) -> Reply {
    Reply::Follow(stream::iter(events).boxed())
}

fn grown(data: &'static [u8], end: u64) -> Result<Followed, FilesystemError> {
    Ok(Followed::Data { data: Bytes::from_static(data), end })
}

async fn get(uri: &str, files: Vec<Step>) -> Answer {
    Api::new(vec![], files).get(&format!("/filesystem/daint/ops/{uri}")).await
}

#[tokio::test]
async fn what_happens_to_a_file_is_told_as_events() {
    let events = vec![
        grown(b"line\r\n\xF0\x9F", 8),
        grown(b"\x90\xA6\n", 11),
        Ok(Followed::Truncated),
        grown(b"a\xFF", 2),
        Ok(Followed::Removed),
        Ok(Followed::Replaced),
        Err(FilesystemError::Denied(RemotePath::from_text("/home/a").unwrap())),
    ];
    let answer = get("follow?path=/home/a", vec![(r#"alice: follow "/home/a" End(0)"#, happening(events))]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), (Some("no-store"), Some("no")));
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let (told, error) = text.split_once("event: error\ndata: ").unwrap();
    let expected = [
        "retry: 3000\n\n",
        "id: 6\ndata: {\"content\":\"line\\r\\n\"}\n\n",
        "id: 11\ndata: {\"content\":\"\u{1F426}\\n\"}\n\n",
        "event: truncated\nid: 0\ndata: {}\n\n",
        "id: 2\ndata: {\"content\":\"a\u{EFFF}\"}\n\n",
        "event: removed\ndata: {}\n\n",
        "event: replaced\nid: 0\ndata: {}\n\n",
    ];
    assert_eq!(told, expected.concat());
    let error: Value = serde_json::from_str(error.trim()).unwrap();
    assert_eq!((&error["status"], &error["message"]), (&json!(403), &json!("/home/a: Permission denied")));
}

#[tokio::test]
async fn following_goes_on_where_the_last_event_left_it() {
    for (query, id, call) in [
        ("", None, r#"alice: follow "/home/a" End(0)"#),
        ("&bytes=10", None, r#"alice: follow "/home/a" End(10)"#),
        ("&offset=7", None, r#"alice: follow "/home/a" Start(7)"#),
        ("&offset=7", Some("99"), r#"alice: follow "/home/a" Start(99)"#),
    ] {
        let mut request = request(Method::GET, &format!("/filesystem/daint/ops/follow?path=/home/a{query}"), Some("token-of-alice"), None);
        if let Some(id) = id {
            request.headers_mut().insert("last-event-id", id.parse().unwrap());
        }
        let answer = Api::new(vec![], vec![(call, happening(vec![]))]).send(request).await;
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert!(text.ends_with("event: end\ndata: {\"reason\":\"the access token has ended\"}\n\n"), "{text}");
    }
    for (uri, name) in [("follow?path=/home/a&bytes=1&offset=1", "bytes"), ("follow?path=/home/a&offset=-1", "offset")] {
        let answer = get(uri, vec![]).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!(name)));
    }
    let mut wrong = request(Method::GET, "/filesystem/daint/ops/follow?path=/home/a", Some("token-of-alice"), None);
    wrong.headers_mut().insert("last-event-id", "x".parse().unwrap());
    assert_eq!(Api::new(vec![], vec![]).send(wrong).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_file_is_followed_with_signs_of_life_until_the_token_ends() {
    let answer = get("follow?path=/home/a", vec![(r#"alice: follow "/home/a" End(0)"#, Reply::Follow(stream::pending().boxed()))]).await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let comments = text.lines().filter(|line| *line == ":").count();
    // The token has an hour left, and a comment comes every 15 seconds.
    assert!((230..=240).contains(&comments), "{comments}");
    assert!(text.ends_with("event: end\ndata: {\"reason\":\"the access token has ended\"}\n\n"), "{text}");
}

#[tokio::test]
async fn a_user_who_follows_too_many_files_is_told_to_wait_and_another_is_not() {
    let call = r#"alice: follow "/home/a" End(0)"#;
    let mut files: Vec<Step> = (0..16).map(|_| (call, Reply::Follow(stream::pending().boxed()))).collect();
    files.push((r#"bob: follow "/home/a" End(0)"#, happening(vec![])));
    files.push((call, happening(vec![])));
    let api = Arc::new(Api::new(vec![], files));
    let follow = |token| request(Method::GET, "/filesystem/daint/ops/follow?path=/home/a", Some(token), None);
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(api.answer(follow("token-of-alice")).await);
    }
    let refused = api.send(follow("token-of-alice")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("10")));
    assert_eq!(api.send(follow("token-of-bob")).await.status, 200);
    held.pop();
    assert_eq!(api.send(follow("token-of-alice")).await.status, 200);
}

#[tokio::test]
async fn storage_is_told_in_bytes_and_without_limits_as_null() {
    let space = Space { total: 100, free: 50, available: 40, files: 10, files_free: 5 };
    let answer = get("df?path=/home/a", vec![(r#"alice: space "/home/a""#, Reply::Space(space))]).await.json();
    assert_eq!(answer, json!({"output": {"totalBytes": 100, "freeBytes": 50, "availableBytes": 40, "totalFiles": 10, "freeFiles": 5}}));
    let quota = Quota {
        holder: QuotaHolder::Group,
        name: "users".to_owned(),
        filesystem: "/dev/sda1".to_owned(),
        bytes: QuotaUse { used: 1, soft: None, hard: Some(2) },
        files: QuotaUse::default(),
    };
    let answer = get("quota?path=/home/a", vec![(r#"alice: quota "/home/a""#, Reply::Quotas(vec![quota]))]).await.json();
    let expected = json!({
        "holder": "group", "name": "users", "filesystem": "/dev/sda1",
        "bytes": {"used": 1, "soft": null, "hard": 2}, "files": {"used": 0, "soft": null, "hard": null},
    });
    assert_eq!(answer["output"][0], expected);
    let entry = AclEntry { default: true, tag: AclTag::User, name: Some("ada".to_owned()), permissions: 5 };
    let answer = get("acl?path=/home/a", vec![(r#"alice: acl "/home/a""#, Reply::Acl(vec![entry]))]).await.json();
    assert_eq!(answer["output"][0], json!({"default": true, "tag": "user", "name": "ada", "permissions": "r-x"}));
    let missing = FilesystemError::Unsupported("this system has no `quota`");
    let answer = get("quota?path=/home/a", vec![(r#"alice: quota "/home/a""#, Reply::FileFails(missing))]).await;
    assert_eq!((answer.status, &answer.json()["message"]), (501, &json!("this system has no `quota`")));
    for operation in ["df", "quota", "acl", "follow"] {
        assert_eq!(get(&format!("{operation}?path=/etc"), vec![]).await.status, 400, "{operation}");
    }
}
