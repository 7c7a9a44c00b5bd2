//! Several processes on one store, of which one is killed: on SQLite, and on a real PostgreSQL with a database for each test.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use goldcrest::notify::{Timing, Webhooks};
use goldcrest::store::{Postgres, PostgresConfig, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Process, TIMING, ada, for_all, happens, permissive, receiver};
use crate::store::database;
use crate::support::service::{Reply, Service};
use crate::support::wait_for;

/// Names the store to a process that is to be killed.
const STORE: &str = "GOLDCREST_TEST_STORE";
/// Of that process and those after it. A turn has room for a request.
const PATIENT: Timing = Timing { request: Duration::from_secs(3), turn: Duration::from_secs(8), ..TIMING };
/// The events of a process that was killed are left to others after half a minute.
const LEASES: Duration = Duration::from_secs(90);

/// A store that several processes open.
enum Place {
    Folder(TempDir),
    Database { server: PostgresConfig, name: String },
}

impl Place {
    fn folder() -> Self {
        Self::Folder(tempfile::tempdir().unwrap())
    }

    fn database() -> Option<Self> {
        let server = database()?;
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        sql(&server, &format!("CREATE DATABASE {name}"));
        Some(Self::Database { server, name })
    }

    /// As `open` reads it.
    fn text(&self) -> String {
        match self {
            Self::Folder(folder) => folder.path().to_str().unwrap().to_owned(),
            Self::Database { server, name } => {
                let (server_url, _) = server.url.expose().rsplit_once('/').unwrap();
                serde_json::json!({"url": format!("{server_url}/{name}"), "ca_file": server.ca_file}).to_string()
            }
        }
    }

    fn open(&self) -> Arc<dyn Store> {
        open(&self.text())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Database { server, name } = self {
            sql(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

fn open(place: &str) -> Arc<dyn Store> {
    match serde_json::from_str::<PostgresConfig>(place) {
        Ok(config) => Arc::new(Postgres::new(&config).unwrap()),
        Err(_) => super::store(place.as_ref()),
    }
}

fn sql(server: &PostgresConfig, statement: &str) {
    let mut command = Command::new("/usr/lib/postgresql/15/bin/psql");
    let output = command.args([server.url.expose(), "-qc", statement]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { super::$name(super::Place::folder()).await })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $name() { if let Some(place) = super::Place::database() { super::$name(place).await } })*
        }
    };
}

on_both! {
    two_processes_on_one_store_deliver_each_message_once
    what_a_killed_process_had_taken_is_delivered_by_another_once
}

async fn two_processes_on_one_store_deliver_each_message_once(place: Place) {
    let service = receiver().await;
    let (one, _other, store) = (Process::on(place.open(), TIMING), Process::on(place.open(), TIMING), place.open());
    for _ in 0..5 {
        one.webhooks.register(&ada(), for_all(&service.url)).await.unwrap();
    }
    for job in 0..40 {
        happens(store.as_ref(), &job.to_string(), "ada", "RUNNING").await;
    }
    wait_for(Duration::from_secs(60), || service.seen().len() >= 200).await;
    tokio::time::sleep(20 * TIMING.tick).await;
    assert_eq!(ids(&service), (200, 200));
}

/// How many messages came, and how many different ones.
fn ids(service: &Service) -> (usize, usize) {
    let seen = service.seen();
    (seen.len(), seen.iter().map(|seen| seen.header("webhook-id").unwrap()).collect::<BTreeSet<_>>().len())
}

/// Not a test: the process that is killed.
#[tokio::test]
#[ignore = "run by the test below, which kills it"]
async fn delivers_until_it_is_killed() {
    let Ok(place) = std::env::var(STORE) else { return };
    let _process = Process::on(open(&place), PATIENT);
    std::future::pending::<()>().await;
}

/// A process that is killed at the latest with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start(place: &Place) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "webhooks::replicas::delivers_until_it_is_killed", "--ignored", "--nocapture"]);
    Killed(command.env(STORE, place.text()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

async fn what_a_killed_process_had_taken_is_delivered_by_another_once(place: Place) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let store = place.open();
    let webhooks = Webhooks::new(place.open(), permissive(), PATIENT).unwrap();
    webhooks.register(&ada(), for_all(&format!("http://{address}"))).await.unwrap();
    let child = start(&place);
    happens(store.as_ref(), "7", "ada", "RUNNING").await;
    // It has taken the message, and waits for an answer.
    let connection = tokio::time::timeout(LEASES, silent.accept()).await.expect("it calls").unwrap();
    drop(child);
    drop((connection, silent));
    let service = Service::start_at(address, |_| Reply::status(204, "")).await;
    let _others = [Process::on(place.open(), PATIENT), Process::on(place.open(), PATIENT)];
    happens(store.as_ref(), "8", "ada", "COMPLETED").await;
    wait_for(LEASES, || service.seen().len() >= 2).await;
    tokio::time::sleep(20 * TIMING.tick).await;
    assert_eq!(ids(&service), (2, 2));
    let mut subjects = super::subjects(&service);
    subjects.sort();
    assert_eq!(subjects, ["7", "8"]);
}
