//! Cached responses: their age, their tag, and 304.

use axum::body::Body;
use axum::http::{Method, Request};
use goldcrest::domain::{Node, Partition};

use super::doubles::Reply;
use super::{Answer, Api};

const LIST: &str = "alice: jobs JobQuery { all_users: false, account: None, name: None, window: OneDay }";

fn node(load: f64) -> Vec<Node> {
    vec![Node { name: "nid001".to_owned(), cpu_load: Some(load), ..Node::default() }]
}

async fn get_knowing(api: &Api, user: &str, uri: &str, tags: &str) -> Answer {
    let builder = Request::builder().method(Method::GET).uri(uri).header("authorization", format!("Bearer token-of-{user}"));
    api.send(builder.header("if-none-match", tags).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_fresh_answer_is_given_again_with_its_age_its_tag_and_how_long_it_may_be_kept() {
    let api = Api::new(vec![("alice: nodes", Reply::Nodes(node(0.5)))], vec![]);
    let first = api.get("/status/daint/nodes").await;
    let second = api.get("/status/daint/nodes").await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("cache-control"), Some("private, max-age=1"));
    assert_eq!(first.header("age"), Some("0"));
    assert_eq!(first.header("vary"), Some("authorization"));
    assert!(first.header("etag").is_some_and(|tag| tag.len() == 34 && tag.starts_with('"') && tag.ends_with('"')));
    assert_eq!(first.header("etag"), second.header("etag"));
}

#[tokio::test]
async fn who_has_the_answer_is_told_so_with_304_on_every_read_that_is_shared() {
    let reads = [
        ("/compute/daint/jobs", LIST, Reply::Jobs(vec![])),
        ("/compute/daint/jobs/1", r#"alice: job "1""#, Reply::Jobs(vec![])),
        ("/compute/daint/jobs/1/metadata", r#"alice: metadata "1""#, Reply::Metadata(vec![])),
        ("/status/daint/nodes", "alice: nodes", Reply::Nodes(vec![])),
        ("/status/daint/partitions", "alice: partitions false", Reply::Partitions(vec![])),
        ("/status/daint/reservations", "alice: reservations", Reply::Reservations(vec![])),
    ];
    for (uri, call, reply) in reads {
        let api = Api::new(vec![(call, reply)], vec![]);
        let whole = api.get(uri).await;
        let tag = whole.header("etag").unwrap().to_owned();
        let answer = get_knowing(&api, "alice", uri, &format!("\"other\", W/{tag}")).await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{uri}");
        for name in ["etag", "cache-control", "vary"] {
            assert_eq!(answer.header(name), whole.header(name), "{uri}: {name}");
        }
        assert_eq!(answer.header("content-type"), None);
        assert_eq!(get_knowing(&api, "alice", uri, "\"other\"").await.status, 200, "{uri}");
    }
}

#[tokio::test]
async fn a_tag_stays_while_the_answer_is_the_same_and_changes_with_it() {
    let partition = |cpus| vec![Partition { name: "normal".to_owned(), cpus: Some(cpus), total_nodes: None, state: vec![] }];
    let mut tags = Vec::new();
    for cpus in [1, 1, 2] {
        let api = Api::new(vec![("alice: partitions false", Reply::Partitions(partition(cpus)))], vec![]);
        tags.push(api.get("/status/daint/partitions").await.header("etag").unwrap().to_owned());
    }
    assert!(tags[0] == tags[1] && tags[1] != tags[2], "{tags:?}");
}

#[tokio::test]
async fn a_list_after_a_submission_is_asked_for_anew() {
    let submit = r##"alice: submit JobDescription { name: None, account: None, reservation: None, partition: None, working_directory: "/home", standard_input: None, standard_output: None, standard_error: None, environment: {"F7T_version": "v2.0.0"}, constraints: None, script: Inline("#!/bin/sh"), options: ..."##;
    let lists = || (LIST, Reply::Jobs(vec![]));
    let api = Api::new(vec![lists(), (submit, Reply::Id("1")), lists()], vec![]);
    let body = serde_json::json!({"job": {"workingDirectory": "/home", "script": "#!/bin/sh"}});
    assert_eq!(api.get("/compute/daint/jobs").await.status, 200);
    assert_eq!(api.call(Method::POST, "/compute/daint/jobs", Some(body)).await.status, 201);
    assert_eq!(api.get("/compute/daint/jobs").await.status, 200);
}

#[tokio::test]
async fn a_tag_opens_nothing_and_another_user_is_answered_by_the_scheduler() {
    let api = Api::new(vec![("alice: nodes", Reply::Nodes(node(0.5))), ("bob: nodes", Reply::Nodes(node(0.25)))], vec![]);
    let alice = api.get("/status/daint/nodes").await;
    let tag = alice.header("etag").unwrap();
    assert_eq!(get_knowing(&api, "mallory", "/status/daint/nodes", tag).await.status, 403);
    let bob = get_knowing(&api, "bob", "/status/daint/nodes", tag).await;
    assert_eq!((bob.status, bob.json()["nodes"][0]["cpuLoad"].as_f64()), (200, Some(0.25)));
}
