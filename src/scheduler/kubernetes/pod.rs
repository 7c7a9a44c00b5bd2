//! Where a pod stands, in Slurm's words.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStateWaiting, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::names::{CONTAINER, POD_INDEX};

/// The longest reason that is told, in characters.
const MAX_REASON: usize = 1024;

/// Where a pod stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodState {
    /// One of Slurm's words.
    pub(super) state: &'static str,
    pub(super) reason: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// In Unix seconds.
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) node: Option<String>,
    /// Whether Kubernetes would go on trying although nothing will come of it.
    pub(super) is_unrecoverable: bool,
}

impl PodState {
    /// Whether nothing more happens to the pod.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self.state, "PENDING" | "RUNNING")
    }
}

/// The index of an array's task.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(POD_INDEX)?.parse().ok()
}

/// Reads a pod.
pub(super) fn state(pod: &Pod) -> PodState {
    let Some(status) = &pod.status else { return pending(None) };
    let container = status.container_statuses.iter().flatten().find(|container| container.name == CONTAINER);
    let container = container.and_then(|container| container.state.as_ref());
    let found = match (container, status.phase.as_deref()) {
        (Some(ContainerState { terminated: Some(terminated), .. }), _) => ended(status, terminated),
        (_, Some("Failed")) => not_prepared(status).unwrap_or_else(|| lost(status)),
        (Some(ContainerState { running: Some(running), .. }), _) => {
            PodState { state: "RUNNING", start: seconds(running.started_at.as_ref()), ..PodState::default() }
        }
        (Some(ContainerState { waiting: Some(waiting), .. }), _) => waits(preparation_waits(status).unwrap_or(waiting)),
        _ => pending(unschedulable(status)),
    };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    PodState { node, ..found }
}

/// The container ran, and is over.
fn ended(status: &PodStatus, terminated: &ContainerStateTerminated) -> PodState {
    let (reason, message) = (terminated.reason.as_deref().unwrap_or_default(), terminated.message.as_deref());
    let (state, reason) = match status.reason.as_deref() {
        Some("DeadlineExceeded") => ("TIMEOUT", Some("TimeLimit".to_owned())),
        _ if reason == "OOMKilled" => ("OUT_OF_MEMORY", Some("OutOfMemory".to_owned())),
        _ if terminated.exit_code == 0 => ("COMPLETED", None),
        _ => match disruption(status) {
            Some((state, reason)) => (state, Some(reason)),
            None if status.reason.is_some() => ("FAILED", reason_text(status.reason.as_deref(), status.message.as_deref())),
            None if reason == "Error" => ("FAILED", Some("NonZeroExitCode".to_owned())),
            None => ("FAILED", reason_text(Some(reason), message)),
        },
    };
    PodState {
        state,
        reason,
        exit_code: Some(terminated.exit_code),
        signal: terminated.signal.filter(|signal| *signal > 0),
        start: seconds(terminated.started_at.as_ref()).filter(|start| *start > 0),
        end: seconds(terminated.finished_at.as_ref()).filter(|end| *end > 0),
        ..PodState::default()
    }
}

/// The states of the containers that prepare the pod.
fn preparations(status: &PodStatus) -> impl Iterator<Item = &ContainerState> {
    status.init_container_statuses.iter().flatten().filter_map(|container| container.state.as_ref())
}

/// What the pod's preparation waits for, such as an image.
fn preparation_waits(status: &PodStatus) -> Option<&ContainerStateWaiting> {
    preparations(status).find_map(|state| state.waiting.as_ref())
}

/// The pod failed before its container began.
fn not_prepared(status: &PodStatus) -> Option<PodState> {
    let failed = preparations(status).find_map(|state| state.terminated.as_ref()).filter(|ended| ended.exit_code != 0)?;
    let (reason, message) = (failed.reason.as_deref().unwrap_or_default(), failed.message.as_deref());
    let what = match reason {
        "" | "Error" => format!("CodeNotUnpacked: exit code {}", failed.exit_code),
        reason => format!("CodeNotUnpacked: {reason}"),
    };
    // A pod that was ended from outside says so itself.
    (status.reason.is_none() && disruption(status).is_none()).then(|| PodState {
        state: "FAILED",
        reason: reason_text(Some(&what), message),
        exit_code: Some(failed.exit_code),
        end: seconds(failed.finished_at.as_ref()),
        ..PodState::default()
    })
}

