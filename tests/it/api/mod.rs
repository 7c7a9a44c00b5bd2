//! The whole API in process, over scripted backends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its assumptions do, in its helpers too")]

mod access;
mod bad_input;
mod batch;
pub mod callers;
mod capabilities;
mod commands;
mod compute;
mod contract;
pub mod doubles;
mod downloads;
mod edges;
mod filesystem;
mod follow;
mod health;
mod idempotency;
mod job_bulk;
mod job_control;
mod job_options;
mod job_templates;
mod job_usage;
mod limits;
mod listing;
mod logs;
mod maintenance;
mod malformed;
mod metrics;
mod operations;
mod pages;
mod past;
mod quiet;
mod records;
mod refusals;
mod repeats;
mod staged;
mod status;
mod streaming;
mod transfer;
mod tus;
mod unknown_names;
mod uploads;
mod watching;
mod wire;
mod write_ends;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use goldcrest::cluster::{Capabilities, Cluster, FileCapability};
use goldcrest::domain::{ClusterHealth, RemotePath, ServiceHealth, ServiceType};
use goldcrest::http::{AppState, Config, Docs, Logger, RequestMetrics, router};
use goldcrest::mirror::{Journal, Mirror};
use goldcrest::scheduler::Scheduler;
use goldcrest::service::{Gate, State};
use goldcrest::ssh::Transport;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::scripted::ScriptedTransport;
use callers::{Relations, Source, Tokens};
use doubles::{Script, ScriptedFiles, ScriptedScheduler, Step};

/// A cluster named `daint`, for which the scripts stand in.
pub fn cluster(scheduler: Vec<Step>, files: Vec<Step>, transport: ScriptedTransport, health: watch::Receiver<ClusterHealth>) -> Cluster {
    let scheduler = ScriptedScheduler(Script::new("scheduler", scheduler));
    let files = ScriptedFiles(Script::new("file system", files));
    Cluster::new(cluster_config(), whole(Arc::new(transport), Arc::new(scheduler), Arc::new(files)), health)
}

/// What a cluster can do that lacks nothing but an object store.
pub fn whole(
    transport: Arc<dyn Transport>,
    scheduler: Arc<dyn Scheduler>,
    operations: impl Into<goldcrest::filesystem::ClusterFiles>,
) -> Capabilities {
    Capabilities { compute: Some(scheduler), files: Some(FileCapability { transport, operations: operations.into() }), objects: None }
}

/// How `daint` is set up.
pub fn cluster_config() -> goldcrest::cluster::Config {
    let config = json!({
        "name": "Daint",
        "ssh": {"host": "login.daint.example.org", "timeout": {"command_execution": 7}},
        "scheduler": {"type": "slurm", "version": "24.11.0", "timeout": 11},
        "service_account": {"client_id": "checker", "secret": "hunter2"},
        "probing": {"interval_check": 60, "services": {"ssh": {"timeout": 5}, "scheduler": {}, "filesystems": {"timeout": 6}}},
        "job_templates": [{
            "name": "prepared", "description": "A job of the site's.", "script": "#!/bin/sh\nsleep \"$PARAM_SECONDS\"\n",
            "parameters": {"seconds": {"type": "integer", "minimum": 1, "maximum": 600, "default": "60"}},
        }],
        "commands": {"allow": [["hostname"], ["myquota", "--user", "~.+"]]},
        "file_systems": [{"path": "/home", "data_type": "users", "default_work_dir": true}, {"path": "/scratch/", "data_type": "scratch"}],
        "data_operation": {
            "max_ops_file_size": 1000,
            "max_stream_size": 100_000,
            "data_transfer": {
                "service_type": "s3", "name": "store", "private_url": "http://hunter2", "public_url": "https://s3.example.org",
                "access_key_id": "hunter2", "secret_access_key": "hunter2", "region": "eu", "ttl": 60,
            },
        },
    });
    serde_json::from_value(config).unwrap()
}

/// The health of a cluster with one unhealthy service.
pub fn unhealthy(service: ServiceType, path: Option<&str>) -> ClusterHealth {
    ClusterHealth {
        services: vec![ServiceHealth {
            service,
            last_checked: "2026-01-31T08:00:00Z".parse().unwrap(),
            latency: Some(0.25),
            healthy: false,
            message: Some("the probe failed".to_owned()),
            path: path.map(|path| RemotePath::from_text(path).unwrap()),
        }],
        last_check: Some("2026-01-31T08:00:01.5Z".parse().unwrap()),
        next_check: None,
    }
}

