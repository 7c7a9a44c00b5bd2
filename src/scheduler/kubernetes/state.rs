//! The jobs of a namespace as the API has them, from the Jobs, their pods and the reports of the Job controller.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as KubernetesJob;
use k8s_openapi::api::core::v1::{Event, Pod};

use super::indices::task_id;
use super::names::POD_JOB;
use super::pod::{self, PodState, reason_text};
use super::view::{View, created, end, is_suspended};
use crate::domain::Job;

/// What is known of the jobs of one namespace.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) jobs: Vec<Arc<KubernetesJob>>,
    /// The pods, by the names of their Jobs.
    pods: HashMap<String, Vec<Arc<Pod>>>,
    /// Why no pods could be created, by the uids of the Jobs.
    refusals: HashMap<String, String>,
    /// The jobs that were removed before they had ended, as they are told.
    pub(super) removed: Vec<Job>,
}

/// The progress of a job, for code that works with its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The name of its newest pod, if it has one.
    pub(super) pod: Option<String>,
    /// Whether the pod's container runs.
    pub(super) is_running: bool,
    /// Whether nothing more happens to it.
    pub(super) is_over: bool,
}

impl Observed {
    pub(super) fn new(jobs: Vec<Arc<KubernetesJob>>, pods: Vec<Arc<Pod>>) -> Self {
        let mut by_job: HashMap<String, Vec<Arc<Pod>>> = HashMap::new();
        for pod in pods {
            if let Some(name) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_JOB)) {
                by_job.entry(name.clone()).or_default().push(pod);
            }
        }
        Self { jobs, pods: by_job, refusals: HashMap::new(), removed: Vec::new() }
    }

    /// Whether there is no job.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.removed.is_empty()
    }

    /// Whether a Job should have pods by now and has none, so that the reports of the Job controller are read.
    pub(super) fn lacks_pods(&self) -> bool {
        let lacks = |job: &Arc<KubernetesJob>| {
            let name = job.metadata.name.as_deref().unwrap_or_default();
            end(job).is_none() && !is_suspended(job) && !self.pods.contains_key(name)
        };
        self.jobs.iter().any(lacks)
    }

    /// The same with the reports of pods that could not be created; the newest of each Job counts.
    #[must_use]
    pub(super) fn with_refusals(mut self, events: &[Arc<Event>]) -> Self {
        let mut events: Vec<&Arc<Event>> = events.iter().filter(|event| event.reason.as_deref() == Some("FailedCreate")).collect();
        events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        for event in events {
            if let (Some(uid), Some(reason)) =
                (event.involved_object.uid.clone(), reason_text(event.reason.as_deref(), event.message.as_deref()))
            {
                self.refusals.insert(uid, reason);
            }
        }
        self
    }

    /// The pods of all jobs, or of this one, the oldest first.
    pub(super) fn pods(&self, job: Option<&str>) -> Vec<&Arc<Pod>> {
        let chosen = self.pods.iter().filter(|(name, _)| job.is_none_or(|job| job == *name));
        let mut pods: Vec<&Arc<Pod>> = chosen.flat_map(|(_, pods)| pods).collect();
        pods.sort_by_key(|pod| (created(pod), &pod.metadata.name));
        pods
    }

    /// How many tasks the one job has; none where it is no array.
    pub(super) fn task_count(&self) -> Option<i32> {
        self.view(self.jobs.first()?).task_count()
    }

    /// The name of the Secret with the script of the one job.
    pub(super) fn script_secret(&self) -> Option<String> {
        let pod = self.jobs.first()?.spec.as_ref()?.template.spec.as_ref()?;
        pod.volumes.iter().flatten().find_map(|volume| volume.secret.as_ref()?.secret_name.clone())
    }

    /// How far the one job, or a task of it, has come; none where it has no such task.
    pub(super) fn progress(&self, task: Option<i32>) -> Option<Progress> {
        if self.jobs.is_empty() && !self.removed.is_empty() {
            return Some(Progress { pod: None, is_running: false, is_over: true });
        }
        let view = self.view(self.jobs.first()?);
        let state = match task {
            None => view.whole(),
            Some(index) => self.tasks_with(&view, index)?,
        };
        let pods = view.pods.iter().filter(|pod| task.is_none() || pod::index(pod) == task);
        let newest = pods.max_by_key(|pod| created(pod));
        Some(Progress {
            pod: newest.and_then(|pod| pod.metadata.name.clone()),
            is_running: newest.is_some_and(|pod| pod::state(pod).state == "RUNNING"),
            is_over: state.is_final(),
        })
    }

    /// The state of one task.
    fn tasks_with(&self, view: &View<'_>, index: i32) -> Option<PodState> {
        let tasks = view.tasks(view.task_count()?);
        tasks.into_iter().find(|((first, last), _)| (*first..=*last).contains(&index)).map(|(_, state)| state)
    }

    /// The jobs, each task of an array by itself, but those that have not begun together.
    pub(super) fn to_jobs(&self) -> Vec<Job> {
        self.jobs.iter().flat_map(|job| self.view(job).to_jobs()).chain(self.removed.iter().cloned()).collect()
    }

    /// One task of an array; none where the Job is no array, or has no such task.
    pub(super) fn to_task(&self, index: i32) -> Option<Job> {
        let job = self.jobs.first()?;
        let view = self.view(job);
        let state = self.tasks_with(&view, index)?;
        view.row(&task_id(job.metadata.name.as_deref()?, (index, index)), state)
    }

    /// The Jobs that Kubernetes would go on trying although nothing will come of them, with the reasons.
    pub(super) fn unrecoverable(&self) -> Vec<(String, String)> {
        let reason = |job: &Arc<KubernetesJob>| {
            let view = self.view(job);
            (end(job).is_none() && view.marked().is_none()).then(|| view.unrecoverable()).flatten()
        };
        self.jobs.iter().filter_map(|job| Some((job.metadata.name.clone()?, reason(job)?))).collect()
    }

    fn view<'a>(&'a self, job: &'a KubernetesJob) -> View<'a> {
        let pods = job.metadata.name.as_ref().and_then(|name| self.pods.get(name)).map(Vec::as_slice).unwrap_or_default();
        let refusal = job.metadata.uid.as_ref().and_then(|uid| self.refusals.get(uid)).filter(|_| pods.is_empty());
        View { job, pods, refusal: refusal.map(String::as_str) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
    fn job(spec: Value, status: Value, annotations: Value) -> KubernetesJob {
        let mut whole =
            json!({"template": {"spec": {"activeDeadlineSeconds": 60, "containers": [{"name": "job", "workingDir": "/work"}]}}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let metadata = json!({"name": "sim-1", "uid": "u-1", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": whole, "status": status})).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
    fn pod(index: Option<i32>, state: Value) -> Pod {
        let annotations = index.map(|index| json!({"batch.kubernetes.io/job-completion-index": index.to_string()}));
        let metadata = json!({"labels": {"batch.kubernetes.io/job-name": "sim-1"}, "annotations": annotations});
        let container = json!({"name": "job", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state});
        serde_json::from_value(json!({"metadata": metadata, "status": {"containerStatuses": [container]}})).unwrap()
    }

    fn over(kind: &str, reason: &str) -> Value {
        json!({"conditions": [{"type": kind, "status": "True", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:01:00Z"}]})
    }

    fn observed(job: KubernetesJob, pods: Vec<Pod>) -> Observed {
        Observed::new(vec![Arc::new(job)], pods.into_iter().map(Arc::new).collect())
    }

    fn told(job: KubernetesJob, pods: Vec<Pod>) -> Vec<(String, String, Option<i32>)> {
        let jobs = observed(job, pods).to_jobs();
        jobs.into_iter().map(|job| (job.id.to_string(), job.status.state, job.status.exit_code)).collect()
    }

    fn one(job: KubernetesJob, pods: Vec<Pod>) -> (String, Option<i32>) {
        let (_, state, exit_code) = told(job, pods).remove(0);
        (state, exit_code)
    }

    fn running() -> Value {
        json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
    }

    fn exited(code: i32) -> Value {
        json!({"terminated": {"exitCode": code, "reason": "Error", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:30Z"}})
    }

    #[test]
    fn a_job_is_told_with_what_its_pod_says() {
        let none = || json!({});
        let whole = |pods: Vec<Pod>, status: Value| one(job(none(), status, none()), pods);
        assert_eq!(whole(vec![], none()), ("PENDING".to_owned(), None));
        assert_eq!(whole(vec![pod(None, running())], none()), ("RUNNING".to_owned(), None));
        assert_eq!(whole(vec![pod(None, exited(0))], over("Complete", "")), ("COMPLETED".to_owned(), Some(0)));
        assert_eq!(whole(vec![pod(None, exited(3))], over("Failed", "BackoffLimitExceeded")), ("FAILED".to_owned(), Some(3)));
        assert_eq!(whole(vec![], over("Failed", "BackoffLimitExceeded")), ("FAILED".to_owned(), None));
        assert_eq!(whole(vec![], over("Failed", "DeadlineExceeded")), ("TIMEOUT".to_owned(), None));
        let jobs = observed(job(none(), over("Complete", ""), none()), vec![pod(None, exited(0))]).to_jobs();
        assert_eq!((jobs[0].times.elapsed, jobs[0].times.limit, jobs[0].working_directory.as_str()), (Some(30), Some(60), "/work"));
    }

    #[test]
    fn what_goldcrest_ended_is_told_as_that_and_what_was_over_before_is_not() {
        let cancelled = || json!({"goldcrest/cancelled-by": "ada"});
        assert_eq!(one(job(json!({}), json!({}), cancelled()), vec![pod(None, running())]).0, "CANCELLED");
        assert_eq!(one(job(json!({}), over("Failed", "DeadlineExceeded"), cancelled()), vec![pod(None, exited(143))]).0, "CANCELLED");
        assert_eq!(one(job(json!({}), over("Complete", ""), cancelled()), vec![pod(None, exited(0))]).0, "COMPLETED");
        let given_up = json!({"goldcrest/given-up": "ErrImagePull: not found"});
        let jobs = observed(job(json!({}), over("Failed", "DeadlineExceeded"), given_up), vec![]).to_jobs();
        assert_eq!((jobs[0].status.state.as_str(), jobs[0].status.reason.as_deref()), ("FAILED", Some("ErrImagePull: not found")));
    }

    #[test]
    fn a_pod_that_cannot_be_created_is_waited_for_only_where_others_hold_a_quota() {
        let event = |message: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {}, "reason": "FailedCreate", "message": message, "lastTimestamp": "2026-01-01T00:00:00Z",
                "involvedObject": {"kind": "Job", "uid": "u-1"},
            }))
            .unwrap()
        };
        for (message, state, unrecoverable) in [
            (
                "Error creating: pods \"a\" is forbidden: exceeded quota: jobs, requested: pods=1, used: pods=9, limited: pods=9",
                "PENDING",
                0,
            ),
            ("Error creating: pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\"", "FAILED", 1),
        ] {
            let observed = observed(job(json!({}), json!({}), json!({})), vec![]);
            assert!(observed.lacks_pods());
            let observed = observed.with_refusals(&[Arc::new(event(message))]);
            let told = observed.to_jobs().remove(0);
            assert_eq!((told.status.state.as_str(), observed.unrecoverable().len()), (state, unrecoverable), "{message}");
            assert!(told.status.reason.unwrap().contains(message), "{message}");
        }
        let held = observed(job(json!({"suspend": true}), json!({}), json!({})), vec![]);
        assert!(!held.lacks_pods());
        assert_eq!(held.to_jobs()[0].status.reason.as_deref(), Some("JobHeldUser"));
    }

    #[test]
    fn tasks_of_an_array_are_told_by_themselves_and_waiting_ones_together() {
        let array = || json!({"completionMode": "Indexed", "completions": 8});
        let status = json!({"completedIndexes": "0,2", "failedIndexes": "1"});
        let pods = vec![pod(Some(1), exited(7)), pod(Some(2), exited(0)), pod(Some(4), running())];
        let observed = observed(job(array(), status.clone(), json!({})), pods.clone());
        let found: Vec<(String, String, Option<i32>)> =
            observed.to_jobs().into_iter().map(|job| (job.id.to_string(), job.status.state, job.status.exit_code)).collect();
        let expected = [
            ("sim-1_0", "COMPLETED", Some(0)),
            ("sim-1_1", "FAILED", Some(7)),
            ("sim-1_2", "COMPLETED", Some(0)),
            ("sim-1_3", "PENDING", None),
            ("sim-1_4", "RUNNING", None),
            ("sim-1_[5-7]", "PENDING", None),
        ];
        assert_eq!(found, expected.map(|(id, state, exit_code)| (id.to_owned(), state.to_owned(), exit_code)));
        assert_eq!(observed.to_task(6).unwrap().id.as_str(), "sim-1_6");
        assert_eq!(observed.to_task(8), None);
        let cancelled = job(array(), status, json!({"goldcrest/cancelled-by": "ada"}));
        let states: Vec<String> = told(cancelled, pods).into_iter().map(|(_, state, _)| state).collect();
        assert_eq!(states, ["COMPLETED", "FAILED", "COMPLETED", "CANCELLED", "CANCELLED", "CANCELLED"]);
    }

    #[test]
    fn the_progress_of_a_job_and_of_a_task_names_the_pod() {
        let named = |name: &str, pod: Pod| {
            let mut pod = pod;
            pod.metadata.name = Some(name.to_owned());
            pod
        };
        let progress = |pod: Option<&str>, is_running, is_over| Some(Progress { pod: pod.map(str::to_owned), is_running, is_over });
        let single = observed(job(json!({}), json!({}), json!({})), vec![named("p", pod(None, running()))]);
        assert_eq!((single.task_count(), single.progress(None)), (None, progress(Some("p"), true, false)));
        assert_eq!(observed(job(json!({}), json!({}), json!({})), vec![]).progress(None), progress(None, false, false));
        assert_eq!(observed(job(json!({}), over("Failed", ""), json!({})), vec![]).progress(None), progress(None, false, true));
        let pods = vec![named("p0", pod(Some(0), exited(0))), named("p1", pod(Some(1), running()))];
        let array =
            observed(job(json!({"completionMode": "Indexed", "completions": 3}), json!({"completedIndexes": "0"}), json!({})), pods);
        assert_eq!(array.task_count(), Some(3));
        assert_eq!(array.progress(Some(0)), progress(Some("p0"), false, true));
        assert_eq!(array.progress(Some(1)), progress(Some("p1"), true, false));
        assert_eq!((array.progress(Some(2)), array.progress(Some(3))), (progress(None, false, false), None));
    }
}
