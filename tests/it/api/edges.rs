//! Rules for every request: paths, methods, ids, limits, cross-origin calls.

use axum::body::Body;
use axum::http::{Method, Request};
use goldcrest::domain::{Checksum, ClusterHealth};
use insta::assert_snapshot;
use serde_json::json;

use super::doubles::Reply;
use super::{Api, request};

const SYSTEMS: &str = "/status/systems";

#[tokio::test]
async fn paths_ignore_case_but_job_ids_and_queries_do_not() {
    let api = Api::new(vec![(r#"alice: job "12.Server""#, Reply::Jobs(vec![]))], vec![]);
    assert_eq!(api.get("/COMPUTE/DaInT/Jobs/12.Server").await.status, 200);
    let checksum = Checksum { algorithm: "SHA256", hex: "ab".to_owned() };
    let api = Api::new(vec![], vec![(r#"alice: checksum "/home/File""#, Reply::Checksum(checksum))]);
    assert_eq!(api.get("/FileSystem/DAINT/ops/CheckSum?path=/home/File").await.status, 200);
}

#[tokio::test]
async fn a_slash_too_many_or_too_few_is_redirected_as_fastapi_does_it() {
    let api = Api::new(vec![], vec![]);
    for (from, to) in [
        ("/status/liveness", "/status/liveness/"),
        ("/status/systems/", "/status/systems"),
        ("/compute/Daint/jobs/?name=A%20b", "/compute/daint/jobs?name=A%20b"),
        ("/compute/daint/jobs/12.Srv/", "/compute/daint/jobs/12.Srv"),
    ] {
        let answer = api.send(request(Method::POST, from, None, None)).await;
        assert_eq!((answer.status, answer.header("location")), (307, Some(to)), "{from}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_with_the_body_of_every_error() {
    let api = Api::new(vec![], vec![]);
    for path in ["/nothing", "//status/systems", "//evil.example.org/nodes/", "/compute/daint/jobs/1/x"] {
        let answer = api.send(request(Method::GET, path, None, None)).await;
        assert_eq!((answer.status, answer.header("location")), (404, None), "{path}");
    }
    assert_snapshot!(api.send(request(Method::GET, "/nothing?token=hunter2", None, None)).await);
}

#[tokio::test]
async fn a_wrong_method_is_405_with_the_body_of_every_error() {
    assert_snapshot!(Api::new(vec![], vec![]).send(request(Method::PATCH, SYSTEMS, None, None)).await);
}

#[tokio::test]
async fn options_and_head_are_answered() {
    let api = Api::new(vec![], vec![]);
    let answer = api.send(request(Method::OPTIONS, "/compute/daint/jobs", None, None)).await;
    assert_eq!((answer.status, answer.header("allow")), (204, Some("GET,HEAD,POST,DELETE")));
    let answer = api.call(Method::HEAD, SYSTEMS, None).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let answer = api.send(request(Method::HEAD, SYSTEMS, None, None)).await;
    assert_eq!((answer.status, answer.body.len()), (401, 0));
}

#[tokio::test]
async fn ids_are_taken_over_or_made_and_come_back_on_every_answer() {
    let api = Api::new(vec![], vec![]);
    let with =
        |id: &str| Request::get(SYSTEMS).header("x-request-id", id).header("x-correlation-id", "errand-1").body(Body::empty()).unwrap();
    let answer = api.send(with("request-1")).await;
    assert_eq!((answer.header("x-request-id"), answer.header("x-correlation-id")), (Some("request-1"), Some("errand-1")));
    let answer = api.send(with("forged\" user=root")).await;
    let made = uuid::Uuid::parse_str(answer.header("x-request-id").unwrap()).unwrap();
    assert_eq!(made.get_version_num(), 7);
}

#[tokio::test]
async fn the_headers_of_the_contract_are_on_every_answer() {
    let api = Api::new(vec![], vec![]);
    for (path, status, user) in
        [(SYSTEMS, 200, Some("alice")), ("/status/eiger/nodes", 404, Some("alice")), ("/nothing", 404, None), ("/docs/", 200, None)]
    {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.header("f7t-authusername")), (status, user), "{path}");
        assert_eq!(answer.header("f7t-appversion"), Some("2.6.0"), "{path}");
        let timestamp: f64 = answer.header("f7t-timestamp").unwrap().parse().unwrap();
        assert!((timestamp - jiff::Timestamp::now().as_second() as f64).abs() < 60.0, "{timestamp}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("cache-control").is_some(), "{path}");
    }
}

#[tokio::test]
async fn a_prefix_is_understood_whether_the_proxy_in_front_takes_it_off_or_not() {
    let api = Api::build(vec![], vec![], ClusterHealth::default(), "/api/v2/", |_| {});
    assert_eq!(api.get("/api/v2/status/systems").await.status, 200);
    assert_eq!(api.get(SYSTEMS).await.status, 200);
    assert_eq!(api.get("/api/v22/status/systems").await.status, 404);
    assert_eq!(api.get("/api/v2/status/liveness").await.header("location"), Some("/api/v2/status/liveness/"));
    assert_eq!(api.get("/api/v2/docs").await.header("location"), Some("/api/v2/docs/"));
    for (path, link) in [("/api/v2", "href=\"/api/v2/docs/\""), ("/", "href=\"docs/\"")] {
        let page = String::from_utf8(api.get(path).await.body).unwrap();
        assert!(page.contains(link), "{path}: {page}");
    }
    assert_eq!(api.get("/api/v2/nothing").await.json()["instance"], "/api/v2/nothing");
    assert_eq!(api.document["servers"], json!([{"url": "/api/v2"}]));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_504() {
    let build = || {
        Api::build(vec![], vec![(r#"alice: remove "/home/a""#, Reply::Hangs)], ClusterHealth::default(), "", |config| {
            config.request_timeout = 3
        })
    };
    let answer = build().call(Method::DELETE, "/filesystem/daint/ops/rm?path=/home/a", None).await;
    let json = answer.json();
    assert_eq!((answer.status, &json["maybeEffected"], &json["retryable"]), (504, &json!(true), &json!(false)));
    assert_eq!(json["user"], "alice");
}

#[tokio::test]
async fn a_panic_is_500_and_its_message_stays_inside() {
    let api = Api::new(vec![("alice: nodes", Reply::Panics)], vec![]);
    let answer = api.get("/status/daint/nodes").await;
    assert!(!answer.everything().contains("hunter2"));
    assert_snapshot!(answer);
}

fn from_origin(method: Method, origin: &str) -> Request<Body> {
    let mut request = request(method, SYSTEMS, None, None);
    request.headers_mut().insert("origin", origin.parse().unwrap());
    request.headers_mut().insert("access-control-request-method", "GET".parse().unwrap());
    request.headers_mut().insert("access-control-request-headers", "authorization".parse().unwrap());
    request
}

#[tokio::test]
async fn browsers_may_call_from_the_configured_origins_only() {
    let origin = "https://ui.example.org";
    let api = Api::build(vec![], vec![], ClusterHealth::default(), "", |config| config.cors_allowed_origins = vec![origin.to_owned()]);
    let answer = api.send(from_origin(Method::OPTIONS, origin)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization"));
    let answer = api.send(from_origin(Method::GET, origin)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some(origin)), "errors too");
    let answer = api.send(from_origin(Method::GET, "https://evil.example.org")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let api = Api::build(vec![], vec![], ClusterHealth::default(), "", |config| config.cors_allowed_origins = vec!["*".to_owned()]);
    let answer = api.send(from_origin(Method::GET, "https://any.example.org")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    // What is no preflight is for the resource: tus clients ask so for what it can do.
    let mut asked = request(Method::OPTIONS, "/filesystem/daint/uploads", Some("token-of-alice"), None);
    asked.headers_mut().insert("origin", "https://any.example.org".parse().unwrap());
    let answer = api.send(asked).await;
    assert_eq!((answer.status, answer.header("tus-version")), (204, Some("1.0.0")));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let answer = Api::new(vec![], vec![]).send(from_origin(Method::GET, origin)).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused() {
    let mut asked = request(Method::GET, SYSTEMS, Some("token-of-alice"), None);
    asked.headers_mut().append("host", "a.example".parse().unwrap());
    asked.headers_mut().append("host", "b.example".parse().unwrap());
    let answer = Api::new(vec![], vec![]).send(asked).await;
    assert_eq!((answer.status, answer.json()["message"].as_str()), (400, Some("more than one Host header was sent")));
}

#[tokio::test]
async fn a_head_over_64_kib_is_431_however_it_arrives() {
    for (length, status) in [(60_000, 200), (66_000, 431), (100_000, 431)] {
        let mut asked = request(Method::GET, SYSTEMS, Some("token-of-alice"), None);
        for part in 0..10 {
            let name: axum::http::HeaderName = format!("x-part-{part}").parse().unwrap();
            asked.headers_mut().append(name, "x".repeat(length / 10).parse().unwrap());
        }
        let answer = Api::new(vec![], vec![]).send(asked).await;
        assert_eq!(answer.status, status, "{length}: {}", answer.everything());
        if status == 431 {
            assert_eq!(answer.json()["type"], "urn:goldcrest:problem:head-too-large");
        }
    }
}

#[tokio::test]
async fn a_tunnel_through_this_server_is_refused() {
    let mut asked = request(Method::CONNECT, "/", None, None);
    *asked.uri_mut() = "db.example:5432".parse().unwrap();
    assert_eq!(Api::new(vec![], vec![]).send(asked).await.status, 501);
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_taken_off_is_refused_by_each_way_in() {
    for (method, uri) in [
        (Method::PUT, "/filesystem/daint/ops/upload?path=/home/f"),
        (Method::POST, "/filesystem/daint/ops/upload?path=/home"),
        (Method::PATCH, "/filesystem/daint/uploads/x"),
        (Method::PUT, "/filesystem/daint/ops/archive?path=/home/d"),
        (Method::POST, "/compute/daint/jobs"),
    ] {
        let mut asked = request(method.clone(), uri, Some("token-of-alice"), None);
        asked.headers_mut().insert("transfer-encoding", "gzip, chunked".parse().unwrap());
        let answer = Api::new(vec![], vec![]).send(asked).await;
        assert_eq!(answer.status, 501, "{method} {uri}: {}", answer.everything());
        assert!(answer.json()["message"].as_str().unwrap().contains("`chunked`"), "{uri}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_told_with_its_place() {
    let api = Api::new(vec![], vec![]);
    for (body, told) in [
        (r#"{"job": {"script": "a" "b"}}"#, "the document is no JSON: expected `,` or `}` at line 1 column 24"),
        (r#"{"job": "#, "the document is no JSON: EOF while parsing"),
        ("[]", "it is a list, and should be a JSON object\""),
        (r#"{"job": {"script": 1, "workingDirectory": "/"}}"#, "job.script: it is the number 1, and should be a text\""),
        (
            r#"{"job": {"script": "x", "workingDirectory": "/", "timeLimit": true}}"#,
            "job.timeLimit: it is true, and should be a whole number of seconds, such as 600\"",
        ),
        (r#"{"job": {"script": "x"}}"#, "job.workingDirectory: missing field `workingDirectory`\""),
    ] {
        let mut asked = request(Method::POST, "/compute/daint/jobs", Some("token-of-alice"), Some(serde_json::json!({})));
        *asked.body_mut() = Body::from(body);
        let answer = api.send(asked).await;
        let message = answer.json()["message"].to_string();
        assert!(answer.status == 400 && message.contains(told) && !message.contains('?'), "{message}");
    }
}
