//! The files that the end of the process leaves on a cluster.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LoginNode, Program, Site, free_port};
use crate::ssh::proxy::Proxy;
use crate::support::{PATIENCE, wait_for};

#[derive(Clone, Copy, Debug)]
enum WayIn {
    Put,
    Form,
    Archive,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_end_of_a_drain_cuts_leaves_no_hidden_file_by_each_way_in() {
    let cases = ["sftp", "exec"].into_iter().flat_map(|access| [WayIn::Put, WayIn::Form, WayIn::Archive].map(|way_in| (access, way_in)));
    join_all(cases.map(|(access, way_in)| is_cut(access, way_in))).await;
}

/// A program that has a second to drain, in front of files that are reached in this way.
async fn with_a_short_drain(node: &LoginNode, access: &str) -> Program {
    let change = |text: String| {
        let text = text.replace("server: { ", "server: { drain_timeout: 1, ");
        text.replace("    probing: ", &format!("    file_access: {access}\n    probing: "))
    };
    let program = Program::spawn_with(&[node.site("good")], &["ada".to_owned()], change).await;
    program.is_up().await;
    program
}

async fn is_cut(access: &str, way_in: WayIn) {
    let node = LoginNode::start("ada").await;
    let mut program = with_a_short_drain(&node, access).await;
    let folder = program.files.path().join("results");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("f"), "old").unwrap();
    let names = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let mut client = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).await.unwrap();
    client.write_all(&first_half(&program, &folder, way_in)).await.unwrap();
    wait_for(PATIENCE, || names().len() == 2).await;
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    wait_for(Duration::from_secs(60), || program.child.try_wait().unwrap().is_some()).await;
    assert_eq!(program.child.wait().unwrap().code(), Some(1), "{access}, {way_in:?}: it did not end in time");
    // A command that has lost its client removes it by itself.
    wait_for(PATIENCE, || names() == ["f"]).await;
    assert_eq!(std::fs::read(folder.join("f")).unwrap(), b"old", "{access}, {way_in:?}");
}

/// A request that writes over `f`, or makes the directory `new`, as far as the middle of its content.
fn first_half(program: &Program, folder: &Path, way_in: WayIn) -> Vec<u8> {
    let (path, fields, content) = match way_in {
        WayIn::Put => ("PUT /filesystem/good/ops/upload?path={}/f", "", vec![b'x'; 1_000_000]),
        WayIn::Form => {
            let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
            let content = [&head[..], &[b'x'; 1_000_000]].concat();
            ("POST /filesystem/good/ops/upload?path={}", "Content-Type: multipart/form-data; boundary=b\r\n", content)
        }
        WayIn::Archive => {
            let tree = tempfile::tempdir().unwrap();
            std::fs::write(tree.path().join("big"), vec![b'x'; 1_000_000]).unwrap();
            let tar = Command::new("tar").arg("-C").arg(tree.path()).args(["-cf", "-", "big"]).output().unwrap();
            ("PUT /filesystem/good/ops/archive?format=tar&path={}/new", "", tar.stdout)
        }
    };
    let path = path.replace("{}", folder.to_str().unwrap());
    let (token, length) = (program.token("ada"), content.len());
    let head = format!("{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), &content[..length / 2]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumable_upload_that_the_end_of_a_drain_cuts_has_its_name_back() {
    join_all(["sftp", "exec"].map(is_cut_while_it_is_added_to)).await;
}

fn tus(program: &Program, line: &str, fields: &str) -> String {
    let token = program.token("ada");
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nAuthorization: Bearer {token}\r\n{fields}\r\n\r\n")
}

/// Makes a resumable upload of `f`.
async fn create_upload(program: &Program, folder: &Path) -> String {
    let path = format!("POST /filesystem/good/uploads?path={}/f", folder.to_str().unwrap());
    let mut client = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).await.unwrap();
    let created = tus(program, &path, "Upload-Length: 1000000\r\nContent-Length: 0\r\nConnection: close");
    client.write_all(created.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
    location.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Sends the first half of an addition to it.
async fn half_an_addition(program: &Program, location: &str) -> TcpStream {
    let mut client = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).await.unwrap();
    let fields = "Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 1000000";
    let begun = [tus(program, &format!("PATCH {location}"), fields).as_bytes(), &[b'x'; 500_000]].concat();
    client.write_all(&begun).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn in_front_of_a_cluster_that_hangs_everything_ends_in_its_time() {
    let node = LoginNode::start("ada").await;
    let proxy = Proxy::start(node.running.addr.port()).await;
    let site = Site { port: proxy.port, ..node.site("good") };
    let metrics = free_port().await;
    let change = |text: String| {
        let text = text.replace("server: { ", "server: { drain_timeout: 1, ");
        format!("metrics: {{ listen: \"127.0.0.1:{metrics}\" }}\n{text}")
    };
    let users = ["ada".to_owned()];
    let listen = |command: &mut Command| _ = command.stderr(Stdio::piped());
    let mut program = Program::spawn_changed(&[site], &users, "", change, listen).await;
    program.is_up().await;
    let folder = program.files.path().join("results");
    std::fs::create_dir(&folder).unwrap();
    let count = || std::fs::read_dir(&folder).unwrap().count();
    let location = create_upload(&program, &folder).await;
    let _addition = half_an_addition(&program, &location).await;
    let mut upload = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).await.unwrap();
    upload.write_all(&first_half(&program, &folder, WayIn::Put)).await.unwrap();
    wait_for(PATIENCE, || count() >= 2).await;
    // A scrape that does not end.
    let mut scrape = TcpStream::connect(("127.0.0.1", metrics)).await.unwrap();
    scrape.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    proxy.freeze();
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    wait_for(Duration::from_secs(60), || program.child.try_wait().unwrap().is_some()).await;
    let mut told = String::new();
    std::io::Read::read_to_string(&mut program.child.stderr.take().unwrap(), &mut told).unwrap();
    assert!(told.contains("stopped before every request had ended"), "{told}");
}

async fn is_cut_while_it_is_added_to(access: &str) {
    let node = LoginNode::start("ada").await;
    let mut program = with_a_short_drain(&node, access).await;
    let folder = program.files.path().join("results");
    std::fs::create_dir(&folder).unwrap();
    let names = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    let location = create_upload(&program, &folder).await;
    let part = names().pop().unwrap();
    let _client = half_an_addition(&program, &location).await;
    // A request that adds to it has it under a name of its own.
    wait_for(PATIENCE, || names().iter().any(|name| *name != part)).await;
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    wait_for(Duration::from_secs(60), || program.child.try_wait().unwrap().is_some()).await;
    assert_eq!(names(), [part], "{access}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_follows_a_file_ends_when_the_drain_begins_and_the_process_exits_with_zero() {
    let node = LoginNode::start("ada").await;
    let change = |text: String| text.replace("server: { ", "server: { drain_timeout: 600, ");
    let mut program = Program::spawn_with(&[node.site("good")], &["ada".to_owned()], change).await;
    program.is_up().await;
    let mut client = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).await.unwrap();
    let (path, token) = (program.files.path().join("file"), program.token("ada"));
    let head = format!(
        "GET /filesystem/good/ops/follow?offset=0&path={} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n",
        path.display()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(7).any(|words| words == b"content") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await.expect("the stream goes on").unwrap();
    assert!(answer.ends_with(b"0\r\n\r\n"), "it is cut: {}", String::from_utf8_lossy(&answer));
    wait_for(Duration::from_secs(60), || program.child.try_wait().unwrap().is_some()).await;
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
}
