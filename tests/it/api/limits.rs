//! The limits on one user's concurrent work, and the answers beyond them.

use axum::body::Body;
use axum::http::{Method, Request, Response};
use bytes::Bytes;
use futures::poll;
use futures::stream::{self, StreamExt};
use goldcrest::domain::ClusterHealth;
use goldcrest::filesystem::{FilesystemError, Placed};
use goldcrest::http::Config;

use super::doubles::{Reply, Step, version};
use super::{Answer, Api, request};

fn api(files: Vec<Step>, configure: impl FnOnce(&mut Config)) -> Api {
    Api::build(Vec::new(), files, ClusterHealth::default(), "", configure)
}

async fn whoami(api: &Api, user: &str) -> Answer {
    api.send(request(Method::GET, "/status/whoami", Some(&format!("token-of-{user}")), None)).await
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap().to_owned()
}

const DOWNLOAD: &str = r#"alice: download "/home/f" None Some(100000)"#;

fn three_bytes() -> Step {
    (DOWNLOAD, Reply::Stream(stream::iter(["a", "b", "c"].map(|piece| Ok(Bytes::from(piece)))).boxed(), version(3)))
}

async fn download(api: &Api) -> Response<Body> {
    api.answer(request(Method::GET, "/filesystem/daint/ops/download?path=/home/f", Some("token-of-alice"), None)).await
}

#[tokio::test]
async fn a_user_has_so_many_requests_under_way_and_takes_nothing_from_others() {
    let hang = || (r#"alice: stat "/home/a" false"#, Reply::Hangs);
    let api = api(vec![hang(), hang()], |config| config.max_requests_per_user = 2);
    let mut under_way: Vec<_> = (0..2).map(|_| Box::pin(api.get("/filesystem/daint/ops/stat?path=/home/a"))).collect();
    for request in &mut under_way {
        assert!(poll!(request).is_pending());
    }
    let refused = whoami(&api, "alice").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("10")));
    let words = message(&refused);
    assert!(words.contains("2 requests") && words.contains("server.max_requests_per_user") && words.contains("wait for"), "{words}");
    assert_eq!(whoami(&api, "bob").await.status, 200);
    // Its client has gone.
    under_way.pop();
    assert_eq!(whoami(&api, "alice").await.status, 200);
}

#[tokio::test]
async fn a_request_is_under_way_until_its_answer_was_read_or_its_client_has_gone() {
    let api = api(vec![three_bytes(), three_bytes()], |config| config.max_requests_per_user = 1);
    let answer = download(&api).await;
    assert_eq!((answer.status().as_u16(), whoami(&api, "alice").await.status), (200, 429));
    assert_eq!(axum::body::to_bytes(answer.into_body(), 10).await.unwrap(), "abc");
    assert_eq!(whoami(&api, "alice").await.status, 200);
    let unread = download(&api).await;
    assert_eq!(whoami(&api, "alice").await.status, 429);
    drop(unread);
    assert_eq!(whoami(&api, "alice").await.status, 200);
}

