//! Jobs on a real Kubernetes node, with real pods.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::environment::{Live, wait_for};

pub const SYSTEM: &str = "kubernetes";

/// What a job is in when nothing more happens to it.
pub const ENDED: [&str; 6] = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"];

pub async fn a_job_runs_to_its_end_with_its_script_and_variables(live: &Live) {
    let api = live.api("fireuser").await;
    let value = "it's $HOME, \"quoted\" `id` $(GOLDCREST_JOB_ID) ü\nsecond line";
    let script = format!(
        "#!/bin/sh -e\ncat >/tmp/expected <<'END'\n{value}\nEND\nprintf '%s\\n' \"$WORD\" >/tmp/found\ncmp /tmp/expected /tmp/found || exit 11\n\
         [ \"$(pwd)\" = /work/here ] || exit 12\n[ \"$(id -u)\" = 1000 ] || exit 13\n[ ! -e /var/run/secrets/kubernetes.io ] || exit 14\n"
    );
    let job = json!({"job": {"name": "live 'job'", "account": "physics", "workingDirectory": "/work/here", "env": {"WORD": value}, "script": script}});
    let id = submit(&api, SYSTEM, &job).await;
    let ended = api.wait_for_state(SYSTEM, &id, &ENDED).await;
    assert_eq!((&ended["status"]["state"], &ended["status"]["exitCode"]), (&json!("COMPLETED"), &json!(0)), "{ended}");
    assert_eq!(
        (&ended["name"], &ended["user"], &ended["account"]),
        (&json!("live 'job'"), &json!("fireuser"), &json!("physics")),
        "{ended}"
    );
    assert_eq!(
        (&ended["partition"], &ended["nodes"], &ended["workingDirectory"]),
        (&json!("small"), &json!("localhost"), &json!("/work/here"))
    );
    assert!(ended["time"]["end"].as_i64().unwrap() >= ended["time"]["start"].as_i64().unwrap(), "{ended}");
    let metadata = api.get(&format!("/compute/{SYSTEM}/jobs/{id}/metadata"), &[]).await.expect(200).json();
    assert_eq!(metadata["jobs"][0]["script"], script);
    for query in [vec![], vec![("account", "physics")], vec![("name", "live 'job'")]] {
        let list = api.get(&format!("/compute/{SYSTEM}/jobs"), &query).await.expect(200).json();
        assert!(ids(&list).contains(&id), "{query:?}: {list}");
    }
    let none = api.get(&format!("/compute/{SYSTEM}/jobs"), &[("account", "other")]).await.expect(200).json();
    assert!(!ids(&none).contains(&id), "{none}");
}

pub async fn a_job_that_fails_says_how(live: &Live) {
    let api = live.api("fireuser").await;
    let described = |script: &str, more: Value| {
        let mut job = json!({"workingDirectory": "/tmp", "script": script});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"job": job})
    };
    let eater = "#!/bin/sh\nhead -c 200000000 /dev/zero | tail -c 190000000 >/dev/null\n";
    let cases = [
        (described("#!/bin/sh\nexit 3\n", json!({})), "FAILED", Some(3)),
        (described("#!/bin/sh\nsleep 60\n", json!({"timeLimit": 2})), "TIMEOUT", None),
        (described(eater, json!({"memory": "32M"})), "OUT_OF_MEMORY", None),
        (described("#!/bin/none-of-that-name\n", json!({})), "FAILED", Some(128)),
    ];
    for (job, state, exit_code) in cases {
        let id = submit(&api, SYSTEM, &job).await;
        let ended = api.wait_for_state(SYSTEM, &id, &ENDED).await;
        assert_eq!(ended["status"]["state"], state, "{job}: {ended}");
        if let Some(exit_code) = exit_code {
            assert_eq!(ended["status"]["exitCode"], exit_code, "{job}: {ended}");
        }
        assert!(ended["status"]["stateReason"].as_str().is_some_and(|reason| !reason.is_empty()), "{job}: {ended}");
    }
}

