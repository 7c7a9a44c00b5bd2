//! Behaviour that only a real connection shows.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use goldcrest::filesystem::FilesystemError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Api;
use super::doubles::{Reply, version};

/// Serves the API on a port of its own.
async fn serve(api: Api) -> TcpStream {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, api.router).await });
    TcpStream::connect(address).await.unwrap()
}

async fn read(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), connection.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_304_has_no_body_and_leaves_the_connection_open() {
    let mut connection = serve(Api::new(vec![("alice: nodes", Reply::Nodes(vec![]))], vec![])).await;
    let get = "GET /status/daint/nodes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n";
    connection.write_all(format!("{get}if-none-match: *\r\n\r\n").as_bytes()).await.unwrap();
    connection.write_all(format!("{get}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let answers = read(&mut connection).await;
    let (known, whole) = answers.split_once("\r\n\r\n").unwrap();
    assert!(known.starts_with("HTTP/1.1 304 ") && known.contains("\r\netag: \""), "{answers}");
    assert!(!known.contains("content-length") && !known.contains("transfer-encoding"), "{answers}");
    assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with("{\"nodes\":[]}"), "{answers}");
}

const UPLOAD: &str = "POST /filesystem/daint/ops/upload?path=/home HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n\
    connection: close\r\ncontent-type: multipart/form-data; boundary=b\r\n";

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_reads_that_it_was_too_much() {
    let mut connection = serve(Api::new(vec![], vec![])).await;
    let part = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let content = vec![b'x'; 8 << 20];
    let length = part.len() + content.len() + "\r\n--b--\r\n".len();
    connection.write_all(format!("{UPLOAD}content-length: {length}\r\n\r\n{part}").as_bytes()).await.unwrap();
    connection.write_all(&content).await.unwrap();
    connection.write_all(b"\r\n--b--\r\n").await.unwrap();
    let answer = read(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("the file is larger than the limit of 1000 bytes"), "{answer}");
}

const PUT: &str = "PUT /filesystem/daint/ops/upload?path=/home/f HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n";
const NEXT: &str = "GET /status/liveness/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_refusal_in_mid_content_leaves_the_connection_fit_for_the_next_request() {
    for refused in ["content-encoding: gzip", "authorization: Basic eA==", "content-range: bytes 0-1/5"] {
        let mut connection = serve(Api::new(vec![], vec![])).await;
        let content = vec![b'x'; 4 << 20];
        connection.write_all(format!("{PUT}{refused}\r\ncontent-length: {}\r\n\r\n", content.len()).as_bytes()).await.unwrap();
        connection.write_all(&content).await.unwrap();
        connection.write_all(NEXT.as_bytes()).await.unwrap();
        let answers = read(&mut connection).await;
        assert!(answers.starts_with("HTTP/1.1 4") && answers.contains("\r\n\r\n{"), "{refused}: {answers}");
        assert!(answers.contains("HTTP/1.1 200 OK\r\n"), "{refused}: the next request was not answered: {answers}");
    }
}

