//! Whether a job has ended.

use crate::domain::JobId;
use crate::error::ErrorChain;
use crate::scheduler::SchedulerError;
use crate::service::Access;

/// Checks whether one job has ended.
pub(super) struct JobWatch<'a> {
    access: &'a Access,
    job: &'a JobId,
}

impl<'a> JobWatch<'a> {
    pub(super) fn new(access: &'a Access, job: &'a JobId) -> Self {
        Self { access, job }
    }

    /// Whether it has ended, so that nothing more will be written. `None` if that is unknown. A job that the scheduler has forgotten has ended.
    pub(super) async fn has_ended(&self) -> Option<bool> {
        let scheduler = self.access.cluster().scheduler().ok()?;
        match scheduler.job(self.access.principal(), self.job).await {
            Ok(jobs) => {
                let own = jobs.iter().find(|job| job.id == *self.job);
                Some(own.map_or_else(|| jobs.iter().all(|job| job.status.has_ended()), |job| job.status.has_ended()))
            }
            Err(SchedulerError::JobNotFound) => Some(true),
            Err(error) => {
                tracing::debug!(job = %self.job, error = %ErrorChain(&error), "could not find out whether a job has ended");
                None
            }
        }
    }
}
