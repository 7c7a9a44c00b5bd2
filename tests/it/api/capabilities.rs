//! Systems that lack a capability. The table of operations has the answer of each operation on them.

use std::sync::Arc;

use axum::http::Method;
use goldcrest::cluster::{Capabilities, Cluster, Config, NO_COMPUTE, NO_FILES};
use goldcrest::domain::{ClusterHealth, FileStat, ServiceType};
use goldcrest::health::Checker;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::callers::Source;
use super::doubles::{Reply, Script, ScriptedFiles, ScriptedScheduler, Step};
use super::{Api, cluster_config, whole};
use crate::support::scripted::{ScriptedTransport, prints};

/// `daint` without SSH: a scheduler that is asked by its REST API.
pub(super) fn without_ssh(scheduler: Vec<Step>, health: watch::Receiver<ClusterHealth>) -> Cluster {
    let section = json!({"type": "slurm", "version": "24.11.0", "connection_mode": "rest", "api_url": "http://slurm:6820"});
    let config = Config { ssh: None, scheduler: serde_json::from_value(section).unwrap(), ..cluster_config() };
    let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", scheduler)));
    Cluster::new(config, Capabilities { compute: Some(scheduler), ..Capabilities::default() }, health)
}

/// `daint` with files alone.
fn without_scheduler(files: Vec<Step>, transport: ScriptedTransport, health: watch::Receiver<ClusterHealth>) -> Cluster {
    let config = Config { scheduler: None, ..cluster_config() };
    let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", [])));
    let files = Arc::new(ScriptedFiles(Script::new("file system", files)));
    let capabilities = Capabilities { compute: None, ..whole(Arc::new(transport), scheduler, files) };
    Cluster::new(config, capabilities, health)
}

fn unknown() -> watch::Receiver<ClusterHealth> {
    watch::channel(ClusterHealth::default()).1
}

/// The reasons that `/status/systems` gives, by the start of the paths.
async fn unsupported(api: &Api) -> (Value, Vec<(String, String)>) {
    let system = api.get("/status/systems").await.json()["systems"][0].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = system["unsupported"].as_array().unwrap();
    let list = list.iter().map(|entry| (text(&entry["operations"]), text(&entry["reason"]))).collect();
    (system, list)
}

#[tokio::test]
async fn a_system_without_ssh_runs_jobs_and_says_of_files_that_it_has_none() {
    let submitted = vec![("alice: submit...", Reply::Id("7"))];
    let api = Api::over(without_ssh(submitted, unknown()));
    let body = json!({"job": {"name": "a", "workingDirectory": "/home/alice", "script": "#!/bin/sh\ntrue\n"}});
    let answer = api.call(Method::POST, "/compute/daint/jobs", Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    for path in ["/home/alice", "/etc", "/home/../etc/"] {
        let answer = api.get(&format!("/filesystem/daint/ops/stat?path={path}")).await;
        assert_eq!((answer.status, answer.json()["message"].as_str()), (501, Some(NO_FILES)), "{path}");
    }
    let (system, reasons) = unsupported(&api).await;
    assert_eq!((&system["ssh"], &system["scheduler"]["connectionMode"]), (&Value::Null, &json!("rest")));
    assert!(reasons.contains(&("/filesystem/{system_name}".to_owned(), NO_FILES.to_owned())), "{reasons:?}");
    let parameters = api.get("/status/parameters").await.json();
    assert_eq!(parameters["utilities"], json!([]), "no limit of a command where none is run");
}

#[tokio::test]
async fn a_system_without_a_scheduler_has_files_and_says_of_jobs_that_it_has_none() {
    let stat = vec![(r#"alice: stat "/home/alice" true"#, Reply::Stat(FileStat::default()))];
    let api = Api::over(without_scheduler(stat, ScriptedTransport::new([]), unknown()));
    assert_eq!(api.get("/filesystem/daint/ops/stat?path=/home/alice&dereference=true").await.status, 200);
    for path in ["/compute/daint/jobs", "/compute/daint/jobs/1", "/status/daint/nodes"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.json()["message"].as_str()), (501, Some(NO_COMPUTE)), "{path}");
    }
    let (system, reasons) = unsupported(&api).await;
    assert_eq!(system["scheduler"], Value::Null);
    assert!(reasons.contains(&("/compute/{system_name}/jobs".to_owned(), NO_COMPUTE.to_owned())), "{reasons:?}");
    assert!(reasons.contains(&("/filesystem/{system_name}/transfer/mv".to_owned(), NO_COMPUTE.to_owned())), "{reasons:?}");
}

/// What the checker finds of a cluster, and whether it is well.
async fn probed(cluster: fn(watch::Receiver<ClusterHealth>) -> Cluster) -> Vec<(ServiceType, bool)> {
    let (sender, health) = watch::channel(ClusterHealth::default());
    Checker::new(Arc::new(cluster(health.clone())), sender, Arc::new(Source(true))).check().await;
    health.borrow().services.iter().map(|entry| (entry.service, entry.healthy)).collect()
}

#[tokio::test]
async fn only_what_a_system_has_is_probed() {
    let found = probed(|health| without_ssh(vec![("checker: ping", Reply::Done)], health)).await;
    assert_eq!(found, [(ServiceType::Scheduler, true)]);
    let found = probed(|health| {
        let stat = |call| (call, Reply::Stat(FileStat::default()));
        let steps = vec![stat(r#"checker: stat "/home" true"#), stat(r#"checker: stat "/scratch" true"#)];
        without_scheduler(steps, ScriptedTransport::new([prints("true", "")]), health)
    });
    assert_eq!(found.await, [(ServiceType::Filesystem, true), (ServiceType::Filesystem, true), (ServiceType::Ssh, true)]);
}
