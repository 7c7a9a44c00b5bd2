//! The HTTP client against services that misbehave.

use std::time::{Duration, Instant};

use goldcrest::domain::Secret;
use goldcrest::error::{Classify, ErrorChain};
use goldcrest::rest::{Client, Request, RestError, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::service::{Reply, Service};

fn get(url: &str) -> Request {
    Request::get(Url::parse(url).unwrap())
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = Service::start(|_| Reply::status(200, "here")).await;
    let target = elsewhere.url.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        assert!(peer.read(&mut [0; 4096]).await.unwrap() > 0);
        let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
        peer.write_all(answer.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let request = get(&url).bearer(&Secret::from("hunter2".to_owned()));
    assert_eq!(Client::new().unwrap().send(request).await.unwrap().status, 307);
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_cap() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        assert!(peer.read(&mut [0; 4096]).await.unwrap() > 0);
        peer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        while peer.write_all(b"400\r\n").await.is_ok() && peer.write_all(&[b'x'; 0x400]).await.is_ok() {
            if peer.write_all(b"\r\n").await.is_err() {
                break;
            }
        }
    });
    let outcome = Client::new().unwrap().send(get(&url).max_body(64 * 1024).timeout(Duration::from_secs(20))).await;
    assert!(matches!(outcome, Err(RestError::TooLarge { limit: 65_536 })));
}

#[tokio::test]
async fn a_service_that_does_not_answer_costs_the_deadline_and_no_more() {
    let service = Service::start(|_| Reply::status(200, "late").after(Duration::from_secs(60))).await;
    let started = Instant::now();
    let outcome = Client::new().unwrap().send(get(&service.url).timeout(Duration::from_millis(200))).await;
    let error = outcome.err().unwrap();
    assert!(matches!(error, RestError::Timeout(_)), "{error:?}");
    assert_eq!(error.maybe_effected(), Some(true));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_service_that_is_not_there_has_seen_nothing() {
    let error = Client::new().unwrap().send(get("http://127.0.0.1:1/path?token=hunter2")).await.err().unwrap();
    assert!(matches!(error, RestError::Connect(_)));
    assert_eq!(error.maybe_effected(), Some(false));
    let shown = format!("{} {error:?}", ErrorChain(&error));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn what_a_service_answers_is_not_repeated_when_it_is_not_understood() {
    let service = Service::start(|_| Reply::status(200, r#"{"access_token": 1, "other": "hunter2"}"#)).await;
    let response = Client::new().unwrap().send(get(&service.url)).await.unwrap();
    let error = response.json::<std::collections::BTreeMap<String, u8>>().unwrap_err();
    let shown = format!("{} {error:?}", ErrorChain(&error));
    assert!(shown.contains("line 1") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_header_that_would_split_the_request_is_refused() {
    let service = Service::start(|_| Reply::status(200, "")).await;
    let request = get(&service.url).bearer(&Secret::from("a\r\nx-evil: 1".to_owned()));
    assert!(matches!(Client::new().unwrap().send(request).await, Err(RestError::Header)));
    assert!(service.seen().is_empty());
}
