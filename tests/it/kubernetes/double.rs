//! An API server in memory that has just what a submission and its reads ask for. Pods run at once, until they are finished or their job is ended.
//!
//! The live suite tries the same requests on a real one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use goldcrest::scheduler::kubernetes::{Config, Kubernetes};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::machine;
use crate::support::PATIENCE;
use crate::support::service::{Reply, Seen, Service};

/// The running double.
pub struct ApiServer {
    pub service: Service,
    state: Arc<Mutex<State>>,
    kubeconfig: NamedTempFile,
}

/// What is stored, and who waits for changes of it.
#[derive(Default)]
struct State {
    version: u64,
    /// The objects, by their paths.
    objects: BTreeMap<String, Value>,
    /// All changes: version, kind, path, and the object after it.
    history: Vec<(u64, &'static str, String, Value)>,
    watches: Vec<(String, UnboundedSender<Vec<u8>>)>,
    /// What pods have written, and who follows it, by the pods' paths.
    logs: BTreeMap<String, Log>,
    /// The messages by which every command is answered.
    messages: Vec<Vec<u8>>,
    /// The directory that commands have for `/goldcrest`, where they are run by a shell of this machine instead.
    machine: Option<PathBuf>,
    /// The protocol of commands.
    protocol: &'static str,
    /// What becomes of new pods.
    fate: Fate,
}

/// What becomes of new pods.
#[derive(Clone, Default)]
pub enum Fate {
    /// They run.
    #[default]
    Running,
    /// They have this status.
    Status(Value),
    /// They are not created, for this reason.
    Refused(&'static str),
}

#[derive(Default)]
struct Log {
    text: Vec<u8>,
    followers: Vec<UnboundedSender<Vec<u8>>>,
}

impl ApiServer {
    /// An API server that answers by `before` where that answers, and otherwise as it should.
    pub async fn start(before: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let messages = vec![b"\x03{\"status\":\"Success\"}".to_vec()];
        let state = Arc::new(Mutex::new(State { messages, protocol: "v5.channel.k8s.io", ..State::default() }));
        let stored = Arc::clone(&state);
        let service = Service::start(move |seen| before(seen).unwrap_or_else(|| stored.lock().unwrap().answer(seen))).await;
        let mut kubeconfig = NamedTempFile::new().unwrap();
        kubeconfig.write_all(kubeconfig_of(&service.url).as_bytes()).unwrap();
        Self { service, state, kubeconfig }
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

    /// The paths of the objects, but for pods.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().filter(|path| !path.contains("/pods/")).cloned().collect()
    }

    /// The object of this path.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// Removes an object.
    pub fn remove(&self, path: &str) -> bool {
        self.state.lock().unwrap().remove(path)
    }

    /// Stores an object.
    pub fn put(&self, path: &str, object: Value) {
        self.state.lock().unwrap().put(path, object);
    }

    /// Ends all watches, and forgets what was before.
    pub fn end_watches(&self) {
        let mut state = self.state.lock().unwrap();
        state.watches.clear();
        state.history.clear();
    }

    /// Lets the first pod of a job write.
    pub fn write(&self, namespace: &str, job: &str, text: &str) {
        let mut state = self.state.lock().unwrap();
        let log = state.logs.entry(pod_path(namespace, job, 0)).or_default();
        log.text.extend_from_slice(text.as_bytes());
        log.followers.retain(|follower| follower.send(text.as_bytes().to_vec()).is_ok());
    }

    /// Cuts the streams of those who follow a job's output.
    pub fn cut(&self, namespace: &str, job: &str) {
        self.state.lock().unwrap().logs.entry(pod_path(namespace, job, 0)).or_default().followers.clear();
    }

    /// Lets the first pod of a job end.
    pub fn finish(&self, namespace: &str, job: &str, exit_code: i32) {
        let mut state = self.state.lock().unwrap();
        let path = pod_path(namespace, job, 0);
        let mut pod = state.objects[&path].clone();
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        // Lists have what has ended lately.
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let terminated = json!({"exitCode": exit_code, "reason": reason, "finishedAt": now});
        pod["status"] = json!({"phase": "Succeeded", "containerStatuses": [container_status(json!({"terminated": terminated}))]});
        state.put(&path, pod);
        state.logs.entry(path).or_default().followers.clear();
    }

    /// Sets the messages by which commands are answered.
    pub fn answer_commands(&self, messages: &[&[u8]]) {
        self.state.lock().unwrap().messages = messages.iter().map(|message| message.to_vec()).collect();
    }

    /// Lets a shell of this machine run the commands, with this directory for `/goldcrest`.
    pub fn run_commands(&self, directory: &Path) {
        self.state.lock().unwrap().machine = Some(directory.to_owned());
    }

