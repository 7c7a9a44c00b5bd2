//! An API server in memory that has just what a submission and its reads ask for. Jobs run at once and until they are ended.
//!
//! The live suite tries the same requests on a real one.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use goldcrest::scheduler::kubernetes::{Config, Kubernetes};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::PATIENCE;
use crate::support::service::{Reply, Seen, Service};

/// The objects, by their paths.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// The running double.
pub struct ApiServer {
    pub service: Service,
    pub objects: Objects,
    kubeconfig: NamedTempFile,
}

impl ApiServer {
    /// An API server that answers by `before` where that answers, and otherwise as it should.
    pub async fn start(before: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let objects = Objects::default();
        let stored = Arc::clone(&objects);
        let service = Service::start(move |seen| before(seen).unwrap_or_else(|| answer(&stored, seen))).await;
        let mut kubeconfig = NamedTempFile::new().unwrap();
        kubeconfig.write_all(kubeconfig_of(&service.url).as_bytes()).unwrap();
        Self { service, objects, kubeconfig }
    }

    /// A scheduler that speaks to it, with this section of a configuration.
    pub fn scheduler(&self, section: Value) -> Kubernetes {
        let mut section = section;
        section["kubeconfig_file"] = json!(self.kubeconfig.path());
        section["default_image"] = json!("registry.test/a:1");
        let config: Config = serde_json::from_value(section).unwrap();
        assert_eq!(config.mistakes(), []);
        Kubernetes::new(&config, PATIENCE.min(Duration::from_secs(10))).unwrap()
    }

    /// What came in of this method on paths that end so.
    pub fn sent(&self, method: &Method, end: &str) -> Vec<Seen> {
        self.service.seen().into_iter().filter(|seen| seen.method == *method && seen.uri.path().ends_with(end)).collect()
    }
}

/// A kubeconfig with a token.
pub fn kubeconfig_of(url: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "hunter2"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    })
    .to_string()
}

/// A refusal as the API server sends it.
pub fn refusal(code: u16, reason: &str, message: &str) -> Reply {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    Reply::status(code, status.to_string())
}

fn answer(objects: &Objects, seen: &Seen) -> Reply {
    let path = seen.uri.path().to_owned();
    let mut objects = objects.lock().unwrap();
    match (&seen.method, path.rsplit_once('/').unwrap().1) {
        (&Method::GET, "readyz") => Reply::status(200, "ok"),
        (&Method::GET, "pods") => list(pods(&objects, &path)),
        (&Method::GET, "nodes") => {
            list(vec![json!({"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi"}}})])
        }
        (&Method::GET, "jobs" | "events" | "resourcequotas") => {
            list(objects.iter().filter(|(name, _)| name.starts_with(&format!("{path}/"))).map(|(_, object)| object.clone()).collect())
        }
        (&Method::GET, name) => match objects.get(&path) {
            Some(object) => Reply::json(object),
            None => refusal(404, "NotFound", &format!("{name:?} not found")),
        },
        (&Method::POST, _) => {
            let mut object = seen.json();
            let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
            object["metadata"]["uid"] = json!("uid-1");
            object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
            if objects.contains_key(&path) {
                return refusal(409, "AlreadyExists", "it already exists");
            }
            if seen.uri.query().is_none_or(|query| !query.contains("dryRun")) {
                objects.insert(path, object.clone());
            }
            Reply::status(201, object.to_string())
        }
        (&Method::PATCH, _) => {
            let object = objects.entry(path).or_insert_with(|| json!({}));
            merge(object, &seen.json());
            Reply::json(object)
        }
        (&Method::DELETE, _) => Reply::json(&objects.remove(&path).unwrap_or(json!({}))),
        _ => refusal(405, "MethodNotAllowed", "the double does not do that"),
    }
}

fn list(items: Vec<Value>) -> Reply {
    Reply::json(&json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
}

/// A running pod for each Job that is neither held nor ended.
fn pods(objects: &BTreeMap<String, Value>, path: &str) -> Vec<Value> {
    let jobs = path.replace("/api/v1/", "/apis/batch/v1/").replace("/pods", "/jobs/");
    let runs = |job: &&Value| job["spec"]["suspend"] != true && job["spec"]["parallelism"] != 0;
    let pod = |job: &Value| {
        json!({
            "metadata": {"name": "p", "labels": {"batch.kubernetes.io/job-name": job["metadata"]["name"]}},
            "spec": {"nodeName": "n1", "containers": job["spec"]["template"]["spec"]["containers"]},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "job", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}},
            }]},
        })
    };
    objects.iter().filter(|(name, _)| name.starts_with(&jobs)).map(|(_, job)| job).filter(runs).map(pod).collect()
}

/// JSON Merge Patch (RFC 7386), without the removal of members.
fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(members) => {
            for (name, value) in members {
                merge(&mut object[name], value);
            }
        }
        value => *object = value.clone(),
    }
}