/// The pod failed, and its container does not say how.
fn lost(status: &PodStatus) -> PodState {
    let reason = status.reason.as_deref().unwrap_or_default();
    let (state, reason) = match (reason, disruption(status)) {
        ("DeadlineExceeded", _) => ("TIMEOUT", Some("TimeLimit".to_owned())),
        ("NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated", _) => ("NODE_FAIL", reason_text(Some(reason), status.message.as_deref())),
        (_, Some((state, reason))) => (state, Some(reason)),
        _ => ("FAILED", reason_text(status.reason.as_deref(), status.message.as_deref())),
    };
    PodState { state, reason, start: seconds(status.start_time.as_ref()), ..PodState::default() }
}

/// What ended a pod from outside (`DisruptionTarget`).
fn disruption(status: &PodStatus) -> Option<(&'static str, String)> {
    let PodCondition { reason, message, .. } = condition(status, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let state = if reason.as_deref() == Some("PreemptionByScheduler") { "PREEMPTED" } else { "NODE_FAIL" };
    Some((state, reason_text(reason.as_deref(), message.as_deref())?))
}

/// The container does not run yet.
fn waits(ContainerStateWaiting { reason, message }: &ContainerStateWaiting) -> PodState {
    let (reason, message) = (reason.as_deref().unwrap_or_default(), message.as_deref());
    let is_definite =
        ["not found", "denied", "unauthorized", "forbidden"].iter().any(|word| message.is_some_and(|text| text.contains(word)));
    let is_unrecoverable = match reason {
        "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" | "ImagePullBackOff" => true,
        // The first attempt may have met a registry that was away for a moment.
        "ErrImagePull" | "RegistryUnavailable" => is_definite,
        _ => false,
    };
    let reason = reason_text(Some(reason), message);
    match is_unrecoverable {
        true => PodState { state: "FAILED", reason, is_unrecoverable, ..PodState::default() },
        false => pending(reason),
    }
}

fn pending(reason: Option<String>) -> PodState {
    PodState { state: "PENDING", reason, ..PodState::default() }
}

/// Why the scheduler has found no node.
fn unschedulable(status: &PodStatus) -> Option<String> {
    let condition = condition(status, "PodScheduled").filter(|condition| condition.status == "False")?;
    reason_text(condition.reason.as_deref(), condition.message.as_deref())
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// A reason as one line.
pub(super) fn reason_text(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let text = match (given(reason), given(message)) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (reason, message) => reason.or(message)?,
    };
    Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect())
}

