//! Listings and searches past the contract: streams, pages, orders.

use axum::http::{Method, header};
use futures::stream::{self, StreamExt};
use goldcrest::domain::{DirectoryEntry, RemotePath};
use goldcrest::filesystem::{FilesystemError, Page, Position};
use goldcrest::ssh::TransportError;
use serde_json::{Value, json};

use super::doubles::{Reply, Step, regular_file};
use super::{Answer, Api, request};

const PLAIN: &str = "ListOptions { hidden: false, numeric_ids: false, recursive: false, dereference: false }";

fn entry(name: &[u8], size: u64) -> DirectoryEntry {
    DirectoryEntry { size, ..regular_file(name) }
}

fn walked(pieces: Vec<Result<Vec<DirectoryEntry>, FilesystemError>>) -> Reply {
    Reply::Walk(stream::iter(pieces).boxed())
}

/// A GET for lines.
async fn lines(uri: &str, files: Vec<Step>) -> Answer {
    let mut request = request(Method::GET, &format!("/filesystem/daint/ops/{uri}"), Some("token-of-alice"), None);
    request.headers_mut().insert(header::ACCEPT, "application/json;q=0.5, application/X-NDJSON".parse().unwrap());
    Api::new(vec![], files).send(request).await
}

async fn json(uri: &str, files: Vec<Step>) -> Answer {
    Api::new(vec![], files).get(&format!("/filesystem/daint/ops/{uri}")).await
}

