//! What a pod may ask for, before the API server is asked.
//!
//! Every Job passes here before Goldcrest adds its own labels and the site's placement. Members are allowed by name, so a member added by a
//! future Kubernetes release is refused until it is allowed here. Pod Security applies in addition.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

/// What a Job asks for and may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} is not allowed: {reason}")]
pub(super) struct Disallowed {
    /// The member.
    pub(super) path: String,
    /// Why.
    pub(super) reason: &'static str,
}

/// The members of each object that may be given, whatever they hold.
const METADATA: &[&str] = &["name", "generateName", "labels", "annotations"];
const JOB: &[&str] = &["apiVersion", "kind", "metadata", "spec"];
const JOB_SPEC: &[&str] = &[
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completionMode",
    "completions",
    "maxFailedIndexes",
    "parallelism",
    "suspend",
    "template",
    "ttlSecondsAfterFinished",
];
const TEMPLATE: &[&str] = &["metadata", "spec"];
const POD: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "imagePullSecrets",
    "initContainers",
    "nodeSelector",
    "restartPolicy",
    "securityContext",
    "shareProcessNamespace",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
];
const POD_SECURITY: &[&str] =
    &["fsGroup", "fsGroupChangePolicy", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile", "supplementalGroups"];
const CONTAINER: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "name",
    "ports",
    "resources",
    "securityContext",
    "stdin",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeMounts",
    "workingDir",
];
const CONTAINER_SECURITY: &[&str] = &[
    "allowPrivilegeEscalation",
    "capabilities",
    "privileged",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
];
const PORT: &[&str] = &["containerPort", "name", "protocol"];
const RESOURCES: &[&str] = &["limits", "requests"];
const MOUNT: &[&str] = &["mountPath", "name", "readOnly", "subPath"];
const VOLUME: &[&str] = &["configMap", "downwardAPI", "emptyDir", "name", "persistentVolumeClaim", "projected", "secret"];
const PROJECTION: &[&str] = &["configMap", "downwardAPI", "secret"];
const EMPTY_DIR: &[&str] = &["medium", "sizeLimit"];

/// The labels and annotations that belong to Kubernetes and to Goldcrest.
const FOREIGN_PREFIXES: [&str; 2] = ["goldcrest/", "app.kubernetes.io/managed-by"];
const FOREIGN_DOMAINS: [&str; 3] = ["kubernetes.io", "k8s.io", "x-k8s.io"];

/// Checks a Job as it was described.
///
/// # Errors
/// The first member that may not be given.
pub(super) fn check(job: &Job) -> Result<(), Disallowed> {
    let Job { metadata, spec, .. } = job;
    let empty = JobSpec::default();
    check_metadata("metadata", metadata)?;
    let spec = spec.as_ref().unwrap_or(&empty);
    if let Some(metadata) = &spec.template.metadata {
        check_metadata("spec.template.metadata", metadata)?;
    }
    // The typed value is complete: what its type does not know was lost when it was read.
    let value = serde_json::to_value(job).unwrap_or_default();
    let job = Member::new("", &value);
    job.allow_only(JOB, "it is no member of a Job that is submitted")?;
    let spec = job.member("spec");
    spec.allow_only(JOB_SPEC, "it belongs to the Job controller, or is not used here")?;
    let template = spec.member("template");
    template.allow_only(TEMPLATE, "it is no member of a template")?;
    check_pod(&template.member("spec"))
}

fn check_metadata(path: &str, metadata: &ObjectMeta) -> Result<(), Disallowed> {
    let value = serde_json::to_value(metadata).unwrap_or_default();
    Member::new(path, &value).allow_only(METADATA, "it is set by Goldcrest or by Kubernetes alone")?;
    for (kind, names) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        for name in names.iter().flatten().map(|(name, _)| name) {
            let domain = name.split_once('/').map_or("", |(domain, _)| domain);
            let is_foreign = FOREIGN_DOMAINS.iter().any(|foreign| domain == *foreign || domain.ends_with(&format!(".{foreign}")));
            if is_foreign || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                return Err(Disallowed {
                    path: format!("{path}.{kind}[{name}]"),
                    reason: "the name belongs to Kubernetes or to Goldcrest",
                });
            }
        }
    }
    Ok(())
}

