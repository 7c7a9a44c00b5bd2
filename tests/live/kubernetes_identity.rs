//! Who may do what on a real Kubernetes node, and what keeps a pod in its place there.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::environment::{Live, wait_for};
use crate::kubernetes::{SYSTEM, admin, ids, pods, sleeper, submit};

pub async fn a_second_user_sees_and_reaches_nothing_of_the_first(live: &Live) {
    let (api, other) = (live.api("fireuser").await, live.api("otheruser").await);
    let id = submit(&api, SYSTEM, &sleeper(json!({}))).await;
    // The second user has a namespace too, so that there is something to be mistaken for.
    let own = submit(&other, SYSTEM, &sleeper(json!({"hold": true}))).await;
    for query in [vec![], vec![("allusers", "true")]] {
        let list = ids(&other.get(&format!("/compute/{SYSTEM}/jobs"), &query).await.expect(200).json());
        assert!(!list.contains(&id) && list.contains(&own), "{list:?}");
    }
    let path = format!("/compute/{SYSTEM}/jobs/{id}");
    other.get(&path, &[]).await.expect(404);
    other.get(&format!("{path}/metadata"), &[]).await.expect(404);
    for change in ["hold", "release"] {
        other.put(&format!("{path}/{change}"), &json!({})).await.expect(404);
    }
    other.delete(&path, &[]).await.expect(404);
    let accounting = other.get(&format!("/compute/{SYSTEM}/acct"), &[("jobs", &id)]).await.expect(200).json();
    assert_eq!(ids(&accounting), Vec::<String>::new());
    for (api, id) in [(&api, &id), (&other, &own)] {
        api.delete(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(204);
    }
}

pub async fn a_namespace_has_what_the_site_gives_it(live: &Live) {
    let api = live.api("fireuser").await;
    let id = submit(&api, SYSTEM, &sleeper(json!({"env": {"WORD": "s3cret"}}))).await;
    api.wait_for_state(SYSTEM, &id, &["RUNNING"]).await;
    let namespace = admin(live, Method::GET, "/api/v1/namespaces/goldcrest-fireuser", None).await.expect(200).json();
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted", "{namespace}");
    assert_eq!(namespace["metadata"]["annotations"]["goldcrest/user"], "fireuser", "{namespace}");
    for path in ["api/v1/namespaces/goldcrest-fireuser/resourcequotas/jobs", "api/v1/namespaces/goldcrest-fireuser/limitranges/jobs"] {
        admin(live, Method::GET, &format!("/{path}"), None).await.expect(200);
    }
    let policy = "/apis/networking.k8s.io/v1/namespaces/goldcrest-fireuser/networkpolicies/closed";
    admin(live, Method::GET, policy, None).await.expect(200);
    let [pod] = &pods(live, "goldcrest-fireuser", &id).await[..] else { panic!("one pod") };
    let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
    assert_eq!(spec["automountServiceAccountToken"], false, "{spec}");
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{spec}");
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{spec}");
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]), "{spec}");
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{spec}");
    assert_eq!(container["resources"]["limits"], container["resources"]["requests"], "{spec}");
    assert!(!pod.to_string().contains("s3cret"), "the value of a variable is in the pod");
    // What a job owns goes with it.
    let job = format!("/apis/batch/v1/namespaces/goldcrest-fireuser/jobs/{id}?propagationPolicy=Background");
    admin(live, Method::DELETE, &job, None).await.expect(200);
    wait_for("the job's Secret is gone", Duration::from_secs(60), || async {
        let secret = admin(live, Method::GET, &format!("/api/v1/namespaces/goldcrest-fireuser/secrets/{id}"), None).await;
        (secret.status == 404).then_some(())
    })
    .await;
}

pub async fn a_namespace_that_is_somebody_elses_is_not_used(live: &Live) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "own-otheruser", "annotations": {"goldcrest/user": "somebody-else"}
    }});
    admin(live, Method::POST, "/api/v1/namespaces", Some(&namespace)).await;
    let api = live.api("otheruser").await;
    let refused = api.post("/compute/kubernetes-users/jobs", &sleeper(json!({}))).await.expect(403);
    assert!(refused.message().contains("own-otheruser is not yours"), "{}", refused.message());
    api.get("/compute/kubernetes-users/jobs", &[]).await.expect(403);
    admin(live, Method::DELETE, "/api/v1/namespaces/own-otheruser", None).await.expect(200);
}