fn transfer(method: Method, uri: &str, headers: &[(&str, &str)], body: &'static str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri).header("authorization", "Bearer token-of-alice");
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn a_user_has_so_many_transfers_under_way_whatever_the_way() {
    let files = vec![
        (r#"alice: begin_part "/home/up"..."#, Reply::Done),
        three_bytes(),
        (r#"alice: upload "/home/g" "x" Some(100000) Anything"#, Reply::Placed(Placed::Created)),
        three_bytes(),
    ];
    let api = api(files, |config| config.max_transfers_per_user = 1);
    let tus = [("tus-resumable", "1.0.0"), ("upload-length", "9")];
    let begun = api.send(transfer(Method::POST, "/filesystem/daint/uploads?path=/home/up", &tus, "")).await;
    let upload = begun.header("location").unwrap();
    let held = download(&api).await;
    let form = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n";
    let ops = |operation: &str| format!("/filesystem/daint/ops/{operation}");
    let lines = [("accept", "application/x-ndjson")];
    let patch = [("tus-resumable", "1.0.0"), ("upload-offset", "0"), ("content-type", "application/offset+octet-stream")];
    let multipart = [("content-type", "multipart/form-data; boundary=b")];
    for request in [
        transfer(Method::GET, &ops("download?path=/home/f"), &[], ""),
        transfer(Method::GET, &ops("archive?path=/home/f"), &[], ""),
        transfer(Method::GET, &ops("ls?path=/home"), &lines, ""),
        transfer(Method::GET, &ops("find?path=/home"), &[], ""),
        transfer(Method::GET, &ops("follow?path=/home/f"), &[], ""),
        transfer(Method::PUT, &ops("upload?path=/home/g"), &[], "x"),
        transfer(Method::POST, &ops("upload?path=/home"), &multipart, form),
        transfer(Method::PUT, &ops("archive?path=/home/g"), &[], "x"),
        transfer(Method::PATCH, upload, &patch, "x"),
    ] {
        let what = format!("{} {}", request.method(), request.uri());
        let refused = api.send(request).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("10")), "{what}: {}", refused.everything());
        let words = message(&refused);
        assert!(words.contains("1 transfers") && words.contains("server.max_transfers_per_user"), "{what}: {words}");
    }
    assert_eq!(whoami(&api, "alice").await.status, 200, "other requests are no transfers");
    drop(held);
    let put = || transfer(Method::PUT, "/filesystem/daint/ops/upload?path=/home/g", &[], "x");
    assert_eq!(api.send(put()).await.status, 201);
    assert_eq!(download(&api).await.status(), 200, "the upload has ended");
}

#[tokio::test]
async fn a_user_follows_so_many_files() {
    let follow = || (r#"alice: follow "/home/f" End(0)"#, Reply::Follow(stream::pending().boxed()));
    let api = api((0..17).map(|_| follow()).collect(), |_| {});
    let one = || api.answer(request(Method::GET, "/filesystem/daint/ops/follow?path=/home/f", Some("token-of-alice"), None));
    let mut followed = Vec::new();
    for _ in 0..16 {
        followed.push(one().await);
    }
    assert!(followed.iter().all(|answer| answer.status() == 200));
    let refused = api.get("/filesystem/daint/ops/follow?path=/home/f").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("10")));
    assert!(message(&refused).contains("end one of them"), "{}", message(&refused));
    followed.pop();
    assert_eq!(one().await.status(), 200);
}

#[tokio::test]
async fn what_is_too_large_is_told_with_the_way_out() {
    let large = FilesystemError::TooLarge(100_000);
    let files = vec![(r#"alice: begin_part "/home/up"..."#, Reply::Done), (r#"alice: unpack "/home/g"..."#, Reply::FileFails(large))];
    let api = api(files, |config| config.max_body_size = 100);
    let tus = |length: &'static str| [("tus-resumable", "1.0.0"), ("upload-length", length)];
    let uploads = "/filesystem/daint/uploads?path=/home/up";
    let begun = api.send(transfer(Method::POST, uploads, &tus("3"), "")).await;
    let patch =
        [("tus-resumable", "1.0.0"), ("upload-offset", "0"), ("content-length", "9"), ("content-type", "application/offset+octet-stream")];
    let long = "{\"operations\": [                                                                                          ]}";
    for (request, way_out) in [
        (transfer(Method::POST, uploads, &tus("100001"), ""), "transfer/upload"),
        (transfer(Method::PUT, "/filesystem/daint/ops/archive?path=/home/g", &[], "x"), "several archives"),
        (transfer(Method::PATCH, begun.header("location").unwrap(), &patch, "123456789"), "begin another one"),
        (transfer(Method::POST, "/filesystem/daint/ops/batch", &[("content-type", "application/json")], long), "send less at a time"),
    ] {
        let refused = api.send(request).await;
        assert_eq!(refused.status, 413, "{way_out}: {}", refused.everything());
        assert!(message(&refused).contains(way_out), "{}", message(&refused));
    }
}
