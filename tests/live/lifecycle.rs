//! The end of the process.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::multipart;
use crate::environment::{Live, wait_for};
use crate::instance::Instance;

pub async fn a_request_under_way_ends_before_the_process_does(live: &Live) {
    let mut instance = Instance::start(live, &[]).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let token = live.token("fireuser", None).await;

    // An upload whose second half is sent only when the process is already asked to end.
    let (content_type, body) = multipart("late.txt", &vec![b'l'; 100_000]);
    let (first, second) = body.split_at(body.len() / 2);
    let mut upload = TcpStream::connect(("127.0.0.1", instance.port)).await.unwrap();
    let head = format!(
        "POST /filesystem/slurm/ops/upload?path={folder} HTTP/1.1\r\nHost: goldcrest\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    upload.write_all(first).await.unwrap();
    // Connections are accepted in order: when a later one has been answered, the upload is under way.
    api.file("slurm", "ls", &folder).await.expect(200);

    instance.terminate();
    wait_for("no new connection is accepted", Duration::from_secs(10), || async {
        TcpStream::connect(("127.0.0.1", instance.port)).await.is_err().then_some(())
    })
    .await;
    upload.write_all(second).await.unwrap();
    let mut answer = vec![0; 12];
    upload.read_exact(&mut answer).await.expect("the request under way is answered");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 204");
    assert_eq!(std::fs::read(format!("{folder}/late.txt")).unwrap().len(), 100_000);

    drop(upload);
    assert!(instance.ended(Duration::from_secs(25)).await.success(), "the end was not clean");
    live.api("fireuser").await.remove("slurm", &folder).await;
}
