//! Answers as kbatch's clients read them: the dictionaries of what the scheduler keeps.

use axum::Json;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::shapes::to_dictionary;
use crate::error::Kind;
use crate::http::problem::Problem;
use crate::service::ServiceError;

/// A job.
pub(super) fn job(mut object: Value) -> Json<Value> {
    complete_status(&mut object);
    Json(to_dictionary("V1Job", &object))
}

/// The jobs.
pub(super) fn jobs(mut objects: Vec<Value>) -> Json<Value> {
    objects.iter_mut().for_each(complete_status);
    list("V1JobList", ("batch/v1", "JobList"), objects)
}

/// The schedules.
pub(super) fn cron_jobs(objects: Vec<Value>) -> Json<Value> {
    list("V1CronJobList", ("batch/v1", "CronJobList"), objects)
}

/// The pods.
pub(super) fn pods(objects: Vec<Value>) -> Json<Value> {
    list("V1PodList", ("v1", "PodList"), objects)
}

/// A list. Its elements do not say what they are.
fn list(model: &str, (api_version, kind): (&str, &str), mut objects: Vec<Value>) -> Json<Value> {
    for members in objects.iter_mut().filter_map(Value::as_object_mut) {
        members.retain(|name, _| name != "apiVersion" && name != "kind");
    }
    Json(to_dictionary(model, &json!({"apiVersion": api_version, "kind": kind, "metadata": {}, "items": objects})))
}

/// What was removed, as a kind of object.
pub(super) fn removed(kind: &str, name: &str) -> Json<Value> {
    Json(json!({
        "api_version": "v1", "kind": "Status", "status": "Success", "code": null, "message": null, "reason": null,
        "metadata": to_dictionary("V1ListMeta", &json!({})),
        "details": {"name": name, "group": "batch", "kind": kind, "causes": null, "retry_after_seconds": null, "uid": null},
    }))
}

/// The error of a use case about one object; where that is not there, in the words of Kubernetes.
pub(super) fn failed(error: ServiceError, kind: &str, name: &str) -> Problem {
    // A text that is no id names nothing.
    if matches!(error, ServiceError::Invalid(_)) || error.is_unknown_job() {
        return Problem::new(Kind::NotFound, format!("{kind} \"{name}\" not found"));
    }
    error.into()
}

/// Completes the status of a Job: clients take one without any counter for a mistake, and compute with times that are there only later.
fn complete_status(job: &mut Value) {
    let created = job["metadata"]["creationTimestamp"].clone();
    if !job["status"].is_object() {
        job["status"] = Value::Object(Map::new());
    }
    let status = &mut job["status"];
    let is_positive = |status: &Value, name: &str| status[name].as_i64().is_some_and(|count| count > 0);
    let has_failed = status["conditions"].as_array().into_iter().flatten().any(|condition| condition["type"] == "Failed");
    let counted = ["active", "ready", "succeeded", "failed"].iter().any(|name| is_positive(status, name));
    if !counted {
        // A job that has had no pod can have failed too. Before the controller has seen it, and while it is held, it counts as active.
        status[if has_failed { "failed" } else { "active" }] = json!(1);
    }
    if status["startTime"].is_null() {
        status["startTime"] = created;
    }
    if is_positive(status, "succeeded") && status["completionTime"].is_null() {
        status["completionTime"] = json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    if is_positive(status, "failed") && !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_what_clients_compute_with() {
        let times = json!({"startTime": "2026-01-01T00:00:05Z"});
        let status = |status: Value| {
            let Json(job) = job(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}));
            job["status"].clone()
        };
        for (written, active, failed) in [
            (json!(null), json!(1), json!(null)),
            (json!({"active": null, "ready": 0}), json!(1), json!(null)),
            (json!({"active": 2}), json!(2), json!(null)),
            (json!({"succeeded": 1}), json!(null), json!(null)),
            (json!({"conditions": [{"type": "Suspended"}]}), json!(1), json!(null)),
            (json!({"conditions": [{"type": "Failed"}]}), json!(null), json!(1)),
        ] {
            let completed = status(written.clone());
            assert_eq!((&completed["active"], &completed["failed"]), (&active, &failed), "{written}");
            assert_eq!(completed["start_time"], "2026-01-01T00:00:00+00:00", "{written}");
        }
        assert_eq!(status(times)["start_time"], "2026-01-01T00:00:05+00:00");
        assert!(status(json!({"succeeded": 1}))["completion_time"].as_str().unwrap().ends_with("+00:00"));
        assert_eq!(status(json!({"failed": 1}))["conditions"], json!([]));
    }

    #[test]
    fn elements_of_a_list_do_not_say_what_they_are() {
        let Json(list) = jobs(vec![json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}})]);
        assert_eq!((&list["api_version"], &list["kind"]), (&json!("batch/v1"), &json!("JobList")));
        let item = &list["items"][0];
        assert_eq!((&item["api_version"], &item["kind"], &item["metadata"]["name"]), (&json!(null), &json!(null), &json!("a")));
        assert_eq!(list["metadata"], json!({"_continue": null, "remaining_item_count": null, "resource_version": null, "self_link": null}));
    }
}
