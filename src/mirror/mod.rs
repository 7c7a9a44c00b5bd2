//! The mirror of a system's jobs: it observes them with one query at intervals, however many clients watch, and reports changes as events.
//!
//! `counters` has the metrics, `known` compares lists, `journal` numbers and keeps the events, `subjects` tracks the watchers, `observer` queries the scheduler,
//! through the cache in `scheduler::cached`. A scheduler that does not answer is reported as such: no job counts as ended because of it. Of the replicas
//! with one store, the holder of a lease queries and appends to the stream in the store; all read that. This module must not know HTTP or permissions.

mod counters;
mod journal;
mod known;
mod observer;
mod selection;
mod subjects;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::authn::PrincipalSource;
use crate::cluster::Cluster;
use crate::credentials::CallerKey;
use crate::domain::{Interest, Job, JobId, Principal, Reading, SystemName, Username};
use crate::scheduler::{CachedScheduler, JobMirror, MirrorAccount};

pub use counters::Counters;
pub use journal::{Encoding, Journal, JournalEntry, NewEvents, Reader};
pub use selection::Selection;
pub use subjects::{Staleness, Watch};

use counters::Push;
use subjects::{Latest, Scope, Subjects};

/// How long a submitted job is shown although the scheduler does not list it yet.
const SUBMITTED_JOB_TTL: Duration = Duration::from_secs(60);

/// Maximum number of submitted jobs that are kept.
const MAX_SUBMITTED_JOBS: usize = 10_000;

/// Time limit for releasing the leases at the end.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The missing part of the answer for a job that was submitted a moment ago.
const NOT_LISTED_YET: &str = "the job was submitted a moment ago, and the scheduler does not list it yet";

/// The missing part of the answer for a job that has left the queue and whose end is unknown.
const LEFT_THE_QUEUE: &str = "the job has left the queue, and accounting does not know of its end yet";

/// The missing part of the answer for jobs that could not be queried.
const LAST_ANSWER: &str = "the scheduler does not answer: this is its last answer, see Age";

/// The mirror of one system's jobs.
pub struct Mirror {
    cluster: Arc<Cluster>,
    settings: JobMirror,
    service: Arc<dyn PrincipalSource>,
    journal: Arc<Journal>,
    subjects: Subjects,
    submitted: Mutex<VecDeque<(Instant, Job)>>,
    /// The name of this replica as the holder of leases.
    holder: String,
    /// The leases that this replica has taken.
    leases: Mutex<HashSet<String>>,
    /// The users whose jobs are observed without a watcher.
    interest: Option<Arc<dyn Interest>>,
    counters: Counters,
    created: Instant,
    ended: CancellationToken,
}

impl Mirror {
    /// A mirror of the cluster's jobs; `service` is the cluster's service account. Nothing is queried before [`Mirror::run`].
    pub fn new(cluster: Arc<Cluster>, service: Arc<dyn PrincipalSource>, journal: Arc<Journal>) -> Self {
        let settings = cluster.config().scheduler.as_ref().map(|scheduler| scheduler.common().job_mirror.clone()).unwrap_or_default();
        Self {
            cluster,
            settings,
            service,
            journal,
            subjects: Subjects::default(),
            submitted: Mutex::default(),
            holder: uuid::Uuid::new_v4().to_string(),
            leases: Mutex::default(),
            interest: None,
            counters: Counters::default(),
            created: Instant::now(),
            ended: CancellationToken::new(),
        }
    }

    /// The same mirror, which also observes the jobs of these users without a watcher. If jobs are queried as their owner, the cluster must be
    /// reachable without the token of that user.
    #[must_use]
    pub fn with_interest(mut self, interest: Arc<dyn Interest>) -> Self {
        self.interest = Some(interest);
        self
    }

    /// The events of the jobs.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Observes the jobs of a user until the returned watch is dropped.
    pub fn watch(&self, principal: &Principal) -> Watch {
        self.begin(principal, None)
    }

    /// Observes one job of any user too, until the returned watch is dropped. The scheduler must have shown the job to the caller.
    pub fn watch_job(&self, principal: &Principal, id: &JobId) -> Watch {
        self.begin(principal, Some(id))
    }

