//! Slurm through slurmrestd and through its commands: each call by the backend that can do it, slurmrestd first.
//!
//! Calls that slurmrestd does not support go to the commands at once. Calls that it does not answer go to them too, and a server that gave no answer
//! is not tried again for a short time. A submission goes to the second backend only if it is certain that the first did nothing.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use super::rest::{SlurmRest, is_possible};
use crate::domain::{
    Account, AccountingQuery, Backend, Carrier, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobQuery,
    JobUsage, Node, Partition, Principal, Reported, Reservation,
};
use crate::error::ErrorChain;
use crate::scheduler::{AttachOutput, Scheduler, SchedulerError, SubmissionKey, Submitted};

/// Slurm by two backends.
pub struct SlurmHybrid {
    rest: SlurmRest,
    ssh: Arc<dyn Scheduler>,
}

/// The answer of one of the backends.
type CallResult<T> = Result<Reported<T>, SchedulerError>;

impl SlurmHybrid {
    /// slurmrestd, with the commands as the fallback.
    pub fn new(rest: SlurmRest, ssh: Arc<dyn Scheduler>) -> Self {
        Self { rest, ssh }
    }

    /// As [`Self::rest_first`], where an answer of slurmrestd's that lacks something is given only if the commands do not know more.
    async fn prefer_complete<T>(
        &self,
        rest: impl Future<Output = CallResult<T>>,
        ssh: impl Future<Output = CallResult<T>>,
    ) -> CallResult<T> {
        tokio::pin!(ssh);
        let answer = self.rest_first(rest, &mut ssh, was_not_answered).await?;
        if answer.missing.is_none() || answer.via.is_some_and(|backend| backend.by == Carrier::Ssh) {
            return Ok(answer);
        }
        match ssh.await {
            Ok(whole) if whole.missing.is_none() => Ok(via(Carrier::Ssh, true, whole)),
            _ => Ok(answer),
        }
    }

    /// By slurmrestd, or by the commands where it cannot, or where `may_be_repeated` holds of how it failed. Only one of the two
    /// futures is driven at a time, and the second only when the first has ended.
    async fn rest_first<T>(
        &self,
        rest: impl Future<Output = CallResult<T>>,
        ssh: impl Future<Output = CallResult<T>>,
        may_be_repeated: fn(&SchedulerError) -> bool,
    ) -> CallResult<T> {
        let mut unanswered = None;
        if !self.rest.is_silent() {
            match rest.await {
                Err(SchedulerError::Unsupported(_) | SchedulerError::Members(_)) => return by_ssh(ssh).await,
                Err(error) if may_be_repeated(&error) => {
                    tracing::warn!(error = %ErrorChain(&error), "slurmrestd gives no answer: Slurm's commands are used instead");
                    unanswered = Some(error).filter(|error| !did_not_happen(error));
                }
                answer => return answer.map(|reported| via(Carrier::Rest, false, reported)),
            }
        }
        match ssh.await {
            // What slurmrestd was asked may have happened, although the commands certainly did nothing.
            Err(error) if did_not_happen(&error) => Err(unanswered.unwrap_or(error)),
            answer => answer.map(|reported| via(Carrier::Ssh, true, reported)),
        }
    }
}

/// Runs a call that only the commands support.
async fn by_ssh<T>(ssh: impl Future<Output = CallResult<T>>) -> CallResult<T> {
    ssh.await.map(|reported| via(Carrier::Ssh, false, reported))
}

fn via<T>(by: Carrier, fallback: bool, reported: Reported<T>) -> Reported<T> {
    Reported { via: Some(Backend { by, fallback }), ..reported }
}

/// Whether the call certainly had no effect.
fn did_not_happen(error: &SchedulerError) -> bool {
    matches!(error, SchedulerError::Down(_))
}

/// Whether a call that may be repeated was not answered.
fn was_not_answered(error: &SchedulerError) -> bool {
    matches!(error, SchedulerError::Down(_) | SchedulerError::Unanswered(_))
}

#[async_trait]
impl Scheduler for SlurmHybrid {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        let ssh = self.ssh.submit(principal, job);
        if !is_possible(job) {
            return by_ssh(ssh).await;
        }
        self.rest_first(self.rest.submit(principal, job), ssh, did_not_happen).await
    }

    async fn settle(&self) {
        self.ssh.settle().await;
    }

    /// By the commands: the record is on the cluster.
    async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError> {
        by_ssh(self.ssh.submit_once(principal, job, key)).await
    }

    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        self.prefer_complete(self.rest.jobs(principal, query), self.ssh.jobs(principal, query)).await
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        self.prefer_complete(self.rest.job(principal, id), self.ssh.job(principal, id)).await
    }

    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        self.rest_first(self.rest.accounting(principal, query), self.ssh.accounting(principal, query), was_not_answered).await
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        by_ssh(self.ssh.metadata(principal, id)).await
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        self.rest_first(self.rest.cancel(principal, id), self.ssh.cancel(principal, id), was_not_answered).await
    }

    /// A signal or a second start may not be sent twice; the other changes may.
    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        let may_be_repeated = match change {
            JobChange::Requeue | JobChange::Signal(_) => did_not_happen,
            JobChange::Hold | JobChange::Release | JobChange::TimeLimit(_) => was_not_answered,
        };
        self.rest_first(self.rest.alter(principal, id, change), self.ssh.alter(principal, id, change), may_be_repeated).await
    }

    async fn validate(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        by_ssh(self.ssh.validate(principal, job)).await
    }

    async fn usage(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        by_ssh(self.ssh.usage(principal, query)).await
    }

    async fn limits(&self, principal: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        by_ssh(self.ssh.limits(principal)).await
    }

    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        by_ssh(self.ssh.attach(principal, id, command)).await
    }

    async fn nodes(&self, principal: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        self.rest_first(self.rest.nodes(principal), self.ssh.nodes(principal), was_not_answered).await
    }

    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        self.rest_first(self.rest.partitions(principal, hidden), self.ssh.partitions(principal, hidden), was_not_answered).await
    }

    async fn reservations(&self, principal: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        self.rest_first(self.rest.reservations(principal), self.ssh.reservations(principal), was_not_answered).await
    }

    async fn accounts(&self, principal: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        self.rest_first(self.rest.accounts(principal), self.ssh.accounts(principal), was_not_answered).await
    }

    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        let rest = async { self.rest.ping(principal).await.map(Reported::from) };
        let ssh = async { self.ssh.ping(principal).await.map(Reported::from) };
        self.rest_first(rest, ssh, was_not_answered).await.map(|reported| reported.value)
    }
}
