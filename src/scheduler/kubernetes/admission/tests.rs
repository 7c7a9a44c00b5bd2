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

const CONTAINER: &str = "spec.template.spec.containers[0]";
const POD: &str = "spec.template.spec";

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
    let hostile = [
        // The node.
        (volume(json!({"hostPath": {"path": "/"}})), format!("{POD}.volumes[0].hostPath")),
        (volume(json!({"hostPath": {"path": "/var/run/docker.sock", "type": "Socket"}})), format!("{POD}.volumes[0].hostPath")),
        (volume(json!({"nfs": {"server": "10.0.0.1", "path": "/"}})), format!("{POD}.volumes[0].nfs")),
        (volume(json!({"csi": {"driver": "secrets-store.csi.k8s.io"}})), format!("{POD}.volumes[0].csi")),
        (volume(json!({"iscsi": {"targetPortal": "a", "iqn": "b", "lun": 0}})), format!("{POD}.volumes[0].iscsi")),
        (volume(json!({"rbd": {"monitors": ["a"], "image": "b"}})), format!("{POD}.volumes[0].rbd")),
        (volume(json!({"cephfs": {"monitors": ["a"]}})), format!("{POD}.volumes[0].cephfs")),
        (volume(json!({"gitRepo": {"repository": "https://evil.test/x"}})), format!("{POD}.volumes[0].gitRepo")),
        (volume(json!({"flexVolume": {"driver": "a/b"}})), format!("{POD}.volumes[0].flexVolume")),
        (volume(json!({"fc": {"lun": 0}})), format!("{POD}.volumes[0].fc")),
        (volume(json!({"azureDisk": {"diskName": "a", "diskURI": "b"}})), format!("{POD}.volumes[0].azureDisk")),
        (volume(json!({"awsElasticBlockStore": {"volumeID": "a"}})), format!("{POD}.volumes[0].awsElasticBlockStore")),
        (volume(json!({"image": {"reference": "evil.test/x"}})), format!("{POD}.volumes[0].image")),
        (volume(json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}})), format!("{POD}.volumes[0].ephemeral")),
        (
            volume(json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})),
            format!("{POD}.volumes[0].projected.sources[0].serviceAccountToken"),
        ),
        (
            volume(json!({"projected": {"sources": [{"secret": {}}, {"clusterTrustBundle": {"path": "t"}}]}})),
            format!("{POD}.volumes[0].projected.sources[1].clusterTrustBundle"),
        ),
        (pod(json!({"hostNetwork": true})), format!("{POD}.hostNetwork")),
        (pod(json!({"hostPID": true})), format!("{POD}.hostPID")),
        (pod(json!({"hostIPC": true})), format!("{POD}.hostIPC")),
        (pod(json!({"hostUsers": true})), format!("{POD}.hostUsers")),
        (pod(json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["kubernetes"]}]})), format!("{POD}.hostAliases")),
        (pod(json!({"nodeName": "control-plane"})), format!("{POD}.nodeName")),
        (pod(json!({"runtimeClassName": "unconfined"})), format!("{POD}.runtimeClassName")),
        (pod(json!({"schedulerName": "mine"})), format!("{POD}.schedulerName")),
        (pod(json!({"priorityClassName": "system-node-critical"})), format!("{POD}.priorityClassName")),
        (pod(json!({"priority": 2_000_000_000})), format!("{POD}.priority")),
        (pod(json!({"preemptionPolicy": "PreemptLowerPriority"})), format!("{POD}.preemptionPolicy")),
        (pod(json!({"overhead": {"cpu": "0"}})), format!("{POD}.overhead")),
        (pod(json!({"resourceClaims": [{"name": "gpu"}]})), format!("{POD}.resourceClaims")),
        (pod(json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.9"]}})), format!("{POD}.dnsConfig")),
        (pod(json!({"setHostnameAsFQDN": true})), format!("{POD}.setHostnameAsFQDN")),
        (pod(json!({"ephemeralContainers": [{"name": "debug"}]})), format!("{POD}.ephemeralContainers")),
        (pod(json!({"restartPolicy": "Always"})), format!("{POD}.restartPolicy")),
        // The cluster's own rights.
        (pod(json!({"serviceAccountName": "cluster-admin"})), format!("{POD}.serviceAccountName")),
        (pod(json!({"serviceAccount": "cluster-admin"})), format!("{POD}.serviceAccount")),
        (pod(json!({"automountServiceAccountToken": true})), format!("{POD}.automountServiceAccountToken")),
        // The container.
        (security(json!({"privileged": true})), format!("{CONTAINER}.securityContext.privileged")),
        (security(json!({"allowPrivilegeEscalation": true})), format!("{CONTAINER}.securityContext.allowPrivilegeEscalation")),
        (security(json!({"capabilities": {"add": ["SYS_ADMIN"]}})), format!("{CONTAINER}.securityContext.capabilities.add")),
        (security(json!({"capabilities": {"add": ["NET_RAW"], "drop": ["ALL"]}})), format!("{CONTAINER}.securityContext.capabilities.add")),
        (security(json!({"procMount": "Unmasked"})), format!("{CONTAINER}.securityContext.procMount")),
        (security(json!({"runAsUser": 0})), format!("{CONTAINER}.securityContext.runAsUser")),
        (security(json!({"runAsGroup": 0})), format!("{CONTAINER}.securityContext.runAsGroup")),
        (security(json!({"runAsNonRoot": false})), format!("{CONTAINER}.securityContext.runAsNonRoot")),
        (security(json!({"seccompProfile": {"type": "Unconfined"}})), format!("{CONTAINER}.securityContext.seccompProfile.type")),
        (
            security(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "mine.json"}})),
            format!("{CONTAINER}.securityContext.seccompProfile.localhostProfile"),
        ),
        (security(json!({"appArmorProfile": {"type": "Unconfined"}})), format!("{CONTAINER}.securityContext.appArmorProfile")),
        (security(json!({"seLinuxOptions": {"type": "spc_t"}})), format!("{CONTAINER}.securityContext.seLinuxOptions")),
        (security(json!({"windowsOptions": {"hostProcess": true}})), format!("{CONTAINER}.securityContext.windowsOptions")),
        (pod(json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}})), format!("{POD}.securityContext.sysctls")),
        (pod(json!({"securityContext": {"supplementalGroups": [1000, 0]}})), format!("{POD}.securityContext.supplementalGroups[1]")),
        (pod(json!({"securityContext": {"fsGroup": 0}})), format!("{POD}.securityContext.fsGroup")),
        (pod(json!({"securityContext": {"runAsUser": 0}})), format!("{POD}.securityContext.runAsUser")),
        (
            pod(json!({"initContainers": [{"name": "a"}, {"name": "b", "securityContext": {"privileged": true}}]})),
            format!("{POD}.initContainers[1].securityContext.privileged"),
        ),
        (pod(json!({"initContainers": [{"name": "a", "restartPolicy": "Always"}]})), format!("{POD}.initContainers[0].restartPolicy")),
        (container(json!({"ports": [{"containerPort": 80, "hostPort": 80}]})), format!("{CONTAINER}.ports[0].hostPort")),
        (container(json!({"ports": [{"containerPort": 80, "hostIP": "0.0.0.0"}]})), format!("{CONTAINER}.ports[0].hostIP")),
        (
            container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]})),
            format!("{CONTAINER}.volumeMounts[0].mountPropagation"),
        ),
        (container(json!({"volumeDevices": [{"name": "v", "devicePath": "/dev/sda"}]})), format!("{CONTAINER}.volumeDevices")),
        (container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 9999}}}})), format!("{CONTAINER}.lifecycle")),
        (container(json!({"resources": {"claims": [{"name": "gpu"}]}})), format!("{CONTAINER}.resources.claims")),
        // The object.
        (
            changed(&json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]}})),
            "metadata.ownerReferences".to_owned(),
        ),
        (changed(&json!({"metadata": {"finalizers": ["evil.test/never"]}})), "metadata.finalizers".to_owned()),
        (changed(&json!({"metadata": {"namespace": "kube-system"}})), "metadata.namespace".to_owned()),
        (changed(&json!({"metadata": {"resourceVersion": "1"}})), "metadata.resourceVersion".to_owned()),
        (
            changed(&json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "goldcrest"}}})),
            "metadata.labels[app.kubernetes.io/managed-by]".to_owned(),
        ),
        (changed(&json!({"metadata": {"annotations": {"goldcrest/user": "root"}}})), "metadata.annotations[goldcrest/user]".to_owned()),
        (
            changed(&json!({"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gold", "batch.kubernetes.io/job-name": "other"}}})),
            "metadata.labels[batch.kubernetes.io/job-name]".to_owned(),
        ),
        (
            job(json!({"template": {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/job": "unconfined"}}}})),
            "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/job]".to_owned(),
        ),
        (job(json!({"template": {"metadata": {"finalizers": ["a/b"]}}})), "spec.template.metadata.finalizers".to_owned()),
        (job(json!({"managedBy": "evil.test/controller"})), "spec.managedBy".to_owned()),
        (job(json!({"manualSelector": true})), "spec.manualSelector".to_owned()),
        (job(json!({"selector": {"matchLabels": {"app": "other"}}})), "spec.selector".to_owned()),
    ];
    assert!(hostile.len() >= 60, "{}", hostile.len());
    for (manifest, expected) in hostile {
        assert_eq!(outcome(&manifest), Err(expected), "{manifest}");
    }
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
