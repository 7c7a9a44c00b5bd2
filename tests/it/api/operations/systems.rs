//! One system of each kind, with something that plays its scheduler's part.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;
use goldcrest::cluster::{Capabilities, Cluster};
use goldcrest::domain::{ClusterHealth, RemotePath, SystemName};
use goldcrest::rest::{Client, Url};
use goldcrest::scheduler::Scheduler;
use goldcrest::scheduler::local::Local;
use goldcrest::scheduler::pbs::Pbs;
use goldcrest::scheduler::slurm::{ApiVersion, CallersToken, Delimiter, RestSettings, SlurmCli, SlurmHybrid, SlurmRest};
use goldcrest::transfer::s3::ObjectStore;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::doubles::{Script, ScriptedFiles, Step};
use crate::api::staged::{data_transfer, store};
use crate::api::{Api, cluster_config, whole};
use crate::kubernetes::double::ApiServer;
use crate::support::local_shell::LocalShell;
use crate::support::service::{Reply, Seen, Service};
use crate::support::{PATIENCE, wait_until};

/// The kinds, in the order of the table.
pub const KINDS: [&str; 8] = ["slurm-ssh", "slurm-rest", "slurm-hybrid", "pbs", "local", KUBERNETES, NO_SSH, NO_SCHEDULER];

/// Kubernetes, on a system that is not reached over SSH.
const KUBERNETES: &str = "kubernetes";

/// Slurm by slurmrestd, on a system that is not reached over SSH.
const NO_SSH: &str = "no-ssh";

/// A system that has files alone.
const NO_SCHEDULER: &str = "no-scheduler";

