//! What a client is told of fifty jobs on a real Kubernetes node while everything between them and it is killed in turn.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use reqwest::{Method, Response};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::Api;
use crate::environment::{Live, wait_for};
use crate::instance::{Instance, free_port};
use crate::kubernetes::{SYSTEM, admin, ids, submit};
use crate::kubernetes_faults::{Daemon, is_ready};
use crate::processes;

const JOBS: usize = 50;
/// How many end while a part is away.
const MEANWHILE: usize = 10;
/// For how long a part is away.
const AWAY: Duration = Duration::from_secs(4);
/// Longer than `scheduler.job_mirror.interval`, after which a second event would have come.
const SETTLED: Duration = Duration::from_secs(7);
/// How long each job sleeps, in seconds, but that the sleep is ended from outside: a number by which the process is known.
const FIRST_SLEEP: usize = 7_340_000;

/// The names of the policy by which fifty pods have room on a node of two CPUs, and of the label of its namespaces.
const POLICY: &str = "goldcrest-crowded";
const MARK: &str = "goldcrest.test/crowded";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1beta1";

pub async fn the_end_of_each_of_fifty_jobs_is_told_once_while_every_part_is_killed_in_turn(live: &Live) {
    let site = Site::new(live).await;
    let mut instance = site.start(live).await;
    let client = Client::default();
    let reader = tokio::spawn(client.clone().read(live.api_at(&instance.url(), "fireuser").await));
    wait_for("the events are open", Duration::from_secs(20), || async { (client.state.lock().connections > 0).then_some(()) }).await;

    let api = live.api_at(&instance.url(), "fireuser").await;
    let jobs: Vec<Value> = (0..JOBS).map(sleeper).collect();
    // The first one makes the namespace.
    let mut all = vec![submit(&api, SYSTEM, &jobs[0]).await];
    all.extend(join_all(jobs[1..].iter().map(|job| submit(&api, SYSTEM, job))).await);
    wait_for("all jobs run at once", Duration::from_secs(120), || async { (client.count("RUNNING", &all) == JOBS).then_some(()) }).await;

    let mut next = 0..JOBS;
    let mut end_some = async |count: usize| {
        for index in next.by_ref().take(count) {
            end(index).await;
        }
    };
    for name in ["apiserver", "etcd", "kubelet"] {
        let mut daemon = Daemon::of(live, name);
        daemon.signal(Signal::KILL);
        end_some(MEANWHILE).await;
        tokio::time::sleep(AWAY).await;
        daemon.restart();
        wait_for("the API server is ready", Duration::from_secs(60), || async { is_ready(live).await.then_some(()) }).await;
    }
    instance.signal(Signal::KILL);
    instance.gone().await;
    end_some(MEANWHILE).await;
    tokio::time::sleep(AWAY).await;
    let instance = site.start(live).await;
    end_some(JOBS).await;

    wait_for("every end is told", Duration::from_secs(90), || async { (client.count_ends(&all) >= JOBS).then_some(()) }).await;
    tokio::time::sleep(SETTLED).await;
    reader.abort();
    let state = client.state.lock().clone();
    let numbers: Vec<u64> = state.changes.iter().map(|change| change.number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "events were told twice: {numbers:?}");
    assert!(state.connections >= 2, "the client was not interrupted");
    for id in &all {
        let of_job: Vec<&Change> = state.changes.iter().filter(|change| change.job == *id).collect();
        let ends: Vec<&str> = of_job.iter().filter(|change| change.is_final).map(|change| change.state.as_str()).collect();
        assert_eq!(ends, ["COMPLETED"], "{of_job:?}");
    }
    let api = live.api_at(&instance.url(), "fireuser").await;
    let list = api.get(&format!("/compute/{SYSTEM}/jobs"), &[]).await.expect(200).json();
    let mut listed = ids(&list);
    let mut submitted = all.clone();
    listed.sort();
    submitted.sort();
    assert_eq!(listed, submitted);
    println!("{JOBS} jobs: {} events over {} connections", state.changes.len(), state.connections);
    site.remove(live).await;
}

/// A Goldcrest with a store of its own, and namespaces of its own.
struct Site {
    port: u16,
    store: tempfile::TempDir,
    /// The start of the namespaces' names.
    prefix: String,
}