/// A point in time, in Unix seconds.
pub(super) fn seconds(time: Option<&Time>) -> Option<i64> {
    time.map(|Time(time)| time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
    fn read(status: Value) -> (&'static str, Option<String>, Option<i32>, bool) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
        let PodState { state, reason, exit_code, is_unrecoverable, .. } = state(&pod);
        (state, reason, exit_code, is_unrecoverable)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
    fn terminated(state: Value, more: Value) -> (&'static str, Option<String>, Option<i32>, bool) {
        let mut status = json!({"phase": "Failed", "containerStatuses": [
            {"name": "job", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": state}}
        ]});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(status)
    }

    fn waiting(reason: &str, message: &str) -> (&'static str, Option<String>, Option<i32>, bool) {
        read(json!({"phase": "Pending", "containerStatuses": [
            {"name": "job", "image": "", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"waiting": {"reason": reason, "message": message}}}
        ]}))
    }

    #[test]
    fn the_end_of_a_container_is_told_in_slurms_words() {
        let disrupted = |reason: &str| json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}]});
        for (state, more, expected, exit) in [
            (json!({"exitCode": 0, "reason": "Completed"}), json!({}), "COMPLETED", 0),
            (json!({"exitCode": 3, "reason": "Error"}), json!({}), "FAILED", 3),
            (json!({"exitCode": 137, "reason": "OOMKilled"}), json!({}), "OUT_OF_MEMORY", 137),
            (json!({"exitCode": 137, "reason": "Error"}), json!({"reason": "DeadlineExceeded"}), "TIMEOUT", 137),
            (json!({"exitCode": 143, "reason": "Error"}), disrupted("DeletionByTaintManager"), "NODE_FAIL", 143),
            (json!({"exitCode": 143, "reason": "Error"}), disrupted("PreemptionByScheduler"), "PREEMPTED", 143),
            (json!({"exitCode": 128, "reason": "StartError", "message": "exec: /bin/bash: no such file"}), json!({}), "FAILED", 128),
            (json!({"exitCode": 137, "reason": "Error"}), json!({"reason": "Evicted", "message": "low on memory"}), "FAILED", 137),
        ] {
            let found = terminated(state.clone(), more);
            assert_eq!((found.0, found.2), (expected, Some(exit)), "{state}: {found:?}");
        }
        let found = terminated(json!({"exitCode": 128, "reason": "StartError", "message": "exec: /bin/bash:\nno such file"}), json!({}));
        assert_eq!(found.1.as_deref(), Some("StartError: exec: /bin/bash: no such file"));
    }

    #[test]
    fn a_pod_that_failed_without_its_container_says_so_by_itself() {
        assert_eq!(read(json!({"phase": "Failed", "reason": "NodeLost"})).0, "NODE_FAIL");
        assert_eq!(read(json!({"phase": "Failed", "reason": "DeadlineExceeded"})).0, "TIMEOUT");
        let found = read(json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource"}));
        assert_eq!((found.0, found.1.as_deref()), ("FAILED", Some("OutOfcpu: Node didn't have enough resource")));
    }

    #[test]
    fn a_waiting_pod_has_the_schedulers_reason() {
        let found = read(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}
        ]}));
        assert_eq!((found.0, found.1.as_deref()), ("PENDING", Some("Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.")));
        assert_eq!(waiting("ContainerCreating", "").0, "PENDING");
    }

    #[test]
    fn code_that_cannot_be_unpacked_is_the_reason() {
        let prepared = |phase: &str, state: Value| {
            let status = |name: &str, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            read(json!({
                "phase": phase, "initContainerStatuses": [status("unpack-code", state)],
                "containerStatuses": [status("job", json!({"waiting": {"reason": "PodInitializing"}}))],
            }))
        };
        let found = prepared("Failed", json!({"terminated": {"exitCode": 1, "reason": "Error"}}));
        assert_eq!((found.0, found.1.as_deref(), found.2), ("FAILED", Some("CodeNotUnpacked: exit code 1"), Some(1)));
        let found = prepared("Pending", json!({"waiting": {"reason": "ErrImagePull", "message": "registry.test/unzip:1: not found"}}));
        assert_eq!((found.0, found.3), ("FAILED", true));
        let found = prepared("Pending", json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
        assert_eq!((found.0, found.1.as_deref()), ("PENDING", Some("PodInitializing")));
    }

    #[test]
    fn an_image_that_cannot_be_had_ends_the_wait() {
        for (reason, message, is_unrecoverable) in [
            ("InvalidImageName", "couldn't parse image name", true),
            ("ErrImagePull", "rpc error: registry.test/none:1: not found", true),
            ("ErrImagePull", "dial tcp 127.0.0.1:5000: connect: connection refused", false),
            ("ImagePullBackOff", "Back-off pulling image", true),
        ] {
            let found = waiting(reason, message);
            assert_eq!((found.0 == "FAILED", found.3), (is_unrecoverable, is_unrecoverable), "{reason} {message}: {found:?}");
            assert!(found.1.unwrap().starts_with(reason));
        }
    }
}