    /// Sets the protocol of commands.
    pub fn set_protocol(&self, protocol: &'static str) {
        self.state.lock().unwrap().protocol = protocol;
    }

    /// Lets the controller try again to make the pods of a Job.
    pub fn run_again(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        let job = state.objects[path].clone();
        state.run_pods(path, &job);
    }

    /// Sets what becomes of new pods.
    pub fn set_fate(&self, fate: Fate) {
        self.state.lock().unwrap().fate = fate;
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

/// The path of the pod of this index of a job.
pub fn pod_path(namespace: &str, job: &str, index: i64) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{job}-{index}")
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn container_status(state: Value) -> Value {
    json!({"name": "job", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state})
}

/// The namespace of a path.
fn namespace_of(path: &str) -> Option<&str> {
    path.split_once("/namespaces/")?.1.split_once('/').map(|(namespace, _)| namespace)
}

/// Whether an object is of a list, of one namespace or of all.
fn is_of(list: &str, object: &str) -> bool {
    let (parent, _) = object.rsplit_once('/').unwrap();
    let everywhere = namespace_of(object).map(|namespace| parent.replacen(&format!("/namespaces/{namespace}"), "", 1));
    parent == list || everywhere.as_deref() == Some(list)
}

/// Whether an object has the labels that a query chooses.
fn is_chosen(seen: &Seen, object: &Value) -> bool {
    let query = pairs(seen.uri.query().unwrap_or_default());
    let labels = query.iter().find(|(name, _)| name == "labelSelector").map_or("", |(_, value)| value);
    let has = |term: &str| term.split_once('=').is_none_or(|(name, value)| object["metadata"]["labels"][name] == value);
    labels.split(',').all(has)
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned();
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn list(version: u64, items: &[Value]) -> Reply {
    Reply::json(&json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items}))
}

fn event(kind: &str, object: &Value) -> Vec<u8> {
    format!("{}\n", json!({"type": kind, "object": object})).into_bytes()
}

impl State {
    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["namespace"] = json!(namespace_of(path));
        object["metadata"]["name"] = json!(path.rsplit_once('/').unwrap().1);
        let kind = if self.objects.insert(path.to_owned(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        self.report(kind, path, &object);
        object
    }

    fn remove(&mut self, path: &str) -> bool {
        let Some(mut object) = self.objects.remove(path) else { return false };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.report("DELETED", path, &object);
        true
    }

    fn report(&mut self, kind: &'static str, path: &str, object: &Value) {
        self.history.push((self.version, kind, path.to_owned(), object.clone()));
        self.watches.retain(|(list, watch)| !is_of(list, path) || watch.send(event(kind, object)).is_ok());
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let path = seen.uri.path().to_owned();
        let query = seen.uri.query().unwrap_or_default();
        match (&seen.method, path.rsplit_once('/').unwrap().1) {
            (&Method::GET, "readyz") => Reply::status(200, "ok"),
            (&Method::GET, "nodes") => {
                let node = json!({"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi"}}});
                list(self.version, &[node])
            }
            (&Method::GET, "exec") => self.run(seen),
            (&Method::GET, "log") => self.log(path.trim_end_matches("/log"), query.contains("follow=true")),
            (&Method::GET, "pods" | "jobs" | "cronjobs" | "events" | "resourcequotas") if query.contains("watch=true") => self.watch(seen),
            (&Method::GET, "pods" | "jobs" | "cronjobs" | "events" | "resourcequotas" | "localqueues") => {
                let chosen = self.objects.iter().filter(|(object, value)| is_of(&path, object) && is_chosen(seen, value));
                list(self.version, &chosen.map(|(_, value)| value.clone()).collect::<Vec<_>>())
            }
            (&Method::GET, name) => match self.objects.get(&path) {
                Some(object) => Reply::json(object),
                None => refusal(404, "NotFound", &format!("{name:?} not found")),
            },
            (&Method::POST, _) => self.create(seen),
            (&Method::PATCH, _) => {
                let mut object = self.objects.get(&path).cloned().unwrap_or_else(|| json!({}));
                merge(&mut object, &seen.json());
                let object = self.put(&path, object);
                self.run_pods(&path, &object);
                Reply::json(&object)
            }
            (&Method::DELETE, _) => {
                self.remove(&path);
                self.run_pods(&path, &Value::Null);
                Reply::json(&json!({}))
            }
            _ => refusal(405, "MethodNotAllowed", "the double does not do that"),
        }
    }

    fn create(&mut self, seen: &Seen) -> Reply {
        let mut object = seen.json();
        let path = format!("{}/{}", seen.uri.path(), object["metadata"]["name"].as_str().unwrap());
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version + 1));
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        if self.objects.contains_key(&path) {
            return refusal(409, "AlreadyExists", "it already exists");
        }
        if seen.uri.query().is_none_or(|query| !query.contains("dryRun")) {
            object = self.put(&path, object);
            self.run_pods(&path, &object);
        }
        Reply::status(201, object.to_string())
    }

