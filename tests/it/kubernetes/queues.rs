//! Queues of Kueue: partitions of their user, in which jobs wait until Kueue lets them begin.

use axum::http::Method;
use serde_json::{Value, json};

use super::double::{ApiServer, refusal};
use super::{api, wait_for_sent};
use crate::api::{Answer, Api, request};
use crate::support::service::{Reply, Seen};
use crate::support::{PATIENCE, wait_until};

const NAMESPACE: &str = "/api/v1/namespaces/goldcrest-alice";
const QUEUES: &str = "/apis/kueue.x-k8s.io/v1beta2/namespaces/goldcrest-alice/localqueues";

/// An API server where alice has a namespace with a queue, and a system of it whose site has Kueue.
async fn with_queue() -> (ApiServer, Api) {
    let server = ApiServer::start(|_| None).await;
    server.put(NAMESPACE, json!({"metadata": {"annotations": {"goldcrest/user": "alice"}}}));
    let status = json!({"pendingWorkloads": 0, "conditions": [{"type": "Active", "status": "True"}]});
    server.put(&format!("{QUEUES}/team"), json!({"metadata": {}, "spec": {"clusterQueue": "all"}, "status": status}));
    server.put(&format!("{QUEUES}/closed"), json!({"metadata": {}, "spec": {"clusterQueue": "all", "stopPolicy": "Hold"}}));
    let scheduler = server.scheduler(json!({"kueue": true, "profiles": [{"name": "small", "max_cpus": 2}, {"name": "closed"}]}));
    let api = api(scheduler);
    for kind in ["/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/events"] {
        wait_for_sent(&server, kind, 2).await;
    }
    (server, api)
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn described(more: Value) -> Value {
    let mut job = json!({"name": "sim", "workingDirectory": "/work", "script": "#!/bin/sh\ntrue\n", "partition": "team"});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"job": job})
}

async fn submit(api: &Api, more: Value) -> Answer {
    api.call(Method::POST, "/compute/daint/jobs", Some(described(more))).await
}

async fn shown(api: &Api, id: &str) -> Value {
    api.get(&format!("/compute/daint/jobs/{id}")).await.json()["jobs"][0].clone()
}

fn job_path(id: &str) -> String {
    format!("/apis/batch/v1/namespaces/goldcrest-alice/jobs/{id}")
}

/// Lets a job begin, as Kueue does when its queue has room.
fn admit(server: &ApiServer, id: &str) {
    let mut job = server.object(&job_path(id)).unwrap();
    job["spec"]["suspend"] = json!(false);
    server.put(&job_path(id), job);
    server.run_again(&job_path(id));
}

