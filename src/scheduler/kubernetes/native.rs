//! Jobs, pods and CronJobs as the API server has them.

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::{CronJob, Job as KubernetesJob};
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::Value;

use super::Kubernetes;
use super::connection::Actor;
use super::failure::ApiFailure;
use super::indices::task_id;
use super::jobs::rejected;
use super::names::{GIVEN_UP, JobRef, POD_JOB};
use super::pod;
use super::view::{annotation, end};
use crate::domain::{JobId, Principal, ScheduleId};
use crate::scheduler::{NativeJobs, NativeTask, SchedulerError};

#[async_trait]
impl NativeJobs for Kubernetes {
    async fn jobs(&self, principal: &Principal) -> Result<Vec<Value>, SchedulerError> {
        let Some((_, observed)) = self.jobs.all(&principal.username).await? else { return Ok(Vec::new()) };
        Ok(observed.jobs.iter().map(|job| job_object(job)).collect())
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Value, SchedulerError> {
        let (_, observed) = self.jobs.one(&principal.username, whole(id)?).await?;
        observed.jobs.first().map(|job| job_object(job)).ok_or(SchedulerError::JobNotFound)
    }

    async fn remove_job(&self, principal: &Principal, id: &JobId) -> Result<(), SchedulerError> {
        let (user, name) = (&principal.username, whole(id)?);
        let (namespace, _) = self.jobs.one(user, name).await?;
        self.jobs.connection.delete::<KubernetesJob>(Actor::User(user), &namespace, name).await.map_err(ApiFailure::of_write)?;
        self.jobs.cache.forget(&namespace, name);
        Ok(())
    }

    async fn tasks(&self, principal: &Principal, job: Option<&JobId>) -> Result<Vec<NativeTask>, SchedulerError> {
        let Some(job) = job else {
            let Some((_, observed)) = self.jobs.all(&principal.username).await? else { return Ok(Vec::new()) };
            return Ok(observed.pods(None).into_iter().filter_map(|pod| task(pod)).collect());
        };
        match self.jobs.one(&principal.username, whole(job)?).await {
            Ok((_, observed)) => Ok(observed.pods(Some(job.as_str())).into_iter().filter_map(|pod| task(pod)).collect()),
            Err(SchedulerError::JobNotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn schedules(&self, principal: &Principal) -> Result<Vec<Value>, SchedulerError> {
        Ok(self.cron_jobs(&principal.username).await?.iter().map(object).collect())
    }

    async fn schedule(&self, principal: &Principal, id: &ScheduleId) -> Result<Value, SchedulerError> {
        let found: CronJob = self.cron_job(&principal.username, id).await?;
        Ok(object(&found))
    }
}

/// The name of a Job, of which a task is a part only.
fn whole(id: &JobId) -> Result<&str, SchedulerError> {
    match JobRef::read(id)? {
        JobRef { name, task: None } => Ok(name),
        JobRef { task: Some(_), .. } => Err(rejected("a task of an array is no object: name the whole array")),
    }
}

fn object(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// A Job. Where Goldcrest has ended it, the reason stands where clients look for it.
fn job_object(job: &KubernetesJob) -> Value {
    let reason = annotation(&job.metadata, GIVEN_UP).filter(|_| end(job).is_some());
    let mut object = object(job);
    if let Some(reason) = reason {
        let conditions = object["status"]["conditions"].as_array_mut();
        for condition in conditions.into_iter().flatten().filter(|condition| condition["type"] == "Failed") {
            condition["message"] = reason.clone().into();
        }
    }
    object
}

fn task(pod: &Pod) -> Option<NativeTask> {
    let name = pod.metadata.name.clone()?;
    let job = pod.metadata.labels.as_ref()?.get(POD_JOB)?;
    let job = match pod::index(pod) {
        Some(index) => JobId::new(&task_id(job, (index, index))).ok()?,
        None => JobId::new(job).ok()?,
    };
    Some(NativeTask { name, job, object: object(pod) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_the_output_of_its_job_or_of_a_task() {
        let pod = |annotations: Value| -> Pod {
            let labels = json!({"batch.kubernetes.io/job-name": "sim-1"});
            serde_json::from_value(json!({"metadata": {"name": "sim-1-x7", "labels": labels, "annotations": annotations}})).unwrap()
        };
        let single = task(&pod(json!({}))).unwrap();
        assert_eq!((single.name.as_str(), single.job.as_str(), &single.object["kind"]), ("sim-1-x7", "sim-1", &json!("Pod")));
        assert_eq!(task(&pod(json!({"batch.kubernetes.io/job-completion-index": "3"}))).unwrap().job.as_str(), "sim-1_3");
    }

    #[test]
    fn the_reason_for_which_a_job_was_given_up_is_that_of_its_end() {
        let condition = json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active longer"});
        let job: KubernetesJob = serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": {"goldcrest/given-up": "ErrImagePull: not found"}},
            "spec": {"template": {}}, "status": {"conditions": [condition]},
        }))
        .unwrap();
        assert_eq!(job_object(&job)["status"]["conditions"][0]["message"], "ErrImagePull: not found");
    }
}