pub async fn a_running_job_is_cancelled_by_its_owner_alone(live: &Live) {
    let api = live.api("fireuser").await;
    let id = submit(&api, SYSTEM, &sleeper(json!({}))).await;
    api.wait_for_state(SYSTEM, &id, &["RUNNING"]).await;
    let path = format!("/compute/{SYSTEM}/jobs/{id}");
    live.api("otheruser").await.delete(&path, &[]).await.expect(404);
    api.delete(&path, &[]).await.expect(204);
    let cancelled = api.get(&path, &[]).await.expect(200).json()["jobs"][0].clone();
    assert_eq!(cancelled["status"]["state"], "CANCELLED", "{cancelled}");
    wait_for("the job's pod is gone", Duration::from_secs(60), || async {
        pods(live, "goldcrest-fireuser", &id).await.is_empty().then_some(())
    })
    .await;
    let ended = api.get(&path, &[]).await.expect(200).json()["jobs"][0].clone();
    assert_eq!((&ended["status"]["state"], &ended["killRequestUser"]), (&json!("CANCELLED"), &json!("fireuser")), "{ended}");
    let again = api.delete(&path, &[]).await.expect(400);
    assert!(again.message().contains("ended already"), "{}", again.message());
}

pub async fn a_job_is_held_and_released(live: &Live) {
    let api = live.api("fireuser").await;
    let job = json!({"job": {"workingDirectory": "/tmp", "script": "#!/bin/sh\ntrue\n", "hold": true}});
    let id = submit(&api, SYSTEM, &job).await;
    let held = api.wait_for_state(SYSTEM, &id, &["PENDING"]).await;
    assert_eq!(held["status"]["stateReason"], "JobHeldUser", "{held}");
    let change = async |what: &str| api.put(&format!("/compute/{SYSTEM}/jobs/{id}/{what}"), &json!({})).await;
    change("requeue").await.expect(501);
    change("release").await.expect(204);
    api.wait_for_state(SYSTEM, &id, &["COMPLETED"]).await;
    change("hold").await.expect(400);
    // A held job is cancelled without ever having run.
    let id = submit(&api, SYSTEM, &job).await;
    api.delete(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(204);
    wait_for("the cancelled job is over in Kubernetes", Duration::from_secs(60), || async {
        let job = admin(live, Method::GET, &format!("/apis/batch/v1/namespaces/goldcrest-fireuser/jobs/{id}"), None).await;
        job.json()["status"]["conditions"].as_array()?.iter().any(|condition| condition["type"] == "Failed").then_some(())
    })
    .await;
    assert!(pods(live, "goldcrest-fireuser", &id).await.is_empty());
    api.wait_for_state(SYSTEM, &id, &["CANCELLED"]).await;
}

pub async fn tasks_of_an_array_end_each_by_itself(live: &Live) {
    let api = live.api("fireuser").await;
    let script = "#!/bin/sh\n[ \"$GOLDCREST_ARRAY_TASK_ID\" != 1 ] || exit 7\n";
    let id = submit(&api, SYSTEM, &json!({"job": {"workingDirectory": "/tmp", "script": script, "array": "0-3%2"}})).await;
    let path = format!("/compute/{SYSTEM}/jobs/{id}");
    let tasks = wait_for("all tasks have ended", Duration::from_secs(90), || async {
        let jobs = api.get(&path, &[]).await.expect(200).json()["jobs"].clone();
        jobs.as_array()?.iter().all(|job| ENDED.contains(&job["status"]["state"].as_str().unwrap())).then_some(jobs)
    })
    .await;
    let told: Vec<(String, &str, i64)> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|job| {
            (ids(&json!({"jobs": [job]})).remove(0), job["status"]["state"].as_str().unwrap(), job["status"]["exitCode"].as_i64().unwrap())
        })
        .collect();
    let expected = |index: i32| match index {
        1 => (format!("{id}_1"), "FAILED", 7),
        index => (format!("{id}_{index}"), "COMPLETED", 0),
    };
    assert_eq!(told, (0..4).map(expected).collect::<Vec<_>>());
    let one = api.get(&format!("{path}_1"), &[]).await.expect(200).json();
    assert_eq!(ids(&one), [format!("{id}_1")]);
    api.get(&format!("{path}_4"), &[]).await.expect(404);
}

pub async fn a_key_makes_one_job_however_often_it_is_sent(live: &Live) {
    let api = live.api("fireuser").await;
    let key = uuid::Uuid::new_v4().to_string();
    let path = format!("/compute/{SYSTEM}/jobs");
    let job =
        json!({"job": {"name": key, "workingDirectory": "/tmp", "script": "#!/bin/sh\ntest \"$WORD\" = yes\n", "env": {"WORD": "yes"}}});
    let send = async |body: &Value| api.send(api.request(Method::POST, &path).header("Idempotency-Key", &key).json(body)).await;
    let answers = join_all((0..5).map(|_| send(&job))).await;
    let mut found: Vec<String> = answers.into_iter().map(|answer| job_id(&answer.expect(201))).collect();
    found.push(job_id(&send(&job).await.expect(201)));
    found.dedup();
    assert_eq!(found.len(), 1, "{found:?}");
    let list = api.get(&path, &[("name", &key)]).await.expect(200).json();
    assert_eq!(ids(&list), found);
    // An attempt that ended between the Job and its Secret is completed by the next one.
    let secret = format!("/api/v1/namespaces/goldcrest-fireuser/secrets/{}", found[0]);
    admin(live, Method::DELETE, &secret, None).await.expect(200);
    let again = send(&job).await.expect(201);
    assert_eq!(again.header("Idempotency-Key-Reply"), "hit");
    admin(live, Method::GET, &secret, None).await.expect(200);
    api.wait_for_state(SYSTEM, &found[0], &["COMPLETED"]).await;
    let other = json!({"job": {"workingDirectory": "/tmp", "script": "#!/bin/sh\nfalse\n"}});
    send(&other).await.expect(422);
}

