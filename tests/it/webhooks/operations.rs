//! The operations on webhooks.

use std::sync::Arc;

use axum::http::Method;
use goldcrest::domain::ClusterHealth;
use goldcrest::notify::{Config, Timing, Webhooks};
use goldcrest::service::{Gate, State};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{permissive, receiver, store};
use crate::api::callers::{Relations, Tokens};
use crate::api::doubles::{Reply, Step};
use crate::api::{Api, cluster, request};
use crate::support::scripted::ScriptedTransport;

const HOOKS: &str = "/compute/daint/webhooks";
const SUBMIT: &str = "alice: submit JobDescription...";

/// The API with webhooks, over a scheduler that does just this.
fn api(scheduler: Vec<Step>, config: Option<Config>) -> (Api, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let webhooks = config.map(|config| Webhooks::new(store(folder.path()), config, Timing::default()).unwrap());
    let (_, health) = watch::channel(ClusterHealth::default());
    let cluster = Arc::new(cluster(scheduler, Vec::new(), ScriptedTransport::new([]), health));
    let api = Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| {
        state.gate = Gate::new(Arc::new(Tokens), Arc::new(Relations), [cluster], State::default().with_webhooks(webhooks));
    });
    (api, folder)
}

fn job(webhook: &Value) -> Value {
    json!({"job": {"workingDirectory": "/home", "script": "#!/bin/sh\n"}, "webhook": webhook})
}

