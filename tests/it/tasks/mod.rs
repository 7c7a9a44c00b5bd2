//! Copies from one system to another: two directories, each reached as a system, tasks in a real store, and processes that work on them.

mod copies;
mod faults;
mod modes;
mod openssh;
mod refusals;
pub mod relay;
mod restarts;
pub mod rights;
mod swaps;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use goldcrest::authz::Authorizer;
use goldcrest::cluster::{Capabilities, Cluster, FileCapability};
use goldcrest::domain::{ClusterHealth, RemotePath};
use goldcrest::filesystem::{self, FileAccess, Settings};
use goldcrest::service::tasks::{Tasks, Timing};
use goldcrest::service::{Gate, State, copy_to};
use goldcrest::ssh::Transport;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::callers::{Relations, Tokens};
use crate::api::{Answer, Api, request};
use crate::files::transport::{Local, Subsystem};
use crate::support::{PATIENCE, wait_until};
use crate::webhooks::store;

const COPY_TO: &str = "/filesystem/daint/transfer/copy-to";

const TIMING: Timing = Timing {
    tick: Duration::from_millis(20),
    save: Duration::from_millis(50),
    lease: Duration::from_secs(2),
    recheck: Duration::from_millis(50),
    forget: Duration::from_millis(50),
    first_pause: Duration::from_millis(100),
    max_pause: Duration::from_millis(400),
    give_up: Duration::from_secs(600),
};

/// How a system is reached.
#[derive(Clone)]
pub struct Way {
    pub transport: Arc<dyn Transport>,
    pub access: FileAccess,
}

impl Way {
    pub fn sftp() -> Self {
        Self::over(Arc::new(Local::new(Subsystem::Own)))
    }

    fn exec() -> Self {
        Self { transport: Arc::new(Local::new(Subsystem::Refused)), access: FileAccess::Exec }
    }

    pub fn over(transport: Arc<dyn Transport>) -> Self {
        Self { transport, access: FileAccess::Sftp }
    }
}

/// Two directories, and the store of the tasks.
struct Site {
    source: TempDir,
    target: TempDir,
    state: TempDir,
    timing: Timing,
    /// `max_stream_size` of both systems.
    max_size: Value,
}

impl Site {
    fn new() -> Self {
        let folder = || tempfile::tempdir().unwrap();
        Self { source: folder(), target: folder(), state: folder(), timing: TIMING, max_size: json!("none") }
    }

    fn from(&self, name: &str) -> PathBuf {
        self.source.path().join(name)
    }

    fn to(&self, name: &str) -> PathBuf {
        self.target.path().join(name)
    }

    /// A process that works on the tasks.
    fn process(&self, source: Way, target: Way) -> Process {
        self.process_with(source, target, Arc::new(Relations))
    }

    fn process_with(&self, source: Way, target: Way, authorizer: Arc<dyn Authorizer>) -> Process {
        let tasks = Tasks::new(store(self.state.path()), self.timing);
        let clusters = [("daint", source, &self.source), ("eiger", target, &self.target)];
        let clusters = clusters.map(|(name, way, directory)| cluster(name, way, directory.path(), &self.max_size));
        let gate = Gate::new(Arc::new(Tokens), authorizer, clusters, State::default().with_tasks(Some(tasks)));
        let api = Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| state.gate = gate.clone());
        let (gate, stop) = (api.gate.clone(), CancellationToken::new());
        let token = stop.clone();
        let worker = tokio::spawn(async move { copy_to::run(move || gate.clone(), token).await });
        Process { api, token: "token-of-alice".to_owned(), stop, worker }
    }

    fn request(&self, from: &str, to: &str) -> Value {
        json!({"sourcePath": self.from(from), "targetSystem": "eiger", "targetPath": self.to(to)})
    }

    /// The names in a directory below the target, hidden ones too.
    fn names(&self, below: &str) -> Vec<String> {
        names(&self.to(below))
    }
}

/// A system with files alone.
pub fn cluster(name: &str, way: Way, directory: &Path, max_size: &Value) -> Arc<Cluster> {
    let mut config = crate::api::cluster_config();
    config.name = goldcrest::domain::SystemName::new(name).unwrap();
    config.file_systems[0].path = RemotePath::from_text(directory.to_str().unwrap()).unwrap();
    config.data_operation.max_stream_size = serde_json::from_value(max_size.clone()).unwrap();
    let operations = filesystem::ClusterFiles::open(Arc::clone(&way.transport), way.access, Settings::default());
    let files = Some(FileCapability { transport: way.transport, operations });
    let capabilities = Capabilities { compute: None, files, objects: None };
    Arc::new(Cluster::new(config, capabilities, watch::channel(ClusterHealth::default()).1))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A process: the API, and the work on tasks.
struct Process {
    api: Api,
    /// That of the user.
    token: String,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Process {
    /// The same, for another user.
    fn of(mut self, user: &str) -> Self {
        self.token = format!("token-of-{user}");
        self
    }

    /// Asks for a copy.
    async fn ask(&self, body: Value) -> Answer {
        self.call(Method::POST, COPY_TO, Some(body)).await
    }

    async fn call(&self, method: Method, address: &str, body: Option<Value>) -> Answer {
        self.api.send(request(method, address, Some(&self.token), body)).await
    }

    /// Begins a copy; the address of its task.
    async fn begin(&self, body: Value) -> String {
        let answer = self.ask(body).await;
        assert_eq!(answer.status, 201, "{}", answer.everything());
        let address = answer.header("location").unwrap().to_owned();
        assert_eq!(address, format!("/tasks/{}", answer.json()["task"]["id"].as_str().unwrap()));
        address
    }

    async fn task(&self, address: &str) -> Value {
        let answer = self.call(Method::GET, address, None).await;
        assert_eq!(answer.status, 200, "{}", answer.everything());
        answer.json()
    }

    /// Waits until the task is as `predicate` says.
    async fn until(&self, address: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_until(3 * PATIENCE, async || {
            last = self.task(address).await;
            let is_over = last["isFinal"] == true && !predicate(&last);
            assert!(!is_over, "{last}");
            predicate(&last)
        })
        .await;
        last
    }

    /// Waits until bytes have arrived, before the end.
    async fn until_under_way(&self, address: &str) {
        self.until(address, |task| task["progress"]["bytes"].as_u64().unwrap() > 0).await;
    }

    async fn ends(&self, address: &str, state: &str) -> Value {
        self.until(address, |task| task["state"] == state).await
    }

    /// Ends in order, as at a drain.
    async fn drain(mut self) {
        self.stop.cancel();
        (&mut self.worker).await.unwrap();
    }
}

/// Content in which every block of it is unlike the others.
fn noise(length: usize) -> Vec<u8> {
    (0..length.div_ceil(8)).flat_map(|at| (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).take(length).collect()
}