pub async fn an_image_that_cannot_be_had_ends_the_wait_within_seconds(live: &Live) {
    let api = live.api("fireuser").await;
    let with = |image: &str| json!({"job": {"workingDirectory": "/tmp", "script": "#!/bin/sh\ntrue\n", "containerImage": image}});
    let begun = Instant::now();
    let id = submit(&api, SYSTEM, &with("registry.test/none-of-that-name:1")).await;
    let ended = api.wait_for_state(SYSTEM, &id, &ENDED).await;
    assert_eq!(ended["status"]["state"], "FAILED", "{ended}");
    let reason = ended["status"]["stateReason"].as_str().unwrap();
    assert!(reason.contains("ErrImagePull") || reason.contains("ImagePullBackOff"), "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    // Kubernetes would go on trying: the job was ended there too.
    wait_for("the job is over in Kubernetes", Duration::from_secs(30), || async {
        let job = admin(live, Method::GET, &format!("/apis/batch/v1/namespaces/goldcrest-fireuser/jobs/{id}"), None).await;
        job.json()["status"]["conditions"].as_array()?.iter().any(|condition| condition["type"] == "Failed").then_some(())
    })
    .await;
    let still = api.get(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(200).json()["jobs"][0].clone();
    assert_eq!((&still["status"]["state"], &still["status"]["stateReason"]), (&json!("FAILED"), &json!(reason)), "{still}");
    let forbidden = api.post(&format!("/compute/{SYSTEM}/jobs"), &with("docker.io/library/busybox:latest")).await.expect(403);
    assert!(forbidden.message().contains("image"), "{}", forbidden.message());
}

pub async fn a_pod_that_is_refused_ends_its_job_with_the_reason(live: &Live) {
    let api = live.api("fireuser").await;
    let id = submit(&api, SYSTEM, &sleeper(json!({"partition": "refused"}))).await;
    let ended = api.wait_for_state(SYSTEM, &id, &ENDED).await;
    assert_eq!(ended["status"]["state"], "FAILED", "{ended}");
    let reason = ended["status"]["stateReason"].as_str().unwrap();
    assert!(reason.contains("FailedCreate") && reason.contains("none-of-that-name"), "{ended}");
    // A place that does not exist yet is only waited for, with the scheduler's own words.
    let id = submit(&api, SYSTEM, &sleeper(json!({"partition": "nowhere"}))).await;
    let waiting = wait_for("the scheduler has found no node", Duration::from_secs(30), || async {
        let job = api.wait_for_state(SYSTEM, &id, &["PENDING"]).await;
        job["status"]["stateReason"].as_str().is_some_and(|reason| reason.contains("nodes are available")).then_some(job)
    })
    .await;
    assert_eq!(waiting["status"]["state"], "PENDING", "{waiting}");
    api.delete(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(204);
}

pub async fn what_cannot_run_is_refused_and_nothing_is_left(live: &Live) {
    let api = live.api("fireuser").await;
    let name = uuid::Uuid::new_v4().to_string();
    for (more, status, words) in [
        (json!({"cpusPerTask": 5}), 403, vec!["exceeded quota", "requests.cpu=5", "limited: requests.cpu=4"]),
        (json!({"memory": "5G"}), 403, vec!["exceeded quota", "5120Mi", "4Gi"]),
        (json!({"cpusPerTask": 9}), 400, vec!["at most 8"]),
        (json!({"timeLimit": 3601}), 400, vec!["at most 3600"]),
        (json!({"partition": "none"}), 400, vec!["small, nowhere, refused"]),
        (json!({"nodes": 2}), 400, vec!["job.nodes"]),
        (json!({"array": "1-5"}), 400, vec!["job.array"]),
        (json!({"standardOutput": "out.txt"}), 400, vec!["job.standardOutput"]),
    ] {
        let mut job = sleeper(more.clone());
        job["job"]["name"] = json!(name);
        let answer = api.post(&format!("/compute/{SYSTEM}/jobs"), &job).await.expect(status);
        let text = answer.json().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{more}: {text}");
        let asked = api.post(&format!("/compute/{SYSTEM}/jobs/validate"), &job).await;
        assert_eq!(asked.status, status, "{more}");
    }
    let list = api.get(&format!("/compute/{SYSTEM}/jobs"), &[("name", &name)]).await.expect(200).json();
    assert_eq!(ids(&list), Vec::<String>::new());
    api.post(&format!("/compute/{SYSTEM}/jobs/validate"), &sleeper(json!({}))).await.expect(200);
    let by_path = json!({"job": {"workingDirectory": "/tmp", "scriptPath": "/home/fireuser/script.sh"}});
    api.post(&format!("/compute/{SYSTEM}/jobs"), &by_path).await.expect(501);
    api.file(SYSTEM, "ls", "/tmp").await.expect(501);
}

pub async fn nodes_partitions_limits_and_health_are_shown(live: &Live) {
    let api = live.api("fireuser").await;
    let nodes = api.get(&format!("/status/{SYSTEM}/nodes"), &[]).await.expect(200).json();
    assert_eq!(nodes["nodes"][0]["name"], "localhost", "{nodes}");
    let partitions = api.get(&format!("/status/{SYSTEM}/partitions"), &[]).await.expect(200).json();
    let names: Vec<&str> = partitions["partitions"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["small", "nowhere", "refused"], "{partitions}");
    let limits = api.get(&format!("/status/{SYSTEM}/limits"), &[]).await.expect(200).json().to_string();
    assert!(limits.contains("3600") && limits.contains("requests.cpu"), "{limits}");
    wait_for("the checker finds the system healthy", Duration::from_secs(30), || async {
        let systems = api.get("/status/systems", &[]).await.expect(200).json();
        let system = systems["systems"].as_array()?.iter().find(|system| system["name"] == SYSTEM)?.clone();
        let health = system["servicesHealth"].as_array()?.first()?.clone();
        (health["serviceType"] == "scheduler" && health["healthy"] == true).then_some(())
    })
    .await;
}

pub async fn an_api_server_that_is_away_is_no_empty_list(live: &Live) {
    let api = live.api("fireuser").await;
    for answer in [
        api.get("/compute/kubernetes-away/jobs", &[]).await,
        api.get("/compute/kubernetes-away/jobs/job-1", &[]).await,
        api.get("/status/kubernetes-away/nodes", &[]).await,
        api.post("/compute/kubernetes-away/jobs", &sleeper(json!({}))).await,
    ] {
        let answer = answer.expect(503);
        assert_ne!(answer.json()["maybeEffected"], true, "{}", answer.json());
    }
}

/// A job that sleeps, with these members too.
#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
pub fn sleeper(more: Value) -> Value {
    let mut job = json!({"workingDirectory": "/tmp", "script": "#!/bin/sh\ntrap 'exit 143' TERM\nsleep 300 & wait\n"});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"job": job})
}

/// Submits a job and answers with its id.
pub async fn submit(api: &Api, system: &str, job: &Value) -> String {
    job_id(&api.post(&format!("/compute/{system}/jobs"), job).await.expect(201))
}

fn job_id(answer: &Answer) -> String {
    answer.json()["jobId"].as_str().expect("a job id that is text").to_owned()
}

/// The ids of a list.
pub fn ids(list: &Value) -> Vec<String> {
    list["jobs"].as_array().unwrap().iter().map(|job| job["jobId"].as_str().unwrap().to_owned()).collect()
}

/// Asks the API server itself, as its administrator.
pub async fn admin(live: &Live, method: Method, path: &str, body: Option<&Value>) -> Answer {
    as_user(live, "admin", method, path, body).await
}

/// Asks the API server itself, as one of its users.
pub async fn as_user(live: &Live, user: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let http = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).timeout(Duration::from_secs(30)).build().unwrap();
    let token = std::fs::read_to_string(live.text("kubernetes", &format!("/{user}TokenFile"))).unwrap();
    let api = Api::new(http, &live.text("kubernetes", "/url"), Some(token.trim().to_owned()));
    let request = api.request(method, path);
    api.send(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

/// The pods of a job.
pub async fn pods(live: &Live, namespace: &str, id: &str) -> Vec<Value> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=batch.kubernetes.io/job-name={id}");
    admin(live, Method::GET, &path, None).await.expect(200).json()["items"].as_array().unwrap().clone()
}