    fn begin(&self, principal: &Principal, job: Option<&JobId>) -> Watch {
        let subject = self.subjects.hold(self.scope(principal), principal, job);
        Watch::new(subject, job.cloned(), self.ended.clone())
    }

    fn scope(&self, principal: &Principal) -> Scope {
        match self.settings.account {
            MirrorAccount::Service => Scope::All,
            MirrorAccount::Caller => Scope::Of(CallerKey::of(principal)),
        }
    }

    /// The jobs of a caller, if they were listed recently enough and the caller has changed none since.
    pub fn list(&self, principal: &Principal) -> Option<Reading<Vec<Job>>> {
        // A caller can wait while the next list is queried with the caller's own account, but not while the service account queries it.
        let rounds = if self.settings.account == MirrorAccount::Service { 2 } else { 1 };
        self.recent(principal, rounds)
    }

    /// One job, or the tasks of an array, from that list, for callers that then wait for its events and so learn of later changes.
    pub fn single(&self, principal: &Principal, id: &JobId) -> Option<Reading<Vec<Job>>> {
        part(&self.recent(principal, 3)?, id, None).filter(|job| !self.is_outdated(job))
    }

    /// Whether an event has reported another state of these jobs since this answer.
    pub fn is_outdated(&self, jobs: &Reading<Vec<Job>>) -> bool {
        self.journal.known(|known| known.is_newer(jobs, jobs.taken()))
    }

    /// The jobs of a caller, if they were listed within this number of intervals and the caller has changed none since.
    fn recent(&self, principal: &Principal, rounds: u32) -> Option<Reading<Vec<Job>>> {
        self.latest(principal, |latest, pause| {
            let is_unchanged = self.scheduler().is_some_and(|scheduler| !scheduler.has_changed(&principal.username, &latest.changes));
            (is_unchanged && latest.reading.age() <= rounds * pause).then(|| latest.own(&principal.username, self.settings.account))
        })
    }

    /// The jobs of a caller in the last list, whatever its age.
    pub fn last_list(&self, principal: &Principal) -> Option<Reading<Vec<Job>>> {
        let reading = self.latest(principal, |latest, _| Some(latest.own(&principal.username, self.settings.account)))?;
        Some(reading.derive(reading.to_vec(), Some(LAST_ANSWER)))
    }

    /// One job in the last list, whatever its age.
    pub fn last_single(&self, principal: &Principal, id: &JobId) -> Option<Reading<Vec<Job>>> {
        part(&self.last_list(principal)?, id, Some(LAST_ANSWER))
    }

    /// A job of the caller that must exist although the scheduler does not know it: it was submitted a moment ago, or has left the queue and
    /// is not in accounting yet.
    pub fn missed(&self, principal: &Principal, id: &JobId) -> Option<Reading<Vec<Job>>> {
        if self.scheduler().is_some_and(CachedScheduler::knows_every_job) {
            return None;
        }
        let is_own = |job: &Job| job.user.as_deref() == Some(principal.username.as_str()) && JobId::covers(id.as_str(), job.id.as_str());
        let left = self.latest(principal, |latest, _| {
            let jobs: Vec<Job> = latest.left.values().filter(|job| is_own(job)).cloned().collect();
            (!jobs.is_empty()).then(|| latest.reading.derive(jobs, Some(LEFT_THE_QUEUE)))
        });
        left.or_else(|| {
            let submitted = self.submitted.lock();
            let is_recent = |(at, job): &&(Instant, Job)| at.elapsed() < SUBMITTED_JOB_TTL && is_own(job);
            let job = submitted.iter().rev().find(is_recent)?.1.clone();
            Some(Reading::new((), Duration::ZERO).derive(vec![job], Some(NOT_LISTED_YET)))
        })
    }

    /// Records a submitted job that the scheduler does not list yet.
    pub fn submitted(&self, principal: &Principal, id: &JobId, name: Option<&str>, directory: &str) {
        let mut submitted = self.submitted.lock();
        while submitted.len() >= MAX_SUBMITTED_JOBS || submitted.front().is_some_and(|(at, _)| at.elapsed() >= SUBMITTED_JOB_TTL) {
            submitted.pop_front();
        }
        submitted.push_back((Instant::now(), pending(principal, id, name, directory)));
        drop(submitted);
        self.nudge(&principal.username);
    }

