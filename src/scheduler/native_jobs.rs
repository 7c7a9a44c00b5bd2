//! The objects of a scheduler that keeps jobs as such, for clients that know them.

use async_trait::async_trait;
use serde_json::Value;

use super::SchedulerError;
use crate::domain::{JobId, Principal, ScheduleId};

/// The jobs, tasks and schedules as the scheduler itself has them. Every method acts as `principal`, who sees and removes their own. They are the
/// same as those of the other operations, in another form.
#[async_trait]
pub trait NativeJobs: Send + Sync {
    /// The jobs of the caller.
    async fn jobs(&self, principal: &Principal) -> Result<Vec<Value>, SchedulerError>;

    /// One job. [`SchedulerError::JobNotFound`] if there is none.
    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Value, SchedulerError>;

    /// Removes a job with all that belongs to it. It is stopped if it runs.
    async fn remove_job(&self, principal: &Principal, id: &JobId) -> Result<(), SchedulerError>;

    /// The tasks of the caller's jobs, or of this one alone, the oldest first.
    async fn tasks(&self, principal: &Principal, job: Option<&JobId>) -> Result<Vec<NativeTask>, SchedulerError>;

    /// The schedules of the caller.
    async fn schedules(&self, principal: &Principal) -> Result<Vec<Value>, SchedulerError>;

    /// One schedule. [`SchedulerError::ScheduleNotFound`] if there is none.
    async fn schedule(&self, principal: &Principal, id: &ScheduleId) -> Result<Value, SchedulerError>;
}

/// What runs for a job.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeTask {
    /// Its name.
    pub name: String,
    /// The job, or the task of an array, whose output is that of the object.
    pub job: JobId,
    /// The object.
    pub object: Value,
}