fn check_pod(pod: &Member<'_>) -> Result<(), Disallowed> {
    pod.allow_only(POD, "it reaches out of the pod, or is the site's to set")?;
    pod.member("automountServiceAccountToken").be(&[Value::Bool(false)], "no token of a service account is given to jobs")?;
    pod.member("restartPolicy").be(&["Never".into(), "OnFailure".into()], "a job ends")?;
    let security = pod.member("securityContext");
    security.allow_only(POD_SECURITY, "it reaches out of the pod")?;
    check_identity(&security)?;
    for list in ["containers", "initContainers"] {
        pod.member(list).each(check_container)?;
    }
    pod.member("volumes").each(|volume| {
        volume.allow_only(VOLUME, "volumes are emptyDir, configMap, secret, downwardAPI, projected and persistentVolumeClaim")?;
        volume.member("emptyDir").allow_only(EMPTY_DIR, "it is no member of an emptyDir")?;
        let sources = volume.member("projected").member("sources");
        sources.each(|source| source.allow_only(PROJECTION, "no token of a service account is given to jobs"))
    })
}

fn check_container(container: &Member<'_>) -> Result<(), Disallowed> {
    container.allow_only(CONTAINER, "a container of a job has no such member")?;
    let security = container.member("securityContext");
    security.allow_only(CONTAINER_SECURITY, "it reaches out of the pod")?;
    security.member("privileged").be(&[Value::Bool(false)], "containers have no privileges")?;
    security.member("allowPrivilegeEscalation").be(&[Value::Bool(false)], "containers gain no privileges")?;
    security.member("capabilities").allow_only(&["drop"], "capabilities are only dropped")?;
    check_identity(&security)?;
    container.member("ports").each(|port| port.allow_only(PORT, "ports of the node are not given to jobs"))?;
    container.member("resources").allow_only(RESOURCES, "devices are claimed by the site's profiles alone")?;
    container.member("volumeMounts").each(|mount| mount.allow_only(MOUNT, "mounts are not shared with the node"))
}

/// The members that both kinds of security context have.
fn check_identity(security: &Member<'_>) -> Result<(), Disallowed> {
    let profile = security.member("seccompProfile");
    profile.allow_only(&["type"], "profiles of the node are not used")?;
    profile.member("type").be(&["RuntimeDefault".into()], "the runtime's default profile is used")?;
    security.member("runAsNonRoot").be(&[Value::Bool(true)], "whether jobs may be root is the site's to say")?;
    for id in ["runAsUser", "runAsGroup", "fsGroup"] {
        let member = security.member(id);
        if member.value.and_then(Value::as_i64).is_some_and(|id| id < 1) {
            return Err(member.refuse("whether jobs may be root is the site's to say"));
        }
    }
    let groups = security.member("supplementalGroups");
    groups.each(|group| match group.value.and_then(Value::as_i64) {
        Some(1..) => Ok(()),
        _ => Err(group.refuse("whether jobs may be root is the site's to say")),
    })
}

/// A member of a Job, and its path.
struct Member<'a> {
    path: String,
    /// None where it is absent.
    value: Option<&'a Value>,
}

impl<'a> Member<'a> {
    fn new(path: &str, value: &'a Value) -> Self {
        Self { path: path.to_owned(), value: Some(value) }
    }

    fn member(&self, name: &str) -> Self {
        let separator = if self.path.is_empty() { "" } else { "." };
        let value = self.value.and_then(|value| value.get(name)).filter(|value| !value.is_null());
        Self { path: format!("{}{separator}{name}", self.path), value }
    }

    fn refuse(&self, reason: &'static str) -> Disallowed {
        Disallowed { path: self.path.clone(), reason }
    }

    /// Refuses other members. One that says that something is not wanted is as good as absent.
    fn allow_only(&self, names: &[&str], reason: &'static str) -> Result<(), Disallowed> {
        let is_absent = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || value.as_array().is_some_and(Vec::is_empty);
        let other = self.value.and_then(Value::as_object).into_iter().flat_map(Map::iter);
        let mut other = other.filter(|(name, value)| !names.contains(&name.as_str()) && !is_absent(value));
        other.next().map_or(Ok(()), |(name, _)| Err(self.member(name).refuse(reason)))
    }

    /// Refuses other values.
    fn be(&self, values: &[Value], reason: &'static str) -> Result<(), Disallowed> {
        if self.value.is_none_or(|value| values.contains(value)) { Ok(()) } else { Err(self.refuse(reason)) }
    }

    /// Checks each element of a list.
    fn each(&self, check: impl Fn(&Self) -> Result<(), Disallowed>) -> Result<(), Disallowed> {
        let elements = self.value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut elements = elements.iter().enumerate();
        elements.try_for_each(|(index, value)| check(&Self::new(&format!("{}[{index}]", self.path), value)))
    }
}

#[cfg(test)]
mod tests;
