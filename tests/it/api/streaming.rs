//! Transfers by the protocol of firecrest-streamer: a client that the test plays, the listener, and jobs of the local scheduler.

mod announced;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{Method, Request, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use goldcrest::http::{TimeLimits, serve, streams};
use goldcrest::transfer::DataTransfer;
use goldcrest::transfer::streamer::Endpoint;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::transfer::{Machine, ask};
use super::{Answer, request};

const SOON: Duration = Duration::from_secs(60);

/// A machine with the listener for clients.
struct Streaming {
    machine: Machine,
    address: SocketAddr,
    _serving: DropGuard,
}

impl Streaming {
    async fn start() -> Self {
        Self::set_up(json!({})).await
    }

    async fn set_up(settings: Value) -> Self {
        let mut service =
            json!({"service_type": "streamer", "host": "127.0.0.1", "port_range": [1, 2], "inbound_transfer_limit": 10_000_000});
        service.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let service: DataTransfer = serde_json::from_value(service).unwrap();
        let machine = Machine::set_up(
            |config| {
                config.data_operation.data_transfer = Some(vec![service]);
                config.data_operation.max_stream_size = serde_json::from_value(json!("none")).unwrap();
            },
            None,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = machine.api.gate.clone();
        gate.state().streams().listening(&Endpoint { host: "127.0.0.1".to_owned(), ports: [1, 2] }, Some(address.port()));
        let stop = CancellationToken::new();
        let routes = streams(move || gate.clone());
        tokio::spawn(serve(listener, routes, Arc::default(), stop.clone(), TimeLimits::draining(Duration::ZERO)));
        Self { machine, address, _serving: stop.drop_guard() }
    }

    async fn ask(&self, operation: &str, name: &str) -> Answer {
        let body = json!({"path": self.machine.text(name), "transfer_directives": {"transferMethod": "streamer"}});
        ask(&self.machine.api, operation, body).await
    }

    /// Waits until the job of an answer runs, and gives the secret of its coordinates.
    async fn secret(&self, answer: &Answer) -> String {
        self.state(answer, "RUNNING").await;
        self.coordinates(answer)["secret"].as_str().unwrap().to_owned()
    }

    fn coordinates(&self, answer: &Answer) -> Value {
        let directives = &answer.json()["transferDirectives"];
        assert_eq!(directives["transferMethod"], "streamer");
        serde_json::from_slice(&URL_SAFE.decode(directives["coordinates"].as_str().unwrap()).unwrap()).unwrap()
    }

    fn job(answer: &Answer) -> String {
        assert_eq!(answer.status, 201, "{}", answer.everything());
        format!("/compute/daint/jobs/{}", answer.json()["transferJob"]["jobId"].as_str().unwrap())
    }

    async fn state(&self, answer: &Answer, expected: &str) {
        let (uri, deadline) = (Self::job(answer), Instant::now() + SOON);
        loop {
            let found = self.machine.api.get(&uri).await;
            let state = found.json()["jobs"][0]["status"]["state"].as_str().unwrap_or_default().to_owned();
            if state == expected {
                return;
            }
            assert!(Instant::now() < deadline, "the job is {state}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connect(&self, authorization: Option<&str>) -> Result<Client, u16> {
        let mut request = format!("ws://{}/", self.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-extensions", "permessage-deflate; client_max_window_bits".parse().unwrap());
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, answer)) => {
                assert!(!answer.headers().contains_key("sec-websocket-extensions"), "an extension was taken up");
                Ok(Client(socket))
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Asks for a transfer, and connects when its job runs.
    async fn begin(&self, operation: &str, name: &str) -> (Answer, Client) {
        let answer = self.ask(operation, name).await;
        let secret = self.secret(&answer).await;
        let client = self.connect(Some(&format!("Bearer {secret}"))).await.unwrap();
        (answer, client)
    }

    /// Waits until the directory has these names alone, and those of logs.
    async fn is_left_with(&self, expected: &[&str]) {
        let deadline = Instant::now() + SOON;
        loop {
            let names = std::fs::read_dir(self.machine.at("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.filter(|name| !name.ends_with(".log")).collect();
            names.sort();
            if names == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{names:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A client that does as firecrest-streamer 0.0.21.
struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn send(&mut self, message: impl Into<Bytes>) {
        timeout(SOON, self.0.send(Message::Binary(message.into()))).await.unwrap().unwrap();
    }

    async fn init(&mut self, size: usize) {
        self.send(format!(r#"{{"type": "init", "num_chunks": {}, "file_size": {size}}}"#, size.div_ceil(5 << 20))).await;
    }

    async fn upload(&mut self, content: &[u8], sum: &str) {
        self.init(content.len()).await;
        for chunk in content.chunks(5 << 20) {
            self.send(chunk.to_vec()).await;
        }
        self.send(format!(r#"{{"type": "eof", "sha256_hash": "{sum}"}}"#)).await;
    }

    async fn next(&mut self) -> Option<Message> {
        timeout(SOON, self.0.next()).await.expect("nothing comes").map(Result::unwrap)
    }

    /// The code and the reason of the close frame that comes next.
    async fn closed(mut self) -> (u16, String) {
        match self.next().await {
            Some(Message::Close(Some(CloseFrame { code, reason }))) => (code.into(), reason.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// The content that is sent, with the number of its messages; the end must be one that the client understands.
    async fn download(mut self) -> (Vec<u8>, usize) {
        let Some(Message::Binary(init)) = self.next().await else { panic!("no init") };
        let init: Value = serde_json::from_slice(&init).unwrap();
        assert_eq!(init["type"], "init");
        let (mut content, mut chunks) = (Vec::new(), 0);
        loop {
            match self.next().await.unwrap() {
                Message::Binary(chunk) => {
                    assert!(chunk.len() <= 6_553_600);
                    content.extend_from_slice(&chunk);
                    chunks += 1;
                }
                Message::Text(end) => {
                    assert!(end.starts_with(r#"{"type":"eof""#), "{end}");
                    assert_eq!(serde_json::from_str::<Value>(&end).unwrap()["sha256_hash"], sum(&content));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((&init["file_size"], &init["num_chunks"]), (&json!(content.len()), &json!(chunks)));
        self.0.close(None).await.unwrap();
        while self.0.next().await.is_some_and(|message| message.is_ok()) {}
        (content, chunks)
    }
}

fn sum(content: &[u8]) -> String {
    goldcrest::domain::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content).as_ref())
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|index| u8::try_from(index * 7 % 251).unwrap()).collect()
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down_and_its_jobs_are_completed() {
    let streaming = Streaming::start().await;
    let whole = content((5 << 20) + 12_345);
    for (name, content) in [("whole", &whole[..]), ("empty", &[][..])] {
        let (answer, mut client) = streaming.begin("upload", name).await;
        client.upload(content, &sum(content)).await;
        assert_eq!(client.closed().await, (1000, String::new()));
        assert!(std::fs::read(streaming.machine.at(name)).unwrap() == content);
        let (state, output, error) = streaming.machine.end(&answer).await;
        assert_eq!((&*state, &*error), ("COMPLETED", ""), "{output}");
        let used = streaming.coordinates(&answer)["secret"].as_str().unwrap().to_owned();
        assert_eq!(streaming.connect(Some(&format!("Bearer {used}"))).await.err(), Some(403), "a secret was used twice");

        let (answer, client) = streaming.begin("download", name).await;
        let (received, chunks) = client.download().await;
        assert!(received == content);
        assert_eq!(chunks, content.len().div_ceil(1 << 20));
        assert_eq!(streaming.machine.end(&answer).await.0, "COMPLETED");
    }
    streaming.is_left_with(&["empty", "whole"]).await;
}

#[tokio::test]
async fn coordinates_lead_where_the_client_found_the_api_unless_the_site_says_where() {
    let streaming = Streaming::start().await;
    let body = json!({"path": streaming.machine.text("a"), "account": null});
    let mut upload = request(Method::POST, "/filesystem/daint/transfer/upload", Some("token-of-alice"), Some(body));
    upload.headers_mut().insert("host", "hpc.example.org:8443".parse().unwrap());
    let coordinates = streaming.coordinates(&streaming.machine.api.send(upload).await);
    let port = streaming.address.port();
    assert_eq!((&coordinates["ips"], &coordinates["ports"]), (&json!(["hpc.example.org"]), &json!([port, port])));
    assert!(coordinates["secret"].as_str().unwrap().len() >= 43);

    let streaming = Streaming::set_up(json!({"public_ips": ["192.0.2.1", "192.0.2.2"]})).await;
    let coordinates = streaming.coordinates(&streaming.ask("upload", "a").await);
    assert_eq!(coordinates["ips"], json!(["192.0.2.1", "192.0.2.2"]));
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let streaming = Streaming::start().await;
    std::fs::write(streaming.machine.at("there"), "old").unwrap();
    let answer = streaming.ask("upload", "there").await;
    assert_eq!(answer.status, 403, "{}", answer.everything());

    let (answer, mut client) = streaming.begin("upload", "meanwhile").await;
    std::fs::write(streaming.machine.at("meanwhile"), "old").unwrap();
    client.upload(b"new", &sum(b"new")).await;
    let (code, reason) = client.closed().await;
    assert_eq!((code, &*reason), (3003, r#"{"type":"error","error":"FileExistsError"}"#));
    let (state, _, error) = streaming.machine.end(&answer).await;
    assert!(state == "FAILED" && error.contains("meanwhile"), "{state} {error}");
    assert_eq!(std::fs::read_to_string(streaming.machine.at("meanwhile")).unwrap(), "old");
    streaming.is_left_with(&["meanwhile", "there"]).await;
}

#[tokio::test]
async fn what_cannot_be_transferred_is_refused_before_a_job_is_submitted() {
    let streaming = Streaming::start().await;
    std::fs::create_dir(streaming.machine.at("directory")).unwrap();
    for (operation, name, status) in [
        ("download", "missing", 404),
        ("download", "directory", 400),
        ("upload", "directory", 400),
        ("upload", "missing/a", 404),
        ("upload", "../../../a", 400),
    ] {
        let answer = streaming.ask(operation, name).await;
        assert_eq!(answer.status, status, "{operation} {name}: {}", answer.everything());
    }
    let large = json!({"path": streaming.machine.text("a"), "transferDirectives": {"transferMethod": "streamer", "fileSize": 10_000_001}});
    let answer = ask(&streaming.machine.api, "upload", large).await;
    assert_eq!(answer.status, 413, "{}", answer.everything());
    assert!(answer.everything().contains("10000000 bytes"), "{}", answer.everything());
    let jobs = streaming.machine.api.get("/compute/daint/jobs").await;
    assert_eq!(jobs.json()["jobs"], json!([]), "{}", jobs.everything());
}

#[tokio::test]
async fn only_who_has_the_secret_is_let_in_and_only_while_the_job_runs() {
    let streaming = Streaming::start().await;
    let answer = streaming.ask("upload", "a").await;
    let secret = streaming.secret(&answer).await;
    for (authorization, status) in [
        (None, 401),
        (Some("Basic abc".to_owned()), 401),
        (Some("Bearer ".to_owned()), 401),
        (Some("Bearer wrong".to_owned()), 403),
        (Some(format!("Bearer {}", &secret[1..])), 403),
        (Some("Bearer token-of-alice".to_owned()), 403),
    ] {
        assert_eq!(streaming.connect(authorization.as_deref()).await.err(), Some(status), "{authorization:?}");
    }
    let plain = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{}/", streaming.address));
    let plain = plain.header("authorization", format!("Bearer {secret}")).send().await.unwrap();
    assert!(plain.status().is_client_error(), "{}", plain.status());

    let cancelled = streaming.machine.api.call(Method::DELETE, &Streaming::job(&answer), None).await;
    assert_eq!(cancelled.status, 204, "{}", cancelled.everything());
    streaming.state(&answer, "CANCELLED").await;
    assert_eq!(streaming.connect(Some(&format!("Bearer {secret}"))).await.err(), Some(404));
    assert_eq!(streaming.connect(Some(&format!("Bearer {secret}"))).await.err(), Some(403), "it is forgotten");
}

#[tokio::test]
async fn a_client_that_comes_before_its_job_runs_is_sent_away_and_may_come_again() {
    let streaming = Streaming::start().await;
    // There are four slots.
    let mut answers = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        answers.push(streaming.ask("upload", name).await);
    }
    for answer in &answers[..4] {
        streaming.state(answer, "RUNNING").await;
    }
    let secret = format!("Bearer {}", streaming.coordinates(&answers[4])["secret"].as_str().unwrap());
    assert_eq!(streaming.connect(Some(&secret)).await.err(), Some(409));
    streaming.machine.api.call(Method::DELETE, &Streaming::job(&answers[0]), None).await;
    streaming.state(&answers[4], "RUNNING").await;
    let mut client = streaming.connect(Some(&secret)).await.unwrap();
    client.upload(b"content", &sum(b"content")).await;
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test]
async fn an_upload_onto_what_exists_is_refused_with_the_ways_out() {
    let streaming = Streaming::start().await;
    std::fs::write(streaming.machine.at("a"), "old").unwrap();
    std::fs::create_dir(streaming.machine.at("d")).unwrap();
    for (name, status, words) in
        [("a", 403, "remove it first, choose another name, or send the file with `PUT"), ("d", 400, "the path must name the file to write")]
    {
        let answer = streaming.ask("upload", name).await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(answer.status == status && message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn only_who_may_write_may_upload() {
    let streaming = Streaming::start().await;
    let body = json!({"path": streaming.machine.text("a"), "transferDirectives": {"transferMethod": "streamer"}});
    for user in ["mallory", "reader"] {
        let upload = request(Method::POST, "/filesystem/daint/transfer/upload", Some(&format!("token-of-{user}")), Some(body.clone()));
        let answer = streaming.machine.api.send(upload).await;
        assert_eq!(answer.status, 403, "{user}: {}", answer.everything());
    }
}

#[tokio::test]
async fn content_that_is_not_what_was_announced_is_not_kept() {
    let streaming = Streaming::set_up(json!({"inbound_transfer_limit": 1000})).await;
    type Play = fn(&mut Client) -> futures::future::BoxFuture<'_, ()>;
    let plays: [(&str, Play, u16, &str); 6] = [
        ("digest", |client| Box::pin(async { client.upload(b"content", &sum(b"other")).await }), 1011, "SHA-256"),
        ("large", |client| Box::pin(async { client.init(1001).await }), 1009, "larger than the limit of 1000 bytes"),
        (
            "long",
            |client| {
                Box::pin(async {
                    client.init(3).await;
                    client.send("four").await;
                })
            },
            1002,
            "more than the announced size",
        ),
        ("first", |client| Box::pin(async { client.send("content").await }), 1002, "does not announce a file"),
        (
            "end",
            |client| {
                Box::pin(async {
                    client.init(3).await;
                    client.send("abc").await;
                    client.send("def").await;
                })
            },
            1002,
            "more than the announced size",
        ),
        (
            "gone",
            |client| {
                Box::pin(async {
                    client.init(300).await;
                    client.send("abc").await;
                    let frame = CloseFrame { code: 3003.into(), reason: r#"{"type": "error", "error": "FileNotFoundError"}"#.into() };
                    client.0.close(Some(frame)).await.unwrap();
                })
            },
            3003,
            "FileNotFoundError",
        ),
    ];
    for (name, play, code, reason) in plays {
        let (answer, mut client) = streaming.begin("upload", name).await;
        play(&mut client).await;
        assert_eq!(client.closed().await.0, code, "{name}");
        let (state, _, error) = streaming.machine.end(&answer).await;
        assert!(state == "FAILED" && error.contains(reason), "{name}: {state} {error}");
    }
    streaming.is_left_with(&[]).await;
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_transfer() {
    let streaming = Streaming::start().await;
    let (answer, mut client) = streaming.begin("upload", "a").await;
    client.init(7_000_000).await;
    _ = client.0.send(Message::Binary(vec![0; 6_553_601].into())).await;
    while client.0.next().await.is_some_and(|message| message.is_ok()) {}
    assert_eq!(streaming.machine.end(&answer).await.0, "FAILED");
    streaming.is_left_with(&[]).await;
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_nothing_and_its_job_fails() {
    let streaming = Streaming::start().await;
    std::fs::write(streaming.machine.at("source"), content(9_000_000)).unwrap();
    let (upload, mut client) = streaming.begin("upload", "half").await;
    client.init(6_000_000).await;
    client.send(content(5 << 20)).await;
    drop(client);
    let (download, mut client) = streaming.begin("download", "source").await;
    assert!(client.next().await.is_some_and(|message| message.is_binary()));
    drop(client);
    for answer in [upload, download] {
        let (state, _, error) = streaming.machine.end(&answer).await;
        assert!(state == "FAILED" && error.contains("the connection of the client was lost"), "{state} {error}");
    }
    streaming.is_left_with(&["source"]).await;
}

#[tokio::test]
async fn a_client_whose_file_could_not_be_written_is_a_failure_of_the_download() {
    let streaming = Streaming::start().await;
    std::fs::write(streaming.machine.at("source"), content(9_000_000)).unwrap();
    let (answer, mut client) = streaming.begin("download", "source").await;
    let frame = CloseFrame { code: 1011.into(), reason: r#"{"type": "error", "error": "OSError"}"#.into() };
    client.0.close(Some(frame)).await.unwrap();
    while client.0.next().await.is_some_and(|message| message.is_ok()) {}
    let (state, _, error) = streaming.machine.end(&answer).await;
    assert!(state == "FAILED" && error.contains("OSError"), "{state} {error}");
}

#[tokio::test]
async fn a_transfer_ends_with_its_job() {
    let streaming = Streaming::start().await;
    let (answer, mut client) = streaming.begin("upload", "a").await;
    client.init(10).await;
    client.send("abc").await;
    let (other, mut other_client) = streaming.begin("upload", "b").await;
    for answer in [&answer, &other] {
        streaming.machine.api.call(Method::DELETE, &Streaming::job(answer), None).await;
        streaming.state(answer, "CANCELLED").await;
    }
    // The content has come whole: that is looked at before the file gets its name.
    other_client.upload(b"content", &sum(b"content")).await;
    assert_eq!(other_client.closed().await.0, 1011);
    assert_eq!(client.closed().await, (1011, r#"{"type":"error","error":"JobEnded"}"#.to_owned()));
    streaming.is_left_with(&[]).await;
}

#[tokio::test]
async fn a_job_is_told_when_no_client_can_connect_any_more() {
    let streaming = Streaming::start().await;
    let answer = streaming.ask("upload", "a").await;
    let secret = streaming.secret(&answer).await;
    goldcrest::service::streaming::settle(&streaming.machine.api.gate, Duration::from_secs(5)).await;
    let (state, _, error) = streaming.machine.end(&answer).await;
    assert!(state == "FAILED" && error.contains("Goldcrest was stopped before the client connected"), "{state} {error}");
    assert_eq!(streaming.connect(Some(&format!("Bearer {secret}"))).await.err(), Some(403));
}

#[tokio::test]
async fn without_a_port_the_method_is_unavailable() {
    let service: DataTransfer = serde_json::from_value(json!({"service_type": "streamer", "host": "127.0.0.1"})).unwrap();
    let machine = Machine::set_up(|config| config.data_operation.data_transfer = Some(vec![service]), None);
    let answer = ask(&machine.api, "upload", json!({"path": machine.text("a")})).await;
    assert_eq!(answer.status, 503, "{}", answer.everything());
    let systems = machine
        .api
        .send(Request::get("/status/systems").header("authorization", "Bearer token-of-alice").body(axum::body::Body::empty()).unwrap())
        .await;
    let operation = &systems.json()["systems"][0]["dataOperation"];
    assert_eq!(
        (&operation["data_transfer"]["serviceType"], &operation["data_transfers"][0]["portRange"]),
        (&json!("streamer"), &json!([5665, 5675]))
    );
}
