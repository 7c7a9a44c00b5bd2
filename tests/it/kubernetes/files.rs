//! The files of users in volumes: whose pod works on them, and what is said where there is none. What each operation does is tried over the same
//! double in `tests/it/files`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use futures::future::join_all;
use goldcrest::cluster::{Capabilities, Cluster, FileCapability};
use goldcrest::domain::{ClusterHealth, JobQuery, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{self, Entries, FileAccess, FilesystemError, ListOptions, Settings};
use goldcrest::scheduler::Scheduler;
use goldcrest::scheduler::kubernetes::Kubernetes;
use goldcrest::ssh::TransportError;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::double::{ApiServer, Fate, refusal};
use super::{job, without_api_server};
use crate::api::{Api, cluster_config};
use crate::support::service::{Reply, Seen};
use crate::support::{PATIENCE, principal};

const JOB: &str = "/apis/batch/v1/namespaces/goldcrest-jane/jobs/goldcrest-files";

/// An API server, a folder of this machine as everybody's volume, and the scheduler.
struct Volume {
    server: ApiServer,
    folder: tempfile::TempDir,
    _own: tempfile::TempDir,
    scheduler: Arc<Kubernetes>,
}

impl Volume {
    async fn new(files: Value, before: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let server = ApiServer::start(before).await;
        let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        server.run_commands(own.path());
        let mut section = json!({"image": "registry.test/files:1", "mount_path": folder.path()});
        section.as_object_mut().unwrap().extend(files.as_object().unwrap().clone());
        let scheduler = Arc::new(server.scheduler(json!({"files": section})));
        Self { server, folder, _own: own, scheduler }
    }

    async fn plain() -> Self {
        Self::new(json!({}), |_| None).await
    }

    fn files(&self) -> Arc<filesystem::CommandFiles> {
        Arc::new(filesystem::CommandFiles::new(self.scheduler.files().unwrap(), Settings::default()))
    }

    fn path(&self, name: &str) -> RemotePath {
        RemotePath::from_text(self.folder.path().join(name).to_str().unwrap()).unwrap()
    }

    async fn list(&self, user: &str) -> Result<usize, FilesystemError> {
        self.files().list(&principal(user), &self.path(""), ListOptions::default()).await.map(|entries| entries.len())
    }

    fn jobs_made(&self) -> usize {
        self.server.sent(&Method::POST, "/jobs").len()
    }

    /// The API over the system.
    fn api(&self, has_files: bool) -> Api {
        let mut config = cluster_config();
        config.ssh = None;
        config.file_systems.truncate(1);
        config.file_systems[0].path = self.path("");
        let files = self.scheduler.files().filter(|_| has_files).map(|transport| FileCapability {
            operations: filesystem::ClusterFiles::open(Arc::clone(&transport), FileAccess::Exec, Settings::default()),
            transport,
        });
        let (_, health) = watch::channel(ClusterHealth::default());
        let scheduler: Arc<dyn Scheduler> = self.scheduler.clone();
        Api::over(Cluster::new(config, Capabilities { compute: Some(scheduler), files, objects: None }, health))
    }
}

fn reason_of(error: &FilesystemError) -> &str {
    match error {
        FilesystemError::Transport(TransportError::Unreachable { reason, .. }) => reason,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn all_requests_of_a_user_share_one_pod_in_the_users_own_namespace() {
    let volume = Volume::plain().await;
    std::fs::write(volume.folder.path().join("it's secret"), "x").unwrap();
    let (files, path) = (volume.files(), volume.path("it's secret"));
    let (jane, john) = (principal("jane"), principal("john"));
    let asked = (0..12).map(|at| files.stat(if at % 3 == 0 { &john } else { &jane }, &path, true));
    assert!(join_all(asked).await.into_iter().all(|found| found.unwrap().size == 1));
    assert_eq!(volume.jobs_made(), 2);
    for seen in volume.server.sent(&Method::GET, "/exec") {
        let uri = seen.uri.to_string();
        assert!(uri.contains("/namespaces/goldcrest-jane/pods/") || uri.contains("/namespaces/goldcrest-john/pods/"), "{uri}");
        assert!(!uri.contains("secret"), "the API server logs this: {uri}");
    }
    let spec = volume.server.object(JOB).unwrap()["spec"]["template"]["spec"].clone();
    assert_eq!(spec["volumes"][0]["persistentVolumeClaim"]["claimName"], "home", "{spec}");
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], volume.folder.path().to_str().unwrap());
    assert_eq!((&spec["automountServiceAccountToken"], &spec["securityContext"]["runAsUser"]), (&json!(false), &json!(1000)));
    assert_eq!(volume.scheduler.jobs(&jane, &JobQuery::default()).await.unwrap().value, [], "it is no job of the user's");
    assert!(volume.server.sent(&Method::POST, "/persistentvolumeclaims").is_empty(), "the site makes the volumes");
}

#[tokio::test]
async fn jobs_have_the_volume_too() {
    let volume = Volume::plain().await;
    let id = volume.scheduler.submit(&principal("jane"), &job()).await.unwrap().value;
    let spec =
        volume.server.object(&format!("/apis/batch/v1/namespaces/goldcrest-jane/jobs/{id}")).unwrap()["spec"]["template"]["spec"].clone();
    assert_eq!(spec["volumes"][1]["persistentVolumeClaim"]["claimName"], "home", "{spec}");
    assert_eq!(spec["containers"][0]["volumeMounts"][1]["mountPath"], volume.folder.path().to_str().unwrap());
}

#[tokio::test]
async fn a_pod_that_has_ended_is_made_again() {
    let volume = Volume::plain().await;
    volume.list("jane").await.unwrap();
    // Its Job is gone, with the pod.
    let files = volume.files();
    let list = async || files.list(&principal("jane"), &volume.path(""), ListOptions::default()).await;
    list().await.unwrap();
    volume.server.remove("/api/v1/namespaces/goldcrest-jane/pods/goldcrest-files-0");
    volume.server.remove(JOB);
    list().await.unwrap();
    assert_eq!(volume.jobs_made(), 2);
    // Its container has ended, and the Job will go later.
    volume.server.finish("goldcrest-jane", "goldcrest-files", 0);
    let mut job = volume.server.object(JOB).unwrap();
    job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    volume.server.put(JOB, job);
    list().await.unwrap();
    assert_eq!(volume.jobs_made(), 3);
}

#[tokio::test]
async fn what_keeps_the_pod_from_running_is_said_at_once_and_tried_anew() {
    let waiting = |reason: &str, message: &str| {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        let container = json!({"name": "job", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        Fate::Status(json!({"phase": "Pending", "containerStatuses": [container]}))
    };
    let unplaced = |message: &str| {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        Fate::Status(json!({"phase": "Pending", "conditions": [condition]}))
    };
    let quota = "pods \"goldcrest-files-\" is forbidden: exceeded quota: jobs, requested: pods=1, used: pods=20, limited: pods=20";
    for (fate, reason) in [
        (waiting("ErrImagePull", "registry.test/files:1: not found"), "registry.test/files:1: not found"),
        (waiting("InvalidImageName", "couldn't parse image name"), "InvalidImageName"),
        (unplaced("persistentvolumeclaim \"home\" not found"), "persistentvolumeclaim \"home\" not found"),
        (Fate::Refused(quota), "exceeded quota: jobs"),
    ] {
        let volume = Volume::plain().await;
        volume.server.set_fate(fate);
        let begun = Instant::now();
        let error = volume.list("jane").await.unwrap_err();
        assert!(reason_of(&error).contains(reason), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(7), "{error:?}");
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::DependencyFailed, Some(false)), "{error}");
        assert!(volume.server.object(JOB).is_none());
        volume.server.set_fate(Fate::Running);
        assert_eq!(volume.list("jane").await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_new_namespace_that_lacks_its_account_for_a_moment_is_waited_for() {
    let volume = Volume::plain().await;
    let message = "pods is forbidden: error looking up service account goldcrest-jane/default: serviceaccount \"default\" not found";
    volume.server.set_fate(Fate::Refused(message));
    let later = async {
        crate::support::wait_until(PATIENCE, async || volume.server.sent(&Method::GET, "/events").len() > 1).await;
        volume.server.set_fate(Fate::Running);
        volume.server.run_again(JOB);
    };
    let (listed, ()) = tokio::join!(volume.list("jane"), later);
    assert_eq!((listed.unwrap(), volume.jobs_made()), (0, 1));
}

#[tokio::test]
async fn an_api_server_that_fails_is_no_missing_file() {
    for (code, reason, kind) in [
        (401, "Unauthorized", Kind::Unavailable),
        (403, "Forbidden", Kind::Forbidden),
        (404, "NotFound", Kind::DependencyFailed),
        (429, "TooManyRequests", Kind::Unavailable),
        (500, "InternalError", Kind::Unavailable),
        (503, "ServiceUnavailable", Kind::Unavailable),
    ] {
        // A Job that is not there is made.
        let ends = ["", "/goldcrest-files", "/pods", "/exec"].into_iter().filter(|end| code != 404 || *end != "/goldcrest-files");
        for end in ends {
            let broken = move |seen: &Seen| {
                let path = seen.uri.path();
                (path.ends_with(end) && path != "/readyz").then(|| refusal(code, reason, "No such file or directory"))
            };
            let volume = Volume::new(json!({}), broken).await;
            let error = volume.list("jane").await.unwrap_err();
            assert!(!matches!(error, FilesystemError::NotFound(_)), "{code} at {end}: {error:?}");
            assert!(error.kind() == kind || code == 404, "{code} at {end}: {error:?}");
            assert_eq!(error.maybe_effected(), Some(false), "{code} at {end}: {error:?}");
        }
    }
    let (kubeconfig, _) = without_api_server();
    let section = json!({"kubeconfig_file": kubeconfig.path(), "files": {"image": "registry.test/files:1"}});
    let gone = Kubernetes::new(&serde_json::from_value(section).unwrap(), Duration::from_secs(5)).unwrap();
    let files = filesystem::CommandFiles::new(gone.files().unwrap(), Settings::default());
    let error = files.stat(&principal("jane"), &RemotePath::from_text("/home/a").unwrap(), true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_command_whose_connection_breaks_has_perhaps_done_something() {
    let server = ApiServer::start(|_| None).await;
    server.answer_commands(&[b"\x01begun\n", b"\x03{\"status\":\"Failure\",\"message\":\"error dialing backend\"}"]);
    let scheduler = server.scheduler(json!({"files": {"image": "registry.test/files:1"}}));
    let files = filesystem::CommandFiles::new(scheduler.files().unwrap(), Settings::default());
    let error = files.stat(&principal("jane"), &RemotePath::from_text("/home/a").unwrap(), true).await.unwrap_err();
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::DependencyFailed, Some(true)), "{error:?}");
}

#[tokio::test]
async fn an_api_server_that_cannot_end_an_input_is_named() {
    let volume = Volume::plain().await;
    volume.server.set_protocol("v4.channel.k8s.io");
    let error = volume.list("jane").await.unwrap_err();
    assert!(error.kind() == Kind::Unavailable && reason_of(&error).contains("1.30"), "{error:?}");
}

#[tokio::test]
async fn a_volume_is_claimed_once_where_the_site_says_how_large_it_is() {
    let volume = Volume::new(json!({"size": "2Gi", "storage_class": "shared"}), |_| None).await;
    volume.list("jane").await.unwrap();
    let path = "/api/v1/namespaces/goldcrest-jane/persistentvolumeclaims/home";
    let claim = volume.server.object(path).unwrap();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "2Gi", "{claim}");
    assert_eq!((&claim["spec"]["storageClassName"], &claim["spec"]["accessModes"]), (&json!("shared"), &json!(["ReadWriteMany"])));
    volume.server.remove(JOB);
    volume.server.remove("/api/v1/namespaces/goldcrest-jane/pods/goldcrest-files-0");
    volume.list("jane").await.unwrap();
    assert_eq!((volume.jobs_made(), volume.server.sent(&Method::POST, "/persistentvolumeclaims").len()), (2, 1));
}

#[tokio::test]
async fn the_api_works_on_the_files_of_its_caller() {
    let volume = Volume::plain().await;
    std::fs::write(volume.folder.path().join("a"), "content").unwrap();
    let path = volume.folder.path().to_str().unwrap().to_owned();
    let api = volume.api(true);
    let listed = api.get(&format!("/filesystem/daint/ops/ls?path={path}")).await;
    assert_eq!((listed.status, &listed.json()["output"][0]["name"]), (200, &json!("a")), "{}", listed.everything());
    let missing = api.get(&format!("/filesystem/daint/ops/stat?path={path}/none")).await;
    assert!(
        missing.status == 404 && missing.json()["message"].as_str().unwrap().contains("No such file or directory"),
        "{}",
        missing.everything()
    );
    let content = api.get(&format!("/filesystem/daint/ops/download?path={path}/a")).await;
    assert_eq!((content.status, content.body.as_ref()), (200, &b"content"[..]), "{}", content.everything());
    let outside = api.get("/filesystem/daint/ops/ls?path=/etc").await;
    assert_eq!(outside.status, 400, "{}", outside.everything());
    let body = json!({"sourcePath": format!("{path}/a"), "targetPath": format!("{path}/b")});
    let transfer = api.call(Method::POST, "/filesystem/daint/transfer/cp", Some(body)).await;
    assert!(transfer.status == 501 && transfer.everything().contains("keeps the output of jobs itself"), "{}", transfer.everything());
    let command = api.call(Method::POST, "/compute/daint/commands", Some(json!({"command": ["hostname"]}))).await;
    assert_eq!(command.status, 501, "{}", command.everything());
    assert_eq!(volume.jobs_made(), 1);
}

#[tokio::test]
async fn without_volumes_there_are_no_files() {
    let volume = Volume::plain().await;
    let api = volume.api(false);
    let listed = api.get("/filesystem/daint/ops/ls?path=/home").await;
    assert!(listed.status == 501 && listed.everything().contains("nor volumes of Kubernetes"), "{}", listed.everything());
}
