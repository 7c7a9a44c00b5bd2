//! What becomes of jobs and of requests while the API server of a real Kubernetes node is killed or hangs.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::environment::{Live, wait_for};
use crate::kubernetes::{SYSTEM, ids, submit};
use crate::processes;

/// A process of the Kubernetes node, which comes back when this is dropped.
pub struct Daemon {
    pid_file: PathBuf,
    log: PathBuf,
    pid: i32,
    command: Vec<String>,
}

impl Daemon {
    /// The one that the environment has started under this name.
    pub fn of(live: &Live, name: &str) -> Self {
        let pid_file = live.path("kubernetes", &format!("run/{name}.pid"));
        let pid = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let command = line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
        Self { pid_file, log: live.path("kubernetes", &format!("logs/{name}.log")), pid, command }
    }

    pub fn signal(&self, signal: Signal) {
        processes::signal(&[self.pid], signal);
    }

    /// Starts it again, unless it runs.
    pub fn restart(&mut self) {
        self.signal(Signal::CONT);
        if std::fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|line| !line.is_empty()) {
            return;
        }
        let log = std::fs::File::options().append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.pid = i32::try_from(command.spawn().unwrap().id()).unwrap();
        std::fs::write(&self.pid_file, format!("{}\n", self.pid)).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.restart();
    }
}

pub async fn an_api_server_that_is_killed_and_comes_back_loses_nothing(live: &Live) {
    let api = live.api("fireuser").await;
    let script = "#!/bin/sh\necho begun\nsleep 15\necho ended\n";
    let id = submit(&api, SYSTEM, &json!({"job": {"workingDirectory": "/tmp", "script": script}})).await;
    api.wait_for_state(SYSTEM, &id, &["RUNNING"]).await;
    let mut server = Daemon::of(live, "apiserver");
    server.signal(Signal::KILL);
    let list = async |what: &str, status: u16| {
        wait_for(what, Duration::from_secs(60), || async {
            let list = api.get(&format!("/compute/{SYSTEM}/jobs"), &[]).await;
            // No list may lack the job. An API server that begins forbids everything until it has read its rules.
            let is_true = list.status != 200 || ids(&list.json()).contains(&id);
            assert!(is_true && matches!(list.status, 200 | 403 | 503), "{} {}", list.status, list.json());
            (list.status == status).then_some(())
        })
        .await;
    };
    list("lists fail", 503).await;
    let key = uuid::Uuid::new_v4().to_string();
    assert_ne!(keyed(&api, &key).await.expect(503).json()["maybeEffected"], true);
    server.restart();
    list("lists are answered", 200).await;
    is_back(live).await;
    let second = keyed(&api, &key).await.expect(201).json()["jobId"].as_str().unwrap().to_owned();
    api.wait_for_state(SYSTEM, &second, &["COMPLETED"]).await;
    api.wait_for_state(SYSTEM, &id, &["COMPLETED"]).await;
    assert_eq!(api.get(&format!("/compute/{SYSTEM}/jobs/{id}/logs"), &[]).await.expect(200).body, "begun\nended\n");
}

pub async fn an_api_server_that_hangs_makes_no_second_job(live: &Live) {
    let api = live.api("fireuser").await;
    let key = uuid::Uuid::new_v4().to_string();
    let server = Daemon::of(live, "apiserver");
    server.signal(Signal::STOP);
    keyed(&api, &key).await.expect(503);
    server.signal(Signal::CONT);
    is_back(live).await;
    let id = keyed(&api, &key).await.expect(201).json()["jobId"].as_str().unwrap().to_owned();
    api.wait_for_state(SYSTEM, &id, &["COMPLETED"]).await;
    let list = api.get(&format!("/compute/{SYSTEM}/jobs"), &[("name", &key)]).await.expect(200).json();
    assert_eq!(ids(&list), [id]);
}

/// Waits until the API server is ready, and the next health probe has seen that.
async fn is_back(live: &Live) {
    wait_for("the API server is ready", Duration::from_secs(60), || async { is_ready(live).await.then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
}

pub async fn is_ready(live: &Live) -> bool {
    let token = live.file("kubernetes", "run/admin.token");
    let http = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).timeout(Duration::from_secs(5)).build().unwrap();
    let asked = http.get(format!("{}/readyz", live.text("kubernetes", "/url"))).bearer_auth(token).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

/// Submits a job that is named by its key.
async fn keyed(api: &Api, key: &str) -> Answer {
    let job: Value = json!({"job": {"name": key, "workingDirectory": "/tmp", "script": "#!/bin/sh\ntrue\n"}});
    api.send(api.request(Method::POST, &format!("/compute/{SYSTEM}/jobs")).header("Idempotency-Key", key).json(&job)).await
}
