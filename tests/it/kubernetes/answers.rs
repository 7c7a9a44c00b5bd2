//! What callers are answered over HTTP: the reason of the API server with the right status.

use axum::http::Method;
use serde_json::{Value, json};

use super::api;
use super::double::{ApiServer, refusal};
use crate::support::service::Seen;

fn submission(options: &Value) -> Option<Value> {
    let mut job = json!({"name": "sim", "workingDirectory": "/work", "script": "#!/bin/sh\ntrue\n"});
    job.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    Some(json!({"job": job}))
}

#[tokio::test]
async fn a_job_that_no_quota_can_hold_is_forbidden_with_the_usage_and_the_limit() {
    let server = ApiServer::start(|_| None).await;
    let quota = json!({"metadata": {}, "spec": {"hard": {"requests.cpu": "2"}}, "status": {"used": {"requests.cpu": "1"}}});
    server.put("/api/v1/namespaces/goldcrest-alice/resourcequotas/jobs", quota);
    let api = api(server.scheduler(json!({})));
    let answer = api.call(Method::POST, "/compute/daint/jobs", submission(&json!({"cpusPerTask": 4}))).await;
    assert_eq!(answer.status, 403, "{}", answer.everything());
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("requested: requests.cpu=4, used: requests.cpu=1, limited: requests.cpu=2"), "{detail}");
    assert!(server.sent(&Method::POST, "/jobs").is_empty());
    let submit = async |cpus: u32| api.call(Method::POST, "/compute/daint/jobs", submission(&json!({"cpusPerTask": cpus}))).await.status;
    assert_eq!(submit(2).await, 201);
    // A quota that allows the job is read once, and one that does not each time: the site may have raised it.
    let read = || server.sent(&Method::GET, "/resourcequotas").len();
    let before = read();
    assert_eq!((submit(2).await, submit(1).await, read()), (201, 201, before));
    server.put("/api/v1/namespaces/goldcrest-alice/resourcequotas/jobs", json!({"metadata": {}, "spec": {"hard": {"requests.cpu": "8"}}}));
    assert_eq!((submit(4).await, read()), (201, before + 1));
}

#[tokio::test]
async fn an_api_server_that_is_away_is_503_for_every_read_and_never_an_empty_list() {
    let (_kubeconfig, scheduler) = super::without_api_server();
    let api = api(scheduler);
    for path in [
        "/compute/daint/jobs",
        "/compute/daint/jobs/job-1",
        "/compute/daint/jobs/job-1/metadata",
        "/compute/daint/jobs/job-1/logs",
        "/compute/daint/acct",
        "/compute/daint/schedules",
        "/compute/daint/schedules/nightly-1",
        "/status/daint/nodes",
        "/status/daint/partitions",
        "/status/daint/limits",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.everything());
    }
    let answer = api.call(Method::POST, "/compute/daint/jobs", submission(&json!({}))).await;
    assert_eq!((answer.status, &answer.json()["maybeEffected"]), (503, &json!(false)), "{}", answer.everything());
}

#[tokio::test]
async fn an_api_server_that_begins_and_forbids_everything_is_503_and_one_that_is_ready_403() {
    for (is_ready, status) in [(false, 503), (true, 403)] {
        let forbids = move |seen: &Seen| {
            let is_answered = is_ready && seen.uri.path().ends_with("readyz");
            (!is_answered).then(|| refusal(403, "Forbidden", "pods is forbidden: User \"goldcrest\" cannot list resource \"pods\""))
        };
        let server = ApiServer::start(forbids).await;
        let answer = api(server.scheduler(json!({}))).get("/compute/daint/jobs").await;
        assert_eq!(answer.status, status, "{}", answer.everything());
    }
}

#[tokio::test]
async fn the_words_of_the_api_server_are_in_the_detail() {
    let invalid = "Job.batch \"a\" is invalid: spec.template.spec.containers[0].image: Required value";
    let refuses =
        move |seen: &Seen| (seen.method == Method::POST && seen.uri.path().ends_with("/jobs")).then(|| refusal(422, "Invalid", invalid));
    let server = ApiServer::start(refuses).await;
    let answer = api(server.scheduler(json!({}))).call(Method::POST, "/compute/daint/jobs", submission(&json!({}))).await;
    assert_eq!((answer.status, answer.json()["detail"].as_str()), (400, Some(invalid)));
}

#[tokio::test]
async fn profiles_are_listed_and_are_partitions() {
    let server = ApiServer::start(|_| None).await;
    let section = json!({"profiles": [
        {"name": "small", "cpus": 1, "memory": "512M", "max_cpus": 2},
        {"name": "gpu", "cpus": 4, "memory": "8G", "max_gpus": 2, "image": "registry.test/gpu:1", "node_selector": {"kind": "gpu"}, "time_limit": 0},
    ]});
    let api = api(server.scheduler(section));
    let profiles = api.get("/compute/daint/profiles").await.json();
    let expected = json!({"profiles": [
        {
            "name": "small", "isDefault": true, "image": "registry.test/a:1", "cpus": 1, "maxCpus": 2, "memory": "512M", "maxGpus": 0,
            "timeLimit": 86400, "nodeLabels": {},
        },
        {
            "name": "gpu", "isDefault": false, "image": "registry.test/gpu:1", "cpus": 4, "memory": "8192M", "maxGpus": 2,
            "nodeLabels": {"kind": "gpu"},
        },
    ]});
    assert_eq!(profiles, expected);
    let partitions = api.get("/status/daint/partitions").await.json();
    assert_eq!((&partitions["partitions"][0]["name"], &partitions["partitions"][1]["name"]), (&json!("small"), &json!("gpu")));
}

#[tokio::test]
async fn a_schedule_is_created_shown_and_removed_over_http() {
    let server = ApiServer::start(|_| None).await;
    let api = api(server.scheduler(json!({})));
    let body =
        json!({"name": "nightly", "cron": "0 3 * * *", "overlap": "skip", "job": {"workingDirectory": "/", "script": "#!/bin/sh\ndate\n"}});
    let answer = api.call(Method::POST, "/compute/daint/schedules", Some(body.clone())).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    let id = answer.json()["scheduleId"].as_str().unwrap().to_owned();
    let path = format!("/compute/daint/schedules/{id}");
    let shown = api.get(&path).await.json()["schedule"].clone();
    assert_eq!(
        (&shown["name"], &shown["cron"], &shown["overlap"], &shown["activeJobs"]),
        (&json!("nightly"), &json!("0 3 * * *"), &json!("skip"), &json!([]))
    );
    assert_eq!(api.get("/compute/daint/schedules").await.json()["schedules"], json!([shown]));
    assert_eq!(api.call(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(api.get(&path).await.status, 404);
    for (name, value) in [("cron", json!("")), ("cron", json!("a\nb")), ("timeZone", json!("x\u{7}")), ("overlap", json!("maybe"))] {
        let mut wrong = body.clone();
        wrong[name] = value.clone();
        let answer = api.call(Method::POST, "/compute/daint/schedules", Some(wrong)).await;
        assert_eq!(answer.status, 400, "{name} {value}: {}", answer.everything());
        assert_eq!(answer.json()["data"]["fields"][0]["name"], *name, "{value}");
    }
}
