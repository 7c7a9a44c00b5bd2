//! A Goldcrest of its own for a scenario that would disturb the shared one.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::environment::{Live, wait_for};

/// A process of its own on a free port. It is killed when dropped.
pub struct Instance {
    child: Child,
    pub port: u16,
    // Removed with its configuration and its log when the instance goes.
    folder: TempDir,
}

impl Instance {
    /// Starts the binary of the running Goldcrest, with the environment's configuration rendered with these options.
    pub async fn start(live: &Live, options: &[&str]) -> Self {
        Self::start_edited(live, options, |config| config).await
    }

    /// As [`Self::start`], and the rendered configuration is changed before it is used.
    pub async fn start_edited(live: &Live, options: &[&str], edit: impl FnOnce(String) -> String) -> Self {
        Self::start_at(live, free_port().await, options, edit, &[]).await
    }

    /// As [`Self::start_edited`], on this port and with these further variables in its environment.
    pub async fn start_at(
        live: &Live,
        port: u16,
        options: &[&str],
        edit: impl FnOnce(String) -> String,
        variables: &[(String, String)],
    ) -> Self {
        let rendered = Command::new(live.text("goldcrest", "/render"))
            .args(["--port", &port.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await
            .unwrap();
        assert!(rendered.status.success(), "the configuration could not be rendered");
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("goldcrest.yaml");
        std::fs::write(&config, edit(String::from_utf8(rendered.stdout).unwrap())).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(live.text("goldcrest", "/binary"))
            .arg("serve")
            .env("YAML_CONFIG_FILE", config)
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let instance = Self { child, port, folder };
        let api = live.api_at(&instance.url(), "fireuser").await;
        wait_for("a second goldcrest listens", Duration::from_secs(30), || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        api.get("/status/liveness/", &[]).await.expect(200);
        instance
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has logged so far: a line of JSON each.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().expect("it runs")).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has gone, in whatever way.
    pub async fn gone(&mut self) {
        self.child.wait().await.unwrap();
    }

    /// The most memory that it has held so far, in bytes (`VmHWM`, proc(5)), with the pages of the program's own file.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().expect("it runs"))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits for its end.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let status = tokio::time::timeout(deadline, self.child.wait()).await.expect("it ends in time").unwrap();
        assert_eq!(status.signal(), None, "it was killed");
        status
    }
}

/// A port that nobody listens on.
pub async fn free_port() -> u16 {
    // Each port is given once, so that two that are asked for together differ.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..90 {
        let port = 18310 + NEXT.fetch_add(1, Ordering::Relaxed) % 90;
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
    panic!("no free port from 18310 to 18399")
}