#[tokio::test]
async fn a_webhook_is_registered_listed_without_its_secret_and_removed() {
    let (api, _folder) = api(Vec::new(), Some(permissive()));
    let service = receiver().await;
    let made = api.call(Method::POST, HOOKS, Some(json!({"url": service.url, "states": ["COMPLETED"]}))).await;
    assert_eq!(made.status, 201, "{}", made.json());
    let made = made.json();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let listed = api.get(HOOKS).await.json();
    assert_eq!(listed["webhooks"][0]["id"], made["id"]);
    assert_eq!((&listed["webhooks"][0]["states"], &listed["webhooks"][0]["secret"]), (&json!(["COMPLETED"]), &Value::Null));
    let path = format!("{HOOKS}/{}", made["id"].as_str().unwrap());
    let of_bob = api.send(request(Method::DELETE, &path, Some("token-of-bob"), None)).await;
    assert!(matches!(of_bob.status, 403 | 404), "{}", of_bob.status);
    assert_eq!(api.call(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(api.call(Method::DELETE, &path, None).await.status, 404);
    assert_eq!(api.get(HOOKS).await.json(), json!({"webhooks": []}));
    assert_eq!(api.get(&format!("{HOOKS}/dead-letters")).await.json(), json!({"deadLetters": []}));
    assert_eq!(api.call(Method::POST, &format!("{HOOKS}/dead-letters/none"), None).await.status, 404);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_with_422_before_anything_is_submitted() {
    let (api, _folder) = api(Vec::new(), Some(Config::default()));
    for url in ["https://127.0.0.1/", "https://0x7f.1/", "https://[::ffff:10.0.0.1]/", "http://1.1.1.1/"] {
        let refused = api.call(Method::POST, HOOKS, Some(json!({"url": url}))).await;
        assert_eq!((refused.status, &refused.json()["type"]), (422, &json!("urn:goldcrest:problem:webhook-refused")), "{url}");
        let refused = api.call(Method::POST, "/compute/daint/jobs", Some(job(&json!({"url": url})))).await;
        assert_eq!(refused.status, 422, "{url}");
    }
}

#[tokio::test]
async fn a_user_has_so_many_webhooks_at_most() {
    let (api, _folder) = api(Vec::new(), Some(Config { max_per_user: 2, ..permissive() }));
    let service = receiver().await;
    let made = async || api.call(Method::POST, HOOKS, Some(json!({"url": service.url}))).await.status;
    assert_eq!([made().await, made().await, made().await], [201, 201, 409]);
    let submitted = api.call(Method::POST, "/compute/daint/jobs", Some(job(&json!({"url": service.url})))).await;
    assert_eq!(submitted.status, 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_webhooks_that_are_registered_at_once_there_are_no_more_than_of_those_one_by_one() {
    let (api, _folder) = api(Vec::new(), Some(Config { max_per_user: 3, ..permissive() }));
    let service = receiver().await;
    let made = || async { api.call(Method::POST, HOOKS, Some(json!({"url": service.url}))).await.status };
    let mut statuses = futures::future::join_all((0..12).map(|_| made())).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[201; 3].as_slice(), &[409; 9]].concat());
    assert_eq!(api.get(HOOKS).await.json()["webhooks"].as_array().unwrap().len(), 3);
    let first = api.get(HOOKS).await.json()["webhooks"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(api.call(Method::DELETE, &format!("{HOOKS}/{first}"), None).await.status, 204);
    assert_eq!(made().await, 201);
}

#[tokio::test]
async fn a_submission_that_fails_gives_up_the_place_of_its_webhook() {
    let refused = Reply::SchedulerFails(goldcrest::scheduler::SchedulerError::Rejected("no".to_owned()));
    let (api, _folder) = api(vec![(SUBMIT, refused)], Some(Config { max_per_user: 1, ..permissive() }));
    let service = receiver().await;
    assert_eq!(api.call(Method::POST, "/compute/daint/jobs", Some(job(&json!({"url": service.url})))).await.status, 400);
    assert_eq!(api.call(Method::POST, HOOKS, Some(json!({"url": service.url}))).await.status, 201);
}

#[tokio::test]
async fn a_job_is_submitted_with_its_webhook() {
    let (api, _folder) = api(vec![(SUBMIT, Reply::Id("7"))], Some(permissive()));
    let service = receiver().await;
    let submitted = api.call(Method::POST, "/compute/daint/jobs", Some(job(&json!({"url": service.url})))).await;
    assert_eq!(submitted.status, 201, "{}", submitted.json());
    let submitted = submitted.json();
    assert_eq!((&submitted["jobId"], &submitted["webhook"]["jobId"]), (&json!("7"), &json!("7")));
    assert!(submitted["webhook"]["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(api.get(HOOKS).await.json()["webhooks"][0]["jobId"], "7");
}

#[tokio::test]
async fn a_webhook_without_an_address_or_with_more_than_that_is_refused() {
    let (api, _folder) = api(Vec::new(), Some(permissive()));
    let states: Vec<String> = (0..33).map(|number| format!("S{number}")).collect();
    for body in [
        json!({}),
        json!({"url": 1}),
        json!({"url": "https://1.1.1.1/", "secret": "mine"}),
        json!({"url": "https://1.1.1.1/", "states": states}),
    ] {
        assert_eq!(api.call(Method::POST, HOOKS, Some(body.clone())).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_webhook_for_a_state_that_there_is_not_is_refused_with_the_nearest_name_by_both_ways() {
    let (api, _folder) = api(Vec::new(), Some(permissive()));
    let hook = |state: &str| json!({"url": "https://1.1.1.1/", "states": ["RUNNING", state]});
    for (state, words) in [("COMPLETE", "did you mean `COMPLETED`?"), ("DONE", "known are BOOT_FAIL, CANCELLED, COMPLETED, ")] {
        for (path, body) in [(HOOKS, hook(state)), ("/compute/daint/jobs", job(&hook(state)))] {
            let answer = api.call(Method::POST, path, Some(body)).await;
            assert_eq!(answer.status, 400, "{path} {state}");
            let error = answer.json()["data"]["fields"][0].clone();
            assert!(error["name"].as_str().unwrap().ends_with("states"), "{path}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with(&format!("`{state}`: ")) && message.contains(words), "{path}: {message}");
        }
    }
}

#[tokio::test]
async fn without_webhooks_the_reason_is_told_with_501() {
    let (api, _folder) = api(Vec::new(), None);
    let hook = json!({"url": "https://1.1.1.1/"});
    for (method, path, body) in [
        (Method::GET, HOOKS, None),
        (Method::POST, HOOKS, Some(hook.clone())),
        (Method::DELETE, "/compute/daint/webhooks/wh-1", None),
        (Method::GET, "/compute/daint/webhooks/dead-letters", None),
        (Method::POST, "/compute/daint/jobs", Some(job(&hook))),
    ] {
        let answer = api.call(method, path, body).await;
        assert_eq!(answer.status, 501, "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("`webhooks`"), "{}", answer.json());
    }
}
