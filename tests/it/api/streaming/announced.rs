//! Uploads whose request says how large the file is.

use serde_json::json;

use super::{Answer, Client, Streaming, ask, content, sum};

/// Asks for an upload of `size` bytes, and connects when its job runs.
async fn begin(streaming: &Streaming, name: &str, size: usize) -> (Answer, Client) {
    let directives = json!({"transferMethod": "streamer", "fileSize": size.to_string()});
    let answer =
        ask(&streaming.machine.api, "upload", json!({"path": streaming.machine.text(name), "transferDirectives": directives})).await;
    let secret = streaming.secret(&answer).await;
    let client = streaming.connect(Some(&format!("Bearer {secret}"))).await.unwrap();
    (answer, client)
}

#[tokio::test]
async fn a_file_of_another_size_than_the_request_announced_is_not_kept() {
    let streaming = Streaming::start().await;
    for (name, size) in [("shorter", 2), ("longer", 4), ("empty", 0)] {
        let (answer, mut client) = begin(&streaming, name, 3).await;
        client.init(size).await;
        assert_eq!(client.closed().await, (1008, r#"{"type":"error","error":"SizeMismatch"}"#.to_owned()), "{name}");
        let (state, _, error) = streaming.machine.end(&answer).await;
        let said = format!("the file has {size} bytes, and `fileSize` of the request for the transfer was 3");
        assert!(state == "FAILED" && error.contains(&said), "{name}: {state} {error}");
    }
    let (answer, mut client) = begin(&streaming, "right", 3).await;
    client.upload(&content(3), &sum(&content(3))).await;
    assert_eq!(client.closed().await.0, 1000);
    assert_eq!(streaming.machine.end(&answer).await.0, "COMPLETED");
    streaming.is_left_with(&["right"]).await;
}