#[tokio::test]
async fn a_user_has_the_queues_of_their_namespace_as_partitions_and_another_does_not() {
    let (_server, api) = with_queue().await;
    let of = async |user: &str| {
        let answer = api.send(request(Method::GET, "/status/daint/partitions", Some(&format!("token-of-{user}")), None)).await;
        assert_eq!(answer.status, 200, "{}", answer.everything());
        answer.json()["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["name"].clone(), one["partition"].clone()))
            .collect::<Vec<_>>()
    };
    let names = |found: &[(Value, Value)]| found.iter().map(|(name, _)| name.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    // A profile keeps its name.
    assert_eq!(names(&of("alice").await), ["small", "closed", "team"]);
    assert_eq!(names(&of("bob").await), ["small", "closed"]);
    let limits = api.get("/status/daint/limits").await.json();
    let team = limits["partitions"].as_array().unwrap().iter().find(|one| one["name"] == "team").cloned();
    assert_eq!(team.unwrap()["maxCpusPerNode"], 2, "{limits}");
}

#[tokio::test]
async fn a_job_of_a_queue_waits_until_kueue_lets_it_begin() {
    let (server, api) = with_queue().await;
    let id = submit(&api, json!({"cpusPerTask": 2})).await.json()["jobId"].as_str().unwrap().to_owned();
    let job = server.object(&job_path(&id)).unwrap();
    assert_eq!((&job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], &job["spec"]["suspend"]), (&json!("team"), &json!(true)), "{job}");
    assert_eq!(
        job["spec"]["template"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"],
        Value::Null,
        "its pods are no jobs of their own"
    );
    let waiting = shown(&api, &id).await;
    assert_eq!((&waiting["status"]["state"], &waiting["partition"]), (&json!("PENDING"), &json!("team")), "{waiting}");
    assert!(waiting["status"]["stateReason"].as_str().unwrap().contains("waits in the queue team"), "{waiting}");
    for change in ["hold", "release"] {
        let answer = api.call(Method::PUT, &format!("/compute/daint/jobs/{id}/{change}"), Some(json!({}))).await;
        assert!(answer.status == 400 && answer.everything().contains("by Kueue alone"), "{change}: {}", answer.everything());
    }
    admit(&server, &id);
    wait_until(PATIENCE, async || shown(&api, &id).await["status"]["state"] == "RUNNING").await;
    let validated = api.call(Method::POST, "/compute/daint/jobs/validate", Some(described(json!({})))).await;
    assert_eq!((validated.status, &validated.json()["partition"]), (200, &json!("team")), "{}", validated.everything());
}

#[tokio::test]
async fn a_job_that_waits_is_cancelled_by_its_removal_and_one_that_runs_by_its_time() {
    let (server, api) = with_queue().await;
    let cancel = async |id: &str| api.call(Method::DELETE, &format!("/compute/daint/jobs/{id}"), None).await.status;
    let waiting = submit(&api, json!({})).await.json()["jobId"].as_str().unwrap().to_owned();
    assert_eq!(cancel(&waiting).await, 204);
    assert_eq!(server.object(&job_path(&waiting)), None, "Kueue would begin it");
    let job = shown(&api, &waiting).await;
    assert_eq!((&job["status"]["state"], &job["killRequestUser"]), (&json!("CANCELLED"), &json!("alice")), "{job}");

    let running = submit(&api, json!({})).await.json()["jobId"].as_str().unwrap().to_owned();
    admit(&server, &running);
    wait_until(PATIENCE, async || shown(&api, &running).await["status"]["state"] == "RUNNING").await;
    assert_eq!(cancel(&running).await, 204);
    let spec = server.object(&job_path(&running)).unwrap()["spec"].clone();
    // Kueue takes a Job with another number of pods for another one.
    assert_eq!((&spec["activeDeadlineSeconds"], &spec["parallelism"], &spec["suspend"]), (&json!(1), &json!(1), &json!(false)), "{spec}");
    assert_eq!(shown(&api, &running).await["status"]["state"], "CANCELLED");
}

#[tokio::test]
async fn what_a_queue_cannot_do_is_refused_and_nothing_is_made() {
    let (server, api) = with_queue().await;
    for (more, words) in [
        (json!({"partition": "none"}), "choose one of small, closed, team"),
        (json!({"hold": true}), "by Kueue alone"),
        (json!({"cpusPerTask": 3}), "at most 2"),
    ] {
        let answer = submit(&api, more).await;
        assert!(answer.status == 400 && answer.everything().contains(words), "{}", answer.everything());
    }
    assert!(!server.paths().iter().any(|path| path.contains("/jobs/")), "{:?}", server.paths());
}

#[tokio::test]
async fn a_queue_that_the_site_gives_to_each_user_takes_their_first_job() {
    let server = ApiServer::start(|_| None).await;
    let queue = json!({
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "team"}, "spec": {"clusterQueue": "all"},
    });
    let api = api(server.scheduler(json!({"kueue": true, "namespace_manifests": [queue]})));
    let schedule = json!({"name": "nightly", "cron": "0 3 * * *", "job": described(json!({}))["job"]});
    for (partition, status) in [("team", 200), ("other", 400)] {
        let body = described(json!({"partition": partition}));
        let answer = api.call(Method::POST, "/compute/daint/jobs/validate", Some(body)).await;
        assert_eq!(answer.status, status, "{partition}: {}", answer.everything());
    }
    assert!(server.paths().is_empty(), "{:?}", server.paths());
    let answer = submit(&api, json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    assert_eq!(server.object(&format!("{QUEUES}/team")).unwrap()["spec"]["clusterQueue"], "all");
    let answer = api.call(Method::POST, "/compute/daint/schedules", Some(schedule)).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    let path = server.paths().into_iter().find(|path| path.contains("/cronjobs/")).unwrap();
    let template = server.object(&path).unwrap()["spec"]["jobTemplate"].clone();
    assert_eq!(
        (&template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], &template["spec"]["suspend"]),
        (&json!("team"), &json!(true)),
        "{template}"
    );
}

#[tokio::test]
async fn a_cluster_without_kueue_has_no_queues_and_one_that_fails_is_not_without() {
    let is_of_kueue = |seen: &Seen| seen.uri.path().ends_with("/localqueues");
    for (reply, status) in [
        ((|| Reply::status(404, "404 page not found")) as fn() -> Reply, 200),
        (|| refusal(503, "ServiceUnavailable", "no leader"), 503),
        (|| refusal(403, "Forbidden", "localqueues is forbidden"), 403),
    ] {
        let server = ApiServer::start(move |seen| is_of_kueue(seen).then(reply)).await;
        server.put(NAMESPACE, json!({"metadata": {"annotations": {"goldcrest/user": "alice"}}}));
        let api = api(server.scheduler(json!({"kueue": true})));
        let answer = api.get("/status/daint/partitions").await;
        assert_eq!(answer.status, status, "{}", answer.everything());
    }
    // Without the setting nobody is asked.
    let server = ApiServer::start(|_| None).await;
    let api = api(server.scheduler(json!({})));
    assert_eq!(api.get("/status/daint/partitions").await.status, 200);
    assert_eq!(submit(&api, json!({})).await.status, 400);
    assert!(server.sent(&Method::GET, "/localqueues").is_empty());
}
