//! What the end of the process leaves on a cluster.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::support::{PATIENCE, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_end_of_a_drain_cuts_leaves_no_hidden_file() {
    let double = Double::start(Behaviour::default()).await;
    let brief = |text: String| text.replace("server: { ", "server: { drain_timeout: 1, ");
    let mut program = Program::spawn_with(&[Site::of("good", &double)], &["ada".to_owned()], brief).await;
    program.is_up().await;
    let folder = program.files.path().join("results");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("f"), "old").unwrap();
    let names = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let head = format!(
        "PUT /filesystem/good/ops/upload?path={}/f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000\r\n\r\n",
        folder.display(),
        program.token("ada")
    );
    let mut client = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'x'; 500_000]).await.unwrap();
    wait_for(PATIENCE, || names().len() == 2).await;
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    wait_for(Duration::from_secs(30), || program.child.try_wait().unwrap().is_some()).await;
    assert_eq!(names(), ["f"]);
    assert_eq!(std::fs::read(folder.join("f")).unwrap(), b"old");
}
