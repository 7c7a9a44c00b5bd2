//! Jobs that the scheduler itself submits again and again.

use async_trait::async_trait;

use super::SchedulerError;
use crate::domain::{Principal, Schedule, ScheduleDescription, ScheduleId};

/// The schedules of a scheduler that supports them. Every method acts as `principal`, who sees and removes their own.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Creates a schedule, once.
    async fn create(&self, principal: &Principal, schedule: &ScheduleDescription) -> Result<ScheduleId, SchedulerError>;

    /// The schedules of the caller.
    async fn list(&self, principal: &Principal) -> Result<Vec<Schedule>, SchedulerError>;

    /// One schedule. [`SchedulerError::ScheduleNotFound`] if there is none.
    async fn get(&self, principal: &Principal, id: &ScheduleId) -> Result<Schedule, SchedulerError>;

    /// Removes a schedule. Its jobs that run are cancelled.
    async fn remove(&self, principal: &Principal, id: &ScheduleId) -> Result<(), SchedulerError>;
}
