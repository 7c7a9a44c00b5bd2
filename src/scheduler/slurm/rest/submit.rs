//! Submissions by slurmrestd: without a key, and with one, by the tag in the job's comment.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::IgnoredAny;

use super::calls::{accounted_jobs, point};
use super::endpoint::{Answered, Call, Endpoint};
use super::failure::{accounting_is_off, explain, explain_refusal};
use super::submission::{document, with_tag};
use super::version::Offer;
use super::wire::{AccountedJob, Fault, JobTrace, QueuedJob};
use crate::domain::{JobDescription, JobId, Principal};
use crate::scheduler::submission_record::{TAG_PREFIX, TaggedSubmission, Trace};
use crate::scheduler::{SchedulerError, SubmissionKey};

/// The maximum difference between the clocks of the cluster and of the record.
const CLOCK_MARGIN_SECONDS: i64 = 600;
/// The time after the beginning of an attempt in which it may have led to a job, with room for the clocks.
const SEARCH_SPAN_SECONDS: i64 = 2 * CLOCK_MARGIN_SECONDS + 600;

const NO_ACCOUNTING: &str = "the site keeps no accounting, and the controller forgets jobs that have ended";
const NO_COMMENTS: &str = "accounting keeps no comments of jobs here (AccountingStoreFlags=job_comment), and of the caller's jobs of that directory and time one may be it:";

/// The maximum number of jobs that are named.
const MAX_NAMED: usize = 10;

/// Submits a job, once.
///
/// # Errors
/// As [`crate::scheduler::Scheduler::submit`].
pub(super) async fn submit(
    endpoint: &Endpoint,
    principal: &Principal,
    job: &JobDescription,
    tag: Option<&str>,
) -> Result<JobId, SchedulerError> {
    let make = |offer: Offer| {
        let document = document(principal, job, offer.slurm)?;
        let document = match tag {
            Some(tag) => with_tag(document, tag),
            None => document,
        };
        Ok(Call::slurm(offer.slurm, &["job", "submit"]).post(document))
    };
    let Answered { success, answer, .. } = endpoint.call::<IgnoredAny>(principal, make).await?;
    if let Some(number) = answer.submitted() {
        return id_of(number);
    }
    match answer.faults() {
        faults if !faults.is_empty() => Err(explain_refusal(&faults)),
        // Neither an id nor a fault: the job may be there.
        _ if success => Err(SchedulerError::Unanswered("slurmrestd's answer to the submission holds no id".to_owned())),
        faults => Err(explain(&faults)),
    }
}

/// A submission whose job carries the tag of its key.
pub(super) struct Tagged {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) principal: Principal,
    pub(super) job: JobDescription,
    pub(super) key: SubmissionKey,
}

#[async_trait]
impl TaggedSubmission for Tagged {
    async fn send(&self) -> Result<JobId, SchedulerError> {
        submit(&self.endpoint, &self.principal, &self.job, Some(&self.key.tag())).await
    }

    async fn find(&self, began: i64) -> Result<Trace, SchedulerError> {
        let tag = self.key.tag();
        let make = |offer: Offer| Ok(Call::slurm(offer.slurm, &["jobs"]));
        let answered: Answered<QueuedJob> = self.endpoint.call(&self.principal, make).await?;
        let success = answered.success;
        let (queued, faults) = answered.answer.into_records();
        // Where only accounting did not help, the controller's records are there and whole.
        let excused = !faults.is_empty() && faults.iter().all(Fault::is_of_accounting);
        let queued = match queued {
            Some(queued) if excused || (success && faults.is_empty()) => queued,
            _ => return Err(explain(&faults)),
        };
        if let Some(id) = self.tagged(&tag, queued.iter().map(QueuedJob::trace))? {
            return Ok(Trace::Job(id));
        }
        // What the controller still knows has its comment, which is another one.
        let others: HashSet<i64> = queued.iter().filter_map(|job| job.trace().number).collect();
        self.find_accounted(&tag, began, &others).await
    }
}

impl Tagged {
    /// Looks for the job in accounting. It has comments only where the site keeps them: without, a job that could be the one is as good as not known.
    /// It is none of `others`.
    async fn find_accounted(&self, tag: &str, began: i64, others: &HashSet<i64>) -> Result<Trace, SchedulerError> {
        let user = self.principal.username.as_str();
        let since = point(began - CLOCK_MARGIN_SECONDS);
        let make = |offer: Offer| {
            let version = offer.slurmdb.ok_or(SchedulerError::Unsupported("this slurmrestd has no accounting"))?;
            Ok(accounted_jobs(version, &since, "now", Some(user)))
        };
        let answered: Answered<AccountedJob> = match self.endpoint.call(&self.principal, make).await {
            Err(SchedulerError::Unsupported(_)) => return Ok(Trace::Unsure(NO_ACCOUNTING.to_owned())),
            answered => answered?,
        };
        let (accounted, faults) = answered.answer.into_records();
        let accounted = match (accounted, faults.is_empty()) {
            (Some(accounted), true) => accounted,
            _ => {
                let error = explain(&faults);
                return if accounting_is_off(&error) { Ok(Trace::Unsure(NO_ACCOUNTING.to_owned())) } else { Err(error) };
            }
        };
        if let Some(id) = self.tagged(tag, accounted.iter().map(AccountedJob::trace))? {
            return Ok(Trace::Job(id));
        }
        let may_be_it = |trace: &JobTrace<'_>| {
            is_of(trace, user)
                && !trace.number.is_some_and(|number| others.contains(&number))
                && !trace.comment.is_some_and(|comment| comment.contains(TAG_PREFIX))
                && trace.submitted.is_none_or(|at| (began - CLOCK_MARGIN_SECONDS..began + SEARCH_SPAN_SECONDS).contains(&at))
                && trace.directory.is_none_or(|directory| directory.as_bytes() == self.job.working_directory.as_bytes())
        };
        let candidates: BTreeSet<Option<i64>> =
            accounted.iter().map(AccountedJob::trace).filter(may_be_it).map(|trace| trace.number).collect();
        if candidates.is_empty() {
            return Ok(Trace::Nowhere);
        }
        let named: Vec<String> = candidates.iter().flatten().take(MAX_NAMED).map(i64::to_string).collect();
        let and_more = if named.len() < candidates.len() { ", ..." } else { "" };
        Ok(Trace::Unsure(format!("{NO_COMMENTS} {}{and_more}", named.join(", "))))
    }

    /// The caller's job with the tag.
    fn tagged<'a>(&self, tag: &str, mut traces: impl Iterator<Item = JobTrace<'a>>) -> Result<Option<JobId>, SchedulerError> {
        let user = self.principal.username.as_str();
        let is_it = |trace: &JobTrace<'_>| is_of(trace, user) && trace.comment.is_some_and(|comment| comment.contains(tag));
        traces.find(is_it).and_then(|trace| trace.number).map(id_of).transpose()
    }
}

fn is_of(trace: &JobTrace<'_>, user: &str) -> bool {
    trace.user.is_none_or(|owner| owner.is_empty() || owner == user)
}

fn id_of(number: i64) -> Result<JobId, SchedulerError> {
    JobId::new(&number.to_string())
        .map_err(|error| SchedulerError::Unanswered(format!("slurmrestd's answer holds a job without an id: {error}")))
}
