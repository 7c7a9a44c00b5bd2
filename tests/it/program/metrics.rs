//! The listener of the metrics, as a site has it.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};

use super::{Program, Site, free_port};
use crate::ssh::double::{Behaviour, Double};
use crate::support::{PATIENCE, wait_until};

/// The name of a user, which must not come out.
const USER: &str = "marker7hunter2";

fn section(port: u16) -> String {
    format!("metrics: {{ listen: \"127.0.0.1:{port}\" }}\n")
}

/// The value of one sample.
fn sample(text: &str, series: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

/// The inodes of the sockets on which a process listens (proc_pid_fd(5), proc_pid_net(5)).
fn listening(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let own: BTreeSet<String> = files
        .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    let rows: Vec<Vec<&str>> = tables.iter().flat_map(|table| table.lines().map(|line| line.split_whitespace().collect())).collect();
    rows.iter().filter(|row| row.get(3) == Some(&"0A") && row.get(9).is_some_and(|inode| own.contains(*inode))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_ssh_connections_show_on_a_listener_of_their_own_that_ends_with_the_process() {
    let double = Double::start(Behaviour::default()).await;
    let port = free_port().await;
    let users = [USER.to_owned()];
    let mut program = Program::spawn(&[Site::of("cluster", &double)], &users, "", &section(port), |_| {}).await;
    program.is_up().await;
    assert_eq!(listening(program.child.id()), 2);
    let token = program.token(USER);
    assert_eq!(program.stat("cluster", &token).await.0, 200);
    assert_eq!(program.stat("cluster", &token).await.0, 200);

    let upload = format!("{}/filesystem/cluster/ops/upload", program.url);
    let target = program.files.path().join("sent");
    let put = program.http.put(upload).query(&[("path", target.to_str().unwrap())]).bearer_auth(&token).body(vec![7; 5000]);
    assert!(put.send().await.unwrap().status().is_success());
    let download = format!("{}/filesystem/cluster/ops/download", program.url);
    let get = program.http.get(download).query(&[("path", target.to_str().unwrap())]).bearer_auth(&token);
    assert_eq!(get.send().await.unwrap().bytes().await.unwrap().len(), 5000);

    let url = format!("http://127.0.0.1:{port}/metrics");
    let answer = program.http.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    let requests = r#"goldcrest_http_requests_total{method="GET",route="/filesystem/{system_name}/ops/stat",code="200"}"#;
    assert_eq!(sample(&text, requests), 2.0);
    for direction in ["upload", "download"] {
        assert_eq!(sample(&text, &format!("goldcrest_content_bytes_total{{system=\"cluster\",direction=\"{direction}\"}}")), 5000.0);
    }
    assert_eq!(sample(&text, "goldcrest_http_received_bytes_total"), 5000.0);
    assert!(sample(&text, "goldcrest_http_sent_bytes_total") > 5000.0);
    assert!(sample(&text, "goldcrest_http_connections") >= 1.0);
    assert!(sample(&text, "goldcrest_ssh_connections{system=\"cluster\"}") >= 1.0);
    assert!(sample(&text, "goldcrest_ssh_channels_opened_total{system=\"cluster\"}") >= 1.0);
    for task in ["configuration", "connections to cluster", "health of cluster", "metrics", "token keys"] {
        assert_eq!(sample(&text, &format!("goldcrest_background_task_up{{task=\"{task}\"}}")), 1.0, "{task}");
    }
    assert!(!text.contains(USER) && !text.contains(program.files.path().to_str().unwrap()), "{text}");

    let in_flight =
        async || sample(&program.http.get(&url).send().await.unwrap().text().await.unwrap(), "goldcrest_http_requests_in_flight");
    wait_until(PATIENCE, async || in_flight().await == 0.0).await;

    // The API does not have it.
    assert_eq!(program.http.get(format!("{}/metrics", program.url)).send().await.unwrap().status(), 404);

    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    wait_until(PATIENCE, async || program.child.try_wait().unwrap().is_some()).await;
    assert!(program.child.wait().unwrap().success());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_section_the_program_listens_for_the_api_alone() {
    let double = Double::start(Behaviour::default()).await;
    let program = Program::start(&[Site::of("cluster", &double)], &[USER.to_owned()], "").await;
    assert_eq!(listening(program.child.id()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_the_start_with_the_name_of_the_key() {
    let double = Double::start(Behaviour::default()).await;
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let section = section(taken.local_addr().unwrap().port());
    let silent = |command: &mut std::process::Command| {
        command.stderr(Stdio::piped());
    };
    let mut program = Program::spawn(&[Site::of("cluster", &double)], &[USER.to_owned()], "", &section, silent).await;
    wait_until(Duration::from_secs(30), async || program.child.try_wait().unwrap().is_some()).await;
    assert_eq!(program.child.wait().unwrap().code(), Some(1));
    let said = std::io::read_to_string(program.child.stderr.take().unwrap()).unwrap();
    assert!(said.contains("metrics.listen: 127.0.0.1:") && said.contains("cannot be listened on"), "{said}");
}
