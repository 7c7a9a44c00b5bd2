//! The mirror of a system's jobs: it observes them with one query at intervals, however many clients watch, and reports changes as events.
//!
//! `counters` counts for the metrics, `known` compares lists, `journal` keeps and numbers the events, `subjects` tracks who watches, `observer` queries the scheduler. Other queries
//! are cached elsewhere (`scheduler::cached`), which the queries here pass through. A scheduler that does not answer
//! is reported as such: no job counts as ended because of it. This module must not know HTTP or permissions. Replicas with one store share a query
//! by a lease; the holder adds to the stream in the store, and all read that.

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
use crate::credentials::Caller;
use crate::domain::{Interest, Job, JobId, JobStatus, JobTimes, Principal, Reading, SystemName, Username};
use crate::scheduler::{CachedScheduler, JobMirror, MirrorAccount};

pub use counters::Counters;
pub use journal::{Encoding, Journal, JournalEntry, News, Reader};
pub use selection::Selection;
pub use subjects::{Staleness, Watch};

use counters::Push;
use selection::concerns;
use subjects::{Latest, Scope, Subjects};

/// For so long a job that was submitted is shown although the scheduler does not list it yet.
const SUBMITTED: Duration = Duration::from_secs(60);

/// The maximum number of submitted jobs that are remembered.
const MAX_SUBMITTED: usize = 10_000;

/// How long the store may take to release the leases at the end.
const RELEASE: Duration = Duration::from_secs(2);

/// The note about a job that was submitted a moment ago.
const NOT_LISTED_YET: &str = "the job was submitted a moment ago, and the scheduler does not list it yet";

/// The note about a job that is in no list any more, and whose end is unknown.
const NOT_LISTED_ANY_MORE: &str = "the job has left the queue, and accounting does not know of its end yet";

/// The note about jobs that could not be queried.
const AS_THEY_WERE: &str = "the scheduler does not answer: this is its last answer, see Age";

/// The mirror of one system's jobs.
pub struct Mirror {
    cluster: Arc<Cluster>,
    settings: JobMirror,
    service: Arc<dyn PrincipalSource>,
    journal: Arc<Journal>,
    subjects: Subjects,
    submitted: Mutex<VecDeque<(Instant, Job)>>,
    /// Tells replicas apart.
    holder: String,
    /// The leases that this replica has taken.
    leases: Mutex<HashSet<String>>,
    /// The users whose jobs are observed although nobody watches them.
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

    /// The same mirror, which also observes the jobs of those users although they do not look. Where jobs are listed in the name of their owner,
    /// the cluster has to be reached without a token of theirs.
    #[must_use]
    pub fn with_interest(mut self, interest: Arc<dyn Interest>) -> Self {
        self.interest = Some(interest);
        self
    }

    /// The events of its jobs.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Observes the jobs of a user for as long as the answer is held.
    pub fn watch(&self, principal: &Principal) -> Watch {
        self.begin(principal, None)
    }