impl Site {
    async fn new(live: &Live) -> Self {
        let prefix = format!("crowded-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
        // What a pod reserves; what it may use stays as Goldcrest has written it.
        let expression = r#"[JSONPatch{op: "replace", path: "/spec/containers/0/resources/requests/cpu", value: "10m"}]"#;
        let spec = json!({
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {MARK: "yes"}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            },
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        });
        for (resource, kind, spec) in [
            ("mutatingadmissionpolicies", "MutatingAdmissionPolicy", spec),
            ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", json!({"policyName": POLICY})),
        ] {
            let object =
                json!({"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": kind, "metadata": {"name": POLICY}, "spec": spec});
            let answer = admin(live, Method::POST, &format!("{POLICIES}/{resource}"), Some(&object)).await;
            assert!(matches!(answer.status, 201 | 409), "{} {}", answer.status, answer.json());
        }
        Self { port: free_port().await, store: tempfile::tempdir().unwrap(), prefix }
    }

    async fn start(&self, live: &Live) -> Instance {
        let edit = |config: String| {
            let own = format!("namespace: \"{}-{{user}}\"\n        namespace_labels: {{ {MARK}: \"yes\" }}", self.prefix);
            let config = config.replacen("namespace: \"goldcrest-{user}\"", &own, 1);
            let quota = r#"hard: { requests.cpu: "4", requests.memory: 4Gi, pods: "20" }"#;
            assert!(config.contains(&self.prefix) && config.contains(quota), "the environment has another configuration");
            config.replacen(quota, r#"hard: { pods: "100" }"#, 1)
                + &format!("\nstore:\n  type: sqlite\n  state_dir: {}\n", self.store.path().display())
        };
        Instance::start_at(live, self.port, &[], edit, &[]).await
    }

    async fn remove(&self, live: &Live) {
        for path in [
            format!("/api/v1/namespaces/{}-fireuser", self.prefix),
            format!("{POLICIES}/mutatingadmissionpolicybindings/{POLICY}"),
            format!("{POLICIES}/mutatingadmissionpolicies/{POLICY}"),
        ] {
            admin(live, Method::DELETE, &path, None).await.expect(200);
        }
    }
}

fn sleeper(index: usize) -> Value {
    let script = format!("#!/bin/sh\nsleep {}\ntrue\n", FIRST_SLEEP + index);
    json!({"job": {"name": format!("crowded-{index}"), "workingDirectory": "/tmp", "memory": "16M", "timeLimit": 600, "script": script}})
}

/// Ends a job, whose process is one of this machine, without asking anybody.
async fn end(index: usize) {
    let sleep = format!("sleep {}", FIRST_SLEEP + index);
    wait_for("the job has a process", Duration::from_secs(10), || async {
        let found = processes::running(&sleep);
        processes::signal(&found, Signal::KILL);
        (!found.is_empty()).then_some(())
    })
    .await;
}

/// An event of a job.
#[derive(Clone, Debug)]
struct Change {
    number: u64,
    job: String,
    state: String,
    is_final: bool,
}

#[derive(Clone, Default)]
struct Read {
    changes: Vec<Change>,
    connections: usize,
}

/// A client that reads the events of all jobs, and goes on after the last that it knows when they break off.
#[derive(Clone, Default)]
struct Client {
    state: Arc<Mutex<Read>>,
}

impl Client {
    async fn read(self, api: Api) {
        loop {
            let last = self.state.lock().changes.last().map(|change| change.number);
            let request = api.request(Method::GET, &format!("/compute/{SYSTEM}/jobs/events")).timeout(Duration::from_secs(300));
            let request = last.into_iter().fold(request, |request, number| request.header("last-event-id", number.to_string()));
            // Otherwise it is away, or does not know the system as a healthy one yet.
            if let Ok(response) = request.send().await
                && response.status().is_success()
            {
                self.state.lock().connections += 1;
                self.take(response).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Reads until the stream ends.
    async fn take(&self, mut response: Response) {
        let mut text = String::new();
        while let Ok(Some(piece)) = response.chunk().await {
            text.push_str(std::str::from_utf8(&piece).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                self.state.lock().changes.extend(change(event));
                text = rest.to_owned();
            }
        }
    }

    /// How many of these jobs were told to be in a state.
    fn count(&self, state: &str, jobs: &[String]) -> usize {
        let read = self.state.lock();
        jobs.iter().filter(|job| read.changes.iter().any(|change| change.job == **job && change.state == state)).count()
    }

    /// How many of these jobs were told to have ended.
    fn count_ends(&self, jobs: &[String]) -> usize {
        let read = self.state.lock();
        jobs.iter().filter(|job| read.changes.iter().any(|change| change.job == **job && change.is_final)).count()
    }
}

/// The change of a job that an event tells, if it tells one.
fn change(event: &str) -> Option<Change> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    let data: Value = serde_json::from_str(field("data: ")?).ok()?;
    let job = data["jobId"].as_str()?.to_owned();
    let state = data["state"].as_str()?.to_owned();
    Some(Change { number: field("id: ")?.parse().ok()?, job, state, is_final: data["isFinal"] == true })
}
