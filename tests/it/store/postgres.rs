//! Properties of the store in a database.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use goldcrest::domain::Secret;
use goldcrest::error::{Classify, ErrorChain, Kind};
use goldcrest::store::{Inspection, Postgres, PostgresConfig, Store};
use tokio_util::sync::CancellationToken;

use super::{RETENTION, coordinates, database, name};
use crate::support::{PATIENCE, skip, wait_until};

/// A server of this test alone, which it may kill.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/usr/lib/postgresql/15/bin/postgres").exists() {
            skip("a PostgreSQL of its own needs root and the package postgresql-15");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder: tempfile::tempdir().unwrap(), port };
        server.script("start.sh");
        Some(server)
    }

    fn script(&self, name: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/environment/postgres").join(name);
        let mut command = Command::new(script);
        let output =
            command.env("GOLDCREST_ENV", self.folder.path()).env("GOLDCREST_POSTGRES_PORT", self.port.to_string()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn config(&self) -> PostgresConfig {
        coordinates(&std::fs::read_to_string(self.folder.path().join("postgres/env.json")).unwrap())
    }

    /// Ends the server and all of its sessions, as a machine that loses power does.
    fn kill(&self) {
        let folder = self.folder.path().join("postgres");
        let pid = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap().lines().next().unwrap().parse::<i32>().unwrap();
        let server = pid("data/postmaster.pid");
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        for process in std::iter::once(server).chain(children.split_whitespace().map(|pid| pid.parse().unwrap())) {
            let process = rustix::process::Pid::from_raw(process).unwrap();
            let _may_have_ended = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script("stop.sh");
    }
}

#[tokio::test]
async fn what_a_server_acknowledged_is_there_when_it_was_killed_and_its_replicas_go_on() {
    let Some(server) = Server::start() else { return };
    let (writer, reader) = (Postgres::new(&server.config()).unwrap(), Arc::new(Postgres::new(&server.config()).unwrap()));
    let (stream, stop) = (name("stream"), CancellationToken::new());
    let upkeep = tokio::spawn({
        let (store, stop) = (Arc::clone(&reader), stop.clone());
        async move { store.run(stop).await }
    });
    let mut watch = reader.watch(&stream);
    let mut acknowledged = 0;
    for round in 0..3 {
        let mut error = None;
        for number in 0..1000 {
            if number == 40 + round {
                server.kill();
            }
            match writer.append(&stream, &[vec![1]], RETENTION).await {
                Ok(sequence) => acknowledged = sequence,
                Err(failure) => {
                    error = Some(failure);
                    break;
                }
            }
        }
        let error = error.expect("the server was killed");
        assert_eq!(error.kind(), Kind::Unavailable, "{}", ErrorChain(&error));
        assert!(writer.list("kind", "nobody").await.is_err() && !writer.status().is_up());
        let folder = server.folder.path().join("postgres");
        wait_until(PATIENCE, async || !port_is_open(server.port)).await;
        let _gone = std::fs::remove_file(folder.join("server.pid"));
        server.script("start.sh");
        wait_until(PATIENCE, async || writer.list("kind", "nobody").await.is_ok()).await;
        assert!(reader.read(&stream, 0, 1).await.unwrap().last >= acknowledged);
        // The reader is told again of what the other appends.
        acknowledged = writer.append(&stream, &[vec![2]], RETENTION).await.unwrap();
        let heard = async {
            while reader.read(&stream, acknowledged - 1, 1).await.map_or(true, |page| page.entries.is_empty()) {
                watch.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
    }
    let page = writer.read(&stream, 0, 1000).await.unwrap();
    assert_eq!(page.entries.len() as u64, page.last, "there is no gap");
    stop.cancel();
    upkeep.await.unwrap();
}

fn port_is_open(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[tokio::test]
async fn the_certificate_of_the_database_must_be_signed_by_the_authority_of_the_configuration() {
    let Some(config) = database() else { return };
    let required = Secret::from(format!("{}?sslmode=require", config.url.expose()));
    let trusting = PostgresConfig { url: required.clone(), ..config.clone() };
    Postgres::new(&trusting).unwrap().list("kind", "nobody").await.unwrap();
    let distrusting = PostgresConfig { url: required, ca_file: None, ..config };
    let error = Postgres::new(&distrusting).unwrap().list("kind", "nobody").await.unwrap_err();
    assert!(ErrorChain(&error).to_string().contains("certificate"), "{}", ErrorChain(&error));
}

#[tokio::test]
async fn a_look_at_a_database_creates_nothing_and_says_what_would_be_created() {
    let Some(server) = Server::start() else { return };
    let store = Postgres::new(&server.config()).unwrap();
    for _ in 0..2 {
        assert_eq!(store.inspect().await.unwrap(), Inspection::Absent("the schema goldcrest, with its tables".to_owned()));
    }
    store.list("kind", "nobody").await.unwrap();
    assert_eq!(store.inspect().await.unwrap(), Inspection::Ready);
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_database_are_told_and_no_secret_is() {
    let Some(config) = database() else { return };
    let url = |change: fn(String) -> String| PostgresConfig { url: change(config.url.expose().to_owned()).into(), ..config.clone() };
    let wrong = url(|url| url.replacen("goldcrest:", "goldcrest:hunter2", 1));
    let missing = url(|url| url.trim_end_matches("goldcrest").to_owned() + "nowhere");
    for (config, word) in [(wrong, "password authentication failed"), (missing, "\"nowhere\" does not exist")] {
        let error = Postgres::new(&config).unwrap().list("kind", "nobody").await.unwrap_err();
        let text = ErrorChain(&error).to_string();
        assert!(text.contains(word) && !text.contains("hunter2"), "{text}");
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}