#[tokio::test]
async fn a_refusal_whose_content_does_not_come_to_its_end_says_that_the_connection_ends() {
    let mut connection = serve(Api::new(vec![], vec![])).await;
    connection.write_all(format!("{PUT}content-length: 1000000000000\r\n\r\nstart").as_bytes()).await.unwrap();
    let answer = read(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_for_leave_to_send_is_refused_without_sending() {
    let mut connection = serve(Api::new(vec![], vec![])).await;
    let request = format!("{PUT}content-length: 1000000000000\r\nexpect: 100-continue\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let begun = std::time::Instant::now();
    let answer = read(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(3), "it was waited for content that was not to come");
}

#[tokio::test]
async fn every_way_in_refuses_by_the_announced_length_before_any_content_comes() {
    // Of five bytes; that it is the id of no upload on the cluster is not looked at.
    let upload = r#"{"p":"/home/f","l":5,"n":"0123456789abcdef0123456789abcdef","t":1}"#;
    let upload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(upload);
    let json = "content-type: application/json\r\n";
    let form = "content-type: multipart/form-data; boundary=b\r\n";
    let tus = "tus-resumable: 1.0.0\r\ncontent-type: application/offset+octet-stream\r\n";
    for (request, fields) in [
        ("POST /compute/daint/jobs", json.to_owned()),
        ("POST /compute/daint/jobs/validate", json.to_owned()),
        ("POST /filesystem/daint/ops/batch", json.to_owned()),
        ("PUT /filesystem/daint/ops/chmod", json.to_owned()),
        ("POST /filesystem/daint/ops/upload?path=/home", form.to_owned()),
        ("PUT /filesystem/daint/ops/upload?path=/home/f", "if-match: *\r\n".to_owned()),
        ("PUT /filesystem/daint/ops/archive?path=/home/f", String::new()),
        ("POST /filesystem/daint/uploads?path=/home/f", format!("{tus}upload-length: 5\r\n")),
        (&format!("PATCH /filesystem/daint/uploads/{upload}"), format!("{tus}upload-offset: 0\r\n")),
    ] {
        let mut connection = serve(Api::new(vec![], vec![])).await;
        let head = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n{fields}content-length: 1000000000000\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let begun = std::time::Instant::now();
        let answer = read(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\r\nconnection: close\r\n"), "{request}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{request}: it was waited for content");
    }
}

#[tokio::test]
async fn an_upload_that_the_client_breaks_off_is_not_written() {
    // The double would have to be told of an upload that ends well: its script is empty.
    let api = Api::new(vec![], vec![]);
    let mut connection = serve(api).await;
    let part = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhalf";
    connection.write_all(format!("{UPLOAD}content-length: 5000\r\n\r\n{part}").as_bytes()).await.unwrap();
    connection.shutdown().await.unwrap();
    let answer = read(&mut connection).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_download_that_fails_on_the_way_is_cut_short_and_not_ended() {
    let (fail, failing) = tokio::sync::oneshot::channel::<()>();
    let first = stream::once(async { Ok(Bytes::from_static(b"first")) });
    let failure = stream::once(async {
        failing.await.unwrap();
        Err(FilesystemError::Invalid("gone".to_owned()))
    });
    let content = first.chain(failure).boxed();
    let mut connection =
        serve(Api::new(vec![], vec![(r#"alice: download "/home/f" None Some(100000)"#, Reply::Stream(content, version(10)))])).await;
    let request = "GET /filesystem/daint/ops/download?path=/home/f HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("first") {
        let mut bytes = [0; 4096];
        let count = tokio::time::timeout(Duration::from_secs(20), connection.read(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(count, 0, "{answer}");
        answer.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    assert!(answer.contains("content-length: 10\r\n"), "{answer}");
    fail.send(()).unwrap();
    assert_eq!(read(&mut connection).await, "", "the connection is closed before the ten bytes are there");
}

#[tokio::test]
async fn a_download_that_is_cut_at_once_has_its_status_and_what_came_before() {
    let content = stream::iter([Ok(Bytes::from_static(b"first")), Err(FilesystemError::Invalid("gone".to_owned()))]).boxed();
    let mut connection =
        serve(Api::new(vec![], vec![(r#"alice: download "/home/f" None Some(100000)"#, Reply::Stream(content, version(10)))])).await;
    let request = "GET /filesystem/daint/ops/download?path=/home/f HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let answer = read(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nfirst"), "{answer}");
}

#[tokio::test]
async fn an_empty_answer_has_no_length_and_the_connection_lives_on() {
    let steps = || (r#"alice: cancel "1""#, Reply::Done);
    let mut connection = serve(Api::new(vec![steps(), steps()], vec![])).await;
    let request =
        |last: &str| format!("DELETE /compute/daint/jobs/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token-of-alice\r\n{last}\r\n");
    connection.write_all(request("").as_bytes()).await.unwrap();
    connection.write_all(request("connection: close\r\n").as_bytes()).await.unwrap();
    let answers = read(&mut connection).await;
    assert_eq!(answers.matches("HTTP/1.1 204 No Content\r\n").count(), 2, "{answers}");
    assert!(!answers.contains("content-length") && !answers.contains("transfer-encoding"), "{answers}");
}