pub async fn a_cluster_that_knows_its_users_decides_itself(live: &Live) {
    let api = live.api("fireuser").await;
    let binding = "/apis/rbac.authorization.k8s.io/v1/namespaces/own-fireuser/rolebindings";
    admin(live, Method::DELETE, &format!("{binding}/fireuser"), None).await;
    let refused = api.post("/compute/kubernetes-users/jobs", &sleeper(json!({}))).await.expect(403);
    assert!(refused.message().contains("fireuser"), "{}", refused.message());
    let allowed = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "fireuser"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "fireuser"}],
    });
    admin(live, Method::POST, binding, Some(&allowed)).await.expect(201);
    let job = json!({"job": {"workingDirectory": "/tmp", "script": "#!/bin/sh\ntrue\n"}});
    // The API server learns of the binding a moment later.
    let id = wait_for("the user may submit", Duration::from_secs(20), || async {
        let answer = api.post("/compute/kubernetes-users/jobs", &job).await;
        (answer.status == 201).then(|| answer.json()["jobId"].as_str().unwrap().to_owned())
    })
    .await;
    api.wait_for_state("kubernetes-users", &id, &["COMPLETED"]).await;
    let found: Value =
        admin(live, Method::GET, &format!("/apis/batch/v1/namespaces/own-fireuser/jobs/{id}"), None).await.expect(200).json();
    assert_eq!(found["metadata"]["annotations"]["goldcrest/user"], "fireuser", "{found}");
}

pub async fn a_namespace_that_was_removed_is_made_again(live: &Live) {
    let namespace = "/api/v1/namespaces/goldcrest-otheruser";
    admin(live, Method::DELETE, namespace, None).await;
    wait_for("the namespace is gone", Duration::from_secs(60), || async {
        (admin(live, Method::GET, namespace, None).await.status == 404).then_some(())
    })
    .await;
    let api = live.api("otheruser").await;
    // One that was seen less than a minute ago is taken to be there, once.
    let id = wait_for("a job is submitted", Duration::from_secs(10), || async {
        let answer = api.post(&format!("/compute/{SYSTEM}/jobs"), &sleeper(json!({"hold": true}))).await;
        (answer.status == 201).then(|| answer.json()["jobId"].as_str().unwrap().to_owned())
    })
    .await;
    admin(live, Method::GET, &format!("{namespace}/resourcequotas/jobs"), None).await.expect(200);
    api.delete(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(204);
}

pub async fn a_job_whose_secret_is_refused_is_not_left(live: &Live) {
    let api = live.api("otheruser").await;
    let (jobs, quotas) = (format!("/compute/{SYSTEM}/jobs"), "/api/v1/namespaces/goldcrest-otheruser/resourcequotas");
    let first = submit(&api, SYSTEM, &sleeper(json!({"hold": true}))).await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-more"}, "spec": {"hard": {"secrets": "0"}}});
    let quota_path = format!("{quotas}/no-more");
    admin(live, Method::DELETE, &quota_path, None).await;
    admin(live, Method::POST, quotas, Some(&quota)).await.expect(201);
    wait_for("the quota counts", Duration::from_secs(30), || async {
        admin(live, Method::GET, &quota_path, None).await.json()["status"]["hard"]["secrets"].is_string().then_some(())
    })
    .await;
    let name = uuid::Uuid::new_v4().to_string();
    let refused = api.post(&jobs, &sleeper(json!({"name": name}))).await;
    admin(live, Method::DELETE, &quota_path, None).await.expect(200);
    let refused = refused.expect(403);
    assert!(refused.message().contains("exceeded quota: no-more"), "{}", refused.message());
    let list = api.get(&jobs, &[("name", &name)]).await.expect(200).json();
    assert_eq!(ids(&list), Vec::<String>::new());
    api.delete(&format!("{jobs}/{first}"), &[]).await.expect(204);
}
