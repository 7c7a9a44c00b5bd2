//! One Job with its pods: where it stands, and it as jobs of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job as KubernetesJob, JobCondition, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::indices::{IndexSet, ranges, task_id};
use super::names::{ACCOUNT, CANCELLED_BY, GIVEN_UP, JOB_NAME, PROFILE, USER};
use super::pod::{self, PodState, reason_text, seconds};
use super::queues;
use crate::domain::{Job, JobId, JobStatus, JobTimes};

/// The reason of a job whose Job was removed before it had ended.
pub(super) const REMOVED: &str = "Removed: the Job was deleted in the cluster";

/// One Job, with its pods and reports.
pub(super) struct View<'a> {
    pub(super) job: &'a KubernetesJob,
    pub(super) pods: &'a [Arc<Pod>],
    /// Why no pods could be created.
    pub(super) refusal: Option<&'a str>,
}

impl View<'_> {
    /// Converts it to the API's jobs, as [`Observed::to_jobs`](super::state::Observed::to_jobs).
    pub(super) fn to_jobs(&self) -> Vec<Job> {
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        match self.task_count() {
            Some(count) => self.tasks(count).into_iter().filter_map(|(range, state)| self.row(&task_id(name, range), state)).collect(),
            None => self.row(name, self.whole()).into_iter().collect(),
        }
    }

    /// How many tasks there are; none where the Job is no array.
    pub(super) fn task_count(&self) -> Option<i32> {
        self.spec().filter(|spec| spec.completion_mode.as_deref() == Some("Indexed"))?.completions
    }

    /// Where the whole Job stands.
    pub(super) fn whole(&self) -> PodState {
        let newest = self.pods.iter().max_by_key(|pod| created(pod));
        let found = newest.map(|pod| pod::state(pod));
        if let Some(condition) = end(self.job) {
            return self.ended(condition, found);
        }
        // A pod that ended by itself before the Job was removed.
        let is_own_end = self.removed_at().is_some() && newest.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
        if let Some(found) = found.as_ref().filter(|found| is_own_end && found.is_final()) {
            return found.clone();
        }
        if let Some((state, reason)) = self.marked() {
            let found = found.unwrap_or_default();
            return PodState { state, reason, end: found.end.or(self.removed_at()), ..found };
        }
        match found {
            Some(found) => found,
            None => self.without_pod(),
        }
    }

    /// The state of a Job that has ended: that of its newest pod, unless Goldcrest ended the Job.
    fn ended(&self, condition: &JobCondition, pod: Option<PodState>) -> PodState {
        let end = seconds(condition.last_transition_time.as_ref());
        let pod = pod.map(|pod| PodState { end: pod.end.or(end), ..pod });
        if condition.type_ == "Complete" {
            let completed = seconds(self.status(|status| status.completion_time.as_ref())).or(end);
            let pod = pod.unwrap_or_default();
            return PodState { state: "COMPLETED", exit_code: Some(0), end: pod.end.or(completed), reason: None, ..pod };
        }
        let from = |state, reason| PodState { state, reason, end, ..pod.clone().unwrap_or_default() };
        match (self.marked(), &pod, condition.reason.as_deref()) {
            (Some((state, reason)), ..) => from(state, reason),
            (None, Some(pod), _) if pod.is_final() && pod.state != "COMPLETED" => pod.clone(),
            (None, _, Some("DeadlineExceeded")) => from("TIMEOUT", Some("TimeLimit".to_owned())),
            _ => from("FAILED", reason_text(condition.reason.as_deref(), condition.message.as_deref())),
        }
    }

    /// The tasks of an array: those without a pod that are next to each other are told together.
    pub(super) fn tasks(&self, count: i32) -> Vec<((i32, i32), PodState)> {
        let marked = self.marked();
        // A pod that is removed because its Job was ended says nothing of its task.
        let pods = self.pods.iter().filter(|pod| marked.is_none() || pod.metadata.deletion_timestamp.is_none());
        let pods: BTreeMap<i32, PodState> = pods.filter_map(|pod| Some((pod::index(pod)?, pod::state(pod)))).collect();
        let [completed, failed] =
            [self.status(|status| status.completed_indexes.as_deref()), self.status(|status| status.failed_indexes.as_deref())]
                .map(|set| IndexSet::read(set.unwrap_or_default()));
        let (mut rows, mut waiting) = (Vec::new(), Vec::new());
        for index in 0..count {
            let pod = pods.get(&index).cloned();
            let state = match pod {
                pod if completed.contains(index) => PodState { state: "COMPLETED", exit_code: Some(0), ..pod.unwrap_or_default() },
                Some(pod) if pod.is_final() => pod,
                pod if failed.contains(index) => PodState { state: "FAILED", ..pod.unwrap_or_default() },
                Some(pod) => match marked.clone() {
                    Some((state, reason)) => PodState { state, reason, ..pod },
                    None => pod,
                },
                None => {
                    waiting.push(index);
                    continue;
                }
            };
            rows.push(((index, index), state));
        }
        let common = match (end(self.job), marked) {
            (Some(condition), _) => self.ended(condition, None),
            (None, Some((state, reason))) => PodState { state, reason, end: self.removed_at(), ..PodState::default() },
            (None, None) => self.without_pod(),
        };
        rows.extend(ranges(waiting).into_iter().map(|range| (range, common.clone())));
        rows.sort_by_key(|(range, _)| *range);
        rows
    }

    /// Where a Job stands that has no pod yet.
    fn without_pod(&self) -> PodState {
        let pending = |reason: Option<String>| PodState { state: "PENDING", reason, ..PodState::default() };
        match self.refusal {
            _ if is_suspended(self.job) => pending(Some(held(self.job))),
            Some(reason) if is_wait_for_quota(reason) => pending(Some(reason.to_owned())),
            Some(reason) => PodState { state: "FAILED", reason: Some(reason.to_owned()), is_unrecoverable: true, ..PodState::default() },
            None => pending(Some("None".to_owned())),
        }
    }

    /// What Goldcrest has written about the end of a Job, or that it was removed before.
    pub(super) fn marked(&self) -> Option<(&'static str, Option<String>)> {
        let annotation = |name| annotation(&self.job.metadata, name);
        if annotation(CANCELLED_BY).is_some() {
            return Some(("CANCELLED", None));
        }
        let given_up = annotation(GIVEN_UP).map(|reason| ("FAILED", Some(reason)));
        given_up.or_else(|| self.removed_at().map(|_| ("CANCELLED", Some(REMOVED.to_owned()))))
    }

    /// When the Job was removed, if it was.
    fn removed_at(&self) -> Option<i64> {
        seconds(self.job.metadata.deletion_timestamp.as_ref())
    }

    /// The reason why it can never run, if any.
    pub(super) fn unrecoverable(&self) -> Option<String> {
        let without_pod = || Some(self.without_pod()).filter(|_| self.pods.is_empty());
        let states = self.pods.iter().map(|pod| pod::state(pod)).chain(without_pod());
        states.into_iter().find(|state| state.is_unrecoverable).and_then(|state| state.reason)
    }

    /// It, or tasks of it, as a job of this id in this state.
    pub(super) fn row(&self, id: &str, state: PodState) -> Option<Job> {
        let metadata = &self.job.metadata;
        let pod = self.spec().and_then(|spec| spec.template.spec.as_ref());
        let container = pod.and_then(|pod| pod.containers.first());
        let elapsed = state.start.map(|start| (state.end.unwrap_or_else(|| jiff::Timestamp::now().as_second()) - start).max(0));
        let limit = pod.and_then(|pod| pod.active_deadline_seconds);
        let is_over = state.is_final();
        let id = JobId::new(id).ok()?;
        Some(Job {
            name: annotation(metadata, JOB_NAME).unwrap_or_else(|| metadata.name.clone().unwrap_or_default()),
            status: JobStatus { state: state.state.to_owned(), reason: state.reason, exit_code: state.exit_code, signal: state.signal },
            steps: None,
            times: JobTimes {
                elapsed,
                start: state.start,
                end: state.end,
                expected_start: None,
                expected_end: state.start.zip(limit).map(|(start, limit)| start + limit).filter(|_| !is_over),
                suspended: None,
                limit,
            },
            account: annotation(metadata, ACCOUNT),
            allocation_nodes: 1,
            cluster: "kubernetes".to_owned(),
            group: None,
            nodes: state.node.unwrap_or_default(),
            partition: annotation(metadata, PROFILE).unwrap_or_default(),
            kill_request_user: annotation(metadata, CANCELLED_BY).filter(|_| state.state == "CANCELLED"),
            user: annotation(metadata, USER),
            working_directory: container.and_then(|container| container.working_dir.clone()).unwrap_or_default(),
            priority: None,
            id,
        })
    }

    fn spec(&self) -> Option<&JobSpec> {
        self.job.spec.as_ref()
    }

    fn status<'a, T>(&'a self, member: impl FnOnce(&'a k8s_openapi::api::batch::v1::JobStatus) -> Option<T>) -> Option<T> {
        self.job.status.as_ref().and_then(member)
    }
}

/// Why a Job is suspended.
fn held(job: &KubernetesJob) -> String {
    queues::of(job).map_or_else(|| "JobHeldUser".to_owned(), |queue| format!("Queued: the job waits in the queue {queue} of Kueue"))
}

/// When a pod was created.
pub(super) fn created(pod: &Pod) -> Option<jiff::Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The condition that says that a Job is over.
pub(super) fn end(job: &KubernetesJob) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    conditions.into_iter().find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True")
}

/// Whether a Job is held.
pub(super) fn is_suspended(job: &KubernetesJob) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false)
}

/// An annotation of an object.
pub(super) fn annotation(metadata: &ObjectMeta, name: &str) -> Option<String> {
    metadata.annotations.as_ref()?.get(name).cloned()
}

/// Whether a refusal passes when other jobs end: a pod that a quota could never hold was not submitted.
fn is_wait_for_quota(reason: &str) -> bool {
    reason.contains("exceeded quota")
}
