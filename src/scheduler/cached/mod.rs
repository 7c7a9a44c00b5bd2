//! Shared reads of a scheduler: one command for all equal queries at the same time, whose answer is reused for a short time.
//!
//! An answer is shared by equal queries of one caller, never between callers, even if two of them have the same user name. A
//! change by a user (a submission, a cancellation, an attached command) invalidates that user's answers: an answer that was requested before the change ended is
//! never given to a query that came after it. Errors are returned to the waiting callers and not kept.
//!
//! This module must not know HTTP, nor how any scheduler is accessed. To share one more read: a field with its bound in bytes,
//! and a method.

mod reads;
mod size;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::reads::ReadCounts;
use self::reads::{OwnedContext, QueryContext, Reads};
use super::{
    AttachOutput, ChangeListener, JobOutputs, NativeJobs, Scheduler, SchedulerError, Schedules, SubmissionKey, Submitted,
    UnsupportedOperation,
};
use crate::domain::{
    Account, AccountingQuery, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobProfile, JobQuery, JobUsage,
    Node, Partition, Principal, Reading, Reported, Reservation, Username,
};

/// The memory that answers of each kind take up at most, in bytes, in all users' names. A list of 10,000 jobs takes about 20 MB.
const MAX_FOR_LISTS: u64 = 64 << 20;
const MAX_FOR_OTHERS: u64 = 8 << 20;

/// A scheduler whose reads are shared.
pub struct CachedScheduler {
    scheduler: Arc<dyn Scheduler>,
    changes: ChangeCounters,
    jobs: Reads<JobQuery, Vec<Job>>,
    accounting: Reads<AccountingQuery, Vec<Job>>,
    job: Reads<JobId, Vec<Job>>,
    metadata: Reads<JobId, Vec<JobMetadata>>,
    nodes: Reads<(), Vec<Node>>,
    partitions: Reads<bool, Vec<Partition>>,
    reservations: Reads<(), Vec<Reservation>>,
    accounts: Reads<(), Option<Vec<Account>>>,
}

/// The result of a read.
type ReadResult<T> = Result<Reading<T>, SchedulerError>;

impl CachedScheduler {
    /// Reuses answers that are not older than `freshness`; if that is zero, shares only queries under way.
    pub fn new(scheduler: Arc<dyn Scheduler>, freshness: Duration) -> Self {
        Self {
            scheduler,
            changes: ChangeCounters::new(),
            jobs: Reads::new(freshness, MAX_FOR_LISTS),
            accounting: Reads::new(freshness, MAX_FOR_LISTS),
            job: Reads::new(freshness, MAX_FOR_OTHERS),
            metadata: Reads::new(freshness, MAX_FOR_OTHERS),
            nodes: Reads::new(freshness, MAX_FOR_OTHERS),
            partitions: Reads::new(freshness, MAX_FOR_OTHERS),
            reservations: Reads::new(freshness, MAX_FOR_OTHERS),
            accounts: Reads::new(freshness, MAX_FOR_OTHERS),
        }
    }

