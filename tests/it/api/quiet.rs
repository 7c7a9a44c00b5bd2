//! Clients that are slow on purpose: their connections and permits are released.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use goldcrest::domain::ClusterHealth;
use goldcrest::http::{ServeOutcome, TimeLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Api;
use super::doubles::{Reply, version};
use crate::support::wait_for;

/// Long enough to connect and send a request, short enough for a test.
const BRIEF: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_secs(30);

/// Serves the API as the program does, and gives a way to connect to it.
async fn serve(api: Api, head: Duration, stall: Duration) -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = TimeLimits { head, stall, ..TimeLimits::draining(Duration::ZERO) };
    tokio::spawn(goldcrest::http::serve(listener, api.router, api.request_metrics, CancellationToken::new(), limits));
    address
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame (RFC 9113, 6.5).
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// HEADERS with a GET that end the headers and the stream 1 (RFC 9113, 6.2).
fn headers(more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":authority", "x")].iter().chain(more) {
        // A literal without indexing whose texts are not compressed (RFC 7541, 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    [&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1], &block[..]].concat()
}

#[tokio::test]
async fn a_connection_on_which_no_request_comes_is_closed() {
    let address = serve(Api::new(vec![], vec![]), BRIEF, LONG).await;
    let answered = b"GET /status/liveness/ HTTP/1.1\r\nhost: x\r\n\r\n";
    for start in [&b""[..], b"P", &PREFACE[..10], b"GET / HTTP/1.1\r\nx: ", &[PREFACE, SETTINGS].concat(), answered] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(start).await.unwrap();
        let end = tokio::time::timeout(SOON, connection.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "still open after {:?}", String::from_utf8_lossy(start));
    }
}

#[tokio::test]
async fn connections_without_a_request_do_not_delay_the_end_of_the_server() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (api, stop) = (Api::new(vec![], vec![]), CancellationToken::new());
    let served = tokio::spawn(goldcrest::http::serve(listener, api.router, api.request_metrics, stop.clone(), TimeLimits::draining(LONG)));
    let mut connections = Vec::new();
    let (request, half) = (&b"GET /status/liveness/ HTTP/1.1\r\nhost: x\r\n\r\n"[..], &b"GET /status/liveness/ HTTP/1.1\r\nx: "[..]);
    // What is sent, and whether an answer comes.
    for (start, is_answered) in [
        (&b""[..], false),
        (request, true),
        (half, false),
        (&[request, half].concat(), true),
        (&PREFACE[..10], false),
        (&[PREFACE, SETTINGS].concat(), true),
        // The beginning of HEADERS (RFC 9113, 6.2).
        (&[PREFACE, SETTINGS, &[0, 0, 9, 1, 5, 0]].concat(), true),
    ] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(start).await.unwrap();
        if is_answered {
            let _any = connection.read_u8().await.unwrap();
        }
        connections.push(connection);
    }
    // The server has read the halves by then.
    tokio::time::sleep(BRIEF).await;
    stop.cancel();
    assert_eq!(tokio::time::timeout(SOON, served).await.expect("a connection is waited for").unwrap(), ServeOutcome::Completed);
}

#[tokio::test]
async fn connections_that_are_idle_at_the_end_of_the_drain_do_not_count_as_cut_requests() {
    let (request, liveness) = (&b"GET /status/liveness/ HTTP/1.1\r\nhost: x\r\n\r\n"[..], headers(&[(":path", "/status/liveness/")]));
    // The client of HTTP/2 has an answer, of which it may have read nothing.
    for (start, drain) in [(request, Duration::ZERO), (&[PREFACE, SETTINGS, &liveness].concat(), BRIEF)] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (api, stop) = (Api::new(vec![], vec![]), CancellationToken::new());
        let metrics = Arc::clone(&api.request_metrics);
        let served =
            tokio::spawn(goldcrest::http::serve(listener, api.router, api.request_metrics, stop.clone(), TimeLimits::draining(drain)));
        connection.write_all(start).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(12).any(|words| words == b"healthchecks" || words == b"healthcheckR") {
            connection.read_buf(&mut answer).await.unwrap();
        }
        wait_for(SOON, || metrics.in_flight() == 0).await;
        stop.cancel();
        let ended = tokio::time::timeout(SOON, served).await.expect("it is waited for").unwrap();
        assert_eq!(ended, ServeOutcome::Completed, "{}", String::from_utf8_lossy(start));
    }
}

