//! A Goldcrest of a scenario's own, for what would disturb the shared one.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
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
    // Removed with its configuration when the instance goes.
    _folder: TempDir,
}

impl Instance {
    /// Starts the binary of the running Goldcrest, with the environment's configuration rendered with these options.
    pub async fn start(live: &Live, options: &[&str]) -> Self {
        let port = free_port().await;
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
        std::fs::write(&config, rendered.stdout).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(live.text("goldcrest", "/binary"))
            .arg("serve")
            .env("YAML_CONFIG_FILE", config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let instance = Self { child, port, _folder: folder };
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

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().expect("it runs")).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let status = tokio::time::timeout(deadline, self.child.wait()).await.expect("it ends in time").unwrap();
        assert_eq!(status.signal(), None, "it was killed");
        status
    }
}

async fn free_port() -> u16 {
    for port in 18310..18400 {
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
    panic!("no free port from 18310 to 18399")
}