    /// See [`Scheduler::submit`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        let _change = self.changes.begin(&principal.username);
        self.scheduler.submit(principal, job).await
    }

    /// See [`Scheduler::settle`].
    pub async fn settle(&self) {
        self.scheduler.settle().await;
    }

    /// See [`Scheduler::submit_once`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError> {
        let _change = self.changes.begin(&principal.username);
        self.scheduler.submit_once(principal, job, key).await
    }

    /// See [`Scheduler::cancel`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        let _change = self.changes.begin(&principal.username);
        self.scheduler.cancel(principal, id).await
    }

    /// See [`Scheduler::alter`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        let _change = self.changes.begin(&principal.username);
        self.scheduler.alter(principal, id, change).await
    }

    /// See [`Scheduler::validate`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn validate(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        self.scheduler.validate(principal, job).await
    }

    /// See [`Scheduler::usage`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn usage(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        self.scheduler.usage(principal, query).await
    }

    /// See [`Scheduler::limits`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn limits(&self, principal: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        self.scheduler.limits(principal).await
    }

    /// See [`Scheduler::attach`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        let _change = self.changes.begin(&principal.username);
        self.scheduler.attach(principal, id, command).await
    }

    /// See [`Scheduler::jobs`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn jobs(&self, principal: &Principal, query: &JobQuery) -> ReadResult<Vec<Job>> {
        let ask = |by: OwnedContext, query| async move { by.scheduler.jobs(&by.principal, &query).await };
        self.jobs.read(self.asked_by(principal), query.clone(), ask).await
    }

    /// As [`CachedScheduler::jobs`], but never an answer that was given before. Equal queries share one that is under way, so that the answer may be
    /// as old as [`Reading::asked`] says.
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn jobs_anew(&self, principal: &Principal, query: &JobQuery) -> ReadResult<Vec<Job>> {
        let ask = |by: OwnedContext, query| async move { by.scheduler.jobs(&by.principal, &query).await };
        self.jobs.renew(self.asked_by(principal), query.clone(), ask).await
    }

    /// As [`CachedScheduler::job`], in the way of [`CachedScheduler::jobs_anew`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn job_anew(&self, principal: &Principal, id: &JobId) -> ReadResult<Vec<Job>> {
        let ask = |by: OwnedContext, id| async move { by.scheduler.job(&by.principal, &id).await };
        self.job.renew(self.asked_by(principal), id.clone(), ask).await
    }

    /// The changes of users until now, for a later comparison.
    pub fn changes(&self) -> SeenChanges {
        SeenChanges(self.changes.counters.iter().map(|counter| counter.load(Ordering::SeqCst)).collect())
    }

    /// Whether a user may have changed something since then.
    pub fn has_changed(&self, user: &Username, since: &SeenChanges) -> bool {
        let slot = self.changes.slot(user);
        since.0.get(slot).is_none_or(|&seen| seen != self.changes.counters[slot].load(Ordering::SeqCst))
    }

    /// See [`Scheduler::accounting`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> ReadResult<Vec<Job>> {
        let ask = |by: OwnedContext, query| async move { by.scheduler.accounting(&by.principal, &query).await };
        self.accounting.read(self.asked_by(principal), query.clone(), ask).await
    }

    /// See [`Scheduler::job`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn job(&self, principal: &Principal, id: &JobId) -> ReadResult<Vec<Job>> {
        let ask = |by: OwnedContext, id| async move { by.scheduler.job(&by.principal, &id).await };
        self.job.read(self.asked_by(principal), id.clone(), ask).await
    }

    /// See [`Scheduler::metadata`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn metadata(&self, principal: &Principal, id: &JobId) -> ReadResult<Vec<JobMetadata>> {
        let ask = |by: OwnedContext, id| async move { by.scheduler.metadata(&by.principal, &id).await };
        self.metadata.read(self.asked_by(principal), id.clone(), ask).await
    }

    /// See [`Scheduler::nodes`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn nodes(&self, principal: &Principal) -> ReadResult<Vec<Node>> {
        let ask = |by: OwnedContext, ()| async move { by.scheduler.nodes(&by.principal).await };
        self.nodes.read(self.asked_by(principal), (), ask).await
    }

    /// See [`Scheduler::partitions`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn partitions(&self, principal: &Principal, hidden: bool) -> ReadResult<Vec<Partition>> {
        let ask = |by: OwnedContext, hidden| async move { by.scheduler.partitions(&by.principal, hidden).await };
        self.partitions.read(self.asked_by(principal), hidden, ask).await
    }

    /// See [`Scheduler::reservations`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn reservations(&self, principal: &Principal) -> ReadResult<Vec<Reservation>> {
        let ask = |by: OwnedContext, ()| async move { by.scheduler.reservations(&by.principal).await };
        self.reservations.read(self.asked_by(principal), (), ask).await
    }

    /// See [`Scheduler::accounts`].
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn accounts(&self, principal: &Principal) -> ReadResult<Option<Vec<Account>>> {
        let ask = |by: OwnedContext, ()| async move { by.scheduler.accounts(&by.principal).await };
        self.accounts.read(self.asked_by(principal), (), ask).await
    }

    /// See [`Scheduler::ping`]. It is not shared: the checker needs the current state.
    ///
    /// # Errors
    /// The errors of the scheduler.
    pub async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        self.scheduler.ping(principal).await
    }

    /// As [`Scheduler::knows_every_job`].
    pub fn knows_every_job(&self) -> bool {
        self.scheduler.knows_every_job()
    }

    /// As [`Scheduler::outputs`].
    pub fn outputs(&self) -> Option<&dyn JobOutputs> {
        self.scheduler.outputs()
    }

    /// As [`Scheduler::output_transit_time`].
    pub fn output_transit_time(&self) -> Duration {
        self.scheduler.output_transit_time()
    }

    /// As [`Scheduler::schedules`].
    pub fn schedules(&self) -> Option<&dyn Schedules> {
        self.scheduler.schedules()
    }

    /// As [`Scheduler::native_jobs`].
    pub fn native_jobs(&self) -> Option<&dyn NativeJobs> {
        self.scheduler.native_jobs()
    }

    /// As [`Scheduler::profiles`].
    pub fn profiles(&self) -> Option<Vec<JobProfile>> {
        self.scheduler.profiles()
    }

    /// As [`Scheduler::keep_current`]. An answer that was given before a reported change is given no more.
    pub async fn keep_current(&self, changed: &ChangeListener<'_>) {
        let forget_and_report = |user: &Username| {
            drop(self.changes.begin(user));
            changed(user);
        };
        self.scheduler.keep_current(&forget_and_report).await;
    }

    /// The sources of the answers, by kind of query.
    pub fn read_counts(&self) -> [(&'static str, ReadCounts); 8] {
        [
            ("jobs", self.jobs.counts()),
            ("accounting", self.accounting.counts()),
            ("job", self.job.counts()),
            ("metadata", self.metadata.counts()),
            ("nodes", self.nodes.counts()),
            ("partitions", self.partitions.counts()),
            ("reservations", self.reservations.counts()),
            ("accounts", self.accounts.counts()),
        ]
    }

    /// As [`Scheduler::unsupported`].
    pub fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        self.scheduler.unsupported()
    }

    fn asked_by<'a>(&'a self, principal: &'a Principal) -> QueryContext<'a> {
        QueryContext { scheduler: &self.scheduler, principal, changes: self.changes.seen(&principal.username) }
    }
}