const PBS: [&str; 11] = ["qsub", "qstat", "qselect", "qdel", "pbsnodes", "pbs_rstat", "qhold", "qrls", "qrerun", "qsig", "qalter"];
const SLURM: [&str; 9] = ["sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "srun", "sshare"];

/// A system named `system`, of a machine whose home directory is its file system.
pub struct System {
    kind: &'static str,
    shell: Arc<LocalShell>,
    scheduler: Arc<dyn Scheduler>,
    _slurmrestd: Option<Service>,
    _api_server: Option<ApiServer>,
    store: Arc<ObjectStore>,
    _s3: Service,
}

impl System {
    pub async fn start(kind: &'static str) -> Self {
        let shell = LocalShell::new("dash").or_else(|| LocalShell::new("bash")).unwrap();
        std::fs::create_dir(shell.home().join("alice")).unwrap();
        install(&shell, "slurm.sh", include_str!("slurm.sh"), &SLURM);
        install(&shell, "pbs.sh", include_str!("../../pbs/pbs.sh"), &PBS);
        std::fs::write(shell.home().join("script.sh"), "#!/bin/sh\nsleep 60\n").unwrap();
        let mut slurmrestd = None;
        if matches!(kind, "slurm-rest" | "slurm-hybrid" | NO_SSH) {
            let is_over = AtomicBool::new(false);
            slurmrestd = Some(Service::start(move |seen| answer(&is_over, seen)).await);
        }
        let api_server = if kind == KUBERNETES { Some(ApiServer::start(|_| None).await) } else { None };
        let cli = || Arc::new(SlurmCli::with_delimiter(shell.clone(), || Delimiter::fixed("test")));
        let rest = || {
            let url = Url::parse(&slurmrestd.as_ref().unwrap().url).unwrap();
            let settings = RestSettings { url, api_version: ApiVersion::parse("0.0.42"), timeout: PATIENCE };
            SlurmRest::new(Client::new().unwrap(), settings, Arc::new(CallersToken))
        };
        let scheduler: Arc<dyn Scheduler> = match kind {
            "slurm-ssh" => cli(),
            "slurm-rest" => Arc::new(rest().reading_files_with(Some(cli()))),
            NO_SSH => Arc::new(rest()),
            "slurm-hybrid" => Arc::new(SlurmHybrid::new(rest(), cli())),
            KUBERNETES => Arc::new(api_server.as_ref().unwrap().scheduler(json!({}))),
            "pbs" => Arc::new(Pbs::new(shell.clone(), goldcrest::scheduler::pbs::Config::default())),
            _ => Arc::new(Local::new(shell.clone(), goldcrest::scheduler::local::Config { slots: 64, ..Default::default() })),
        };
        let s3 = Service::start(begins).await;
        let store = Arc::new(store(&data_transfer(&s3.url, |_| {})));
        Self { kind, shell, scheduler, _slurmrestd: slurmrestd, _api_server: api_server, store, _s3: s3 }
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether the operation comes as far as to ask the files.
    pub fn asks_files(&self, operation: &str) -> bool {
        match self.kind {
            NO_SSH | KUBERNETES => false,
            NO_SCHEDULER => !["/userinfo", "/transfer/download", "/transfer/upload", "/logs"].iter().any(|path| operation.ends_with(path)),
            _ => true,
        }
    }

    /// A directory of the caller's.
    pub fn home(&self) -> &str {
        self.shell.home().to_str().unwrap()
    }

    /// The API over the system, whose files do just this.
    pub fn api(&self, files: Vec<Step>) -> Api {
        let mut config = cluster_config();
        config.name = SystemName::new("system").unwrap();
        config.file_systems.truncate(1);
        config.file_systems[0].path = RemotePath::from_text(self.home()).unwrap();
        let (_, health) = watch::channel(ClusterHealth::default());
        let files = Arc::new(ScriptedFiles(Script::new("file system", files)));
        let objects = Some(Arc::clone(&self.store));
        let mut capabilities = Capabilities { objects, ..whole(self.shell.clone(), Arc::clone(&self.scheduler), files) };
        match self.kind {
            NO_SSH | KUBERNETES => (config.ssh, capabilities.files) = (None, None),
            NO_SCHEDULER => (config.scheduler, capabilities.compute) = (None, None),
            _ => {}
        }
        Api::over(Cluster::new(config, capabilities, health))
    }

    /// The id of a schedule: one of the caller's where the system has such.
    pub async fn schedule(&self) -> String {
        if self.kind != KUBERNETES {
            return "nightly".to_owned();
        }
        let body = json!({"cron": "0 3 * * *", "job": {"workingDirectory": self.home(), "script": "#!/bin/sh\ndate\n"}});
        let answer = self.api(Vec::new()).call(Method::POST, "/compute/system/schedules", Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.everything());
        answer.json()["scheduleId"].as_str().unwrap().to_owned()
    }

    /// The id of a job of the caller's to which the operation can be done: one that runs, or, where only those can be held, one that waits.
    pub async fn job_for(&self, operation: &str) -> String {
        if self.kind == NO_SCHEDULER {
            return "1".to_owned();
        }
        let waits = self.kind == KUBERNETES && operation.ends_with("/hold");
        let body = json!({"job": {"name": "waits", "workingDirectory": self.home(), "script": "#!/bin/sh\nsleep 60\n", "hold": waits.then_some(true)}});
        let answer = self.api(Vec::new()).call(Method::POST, "/compute/system/jobs", Some(body)).await;
        assert_eq!(answer.status, 201, "{}: {}", self.kind, answer.everything());
        let id = answer.json()["jobId"].to_string().trim_matches('"').to_owned();
        let uri = format!("/compute/system/jobs/{id}");
        let state = if waits { "PENDING" } else { "RUNNING" };
        let is_there = async || {
            let answer = self.api(Vec::new()).get(&uri).await;
            answer.status == 200 && answer.json()["jobs"][0]["status"]["state"] == state
        };
        wait_until(PATIENCE.max(Duration::from_secs(30)), is_there).await;
        id
    }
}

/// Puts a program on the machine under several names.
fn install(shell: &LocalShell, name: &str, text: &str, programs: &[&str]) {
    let bin = shell.home().join("bin");
    std::fs::write(bin.join(name), text).unwrap();
    std::fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    for program in programs {
        symlink(bin.join(name), bin.join(program)).unwrap();
    }
}

/// An object store that begins every upload.
fn begins(_: &Seen) -> Reply {
    Reply::status(200, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
}

/// A slurmrestd of one job, which runs until it is cancelled.
fn answer(is_over: &AtomicBool, seen: &Seen) -> Reply {
    let path = seen.uri.path();
    let Some((family, path)) = path.strip_prefix('/').and_then(|path| path.split_once("/v0.0.42/")) else {
        return Reply::status(404, "none");
    };
    let job = || {
        let state = if is_over.load(Ordering::SeqCst) { "CANCELLED" } else { "RUNNING" };
        json!([{"job_id": 1, "name": "waits", "user_name": "alice", "job_state": [state], "partition": "normal"}])
    };
    let body: Value = match (family, &seen.method, path.trim_end_matches('/')) {
        ("slurm", &Method::POST, "job/submit") => {
            is_over.store(false, Ordering::SeqCst);
            json!({"job_id": 1})
        }
        ("slurm", &Method::POST, "job/1") => json!({"errors": []}),
        ("slurm", &Method::DELETE, "job/1") if seen.uri.query().is_some() => json!({"errors": []}),
        ("slurm", &Method::DELETE, "job/1") => {
            is_over.store(true, Ordering::SeqCst);
            json!({"errors": []})
        }
        ("slurm", &Method::GET, "jobs" | "job/1") => json!({"jobs": job()}),
        ("slurm", &Method::GET, "nodes") => json!({"nodes": [{"name": "nid1", "cpus": 4}]}),
        ("slurm", &Method::GET, "partitions") => json!({"partitions": [{"name": "normal"}]}),
        ("slurm", &Method::GET, "reservations") => json!({"reservations": []}),
        ("slurmdb", &Method::GET, "jobs" | "job/1") => json!({"jobs": []}),
        ("slurmdb", &Method::GET, "associations") => json!({"associations": [{"account": "project", "user": "alice"}]}),
        _ => return Reply::status(404, "this slurmrestd does not know that address"),
    };
    Reply::json(&body)
}