    /// Observes one job too, whosever it is, for as long as the answer is held. The scheduler must have shown it to the caller.
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
            MirrorAccount::Caller => Scope::Of(Caller::of(principal)),
        }
    }

    /// The jobs of a caller, if they were listed recently enough and the caller has changed none since.
    pub fn list(&self, principal: &Principal) -> Option<Reading<Vec<Job>>> {
        // While the next list is being queried, a caller can wait for that; one who is served by the service account cannot.
        let rounds = if self.settings.account == MirrorAccount::Service { 2 } else { 1 };
        self.recent(principal, rounds)
    }

    /// One job, or the tasks of an array, of that list, for who waits for events of it and so learns what is newer.
    pub fn single(&self, principal: &Principal, id: &JobId) -> Option<Reading<Vec<Job>>> {
        part(&self.recent(principal, 3)?, id, None).filter(|job| !self.is_outdated(job))
    }

    /// Whether an event has told another state of these jobs since the answer came.
    pub fn is_outdated(&self, jobs: &Reading<Vec<Job>>) -> bool {
        self.journal.known(|known| known.is_newer(jobs, jobs.taken()))
    }

    /// The jobs of a caller, where they were listed within so many intervals, and the caller has changed none since.
    fn recent(&self, principal: &Principal, rounds: u32) -> Option<Reading<Vec<Job>>> {
        self.latest(principal, |latest, pause| {
            let is_unchanged = self.scheduler().is_some_and(|scheduler| !scheduler.has_changed(&principal.username, &latest.changes));
            (is_unchanged && latest.reading.age() <= rounds * pause).then(|| latest.own(&principal.username, self.settings.account))
        })
    }

    /// The jobs of a caller as they were last seen.
    pub fn last_list(&self, principal: &Principal) -> Option<Reading<Vec<Job>>> {
        let reading = self.latest(principal, |latest, _| Some(latest.own(&principal.username, self.settings.account)))?;
        Some(reading.derive(reading.to_vec(), Some(AS_THEY_WERE)))
    }

    /// One job as it was last seen.
    pub fn last_single(&self, principal: &Principal, id: &JobId) -> Option<Reading<Vec<Job>>> {
        part(&self.last_list(principal)?, id, Some(AS_THEY_WERE))
    }

    /// A job of the caller's that the scheduler says it does not know, and that there must be: it was submitted a moment ago, or has left the
    /// queue and is not in accounting yet.
    pub fn missed(&self, principal: &Principal, id: &JobId) -> Option<Reading<Vec<Job>>> {
        let is_own = |job: &Job| job.user.as_deref() == Some(principal.username.as_str()) && concerns(id.as_str(), job.id.as_str());
        let left = self.latest(principal, |latest, _| {
            let jobs: Vec<Job> = latest.left.values().filter(|job| is_own(job)).cloned().collect();
            (!jobs.is_empty()).then(|| latest.reading.derive(jobs, Some(NOT_LISTED_ANY_MORE)))
        });
        left.or_else(|| {
            let submitted = self.submitted.lock();
            let lately = |(at, job): &&(Instant, Job)| at.elapsed() < SUBMITTED && is_own(job);
            let job = submitted.iter().rev().find(lately)?.1.clone();
            Some(Reading::new((), Duration::ZERO).derive(vec![job], Some(NOT_LISTED_YET)))
        })
    }

    /// Records a submitted job, which the scheduler does not list yet.
    pub fn submitted(&self, principal: &Principal, id: &JobId, name: Option<&str>, directory: &str) {
        let mut submitted = self.submitted.lock();
        while submitted.len() >= MAX_SUBMITTED || submitted.front().is_some_and(|(at, _)| at.elapsed() >= SUBMITTED) {
            submitted.pop_front();
        }
        submitted.push_back((Instant::now(), pending(principal, id, name, directory)));
        drop(submitted);
        self.nudge(&principal.username);
    }

    /// Looks at the jobs of a user at once, where somebody does: something was changed.
    pub fn nudge(&self, user: &Username) {
        self.subjects.of(user).iter().for_each(|subject| subject.nudged.notify_one());
    }

    /// Takes the report that a job of a user has ended; none if it named no job. The job is queried at once, if that user's jobs are observed.
    pub fn hint(&self, ended: Option<(&Username, &JobId)>) {
        let Some((user, job)) = ended else { return self.counters.count_push(Push::Unreadable) };
        let subjects = self.subjects.of(user);
        subjects.iter().for_each(|subject| subject.hint(job));
        self.counters.count_push(if subjects.is_empty() { Push::Unwatched } else { Push::Taken });
    }

    /// The system whose jobs it has.
    pub fn system(&self) -> &SystemName {
        self.cluster.name()
    }

    /// Its counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many clients wait for jobs or their events.
    pub fn watchers(&self) -> usize {
        self.subjects.watchers()
    }

    /// For how long a lease is taken.
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
            // They end by themselves where this fails.
            let _ = tokio::time::timeout(RELEASE, futures::future::join_all(releases)).await;
        }
    }
}

impl Latest {
    /// A user's own jobs of the list.
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
    let jobs: Vec<Job> = list.iter().filter(|job| concerns(id.as_str(), job.id.as_str())).cloned().collect();
    (!jobs.is_empty()).then(|| list.derive(jobs, missing))
}

/// A job of which nothing is known but that it was submitted.
fn pending(principal: &Principal, id: &JobId, name: Option<&str>, directory: &str) -> Job {
    Job {
        id: id.clone(),
        name: name.unwrap_or_default().to_owned(),
        status: JobStatus { state: "PENDING".to_owned(), ..JobStatus::default() },
        steps: None,
        times: JobTimes::default(),
        account: None,
        allocation_nodes: 0,
        cluster: String::new(),
        group: None,
        nodes: String::new(),
        partition: String::new(),
        kill_request_user: None,
        user: Some(principal.username.as_str().to_owned()),
        working_directory: directory.to_owned(),
        priority: None,
    }
}
