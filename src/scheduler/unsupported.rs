//! The scheduler of a cluster whose jobs this version cannot reach: every method answers with the reason,
//! but for `accounts`, of which it simply knows none.
//!
//! The cluster's files can be used all the same.

use async_trait::async_trait;

use super::{AttachOutput, Scheduler, SchedulerError};
use crate::domain::{Account, Job, JobDescription, JobId, JobMetadata, JobQuery, Node, Partition, Principal, Reservation};

/// Answers with [`SchedulerError::Unsupported`].
pub struct Unsupported(&'static str);

impl Unsupported {
    /// A scheduler that cannot be used, for this reason.
    pub fn new(reason: &'static str) -> Self {
        Self(reason)
    }

    fn refuse<T>(&self) -> Result<T, SchedulerError> {
        Err(SchedulerError::Unsupported(self.0))
    }
}

#[async_trait]
impl Scheduler for Unsupported {
    async fn submit(&self, _: &Principal, _: &JobDescription) -> Result<JobId, SchedulerError> {
        self.refuse()
    }

    async fn jobs(&self, _: &Principal, _: &JobQuery) -> Result<Vec<Job>, SchedulerError> {
        self.refuse()
    }

    async fn job(&self, _: &Principal, _: &JobId) -> Result<Vec<Job>, SchedulerError> {
        self.refuse()
    }

    async fn metadata(&self, _: &Principal, _: &JobId) -> Result<Vec<JobMetadata>, SchedulerError> {
        self.refuse()
    }

    async fn cancel(&self, _: &Principal, _: &JobId) -> Result<(), SchedulerError> {
        self.refuse()
    }

    async fn attach(&self, _: &Principal, _: &JobId, _: &str) -> Result<AttachOutput, SchedulerError> {
        self.refuse()
    }

    async fn nodes(&self, _: &Principal) -> Result<Vec<Node>, SchedulerError> {
        self.refuse()
    }

    async fn partitions(&self, _: &Principal, _: bool) -> Result<Vec<Partition>, SchedulerError> {
        self.refuse()
    }

    async fn reservations(&self, _: &Principal) -> Result<Vec<Reservation>, SchedulerError> {
        self.refuse()
    }

    async fn accounts(&self, _: &Principal) -> Result<Option<Vec<Account>>, SchedulerError> {
        Ok(None)
    }

    fn unsupported(&self) -> Option<&'static str> {
        Some(self.0)
    }

    async fn ping(&self, _: &Principal) -> Result<(), SchedulerError> {
        self.refuse()
    }
}
