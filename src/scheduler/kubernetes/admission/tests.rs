//! Jobs that reach for more than their pod, each with the member that it is refused for.

use serde_json::{Value, json};

use super::check;

/// A Job that is allowed, changed by merging `change` into it; lists are replaced.
fn changed(change: &Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "sim"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "job", "image": "registry.test/a:1", "command": ["true"]}],
        }}},
    });
    merge(&mut job, change);
    job
}

fn merge(value: &mut Value, change: &Value) {
    match (value, change) {
        (Value::Object(members), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(members.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change.clone(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn job(spec: Value) -> Value {
    changed(&json!({"spec": spec}))
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn pod(spec: Value) -> Value {
    job(json!({"template": {"spec": spec}}))
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn container(members: Value) -> Value {
    let mut container = json!({"name": "job", "image": "registry.test/a:1"});
    merge(&mut container, &members);
    pod(json!({"containers": [container]}))
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn security(context: Value) -> Value {
    container(json!({"securityContext": context}))
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn volume(source: Value) -> Value {
    let mut volume = json!({"name": "v"});
    merge(&mut volume, &source);
    pod(json!({"volumes": [volume]}))
}

/// What becomes of a manifest: the path of the refused member, or why it is no Job.
fn outcome(manifest: &Value) -> Result<(), String> {
    let job = serde_json::from_value(manifest.clone()).map_err(|error| error.to_string())?;
    check(&job).map_err(|refusal| refusal.path)
}

#[test]
fn jobs_that_keep_to_their_pod_are_allowed() {
    for manifest in [
        changed(&json!({})),
        changed(&json!({"metadata": {"labels": {"team": "climate", "example.org/project": "a"}, "annotations": {"note": "x"}}})),
        job(json!({"backoffLimit": 0, "ttlSecondsAfterFinished": 300, "completions": 3, "parallelism": 2, "completionMode": "Indexed"})),
        pod(json!({"hostNetwork": false, "hostPID": null, "automountServiceAccountToken": false, "hostAliases": []})),
        pod(json!({"nodeSelector": {"kind": "gpu"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]})),
        pod(json!({"securityContext": {"runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}})),
        container(json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}], "workingDir": "/code"})),
        container(json!({"resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 8080}]})),
        security(json!({"capabilities": {"drop": ["ALL"]}, "privileged": false, "allowPrivilegeEscalation": false})),
        volume(json!({"emptyDir": {}})),
        volume(json!({"configMap": {"name": "code"}})),
        volume(json!({"persistentVolumeClaim": {"claimName": "home"}})),
        volume(json!({"projected": {"sources": [{"secret": {"name": "s"}}]}})),
    ] {
        assert_eq!(outcome(&manifest), Ok(()), "{manifest}");
    }
}

#[test]
fn jobs_that_reach_out_of_their_pod_are_refused_by_the_member() {
    let hostile: Vec<Hostile> = serde_json::from_str(include_str!("hostile.json")).unwrap();
    assert!(hostile.len() >= 60, "{}", hostile.len());
    for Hostile { refused, at, members } in hostile {
        let mut manifest = changed(&json!({}));
        merge(manifest.pointer_mut(&at).unwrap(), &members);
        assert_eq!(outcome(&manifest), Err(refused), "{manifest}");
    }
}

/// A Job that is refused. The live suite shows each to a real API server, whose answer is a further member.
#[derive(serde::Deserialize)]
struct Hostile {
    /// The member that it is refused for.
    refused: String,
    /// The place of the members in a Job that is allowed.
    at: String,
    members: Value,
}

#[test]
fn what_is_no_job_is_refused_as_that() {
    for manifest in [
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": ["a"]}}),
        json!([changed(&json!({}))]),
        pod(json!({"containers": "all"})),
        pod(json!({"hostNetwork": "true"})),
    ] {
        assert!(outcome(&manifest).is_err(), "{manifest}");
    }
}
