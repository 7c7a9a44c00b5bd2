//! Cancels a job through slurmrestd, which in some versions reports neither a refusal nor that the job had ended.

use serde::de::IgnoredAny;

use super::client::{SlurmRest, asked_as};
use super::endpoint::{Answered, Call};
use super::failure::{explain, was_over};
use super::version::Offer;
use crate::domain::{Job, Principal, is_final_state};
use crate::scheduler::slurm::job_ref::JobRef;
use crate::scheduler::slurm::merge;
use crate::scheduler::slurm::values::{is_over, is_waiting};
use crate::scheduler::{SchedulerError, cancel_ended};

const NO_WAITING_TASK: &str = "version v0.0.36 of slurmrestd's API does not cancel single tasks of an array that wait";
const NO_WAITING_COMPONENT: &str = "Slurm does not cancel a single component of a heterogeneous job that waits: cancel the whole job";
const NO_PART_WITHOUT_NUMBER: &str =
    "connection_mode is rest, and slurmrestd knows this part of the job by the number of the whole job: cancel the whole job";

impl SlurmRest {
    /// Cancels a job with all its parts, and makes sure of it. One that has ended is queried first: no version says whose it is.
    ///
    /// # Errors
    /// If there is no such job, it is another user's, or it would cancel more than the job, or what Slurm does not cancel by itself.
    pub(super) async fn cancel_job(&self, principal: &Principal, id: JobRef<'_>) -> Result<(), SchedulerError> {
        let queued = self.queued_as(principal, id).await?;
        // A job that is being completed may be about to be queued again: Slurm decides about that one.
        if !queued.is_empty() && queued.iter().all(|(_, job)| is_final_state(&job.status.state)) {
            return self.cancel_ended(principal, id, queued).await;
        }
        let Some(sent_as) = self.cancelled_as(principal, id, &queued).await? else {
            return self.cancel_forgotten(principal, id).await;
        };
        let make = |offer: Offer| Ok(Call::slurm(offer.slurm, &["job", &sent_as]).delete());
        let Answered { version, success, answer } = self.endpoint.call::<IgnoredAny>(principal, make).await?;
        let is_itemised = answer.tells_of_each_job();
        let faults = answer.faults();
        if was_over(&faults) {
            return self.cancel_ended(principal, id, queued).await;
        }
        if !faults.is_empty() {
            return match explain(&faults) {
                SchedulerError::JobNotFound => self.cancel_forgotten(principal, id).await,
                error => Err(error),
            };
        }
        match success {
            false => Err(explain(&[])),
            true if is_itemised => Ok(()),
            // Where the controller shows the caller no such job, it has cancelled none.
            true if queued.is_empty() => self.cancel_forgotten(principal, id).await,
            true if version.hides_refusals() => self.verify_cancelled(principal, id).await,
            true => Ok(()),
        }
    }

    /// A job that the controller knows has ended: of its accounts where the version does not name the users.
    async fn cancel_ended(&self, principal: &Principal, id: JobRef<'_>, queued: Vec<merge::Queued>) -> Result<(), SchedulerError> {
        let is_named = !queued.is_empty() && queued.iter().all(|(_, job)| job.user.is_some());
        let jobs: Vec<Job> = match is_named {
            true => queued.into_iter().map(|(_, job)| job).collect(),
            false => merge::single(id, Ok(queued), self.accounted_as(principal, id).await?)?.value,
        };
        cancel_ended(&jobs, principal)
    }

    /// A job that the controller has forgotten: it ended long ago, or never was.
    async fn cancel_forgotten(&self, principal: &Principal, id: JobRef<'_>) -> Result<(), SchedulerError> {
        cancel_ended(&merge::forgotten(self.accounted_as(principal, id).await?)?, principal)
    }

    /// The id under which slurmrestd cancels a job; none where the controller does not know it. Not every version takes components of
    /// heterogeneous jobs, but their numbers: by those it would cancel a component that waits, which scancel refuses, and for the first
    /// component the whole job, as scancel does while that waits.
    async fn cancelled_as(
        &self,
        principal: &Principal,
        id: JobRef<'_>,
        queued: &[merge::Queued],
    ) -> Result<Option<String>, SchedulerError> {
        let knows_tasks = self.endpoint.offer(principal).await?.slurm.knows_tasks();
        if asked_as(id, knows_tasks) == id.as_str() {
            return Ok(Some(id.as_str().to_owned()));
        }
        let Some((number, job)) = queued.iter().find(|(_, job)| job.id.as_str() == id.as_str()) else { return Ok(None) };
        let state = job.status.state.as_str();
        match number.map(|number| number.to_string()) {
            // Its record is that of all tasks that wait.
            None => Err(SchedulerError::Unsupported(NO_WAITING_TASK)),
            Some(number) if number == id.whole() && is_waiting(state) => Ok(Some(number)),
            Some(number) if number == id.whole() => Err(SchedulerError::Unsupported(NO_PART_WITHOUT_NUMBER)),
            Some(_) if id.is_component() && is_waiting(state) => Err(SchedulerError::Rejected(NO_WAITING_COMPONENT.to_owned())),
            number => Ok(number),
        }
    }

    /// Whether a cancellation of which the answer says nothing was done.
    async fn verify_cancelled(&self, principal: &Principal, id: JobRef<'_>) -> Result<(), SchedulerError> {
        let queued = self.queued_as(principal, id).await?;
        // A job that never existed is reported as such. A task that was pending is gone from the record of its array.
        if all_over(&queued) {
            return Ok(());
        }
        Err(if id.is_component() {
            SchedulerError::Rejected(NO_WAITING_COMPONENT.to_owned())
        } else {
            SchedulerError::Denied("Access/permission denied".to_owned())
        })
    }
}

fn all_over(queued: &[merge::Queued]) -> bool {
    queued.iter().all(|(_, job)| is_over(&job.status.state))
}