    /// Has a running pod for each task of a Job that is neither held nor ended.
    fn run_pods(&mut self, path: &str, job: &Value) {
        let Some((namespace, name)) = path.strip_prefix("/apis/batch/v1/namespaces/").and_then(|rest| rest.split_once("/jobs/")) else {
            return;
        };
        let spec = &job["spec"];
        let runs = job.is_object() && spec["suspend"] != true && spec["parallelism"] != 0;
        for index in 0..spec["completions"].as_i64().unwrap_or(1) {
            let path = pod_path(namespace, name, index);
            if !runs {
                self.remove(&path);
            } else if !self.objects.contains_key(&path) {
                let status = match self.fate.clone() {
                    Fate::Running => json!({
                        "phase": "Running",
                        "containerStatuses": [container_status(json!({"running": {"startedAt": "2026-01-01T00:00:01Z"}}))],
                    }),
                    Fate::Status(status) => status,
                    Fate::Refused(message) => {
                        let uid = &job["metadata"]["uid"];
                        let event = json!({"metadata": {}, "reason": "FailedCreate", "message": message, "involvedObject": {"kind": "Job", "uid": uid}});
                        self.put(&format!("/api/v1/namespaces/{namespace}/events/{name}"), event);
                        return;
                    }
                };
                let indexed = spec["completionMode"] == "Indexed";
                let mut labels = spec["template"]["metadata"]["labels"].clone();
                labels["batch.kubernetes.io/job-name"] = json!(name);
                labels["batch.kubernetes.io/controller-uid"] = job["metadata"]["uid"].clone();
                let pod = json!({
                    "metadata": {
                        "labels": labels,
                        "annotations": indexed.then(|| json!({"batch.kubernetes.io/job-completion-index": index.to_string()})),
                    },
                    "spec": {"nodeName": "n1", "containers": spec["template"]["spec"]["containers"]},
                    "status": status,
                });
                self.put(&path, pod);
            }
        }
    }

    fn watch(&mut self, seen: &Seen) -> Reply {
        let path = seen.uri.path();
        let query = pairs(seen.uri.query().unwrap());
        let from: u64 = query.iter().find(|(name, _)| name == "resourceVersion").unwrap().1.parse().unwrap();
        let (watch, events) = unbounded_channel();
        for (version, kind, object, value) in &self.history {
            if *version > from && is_of(path, object) {
                watch.send(event(kind, value)).unwrap();
            }
        }
        self.watches.push((path.to_owned(), watch));
        Reply::stream(events)
    }

    fn log(&mut self, pod: &str, follow: bool) -> Reply {
        let Some(object) = self.objects.get(pod) else { return refusal(404, "NotFound", "pods not found") };
        let is_running = object["status"]["phase"] == "Running";
        if object["status"]["phase"] == "Pending" {
            return refusal(400, "BadRequest", "container \"job\" in pod is waiting to start: ContainerCreating");
        }
        let log = self.logs.entry(pod.to_owned()).or_default();
        if !follow || !is_running {
            return Reply::status(200, log.text.clone());
        }
        let (follower, pieces) = unbounded_channel();
        follower.send(log.text.clone()).unwrap();
        log.followers.push(follower);
        Reply::stream(pieces)
    }

    /// Answers a command by WebSocket (RFC 6455): runs it, or sends the messages that were set.
    fn run(&self, seen: &Seen) -> Reply {
        let pod = self.objects.get(seen.uri.path().trim_end_matches("/exec"));
        let Some(pod) = pod else { return refusal(404, "NotFound", "pods \"a\" not found") };
        let is_running = pod["status"]["phase"] == "Running";
        let key = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", seen.header("sec-websocket-key").unwrap());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        let mut frames = Vec::new();
        for message in &self.messages {
            let length = u8::try_from(message.len()).ok().filter(|length| *length < 126).expect("short messages");
            frames.extend_from_slice(&[0x82, length]);
            frames.extend_from_slice(message);
        }
        let mut reply = Reply::status(101, frames)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", STANDARD.encode(digest))
            .header("sec-websocket-protocol", self.protocol);
        if let Some(directory) = self.machine.clone() {
            let words = pairs(seen.uri.query().unwrap()).into_iter().filter(|(name, _)| name == "command").map(|(_, word)| word);
            let words: Vec<String> = words.map(|word| word.replace("/goldcrest", directory.to_str().unwrap())).collect();
            reply.talk = Some(match is_running {
                true => Box::new(|connection| machine::run(connection, words).boxed()),
                false => Box::new(|connection| machine::refuse(connection).boxed()),
            });
        }
        reply
    }
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
