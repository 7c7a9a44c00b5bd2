//! Pods, which are the tasks of jobs: list, show.

use axum::Json;
use serde::Deserialize;
use serde_json::Value;

use super::answers;
use super::shapes::to_dictionary;
use crate::http::extract::access::{NameText, ReadAccess};
use crate::http::extract::parameters::Parameters;
use crate::http::problem::Problem;
use crate::scheduler::{NativeTask, SchedulerError};
use crate::service::{Access, ServiceError, native_jobs};

pub(super) const KIND: &str = "pods";

/// The pods of one job, or of all: clients send the parameter empty.
#[derive(Deserialize)]
pub(super) struct PodParameters {
    #[serde(default)]
    job_name: Option<String>,
}

/// The pods of the caller's jobs.
pub(super) async fn list(ReadAccess(access): ReadAccess, Parameters(query): Parameters<PodParameters>) -> Result<Json<Value>, Problem> {
    let job = query.job_name.filter(|name| !name.is_empty());
    let tasks = match native_jobs::tasks(&access, job.as_deref()).await {
        // A text that is no id names no job.
        Err(ServiceError::Invalid(_)) => Vec::new(),
        tasks => tasks?,
    };
    Ok(answers::pods(tasks.into_iter().map(|task| task.object).collect()))
}

/// One pod.
pub(super) async fn show(ReadAccess(access): ReadAccess, NameText(name): NameText) -> Result<Json<Value>, Problem> {
    let pod = find(&access, &name).await.map_err(|error| answers::failed(error, KIND, &name))?;
    Ok(Json(to_dictionary("V1Pod", &pod.object)))
}

/// The pod of this name.
pub(super) async fn find(access: &Access, name: &str) -> Result<NativeTask, ServiceError> {
    let tasks = native_jobs::tasks(access, None).await?;
    tasks.into_iter().find(|task| task.name == name).ok_or(ServiceError::Scheduler(SchedulerError::JobNotFound))
}
