//! What is no request: hyper answers it by itself, and the answer has a body nevertheless.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use goldcrest::http::{TimeLimits, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Api;
use super::doubles::{Reply, version};

async fn start(api: Api) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, api.router, Arc::default(), stop.clone(), TimeLimits::draining(Duration::ZERO)));
    (address, stop.drop_guard())
}

/// All that is answered to this, and the connection's end.
async fn answers(address: SocketAddr, sent: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(sent).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), connection.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Checks that an answer has a problem document of this status.
fn is_problem(answer: &str, status: u16, name: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    for field in ["content-type: application/problem+json", "connection: close", "x-request-id: ", "f7t-appversion: "] {
        assert_eq!(head.matches(&format!("\r\n{field}")).count(), 1, "{field}: {answer}");
    }
    assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["status"], &body["type"]), (&status.into(), &format!("urn:goldcrest:problem:{name}").into()), "{body}");
    assert!(body["message"].as_str().is_some_and(|message| message == body["detail"] && !message.is_empty()), "{body}");
    assert_eq!((&body["errorType"], &body["retryable"]), (&"error".into(), &false.into()), "{body}");
}

#[tokio::test]
async fn what_cannot_be_read_as_a_request_is_answered_with_a_problem_document() {
    let (address, _serving) = start(Api::new(vec![], vec![])).await;
    let many: String = (0..120).map(|number| format!("x-{number}: 1\r\n")).collect();
    let long = "x".repeat(300_000);
    for (request, status, name) in [
        ("GARBAGE\r\n\r\n".to_owned(), 400, "invalid"),
        ("GET / HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid"),
        ("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "invalid"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "invalid"),
        ("GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(), 400, "invalid"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 431, "head-too-large"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {long}\r\n\r\n"), 431, "head-too-large"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), 431, "head-too-large"),
    ] {
        let answer = answers(address, request.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        is_problem(&answer, status, name);
    }
}

#[tokio::test]
async fn what_comes_before_it_on_the_connection_is_answered_as_ever() {
    let (address, _serving) = start(Api::new(vec![], vec![])).await;
    let request = "GET /status/liveness/ HTTP/1.1\r\nhost: x\r\n\r\n";
    // At once, where hyper may write both answers together, and one after the other.
    let both = answers(address, format!("{request}{request}GARBAGE\r\n\r\n").as_bytes()).await;
    assert_eq!((both.matches("HTTP/1.1 200 OK\r\n").count(), both.matches("HTTP/1.1 400 ").count()), (2, 1), "{both}");
    let mut connection = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = [0; 4096];
        let count = connection.read(&mut bytes).await.unwrap();
        assert!(bytes[..count].starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&bytes[..count]));
    }
    connection.write_all(b"GARBAGE\r\n\r\n").await.unwrap();
    let mut last = String::new();
    connection.read_to_string(&mut last).await.unwrap();
    is_problem(&last, 400, "invalid");
}

#[tokio::test]
async fn content_that_looks_like_such_an_answer_is_not_changed() {
    const HEAD: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
    let pieces = || stream::iter([Ok(Bytes::from_static(HEAD)), Ok(Bytes::from_static(HEAD))]).boxed();
    let size = 2 * HEAD.len() as u64;
    let steps = (0..2).map(|_| (r#"alice: download "/home/f" None Some(100000)"#, Reply::Stream(pieces(), version(size)))).collect();
    let (address, _serving) = start(Api::new(vec![], steps)).await;
    let get = "GET /filesystem/daint/ops/download?path=/home/f HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n";
    let both = answers(address, format!("{get}\r\n{get}connection: close\r\n\r\n").as_bytes()).await;
    assert_eq!(both.matches(std::str::from_utf8(HEAD).unwrap()).count(), 4, "{both}");
    assert!(!both.contains("problem+json"), "{both}");
}

#[tokio::test]
async fn content_in_chunks_that_cannot_be_read_is_answered_with_a_problem_document() {
    let (address, _serving) = start(Api::new(vec![], vec![])).await;
    let head = "POST /compute/daint/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\ncontent-type: application/json\r\n";
    let answer = answers(address, format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n").as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("application/problem+json") && answer.contains("\"status\":400"),
        "{answer}"
    );
}
