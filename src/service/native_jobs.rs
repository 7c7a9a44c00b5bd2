//! The jobs, their tasks and the schedules of a scheduler as the objects that it keeps, for clients that know those.

use serde_json::Value;

use super::audit::Change;
use super::counts::Action;
use super::schedules::read_id;
use super::submission::NO_NATIVE_JOBS;
use super::{Access, ServiceError, jobs};
use crate::scheduler::{NativeJobs, NativeTask};

/// The caller's jobs.
///
/// # Errors
/// If the scheduler keeps none as objects, or does not answer.
pub async fn jobs(access: &Access) -> Result<Vec<Value>, ServiceError> {
    Ok(of(access)?.jobs(access.principal()).await?)
}

/// One job.
///
/// # Errors
/// If there is no such job, or as [`jobs`].
pub async fn job(access: &Access, id: &str) -> Result<Value, ServiceError> {
    let native = of(access)?;
    Ok(native.job(access.principal(), &jobs::job_id(id)?).await?)
}

/// Removes a job, whether it has ended or not: nothing is left of it.
///
/// # Errors
/// As [`job`].
pub async fn remove_job(access: &Access, id: &str) -> Result<(), ServiceError> {
    let native = of(access)?;
    let id = jobs::job_id(id)?;
    let change = Change::begin(access, Action::JobsRemove, id.as_str());
    let removed = native.remove_job(access.principal(), &id).await;
    jobs::look_at_once(access);
    Ok(change.end(removed)?)
}

/// The tasks of the caller's jobs, or of one of them, the oldest first. A job that does not exist has no tasks.
///
/// # Errors
/// As [`jobs`].
pub async fn tasks(access: &Access, job: Option<&str>) -> Result<Vec<NativeTask>, ServiceError> {
    let native = of(access)?;
    let job = job.map(jobs::job_id).transpose()?;
    Ok(native.tasks(access.principal(), job.as_ref()).await?)
}

/// The caller's schedules.
///
/// # Errors
/// As [`jobs`].
pub async fn schedules(access: &Access) -> Result<Vec<Value>, ServiceError> {
    Ok(of(access)?.schedules(access.principal()).await?)
}

/// One schedule.
///
/// # Errors
/// If there is no such schedule, or as [`jobs`].
pub async fn schedule(access: &Access, id: &str) -> Result<Value, ServiceError> {
    let native = of(access)?;
    Ok(native.schedule(access.principal(), &read_id(id)?).await?)
}

fn of(access: &Access) -> Result<&dyn NativeJobs, ServiceError> {
    access.cluster().scheduler()?.native_jobs().ok_or(ServiceError::Unsupported(NO_NATIVE_JOBS))
}
