//! The start of a user's helper pod, and why it does not run.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job as KubernetesJob;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};

use super::cache::REFUSALS;
use super::connection::{Actor, Connection, Created, Selection};
use super::failure::ApiFailure;
use super::helper::{HELPER, Helper};
use super::pod::{self, reason_text};
use super::view;
use crate::domain::Username;

/// The label by which the Job controller marks the pods of one Job, whatever other has had its name.
const OWNER: &str = "batch.kubernetes.io/controller-uid";

/// The time limit for the start of a pod; a shorter one for a pod that cannot be scheduled or whose volume is missing, so that the client can try again.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const UNPLACED_START_TIMEOUT: Duration = Duration::from_secs(8);

/// The status of a helper.
#[derive(Debug)]
pub(super) enum HelperStatus {
    /// The name of the pod that runs.
    Running(String),
    /// It will not run, for this reason.
    Refused(String),
    /// It does not run yet, for this reason, and should after this time.
    Waiting { reason: Option<String>, timeout: Duration },
}

impl HelperStatus {
    fn waiting(reason: Option<String>) -> Self {
        Self::Waiting { reason, timeout: START_TIMEOUT }
    }
}

/// One attempt to have a helper that runs.
pub(super) struct Start<'a> {
    connection: &'a Connection,
    helper: &'a Helper,
    namespace: &'a str,
    user: &'a Username,
    /// The uid of the Job that was made here: it is not made again when it fails.
    made: Option<String>,
    /// The name of its pod, when there is one.
    pod: Option<String>,
}

impl<'a> Start<'a> {
    pub(super) fn new(connection: &'a Connection, helper: &'a Helper, namespace: &'a str, user: &'a Username) -> Self {
        Self { connection, helper, namespace, user, made: None, pod: None }
    }

    /// Looks where the helper stands, and makes it where there is none. One that has ended is removed.
    ///
    /// # Errors
    /// If the API server refuses a request or does not answer.
    pub(super) async fn look(&mut self) -> Result<HelperStatus, ApiFailure> {
        let found = self.connection.get::<KubernetesJob>(Actor::Own, Some(self.namespace), HELPER).await?;
        let Some(job) = found else {
            self.make().await?;
            return Ok(HelperStatus::waiting(None));
        };
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let labels = format!("{OWNER}={uid}");
        let pods: Vec<Pod> = self.list(Selection { labels: &labels, fields: "" }).await?;
        let pod = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
        self.pod = pod.and_then(|pod| pod.metadata.name.clone());
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(HelperStatus::waiting(None));
        }
        let state = pod.map(pod::state).unwrap_or_default();
        match (state.state, self.pod.clone()) {
            ("RUNNING", Some(name)) => return Ok(HelperStatus::Running(name)),
            _ if state.is_unrecoverable => return Ok(HelperStatus::Refused(state.reason.unwrap_or_default())),
            _ => {}
        }
        if let Some(condition) = view::end(&job) {
            let reason = state.reason.or_else(|| reason_text(condition.reason.as_deref(), condition.message.as_deref()));
            let is_failed = condition.type_ == "Failed" && self.made.as_ref() == Some(&uid);
            if is_failed {
                return Ok(HelperStatus::Refused(reason.unwrap_or_default()));
            }
            self.remove().await?;
            return Ok(HelperStatus::waiting(None));
        }
        match pod {
            Some(_) => Ok(waiting(state.reason)),
            None => self.without_pod(&uid).await,
        }
    }

    async fn list<T>(&self, selection: Selection<'_>) -> Result<Vec<T>, ApiFailure>
    where
        T: k8s_openapi::Resource + serde::de::DeserializeOwned,
    {
        self.connection.list(Actor::Own, Some(self.namespace), selection).await
    }

    /// Makes the volume and the Job. The volume is looked for first: a quota would refuse a second one rather than say that it is there.
    async fn make(&mut self) -> Result<(), ApiFailure> {
        let (own, scope) = (Actor::Own, Some(self.namespace));
        if let (name, Some(claim)) = self.helper.claim()
            && self.connection.get::<PersistentVolumeClaim>(own, scope, name).await?.is_none()
        {
            self.connection.create(own, scope, &claim).await?;
        }
        if let Created::New(job) = self.connection.create(own, scope, &self.helper.job(self.user)).await? {
            tracing::debug!(namespace = self.namespace, user = %self.user, "a pod for a user's files is started");
            self.made = job.metadata.uid;
        }
        Ok(())
    }

    /// Where a Job stands that has no pod: what the Job controller has reported last.
    async fn without_pod(&self, uid: &str) -> Result<HelperStatus, ApiFailure> {
        let events: Vec<Event> = self.list(REFUSALS).await?;
        let refusal = newest(events.iter().filter(|event| event.involved_object.uid.as_deref() == Some(uid)));
        Ok(match refusal {
            // A namespace that is new gets its account a moment later.
            Some(reason) if !reason.contains("error looking up service account") => HelperStatus::Refused(reason),
            reason => HelperStatus::waiting(reason),
        })
    }

    /// Removes the Job, and its pod behind it.
    ///
    /// # Errors
    /// If the API server refuses that or does not answer.
    pub(super) async fn remove(&self) -> Result<(), ApiFailure> {
        self.connection.delete::<KubernetesJob>(Actor::Own, self.namespace, HELPER).await
    }

    /// Why the pod does not run: what the kubelet has reported of it last, such as a volume that cannot be mounted, if it says nothing itself.
    pub(super) async fn explain(&self, reason: Option<String>) -> String {
        let reason = reason.unwrap_or_else(|| "Kubernetes does not say why".to_owned());
        let Some(pod) = &self.pod else { return reason };
        let fields = format!("involvedObject.kind=Pod,involvedObject.name={pod},type=Warning");
        // What is known without it is said where it cannot be had.
        let events: Vec<Event> = self.list(Selection { labels: "", fields: &fields }).await.unwrap_or_default();
        match newest(events.iter()) {
            Some(event) if !reason.contains(&event) => format!("{reason}; {event}"),
            _ => reason,
        }
    }
}

