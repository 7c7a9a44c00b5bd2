//! Submissions by sbatch: with a key, whose record is on the cluster or in the store, and without.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use super::controller::Controller;
use super::failure::explain;
use super::sbatch::{Sbatch, printed_id};
use crate::domain::{JobDescription, JobId, Principal};
use crate::error::{Classify, ErrorChain};
use crate::scheduler::submission_record::{self, Adopt, Attempt, InStore, NextAttempt, RecordedSubmission, TaggedSubmission, Trace};
use crate::scheduler::{RecordSettings, SchedulerError, StoredRecords, SubmissionKey, Submitted};
use crate::ssh::run;

/// The time limit of the search for the job of a submission without an answer, and the pauses between its queries.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(4);
const SEARCH_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2)];

/// A submission with a key.
pub(super) struct WithKey<'a> {
    pub(super) controller: &'a Controller,
    pub(super) settings: RecordSettings,
    pub(super) stored: Option<&'a StoredRecords>,
    pub(super) principal: &'a Principal,
    pub(super) job: &'a JobDescription,
    pub(super) key: &'a SubmissionKey,
}

/// A submission with a key, without a record on the cluster.
struct Tagged {
    controller: Controller,
    settings: RecordSettings,
    principal: Principal,
    job: JobDescription,
    key: SubmissionKey,
}

impl WithKey<'_> {
    /// Submits the job unless that was done before.
    ///
    /// # Errors
    /// As [`crate::scheduler::Scheduler::submit_once`].
    pub(super) async fn submit(&self) -> Result<Submitted, SchedulerError> {
        let tagged = || -> Arc<dyn TaggedSubmission> {
            Arc::new(Tagged {
                controller: self.controller.clone(),
                settings: self.settings,
                principal: self.principal.clone(),
                job: self.job.clone(),
                key: self.key.clone(),
            })
        };
        let fallback = self.stored.map(|records| InStore { records, key: self.key, submission: &tagged });
        submission_record::submit_once(self, fallback).await
    }
}

#[async_trait]
impl RecordedSubmission for WithKey<'_> {
    async fn attempt(&self, after: u32) -> Result<Attempt, SchedulerError> {
        let next = NextAttempt { key: self.key, after, settings: self.settings };
        self.controller.submit(self.principal, &Sbatch::new(self.job)?.recorded(next)).await
    }

    fn printed(&self, text: &str) -> Option<JobId> {
        printed_id(text)
    }

    async fn find(&self, began: i64) -> Result<Trace, SchedulerError> {
        self.controller.find_tagged(self.principal, &self.key.tag(), began).await
    }

    async fn adopt(&self, id: &JobId) -> Result<(), SchedulerError> {
        run(&*self.controller.transport, self.principal, &Adopt { key: self.key, id }).await.map_err(explain("record the job"))
    }
}

#[async_trait]
impl TaggedSubmission for Tagged {
    async fn send(&self) -> Result<JobId, SchedulerError> {
        self.controller.submit(&self.principal, &Sbatch::new(&self.job)?.tagged(&self.key, self.settings.attempt)).await
    }

    async fn find(&self, began: i64) -> Result<Trace, SchedulerError> {
        self.controller.find_tagged(&self.principal, &self.key.tag(), began).await
    }
}

/// Submits a job without a key, once. If the answer is lost, the job is looked for in accounting, by a mark on the line of the submission.
///
/// # Errors
/// As [`crate::scheduler::Scheduler::submit`]; the outcome is unknown where the job was not found in time either.
pub(super) async fn submit(controller: &Controller, principal: &Principal, job: &JobDescription) -> Result<JobId, SchedulerError> {
    let mark = format!("goldcrest-submission={}", uuid::Uuid::new_v4().simple());
    let began = jiff::Timestamp::now().as_second();
    match controller.submit(principal, &Sbatch::new(job)?.marked(&mark)).await {
        Err(error) if error.maybe_effected() == Some(true) => {
            match timeout(SEARCH_TIMEOUT, search(controller, principal, &mark, began)).await {
                Ok(Some(id)) => {
                    tracing::warn!(error = %ErrorChain(&error), %id, "the answer to a submission was lost, and its job was found");
                    Ok(id)
                }
                Ok(None) | Err(_) => Err(error),
            }
        }
        answer => answer,
    }
}

async fn search(controller: &Controller, principal: &Principal, mark: &str, began: i64) -> Option<JobId> {
    for pause in SEARCH_PAUSES {
        sleep(pause).await;
        match controller.find_marked(principal, mark, began).await {
            Ok(Some(id)) => return Some(id),
            Ok(None) => {}
            Err(error) => tracing::debug!(error = %ErrorChain(&error), "accounting was asked for a job whose submission was not answered"),
        }
    }
    None
}