fn read_lines(answer: &Answer) -> Vec<Value> {
    assert!(answer.body.ends_with(b"\n"));
    answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// A step with a text that is not constant.
fn step(call: String, reply: Reply) -> Step {
    (Box::leak(call.into_boxed_str()), reply)
}

fn walk_call(list: &str, depth: &str, filter: &str) -> String {
    format!(r#"alice: walk "/home/a" WalkOptions {{ list: {list}, max_depth: {depth}, filter: {filter} }}"#)
}

const NO_FILTER: &str = "Filter { name: None, types: [], min_size: None, max_size: None, modified_since: None, modified_before: None }";

#[tokio::test]
async fn lines_carry_an_entry_each_and_no_name_breaks_one() {
    let pieces = vec![Ok(vec![entry(b"a", 1), entry(b"b\n\xFF{", 2)]), Ok(vec![entry(b"error", 3)])];
    let answer = lines("ls?path=/home/a", vec![step(walk_call(PLAIN, "None", NO_FILTER), walked(pieces))]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let lines = read_lines(&answer);
    let names: Vec<_> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b\n\u{EFFF}{", "error"]);
    assert!(lines.iter().all(|line| line.get("error").is_none()), "{lines:?}");
    assert_eq!(
        lines[0],
        json!({
            "name": "a", "type": "-", "linkTarget": null, "user": "alice", "group": "users", "permissions": "rw-r-----",
            "lastModified": "2026-01-31T08:00:00", "size": "1",
        })
    );
}

#[tokio::test]
async fn what_fails_on_the_way_is_the_last_line_and_no_entry() {
    let pieces = || vec![Ok(vec![entry(b"a", 1)]), Err(TransportError::Broken { sent: true }.into())];
    let answer = lines("ls?path=/home/a", vec![step(walk_call(PLAIN, "None", NO_FILTER), walked(pieces()))]).await;
    let lines = read_lines(&answer);
    assert_eq!((answer.status, lines.len()), (200, 2));
    assert_eq!(lines[1]["error"]["status"], 424, "{}", lines[1]);
    assert_eq!(lines[1]["error"]["instance"], "/filesystem/daint/ops/ls");
    assert_eq!(lines[1]["error"]["message"], "the SSH connection to the cluster broke");
    assert_eq!(lines[1].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn what_fails_before_the_first_line_has_a_status() {
    let path = RemotePath::from_text("/home/a").unwrap();
    let answer =
        lines("ls?path=/home/a", vec![step(walk_call(PLAIN, "None", NO_FILTER), Reply::FileFails(FilesystemError::NotFound(path)))]).await;
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
}

#[tokio::test]
async fn a_page_leads_to_the_next_with_all_that_was_asked_for() {
    let first = r#"alice: page "/home/a" ListOptions { hidden: true, numeric_ids: false, recursive: false, dereference: false } PageRequest { size: 2, sort: Size, descending: true, after: None }"#;
    let next = Some(Position { value: 7, name: b"b".to_vec() });
    let page = Page { entries: vec![entry(b"a", 9), entry(b"b", 7)], next };
    let answer = json("ls?path=/home/a&pageSize=2&sort=size&order=desc&showHidden=1", vec![(first, Reply::Page(page))]).await;
    assert_eq!((answer.status, answer.json()["output"][1]["name"].as_str()), (200, Some("b")));
    let link = answer.header("link").unwrap();
    let query = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert!(query.starts_with("path=/home/a&pageSize=2&sort=size&order=desc&showHidden=1&cursor="), "{query}");
    let second = r#"alice: page "/home/a" ListOptions { hidden: true, numeric_ids: false, recursive: false, dereference: false } PageRequest { size: 2, sort: Size, descending: true, after: Some(Position { value: 7, name: [98] }) }"#;
    let page = Page { entries: vec![entry(b"c", 1)], next: None };
    let answer = json(&format!("ls?{query}"), vec![(second, Reply::Page(page))]).await;
    assert_eq!((answer.status, answer.header("link")), (200, None));
    let cursor = query.rsplit_once('=').unwrap().1;
    let other = json(&format!("ls?path=/home/a&cursor={cursor}&sort=name"), vec![]).await;
    assert_eq!((other.status, &other.json()["data"]["fields"][0]["name"]), (400, &json!("cursor")));
}

#[tokio::test]
async fn a_whole_listing_can_be_ordered() {
    let call = format!(r#"alice: list "/home/a" {PLAIN}"#);
    for (query, expected) in [("sort=size", ["b", "a", "c"]), ("sort=size&order=desc", ["c", "a", "b"]), ("order=desc", ["c", "b", "a"])] {
        let entries = vec![entry(b"a", 2), entry(b"b", 1), entry(b"c", 2)];
        let answer = json(&format!("ls?path=/home/a&{query}"), vec![step(call.clone(), Reply::Entries(entries))]).await.json();
        let names: Vec<_> = answer["output"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{query}");
    }
}

#[tokio::test]
async fn a_directory_that_is_too_large_to_be_ordered_comes_as_it_is_read() {
    let list = || (format!(r#"alice: list "/home/a" {PLAIN}"#), too_many());
    let pieces = vec![Ok(vec![entry(b"c", 2), entry(b"a", 1)]), Ok(vec![]), Ok(vec![entry(b"b", 3)])];
    let steps = vec![step(list().0, list().1), step(walk_call(PLAIN, "None", NO_FILTER), walked(pieces))];
    let answer = json("ls?path=/home/a", steps).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let names: Vec<Value> = answer.json()["output"].as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["c", "a", "b"]);
    let refused = json("ls?path=/home/a&sort=size", vec![step(list().0, list().1)]).await;
    assert!(refused.status == 413 && refused.everything().contains("pageSize"), "{}", refused.everything());
}

#[tokio::test]
async fn a_pattern_longer_than_names_are_is_refused_before_anything_is_asked() {
    let answer = json(&format!("find?path=/home/a&name={}", "*a".repeat(22_500)), vec![]).await;
    assert!(answer.status == 400 && answer.everything().contains("at most 256 bytes"), "{}", answer.everything());
}

fn too_many() -> Reply {
    Reply::FileFails(FilesystemError::TooManyEntries { path: RemotePath::from_text("/home/a").unwrap(), max: 20_000 })
}

#[tokio::test]
async fn a_search_is_asked_for_in_the_words_of_find() {
    let call = walk_call(
        "ListOptions { hidden: true, numeric_ids: false, recursive: true, dereference: false }",
        "Some(3)",
        "Filter { name: Some(Glob([Many, Just('x')])), types: [Regular], min_size: Some(1), max_size: Some(2), modified_since: Some(3), modified_before: Some(4) }",
    );
    let query = "path=/home/a&name=*x&type=f&minSize=1&maxSize=2&modifiedSince=1970-01-01T00:00:03Z&modifiedBefore=4&maxDepth=3";
    let answer = json(&format!("find?{query}"), vec![step(call.clone(), walked(vec![Ok(vec![entry(b"s/x", 1)])]))]).await.json();
    assert_eq!((&answer["output"][0]["name"], &answer["truncated"], &answer["incomplete"]), (&json!("s/x"), &json!(false), &Value::Null));
    let answer = lines(&format!("find?{query}"), vec![step(call, walked(vec![Ok(vec![entry(b"s/x", 1)])]))]).await;
    assert_eq!(read_lines(&answer)[0]["name"], "s/x");
}

#[tokio::test]
async fn a_search_ends_at_its_limit_and_says_so() {
    let call = || walk_call("ListOptions { hidden: true, numeric_ids: false, recursive: true, dereference: false }", "None", NO_FILTER);
    let endless = || Reply::Walk(stream::repeat_with(|| Ok(vec![entry(b"a", 1); 3])).boxed());
    let answer = json("find?path=/home/a&limit=4", vec![step(call(), endless())]).await.json();
    assert_eq!((answer["output"].as_array().unwrap().len(), &answer["truncated"]), (4, &json!(true)));
    let answer = lines("find?path=/home/a&limit=4", vec![step(call(), endless())]).await;
    assert_eq!(read_lines(&answer).len(), 4);
    let first = RemotePath::from_text("/home/a/b").unwrap();
    let closed = vec![Ok(vec![entry(b"a", 1)]), Err(FilesystemError::Incomplete { first, count: 2 })];
    let answer = json("find?path=/home/a", vec![step(call(), walked(closed))]).await;
    assert_eq!((answer.status, answer.json()["output"].as_array().unwrap().len()), (200, 1));
    assert!(answer.json()["incomplete"].as_str().unwrap().starts_with("/home/a/b: Permission denied"));
}

#[tokio::test]
async fn what_cannot_be_asked_for_together_is_400_and_named() {
    for (uri, field) in [
        ("ls?path=/home/a&pageSize=0", "pageSize"),
        ("ls?path=/home/a&pageSize=10001", "pageSize"),
        ("ls?path=/home/a&pageSize=2&recursive=true", "recursive"),
        ("ls?path=/home/a&cursor=x", "cursor"),
        ("ls?path=/home/a&sort=owner", "sort"),
        ("ls?path=/home/a&order=up", "order"),
        ("find?path=/home/a&limit=0", "limit"),
        ("find?path=/home/a&limit=10001", "limit"),
        ("find?path=/home/a&type=q", "type"),
    ] {
        let answer = json(uri, vec![]).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!(field)), "{uri}");
    }
    for uri in ["ls?path=/home/a&sort=name", "ls?path=/home/a&pageSize=5"] {
        assert_eq!(lines(uri, vec![]).await.status, 400, "{uri}");
    }
    for uri in ["find?path=/etc", "ls?path=/etc&pageSize=5", "find?path=home"] {
        assert_eq!(json(uri, vec![]).await.status, 400, "{uri}");
    }
    assert_eq!(lines("ls?path=/etc", vec![]).await.status, 400);
}
