//! Queues of Kueue on a real API server that has their definition. Kueue itself does not run: what it would do, the administrator does.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Api;
use crate::environment::{Live, wait_for};
use crate::instance::Instance;
use crate::kubernetes::{SYSTEM, admin, submit};

const QUEUE: &str = "team";

pub async fn a_queue_of_kueue_is_a_partition_whose_jobs_wait_until_they_are_admitted(live: &Live) {
    let prefix = format!("queues-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
    let instance = start(live, &prefix).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let namespace = format!("{prefix}-fireuser");
    let job_path = |id: &str| format!("/apis/batch/v1/namespaces/{namespace}/jobs/{id}");
    assert_eq!(partitions(&api).await, [("small", "UP"), ("nowhere", "UP"), ("refused", "UP")].map(owned));

    let job = json!({"job": {"workingDirectory": "/tmp", "script": "#!/bin/sh\nexit 4\n", "partition": QUEUE}});
    let id = submit(&api, SYSTEM, &job).await;
    let waiting = api.wait_for_state(SYSTEM, &id, &["PENDING"]).await;
    assert_eq!(waiting["partition"], QUEUE, "{waiting}");
    assert!(waiting["status"]["stateReason"].as_str().unwrap().starts_with("Queued: "), "{waiting}");
    let mut object = admin(live, Method::GET, &job_path(&id), None).await.expect(200).json();
    assert_eq!(object["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], QUEUE, "{object}");
    object["spec"]["suspend"] = json!(false);
    admin(live, Method::PUT, &job_path(&id), Some(&object)).await.expect(200);
    let ended = api.wait_for_state(SYSTEM, &id, &["FAILED", "COMPLETED"]).await;
    assert_eq!((&ended["status"]["state"], &ended["status"]["exitCode"]), (&json!("FAILED"), &json!(4)), "{ended}");

    let queue_path = format!("/apis/kueue.x-k8s.io/v1beta2/namespaces/{namespace}/localqueues/{QUEUE}");
    let mut queue = admin(live, Method::GET, &queue_path, None).await.expect(200).json();
    shown_as(&api, "DOWN").await;
    let now = "2026-01-01T00:00:00Z";
    let condition = json!({"type": "Active", "status": "True", "reason": "Ready", "message": "Can submit", "lastTransitionTime": now});
    queue["status"] = json!({"conditions": [condition]});
    admin(live, Method::PUT, &format!("{queue_path}/status"), Some(&queue)).await.expect(200);
    shown_as(&api, "UP").await;

    let id = submit(&api, SYSTEM, &job).await;
    api.delete(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(204);
    api.wait_for_state(SYSTEM, &id, &["CANCELLED"]).await;
    wait_for("the Job is gone", Duration::from_secs(30), || async {
        (admin(live, Method::GET, &job_path(&id), None).await.status == 404).then_some(())
    })
    .await;
    api.wait_for_state(SYSTEM, &id, &["CANCELLED"]).await;

    let unknown = json!({"job": {"workingDirectory": "/tmp", "script": "#!/bin/sh\ntrue\n", "partition": "none"}});
    let refused = api.post(&format!("/compute/{SYSTEM}/jobs"), &unknown).await.expect(400);
    assert!(refused.message().contains("small, nowhere, refused, team"), "{}", refused.message());
    let other = live.api_at(&instance.url(), "otheruser").await;
    assert!(partitions(&other).await.iter().all(|(name, _)| name != QUEUE));
    admin(live, Method::DELETE, &format!("/api/v1/namespaces/{namespace}"), None).await.expect(200);
}

/// A Goldcrest that gives each user a queue, in namespaces of its own.
async fn start(live: &Live, prefix: &str) -> Instance {
    let edit = |config: String| {
        let own = format!("namespace: \"{prefix}-{{user}}\"\n        kueue: true");
        let manifests = "namespace_manifests:\n";
        let queue = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": QUEUE}, "spec": {"clusterQueue": "all"},
        });
        let config = config.replacen("namespace: \"goldcrest-{user}\"", &own, 1);
        assert!(config.contains(&own) && config.contains(manifests), "the environment has another configuration");
        config.replacen(manifests, &format!("{manifests}          - {queue}\n"), 1)
    };
    Instance::start_edited(live, &[], edit).await
}

fn owned((name, state): (&str, &str)) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

/// The names and states of the caller's partitions.
async fn partitions(api: &Api) -> Vec<(String, String)> {
    let found = api.get(&format!("/status/{SYSTEM}/partitions"), &[]).await.expect(200).json();
    let text = |one: &Value, member: &str| one[member].as_str().unwrap().to_owned();
    found["partitions"].as_array().unwrap().iter().map(|one| (text(one, "name"), text(one, "partition"))).collect()
}

async fn shown_as(api: &Api, state: &str) {
    wait_for("the queue is shown with its state", Duration::from_secs(30), || async {
        partitions(api).await.contains(&owned((QUEUE, state))).then_some(())
    })
    .await;
}