/// Counts the changes that users made. The number is part of every query's key, so that a query after a change has another
/// key than all before it, including those under way.
///
/// Users share a fixed number of counters by hash: it needs no bookkeeping about active users, and if two users share one, one's
/// change costs the other a command at most.
struct ChangeCounters {
    counters: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl ChangeCounters {
    fn new() -> Self {
        Self { counters: (0..1024).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    /// The number of changes that ended so far.
    fn seen(&self, user: &Username) -> u64 {
        self.counter(user).load(Ordering::SeqCst)
    }

    /// A change that ends when the value is dropped, whether it was completed or abandoned.
    fn begin(&self, user: &Username) -> ChangeGuard<'_> {
        ChangeGuard(self.counter(user))
    }

    fn counter(&self, user: &Username) -> &AtomicU64 {
        &self.counters[self.slot(user)]
    }

    fn slot(&self, user: &Username) -> usize {
        let slot = self.hasher.hash_one(user) % self.counters.len() as u64;
        usize::try_from(slot).unwrap_or_default()
    }
}

/// The changes of users at some time.
#[derive(Clone, Debug)]
pub struct SeenChanges(Box<[u64]>);

/// A change under way.
struct ChangeGuard<'a>(&'a AtomicU64);

impl Drop for ChangeGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
