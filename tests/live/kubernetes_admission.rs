//! Jobs that reach out of their pod: what Goldcrest makes of them, and what a real API server would.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::environment::Live;
use crate::kubernetes::{SYSTEM, as_user, sleeper, submit};

/// The Jobs that the unit tests of admission refuse, each by the name of the member.
const HOSTILE: &str = include_str!("../../src/scheduler/kubernetes/admission/hostile.json");
const NAMESPACE: &str = "goldcrest-fireuser";

/// A Job that is refused.
#[derive(Deserialize)]
struct Hostile {
    /// The member that it is refused for.
    refused: String,
    server: Refusal,
    /// The place of the members in a Job that is allowed.
    at: String,
    members: Value,
}

/// Where the API server itself would stop it, in a namespace with the strictest standard of Pod Security.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Refusal {
    #[serde(rename = "refuses the Job")]
    OfJob,
    #[serde(rename = "refuses the pod")]
    OfPod,
    /// It would run.
    #[serde(rename = "takes it")]
    Nowhere,
}

/// Nobody sends a whole Job by this interface: a description has none of these members.
pub async fn members_that_reach_out_of_the_pod_are_refused_by_name(live: &Live) {
    let api = live.api("fireuser").await;
    for Hostile { members, .. } in rows() {
        let mut job = sleeper(json!({}));
        let name = members.as_object().unwrap().keys().next().unwrap().clone();
        add(&mut job["job"], members);
        for path in ["jobs", "jobs/validate"] {
            let answer = api.post(&format!("/compute/{SYSTEM}/{path}"), &job).await.expect(400);
            assert!(answer.json().to_string().contains(&name), "{name}: {}", answer.json());
        }
    }
}

/// With Goldcrest's own account, which may make Jobs anywhere: what is refused here is refused by Goldcrest alone where the server takes it.
pub async fn the_api_server_knows_each_hostile_job_and_stops_some(live: &Live) {
    let pattern = pattern(live).await;
    let (job, pod) = (dry_job(live, &pattern).await, dry_pod(live, &pattern).await);
    assert_eq!((job.status, pod.status), (201, 201), "{} {}", job.json(), pod.json());
    let (mut counts, mut wrong) = ([0; 3], Vec::new());
    for Hostile { refused, server, at, members } in rows() {
        let mut hostile = pattern.clone();
        add(hostile.pointer_mut(&at).unwrap(), members);
        let (job, pod) = (dry_job(live, &hostile).await, dry_pod(live, &hostile).await);
        let found = match (job.status, pod.status) {
            (201, 201) => Some(Refusal::Nowhere),
            (201, 403 | 422) => Some(Refusal::OfPod),
            (400 | 422, _) => Some(Refusal::OfJob),
            _ => None,
        };
        // A member that the server does not know would be a mistake of the table.
        let said = [job, pod].map(|answer| answer.json()["message"].as_str().unwrap_or_default().to_owned());
        if found != Some(server) || said.iter().any(|said| said.contains("unknown field") || said.contains("exceeded quota")) {
            wrong.push(format!("{refused}: {server:?} was expected, it is {found:?}: {said:?}"));
        }
        counts[server as usize] += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts.iter().sum::<usize>() >= 80 && counts[Refusal::Nowhere as usize] >= 30, "{counts:?}");
}

fn rows() -> Vec<Hostile> {
    serde_json::from_str(HOSTILE).unwrap()
}

/// A Job as Goldcrest makes it, without what the API server has added.
async fn pattern(live: &Live) -> Value {
    let api = live.api("fireuser").await;
    let id = submit(&api, SYSTEM, &sleeper(json!({"hold": true}))).await;
    let path = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{id}");
    let mut spec = as_user(live, "goldcrest", Method::GET, &path, None).await.expect(200).json()["spec"].clone();
    api.delete(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(204);
    for member in ["selector", "manualSelector"] {
        spec.as_object_mut().unwrap().remove(member);
    }
    spec["template"]["metadata"].as_object_mut().unwrap().remove("labels");
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "hostile"}, "spec": spec})
}

async fn dry_job(live: &Live, job: &Value) -> Answer {
    let path = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs?dryRun=All&fieldValidation=Strict");
    as_user(live, "goldcrest", Method::POST, &path, Some(job)).await
}

/// The pod that the Job controller would make.
async fn dry_pod(live: &Live, job: &Value) -> Answer {
    let template = &job["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = json!("hostile");
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldValidation=Strict");
    as_user(live, "admin", Method::POST, &path, Some(&pod)).await
}

/// Adds members; lists are put together.
fn add(value: &mut Value, members: Value) {
    match (value, members) {
        (Value::Object(value), Value::Object(members)) => {
            for (name, member) in members {
                add(value.entry(name).or_insert(Value::Null), member);
            }
        }
        (Value::Array(value), Value::Array(members)) => value.extend(members),
        (value, members) => *value = members,
    }
}
