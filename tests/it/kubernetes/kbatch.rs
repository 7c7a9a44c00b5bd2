//! The API of kbatch-proxy: what its clients send, and the dictionaries that they read.

use axum::http::{Method, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use goldcrest::http::KbatchConfig;
use serde_json::{Value, json};

use super::double::ApiServer;
use super::{cluster, wait_for_sent};
use crate::api::{Answer, Api, request};
use crate::support::{PATIENCE, wait_until};

/// A job as client 0.5 sends it, for which newer Kubernetes packages add members without values.
pub fn written_job() -> Value {
    let container = json!({
        "args": null, "command": ["sh", "-c", "cat /code/words; echo $WORD"], "env": [{"name": "WORD", "value": "s3cret", "value_from": null}],
        "image": "registry.test/a:1", "name": "job", "resources": null, "working_dir": "/code",
    });
    let pod =
        json!({"containers": [container], "restart_policy": "Never", "affinity": null, "tolerations": null, "eviction_responders": null});
    json!({
        "api_version": "batch/v1", "kind": "Job", "status": null,
        "metadata": {"generate_name": "demo-", "name": null, "labels": {}, "annotations": {}, "namespace": null},
        "spec": {
            "backoff_limit": 0, "ttl_seconds_after_finished": 300, "suspend": null, "scheduling": null,
            "template": {"metadata": {"name": "demo-pod", "labels": {}, "annotations": {}}, "spec": pod},
        },
    })
}

/// The code of a job as clients send it.
pub fn written_code(archive: &[u8]) -> Value {
    let metadata = json!({"generate_name": "demo", "name": null});
    json!({"api_version": "v1", "kind": "ConfigMap", "data": null, "metadata": metadata, "binary_data": {"code": BASE64_STANDARD.encode(archive)}})
}

fn written_schedule() -> Value {
    let job = written_job();
    json!({
        "api_version": "batch/v1", "kind": "CronJob", "status": null, "metadata": job["metadata"],
        "spec": {
            "schedule": "*/5 * * * *", "starting_deadline_seconds": 300, "concurrency_policy": null, "suspend": null,
            "job_template": {"metadata": job["metadata"], "spec": job["spec"]},
        },
    })
}

/// The API over a system with the routes below `/kb`, and these further settings.
pub fn facade(server: &ApiServer, more: &Value) -> Api {
    let mut section = json!({"system": "daint", "prefix": "/kb"});
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config: KbatchConfig = serde_json::from_value(section).unwrap();
    assert_eq!(config.mistakes(), []);
    let scheduler = server.scheduler(json!({"profiles": [{"name": "small"}, {"name": "big", "max_cpus": 4}]}));
    Api::over_changed(cluster(scheduler), |state| state.kbatch = Some(config))
}

/// Sends a request as kbatch's clients do.
pub async fn call(api: &Api, user: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut request = request(method, &format!("/kb{path}"), None, body);
    request.headers_mut().insert(header::AUTHORIZATION, format!("token token-of-{user}").parse().unwrap());
    api.send(request).await
}

pub async fn get(api: &Api, path: &str) -> Answer {
    call(api, "alice", Method::GET, path, None).await
}

/// Submits the job, and gives its name.
pub async fn submit(api: &Api, body: Value) -> String {
    let answer = call(api, "alice", Method::POST, "/jobs/", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.everything());
    answer.json()["metadata"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_job_is_submitted_listed_shown_and_deleted() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({}));
    let hello = api.get("/kb/").await;
    assert_eq!((hello.status, hello.json()), (200, json!({"message": "kbatch"})));
    assert_eq!(get(&api, "/authorized").await.json()["name"], "alice");

    let answer = call(&api, "alice", Method::POST, "/jobs/", Some(json!({"job": written_job(), "code": written_code(b"PK-code")}))).await;
    assert_eq!(answer.status, 200, "{}", answer.everything());
    let job = answer.json();
    let name = job["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("demo-"), "{name}");
    assert_eq!(job["metadata"]["creation_timestamp"], "2026-01-01T00:00:00+00:00");
    assert_eq!(
        (&job["status"]["active"], &job["status"]["succeeded"], &job["spec"]["managed_by"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["command"][0], &container["working_dir"]), (&json!("sh"), &json!("/code")));
    assert!(!job.to_string().contains("s3cret"), "the value of a variable is in the job");

    let secret = server.object(&format!("/api/v1/namespaces/goldcrest-alice/secrets/{name}")).unwrap();
    assert_eq!(secret["data"]["env.WORD"], BASE64_STANDARD.encode("s3cret"));
    assert_eq!(secret["data"]["code"], BASE64_STANDARD.encode("PK-code"));
    assert_eq!(secret["metadata"]["ownerReferences"][0]["name"], name);
    let stored = server.object(&format!("/apis/batch/v1/namespaces/goldcrest-alice/jobs/{name}")).unwrap();
    let unpack = &stored["spec"]["template"]["spec"]["initContainers"][0];
    assert_eq!((&unpack["image"], &unpack["command"][0]), (&json!("docker.io/library/busybox:stable"), &json!("unzip")));

    assert_eq!(get(&api, &format!("/jobs/{name}")).await.json()["metadata"]["name"], name);
    let list = get(&api, "/jobs/").await.json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len(), &list["items"][0]["kind"]), (&json!("JobList"), 1, &Value::Null));
    let jobs = api.get("/compute/daint/jobs").await.json();
    assert_eq!(jobs["jobs"][0]["jobId"], name, "the other operations have the same job");

    let deleted = call(&api, "alice", Method::DELETE, &format!("/jobs/{name}"), None).await;
    assert_eq!((deleted.status, &deleted.json()["status"]), (200, &json!("Success")));
    assert_eq!(get(&api, "/jobs/").await.json()["items"], json!([]));
    let gone = get(&api, &format!("/jobs/{name}")).await;
    assert_eq!((gone.status, gone.json()), (404, json!({"detail": format!("jobs.batch \"{name}\" not found")})));
    assert_eq!(gone.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn pods_are_listed_and_their_output_keeps_its_lines() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({}));
    let name = submit(&api, json!({"job": written_job()})).await;
    submit(&api, json!({"job": written_job()})).await;
    wait_until(PATIENCE, async || get(&api, "/pods/?job_name=").await.json()["items"].as_array().unwrap().len() == 2).await;
    let pods = get(&api, &format!("/pods/?job_name={name}")).await.json();
    assert_eq!((&pods["kind"], pods["items"].as_array().unwrap().len()), (&json!("PodList"), 1));
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(pods["items"][0]["status"]["phase"], "Running");
    assert_eq!(get(&api, &format!("/pods/{pod}")).await.json()["metadata"]["name"], pod);
    assert_eq!(get(&api, "/pods/?job_name=none").await.json()["items"], json!([]));

    server.write("goldcrest-alice", &name, "line 0\nline 1\n");
    // Older clients ask for a pod where newer ones ask for a job.
    for path in [format!("/jobs/logs/{name}/"), format!("/jobs/logs/{pod}/"), format!("/pods/logs/{pod}/")] {
        let log = get(&api, &path).await;
        assert_eq!((log.status, log.body.as_slice()), (200, &b"line 0\nline 1\n"[..]), "{path}");
        assert_eq!(log.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let followed = async { get(&api, &format!("/jobs/logs/{name}/?stream=true")).await };
    let writer = async {
        wait_for_sent(&server, "/log", 4).await;
        server.write("goldcrest-alice", &name, "line 2\n");
        server.finish("goldcrest-alice", &name, 0);
    };
    let (log, ()) = tokio::join!(followed, writer);
    assert_eq!((log.status, log.body.as_slice()), (200, &b"line 0\nline 1\nline 2\n"[..]));

    let none = get(&api, "/jobs/logs/none/").await;
    assert_eq!((none.status, none.json()), (404, json!({"detail": "No pods found for job none"})));
    let none = get(&api, "/pods/logs/none/").await;
    assert_eq!((none.status, none.json()), (404, json!({"detail": "pods \"none\" not found"})));
}

#[tokio::test]
async fn a_schedule_is_submitted_listed_shown_and_deleted() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({}));
    let body = json!({"job": written_schedule(), "code": written_code(b"PK")});
    let answer = call(&api, "alice", Method::POST, "/cronjobs/", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.everything());
    let name = answer.json()["metadata"]["name"].as_str().unwrap().to_owned();
    let list = get(&api, "/cronjobs/").await.json();
    assert_eq!((&list["kind"], &list["items"][0]["spec"]["schedule"]), (&json!("CronJobList"), &json!("*/5 * * * *")));
    let shown = get(&api, &format!("/cronjobs/{name}")).await.json();
    assert_eq!((&shown["metadata"]["name"], &shown["spec"]["time_zone"]), (&json!(name), &Value::Null));
    assert_eq!(call(&api, "alice", Method::DELETE, &format!("/cronjobs/{name}"), None).await.status, 200);
    let gone = get(&api, &format!("/cronjobs/{name}")).await;
    assert_eq!((gone.status, gone.json()), (404, json!({"detail": format!("cronjobs.batch \"{name}\" not found")})));
}

#[tokio::test]
async fn a_profile_leads_to_its_partition_and_size_and_the_site_adds_its_variables() {
    let server = ApiServer::start(|_| None).await;
    let profiles = json!({"large": {"partition": "big", "resources": {"limits": {"cpu": "2", "memory": "512Mi"}}}});
    let api = facade(&server, &json!({"profiles": profiles, "extra_env": {"SITE": "here"}, "pass_token": true}));
    // As clients do, without a token.
    let profile = api.send(request(Method::GET, "/kb/profiles/", None, None)).await.json()["large"].take();
    let mut job = written_job();
    let pod = &mut job["spec"]["template"]["spec"];
    pod["tolerations"] = profile["tolerations"].clone();
    pod["containers"][0]["resources"] = profile["resources"].clone();
    let name = submit(&api, json!({"job": job})).await;
    let stored = server.object(&format!("/apis/batch/v1/namespaces/goldcrest-alice/jobs/{name}")).unwrap();
    assert_eq!(stored["metadata"]["annotations"]["goldcrest/profile"], "big");
    let container = &stored["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"cpu": "2", "memory": "512Mi"}));
    assert_eq!(stored["spec"]["template"]["spec"].get("tolerations"), None, "{stored}");
    let secret = server.object(&format!("/api/v1/namespaces/goldcrest-alice/secrets/{name}")).unwrap();
    for (variable, value) in
        [("SITE", "here"), ("JUPYTER_IMAGE", "registry.test/a:1"), ("JUPYTERHUB_API_TOKEN", "test-token"), ("WORD", "s3cret")]
    {
        assert_eq!(secret["data"][format!("env.{variable}")], BASE64_STANDARD.encode(value), "{variable}");
    }
}