    /// Queries the jobs of a user at once, if they are observed, because something has changed.
    pub fn nudge(&self, user: &Username) {
        self.subjects.of(user).iter().for_each(|subject| subject.requested.notify_one());
    }

    /// Handles the report that a job of a user has ended; `None` if the report named no job. The job is queried at once, if that user's jobs are observed.
    pub fn hint(&self, ended: Option<(&Username, &JobId)>) {
        let Some((user, job)) = ended else { return self.counters.count_push(Push::Unreadable) };
        let subjects = self.subjects.of(user);
        subjects.iter().for_each(|subject| subject.hint(job));
        self.counters.count_push(if subjects.is_empty() { Push::Unwatched } else { Push::Taken });
    }

    /// The system of the jobs.
    pub fn system(&self) -> &SystemName {
        self.cluster.name()
    }

    /// The time between two queries of the scheduler, which report the changes.
    pub fn interval(&self) -> Duration {
        self.settings.pause()
    }

    /// The counters for the metrics.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The number of clients that wait for jobs or their events.
    pub fn watchers(&self) -> usize {
        self.subjects.watchers()
    }

    /// The duration of a lease.
    fn lease_time(&self) -> Duration {
        2 * self.settings.pause() + Duration::from_secs(5)
    }

    fn scheduler(&self) -> Option<&CachedScheduler> {
        self.cluster.scheduler_without_health_check().ok()
    }

    fn latest<T>(&self, principal: &Principal, look: impl FnOnce(&mut Latest, Duration) -> Option<T>) -> Option<T> {
        let subject = self.subjects.get(&self.scope(principal))?;
        let mut latest = subject.latest.lock();
        look(latest.as_mut()?, self.settings.pause())
    }

    /// Whether a job, or all of its known parts, have ended.
    pub fn is_over(&self, id: &JobId) -> bool {
        self.journal.known(|known| known.is_over(id.as_str()))
    }

    /// Whether a job is known to belong to a user.
    pub fn belongs_to(&self, id: &JobId, user: &Username) -> bool {
        self.journal.known(|known| known.belongs_to(id.as_str(), user.as_str()))
    }

    /// The number of the last event of a job; 0 if there was none.
    pub fn last_event(&self, selection: &Selection) -> u64 {
        self.journal.known(|known| known.last_event(selection))
    }

    /// Observes the watched jobs until the token is cancelled. Watchers are then notified of the end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        observer::run(&self, stop).await;
        self.ended.cancel();
        let leases = std::mem::take(&mut *self.leases.lock());
        if let Some(store) = self.journal.store() {
            let releases = leases.iter().map(|lease| store.release(lease, &self.holder));
            // A lease that is not released expires.
            let _ = tokio::time::timeout(LEASE_RELEASE_TIMEOUT, futures::future::join_all(releases)).await;
        }
    }
}

impl Latest {
    /// The jobs of a user in the list.
    fn own(&mut self, user: &Username, account: MirrorAccount) -> Reading<Vec<Job>> {
        if account == MirrorAccount::Caller {
            return self.reading.clone();
        }
        let reading = &self.reading;
        let own = self.own.entry(user.clone()).or_insert_with(|| {
            let jobs = reading.iter().filter(|job| job.user.as_deref() == Some(user.as_str()));
            reading.derive(jobs.cloned().collect(), None)
        });
        own.clone()
    }
}

/// The part of a list that concerns one job.
fn part(list: &Reading<Vec<Job>>, id: &JobId, missing: Option<&'static str>) -> Option<Reading<Vec<Job>>> {
    let jobs: Vec<Job> = list.iter().filter(|job| JobId::covers(id.as_str(), job.id.as_str())).cloned().collect();
    (!jobs.is_empty()).then(|| list.derive(jobs, missing))
}

/// A job of which only the submission is known.
fn pending(principal: &Principal, id: &JobId, name: Option<&str>, directory: &str) -> Job {
    Job {
        name: name.unwrap_or_default().to_owned(),
        user: Some(principal.username.as_str().to_owned()),
        working_directory: directory.to_owned(),
        ..Job::new(id.clone(), "PENDING")
    }
}