fn waiting(reason: Option<String>) -> HelperStatus {
    let is_unplaced = reason.as_ref().is_some_and(|reason| reason.starts_with("Unschedulable"));
    // No later request finds a claim that the site has to make.
    match reason {
        Some(reason) if is_unplaced && reason.contains("persistentvolumeclaim") && reason.contains("not found") => {
            HelperStatus::Refused(reason)
        }
        reason if is_unplaced => HelperStatus::Waiting { reason, timeout: UNPLACED_START_TIMEOUT },
        reason => HelperStatus::waiting(reason),
    }
}

/// What the newest of these events says.
fn newest<'a>(events: impl Iterator<Item = &'a Event>) -> Option<String> {
    let event = events.max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
    reason_text(event.reason.as_deref(), event.message.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_without_a_place_is_waited_for_less_than_one_that_starts() {
        let timeout = |reason: &str| match waiting(Some(reason.to_owned())) {
            HelperStatus::Waiting { timeout, .. } => Some(timeout),
            _ => None,
        };
        assert_eq!(timeout("ContainerCreating"), Some(START_TIMEOUT));
        assert_eq!(timeout("Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."), Some(UNPLACED_START_TIMEOUT));
        assert_eq!(timeout("Unschedulable: persistentvolumeclaim \"home\" not found"), None);
    }

    #[test]
    fn the_newest_event_counts() {
        let event = |time: &str, message: &str| -> Event {
            serde_json::from_value(
                json!({"metadata": {}, "involvedObject": {}, "reason": "FailedMount", "message": message, "lastTimestamp": time}),
            )
            .unwrap()
        };
        let events = [event("2026-01-01T00:00:02Z", "late"), event("2026-01-01T00:00:01Z", "early")];
        assert_eq!(newest(events.iter()).as_deref(), Some("FailedMount: late"));
        assert_eq!(newest([].iter()), None);
    }
}