#[tokio::test]
async fn a_request_under_way_is_waited_for_and_that_it_was_cut_shows_in_the_end() {
    for drain in [SOON, BRIEF] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go, gone) = tokio::sync::oneshot::channel();
        let pieces = stream::iter([Ok(Bytes::from_static(b"begin"))]).chain(stream::once(async move {
            let _: Result<(), _> = gone.await;
            Ok(Bytes::from_static(b"end"))
        }));
        let api = Api::new(vec![], vec![(r#"alice: download "/home/f" None Some(100000)"#, Reply::Stream(pieces.boxed(), version(8)))]);
        let stop = CancellationToken::new();
        let limits = TimeLimits::draining(drain);
        let served = tokio::spawn(goldcrest::http::serve(listener, api.router, api.request_metrics, stop.clone(), limits));
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = "GET /filesystem/daint/ops/download?path=/home/f HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        stop.cancel();
        let mut rest = Vec::new();
        if drain == SOON {
            tokio::time::sleep(BRIEF).await;
            go.send(()).unwrap();
            connection.read_to_end(&mut rest).await.unwrap();
            assert!(rest.ends_with(b"beginend"), "{}", String::from_utf8_lossy(&rest));
            assert_eq!(served.await.unwrap(), ServeOutcome::Completed);
        } else {
            assert_eq!(tokio::time::timeout(SOON, served).await.unwrap().unwrap(), ServeOutcome::Cut);
        }
    }
}

/// A download without an end, and whether it was given up.
fn endless() -> (Api, Arc<AtomicBool>) {
    struct Told(Arc<AtomicBool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let told = Told(gone.clone());
    let content = stream::repeat_with(move || {
        let _held = &told;
        Ok(Bytes::from_static(&[b'x'; 1000]))
    });
    let reply = Reply::Stream(content.boxed(), version(1 << 40));
    (Api::new(vec![], vec![(r#"alice: download "/home/f" None Some(100000)"#, reply)]), gone)
}

#[tokio::test]
async fn a_download_that_the_client_does_not_read_is_given_up() {
    let (api, gone) = endless();
    let mut connection = TcpStream::connect(serve(api, LONG, BRIEF).await).await.unwrap();
    let request = "GET /filesystem/daint/ops/download?path=/home/f HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    wait_for(SOON, || gone.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_stream_of_http2_that_the_client_gives_no_room_is_given_up() {
    let (api, gone) = endless();
    let mut connection = TcpStream::connect(serve(api, LONG, BRIEF).await).await.unwrap();
    let headers = headers(&[(":path", "/filesystem/daint/ops/download?path=/home/f"), ("authorization", "Bearer token-of-alice")]);
    connection.write_all(&[PREFACE, SETTINGS, &headers].concat()).await.unwrap();
    wait_for(SOON, || gone.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_download_that_the_client_reads_goes_on_however_long_it_takes() {
    let pieces = stream::unfold(0, |count| async move {
        tokio::time::sleep(BRIEF / 2).await;
        (count < 8).then(|| (Ok(Bytes::from_static(b"x")), count + 1))
    });
    let api = Api::new(vec![], vec![(r#"alice: download "/home/f" None Some(100000)"#, Reply::Stream(pieces.boxed(), version(8)))]);
    let mut connection = TcpStream::connect(serve(api, BRIEF, BRIEF).await).await.unwrap();
    let request = "GET /filesystem/daint/ops/download?path=/home/f HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        authorization: Bearer token-of-alice\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with("\r\n\r\nxxxxxxxx"), "{answer}");
}

/// Sends the request, then one byte after another until there is an answer.
async fn trickle(start: &str) -> String {
    let api = Api::build(vec![], vec![], ClusterHealth::default(), "", |config| {
        config.request_timeout = 1;
        config.lenient = true;
    });
    let (mut reader, mut writer) = TcpStream::connect(serve(api, LONG, LONG).await).await.unwrap().into_split();
    let request = format!(
        "POST /filesystem/daint/ops/upload?path=/home HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n\
        content-type: multipart/form-data; boundary=b\r\ncontent-length: 900\r\n\r\n{start}"
    );
    writer.write_all(request.as_bytes()).await.unwrap();
    let trickle = async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(SOON, reader.read_exact(&mut answer));
    tokio::select! {
        read = read => read.expect("no answer").unwrap(),
        () = trickle => panic!("cut off without an answer"),
    };
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn an_upload_of_a_byte_now_and_then_ends_although_no_pause_is_long() {
    let part = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    assert_eq!(trickle(part).await, "HTTP/1.1 400");
}

#[tokio::test]
async fn a_form_that_does_not_come_to_its_file_ends() {
    let part = "--b\r\ncontent-disposition: form-data; name=\"other\"\r\n\r\n\r\n";
    assert_eq!(trickle(&part.repeat(3)).await, "HTTP/1.1 504");
}

#[tokio::test]
async fn a_request_of_http_1_1_has_to_name_a_host() {
    let address = serve(Api::new(vec![], vec![]), LONG, LONG).await;
    let answer = async |head: &str| {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(format!("GET /status/liveness/ HTTP/{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(SOON, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    let refused = answer("1.1\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("no Host header was sent"), "{refused}");
    for head in ["1.1\r\nhost: x\r\n", "1.1\r\nhost:\r\n", "1.0\r\n"] {
        let answer = answer(head).await;
        assert!(answer.contains(" 200 "), "{head}: {answer}");
    }
}