/// The API over one cluster.
pub struct Api {
    router: Router,
    pub document: Value,
    pub request_metrics: Arc<RequestMetrics>,
    pub gate: Gate,
}

impl Api {
    /// Backends that do just this; nothing was checked yet.
    pub fn new(scheduler: Vec<Step>, files: Vec<Step>) -> Self {
        Self::build(scheduler, files, ClusterHealth::default(), "", |_| {})
    }

    /// Backends that do nothing, and this health.
    pub fn unhealthy(service: ServiceType, path: Option<&str>) -> Self {
        Self::build(Vec::new(), Vec::new(), unhealthy(service, path), "", |_| {})
    }

    pub fn build(
        scheduler: Vec<Step>,
        files: Vec<Step>,
        health: ClusterHealth,
        root_path: &str,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::assemble(scheduler, files, health, |state| {
            state.root_path = root_path.to_owned();
            configure(&mut state.config);
        })
    }

    /// As [`Self::build`], and everything else may be changed too.
    pub fn assemble(scheduler: Vec<Step>, files: Vec<Step>, health: ClusterHealth, change: impl FnOnce(&mut AppState)) -> Self {
        let (_, health) = watch::channel(health);
        let cluster = Arc::new(cluster(scheduler, files, ScriptedTransport::new([]), health));
        let mut state = AppState {
            gate: Gate::new(Arc::new(Tokens), Arc::new(Relations), [cluster], State::default()),
            config: Config::default(),
            logger: Logger::default(),
            docs: Docs {
                token_url: Some("https://identity.example.org/realms/hpc/token".to_owned()),
                scopes: [].into(),
                servers: Vec::new(),
                examples: None,
            },
            root_path: String::new(),
            kbatch: None,
        };
        change(&mut state);
        let gate = state.gate.clone();
        let (router, document, request_metrics) = router(state);
        Self { router, document: serde_json::to_value(document).unwrap(), request_metrics, gate }
    }

    /// This cluster in place of the usual one, with a mirror of its jobs.
    pub fn over(cluster: Cluster) -> Self {
        Self::over_changed(cluster, |_| {})
    }

    /// As [`Self::over`], and the rest may be changed too.
    pub fn over_changed(cluster: Cluster, change: impl FnOnce(&mut AppState)) -> Self {
        let cluster = Arc::new(cluster);
        let journal = Arc::new(Journal::new(cluster.name(), None));
        let mirror = Arc::new(Mirror::new(Arc::clone(&cluster), Arc::new(Source(true)), journal));
        tokio::spawn(Arc::clone(&mirror).run(CancellationToken::new()));
        Self::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| {
            let mirrors = [(cluster.name().clone(), mirror)].into();
            let gate = Gate::new(Arc::new(Tokens), Arc::new(Relations), [cluster], State::default());
            state.gate = gate.with_mirrors(&mirrors);
            change(state);
        })
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::read(response).await
    }

    /// Sends a request, and leaves the content of the answer to be read.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends a request of alice.
    pub async fn call(&self, method: Method, uri: &str, body: Option<Value>) -> Answer {
        self.send(request(method, uri, Some("token-of-alice"), body)).await
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.call(Method::GET, uri, None).await
    }
}

/// A request with the id `test`.
pub fn request(method: Method, uri: &str, token: Option<&str>, body: Option<Value>) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(uri).header("x-request-id", "test");
    if let Some(token) = token {
        builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    match body {
        Some(body) => builder.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap(),
        None => builder.body(Body::empty()).unwrap(),
    }
}

/// An answer, read to its end.
pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        Self { status: parts.status.as_u16(), headers: parts.headers, body: body.to_vec() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Everything an attentive client can see, but for times.
    pub fn everything(&self) -> String {
        format!("{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl std::fmt::Display for Answer {
    /// Status, the headers that matter, and the body, for snapshots.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            let constant = ["cache-control", "f7t-timestamp", "vary", "x-content-type-options", "access-control-expose-headers"];
            if !constant.contains(&name.as_str()) {
                writeln!(f, "{name}: {}", value.to_str().unwrap())?;
            }
        }
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(json) => write!(f, "\n{}", serde_json::to_string_pretty(&json).unwrap()),
            Err(_) => write!(f, "\n{}", String::from_utf8_lossy(&self.body)),
        }
    }
}
