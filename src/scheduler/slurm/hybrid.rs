//! Slurm through slurmrestd and through its commands: each call by the way that can do it, slurmrestd first.
//!
//! What slurmrestd cannot do goes to the commands at once. What it does not answer goes to them too, and a server that gave no answer
//! is not asked again for a moment. A submission takes the second way only where it is certain that the first came to nothing.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use super::rest::{SlurmRest, is_possible};
use crate::domain::{
    Account, AccountingQuery, Backend, Carrier, Job, JobDescription, JobId, JobMetadata, JobQuery, Node, Partition, Principal, Reservation,
};
use crate::error::ErrorChain;
use crate::scheduler::{AttachOutput, Scheduler, SchedulerError, WayNote};

/// Slurm by two ways.
#[derive(Clone)]
pub struct SlurmHybrid {
    rest: Arc<SlurmRest>,
    ssh: Arc<dyn Scheduler>,
    note: WayNote,
}

impl SlurmHybrid {
    /// slurmrestd, and the commands beside it.
    pub fn new(rest: SlurmRest, ssh: Arc<dyn Scheduler>) -> Self {
        Self { rest: Arc::new(rest), ssh, note: WayNote::default() }
    }

    /// The two ways with notes of their own.
    fn apart(&self) -> (Apart<SlurmRest>, Apart<Arc<dyn Scheduler>>) {
        let (rest, ssh) = (WayNote::default(), WayNote::default());
        let commands = self.ssh.noting(&ssh).unwrap_or_else(|| Arc::clone(&self.ssh));
        (Apart { scheduler: self.rest.noted(&rest), note: rest }, Apart { scheduler: commands, note: ssh })
    }

    /// As [`Self::rest_first`], where an answer of slurmrestd's that lacks something is given only if the commands do not know more.
    async fn whole<T>(
        &self,
        rest: impl Future<Output = Result<T, SchedulerError>>,
        ssh: impl Future<Output = Result<T, SchedulerError>>,
        rest_note: &WayNote,
        ssh_note: &WayNote,
    ) -> Result<T, SchedulerError> {
        tokio::pin!(ssh);
        let answer = self.rest_first(rest, &mut ssh, was_not_answered).await?;
        let Some(missing) = rest_note.missing().filter(|_| self.note.get().is_some_and(|way| way.by == Carrier::Rest)) else {
            if let Some(missing) = ssh_note.missing() {
                self.note.miss(missing);
            }
            return Ok(answer);
        };
        match ssh.await {
            Ok(whole) if ssh_note.missing().is_none() => {
                self.note.set(Backend { by: Carrier::Ssh, fallback: true });
                Ok(whole)
            }
            _ => {
                self.note.miss(missing);
                Ok(answer)
            }
        }
    }

    /// What only the commands can do.
    async fn by_ssh<T>(&self, ssh: impl Future<Output = Result<T, SchedulerError>>) -> Result<T, SchedulerError> {
        self.note.set(Backend { by: Carrier::Ssh, fallback: false });
        ssh.await
    }

    /// By slurmrestd, or by the commands where it cannot, or where `may_be_repeated` holds of how it failed. Only one of the two
    /// futures is driven at a time, and the second only when the first has ended.
    async fn rest_first<T>(
        &self,
        rest: impl Future<Output = Result<T, SchedulerError>>,
        ssh: impl Future<Output = Result<T, SchedulerError>>,
        may_be_repeated: fn(&SchedulerError) -> bool,
    ) -> Result<T, SchedulerError> {
        if !self.rest.is_silent() {
            self.note.set(Backend { by: Carrier::Rest, fallback: false });
            match rest.await {
                Err(SchedulerError::Unsupported(_)) => return self.by_ssh(ssh).await,
                Err(error) if may_be_repeated(&error) => {
                    tracing::warn!(error = %ErrorChain(&error), "slurmrestd gives no answer: Slurm's commands are used instead");
                }
                outcome => return outcome,
            }
        }
        self.note.set(Backend { by: Carrier::Ssh, fallback: true });
        ssh.await
    }
}

/// One of the two ways, with a note of its own of what its answer lacks.
struct Apart<S> {
    scheduler: S,
    note: WayNote,
}

/// Whether what was asked certainly did not happen.
fn did_not_happen(error: &SchedulerError) -> bool {
    matches!(error, SchedulerError::Down(_))
}

/// Whether what was asked, and may be asked twice, was not answered.
fn was_not_answered(error: &SchedulerError) -> bool {
    matches!(error, SchedulerError::Down(_) | SchedulerError::Unanswered(_))
}

#[async_trait]
impl Scheduler for SlurmHybrid {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<JobId, SchedulerError> {
        let ssh = self.ssh.submit(principal, job);
        if !is_possible(job) {
            return self.by_ssh(ssh).await;
        }
        self.rest_first(self.rest.submit(principal, job), ssh, did_not_happen).await
    }

    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Vec<Job>, SchedulerError> {
        let (rest, ssh) = self.apart();
        self.whole(rest.scheduler.jobs(principal, query), ssh.scheduler.jobs(principal, query), &rest.note, &ssh.note).await
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Vec<Job>, SchedulerError> {
        let (rest, ssh) = self.apart();
        self.whole(rest.scheduler.job(principal, id), ssh.scheduler.job(principal, id), &rest.note, &ssh.note).await
    }

    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Vec<Job>, SchedulerError> {
        self.rest_first(self.rest.accounting(principal, query), self.ssh.accounting(principal, query), was_not_answered).await
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Vec<JobMetadata>, SchedulerError> {
        self.by_ssh(self.ssh.metadata(principal, id)).await
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<(), SchedulerError> {
        self.rest_first(self.rest.cancel(principal, id), self.ssh.cancel(principal, id), was_not_answered).await
    }

    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<AttachOutput, SchedulerError> {
        self.by_ssh(self.ssh.attach(principal, id, command)).await
    }

    async fn nodes(&self, principal: &Principal) -> Result<Vec<Node>, SchedulerError> {
        self.rest_first(self.rest.nodes(principal), self.ssh.nodes(principal), was_not_answered).await
    }

    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Vec<Partition>, SchedulerError> {
        self.rest_first(self.rest.partitions(principal, hidden), self.ssh.partitions(principal, hidden), was_not_answered).await
    }

    async fn reservations(&self, principal: &Principal) -> Result<Vec<Reservation>, SchedulerError> {
        self.rest_first(self.rest.reservations(principal), self.ssh.reservations(principal), was_not_answered).await
    }

    async fn accounts(&self, principal: &Principal) -> Result<Option<Vec<Account>>, SchedulerError> {
        self.rest_first(self.rest.accounts(principal), self.ssh.accounts(principal), was_not_answered).await
    }

    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        self.rest_first(self.rest.ping(principal), self.ssh.ping(principal), was_not_answered).await
    }

    fn noting(&self, note: &WayNote) -> Option<Arc<dyn Scheduler>> {
        Some(Arc::new(Self { note: note.clone(), ..self.clone() }))
    }
}
