//! The subjects of observation: sets of jobs, each observed while it has watchers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::credentials::CallerKey;
use crate::domain::{Job, JobId, Principal, Reading, Username};
use crate::scheduler::SeenChanges;

/// Maximum number of jobs that wait for a query because they were reported as ended.
const MAX_REPORTED_JOBS: usize = 64;

/// The set of jobs that are observed with one query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// The jobs of all users, with the service account.
    All,
    /// The jobs of a caller. Two callers may have the same user name, and one of them no credential for it.
    Of(CallerKey),
}

impl Scope {
    /// The owner of these jobs; none for the jobs of all users.
    pub(super) fn owner(&self) -> Option<&str> {
        self.user().map(Username::as_str)
    }

    /// The owner of these jobs as a user.
    pub(super) fn user(&self) -> Option<&Username> {
        match self {
            Self::All => None,
            Self::Of(caller) => Some(&caller.username),
        }
    }
}

/// A subject and the state of its observation.
pub(super) struct Subject {
    pub(super) scope: Scope,
    watchers: Mutex<Watchers>,
    /// Notified to query the list at once.
    pub(super) requested: Notify,
    /// Notified to query the jobs that were reported as ended.
    pub(super) reported: Notify,
    hints: Mutex<HashSet<JobId>>,
    pub(super) status: watch::Sender<ObservationStatus>,
    pub(super) latest: Mutex<Option<Latest>>,
}

#[derive(Default)]
struct Watchers {
    count: usize,
    /// The time since which there is no watcher.
    idle_since: Option<Instant>,
    /// The principal of the queries: the caller whose token expires last.
    principal: Option<Principal>,
    /// The jobs that are watched by their ids.
    jobs: HashMap<JobId, usize>,
}

/// The last list of a subject.
pub(super) struct Latest {
    pub(super) reading: Reading<Vec<Job>>,
    /// The numbers of the users' changes before the query.
    pub(super) changes: SeenChanges,
    /// The jobs of single users out of all jobs, computed on demand.
    pub(super) own: HashMap<Username, Reading<Vec<Job>>>,
    /// Jobs that have left the list and whose end is not known yet.
    pub(super) left: HashMap<JobId, Job>,
}

/// The state of a subject's observation.
#[derive(Clone, Debug, Default)]
pub(super) struct ObservationStatus {
    /// The number of queries, whatever their result.
    pub(super) rounds: u64,
    /// The time of the last answer of the scheduler.
    pub(super) answered: Option<Instant>,
    /// The failure of the last query, as a message for clients.
    pub(super) failure: Option<Arc<str>>,
}

impl Subject {
    fn new(scope: Scope) -> Self {
        Self {
            scope,
            watchers: Mutex::default(),
            requested: Notify::new(),
            reported: Notify::new(),
            hints: Mutex::default(),
            status: watch::Sender::new(ObservationStatus::default()),
            latest: Mutex::new(None),
        }
    }

    /// Requests a query of a job.
    pub(super) fn hint(&self, job: &JobId) {
        let mut hints = self.hints.lock();
        // If there are too many, the next list has the rest.
        if hints.len() < MAX_REPORTED_JOBS {
            hints.insert(job.clone());
            self.reported.notify_one();
        }
    }

    /// Takes the jobs whose query was requested.
    pub(super) fn hints(&self) -> Vec<JobId> {
        self.hints.lock().drain().collect()
    }

    /// The principal of the queries.
    pub(super) fn principal(&self) -> Option<Principal> {
        self.watchers.lock().principal.clone()
    }

    /// The jobs that are watched by their ids.
    pub(super) fn watched(&self) -> Vec<JobId> {
        self.watchers.lock().jobs.keys().cloned().collect()
    }

    fn hold(&self, principal: &Principal, job: Option<&JobId>) {
        let mut watchers = self.watchers.lock();
        watchers.count += 1;
        watchers.idle_since = None;
        if watchers.principal.as_ref().is_none_or(|known| known.expires_at <= principal.expires_at) {
            watchers.principal = Some(principal.clone());
        }
        if let Some(job) = job {
            *watchers.jobs.entry(job.clone()).or_default() += 1;
        }
    }

    fn release(&self, job: Option<&JobId>) {
        let mut watchers = self.watchers.lock();
        watchers.count -= 1;
        if watchers.count == 0 {
            watchers.idle_since = Some(Instant::now());
        }
        if let Some(count) = job.and_then(|job| watchers.jobs.get_mut(job)) {
            *count -= 1;
        }
        watchers.jobs.retain(|_, count| *count > 0);
    }

    fn is_idle_for(&self, time: Duration) -> bool {
        let watchers = self.watchers.lock();
        watchers.count == 0 && watchers.idle_since.is_none_or(|since| since.elapsed() >= time)
    }
}

/// The subjects that are observed.
#[derive(Default)]
pub(super) struct Subjects {
    subjects: Mutex<HashMap<Scope, Arc<Subject>>>,
    /// The subjects whose observation has not begun.
    fresh: Mutex<Vec<Arc<Subject>>>,
    added: Notify,
}

impl Subjects {
    /// The subject, if it is observed.
    pub(super) fn get(&self, scope: &Scope) -> Option<Arc<Subject>> {
        self.subjects.lock().get(scope).cloned()
    }

    /// Opens a subject that is always observed.
    pub(super) fn open(&self, scope: Scope) {
        self.enter(scope, |_| {});
    }

    /// Opens the subject for a watcher of all its jobs, or of this one.
    pub(super) fn hold(&self, scope: Scope, principal: &Principal, job: Option<&JobId>) -> Arc<Subject> {
        self.enter(scope, |subject| subject.hold(principal, job))
    }

    fn enter(&self, scope: Scope, hold: impl FnOnce(&Subject)) -> Arc<Subject> {
        let mut subjects = self.subjects.lock();
        if let Some(subject) = subjects.get(&scope) {
            hold(subject);
            return Arc::clone(subject);
        }
        let subject = Arc::new(Subject::new(scope.clone()));
        hold(&subject);
        subjects.insert(scope, Arc::clone(&subject));
        self.fresh.lock().push(Arc::clone(&subject));
        self.added.notify_one();
        subject
    }

    /// Waits for new subjects, and takes them.
    pub(super) async fn added(&self) -> Vec<Arc<Subject>> {
        loop {
            let fresh = std::mem::take(&mut *self.fresh.lock());
            if !fresh.is_empty() {
                return fresh;
            }
            self.added.notified().await;
        }
    }

    /// Closes a subject if it had no watcher for this time; returns whether it did.
    pub(super) fn close(&self, subject: &Subject, idle: Duration) -> bool {
        let mut subjects = self.subjects.lock();
        let is_idle = subject.is_idle_for(idle);
        if is_idle {
            subjects.remove(&subject.scope);
        }
        is_idle
    }

    /// The number of watchers.
    pub(super) fn watchers(&self) -> usize {
        self.subjects.lock().values().map(|subject| subject.watchers.lock().count).sum()
    }

    /// All subjects of a user.
    pub(super) fn of(&self, user: &Username) -> Vec<Arc<Subject>> {
        let is_of = |subject: &&Arc<Subject>| subject.scope.owner().is_none_or(|owner| owner == user.as_str());
        self.subjects.lock().values().filter(is_of).cloned().collect()
    }
}

/// A watcher of jobs. The jobs are observed until it is dropped.
pub struct Watch {
    subject: Arc<Subject>,
    job: Option<JobId>,
    since: Instant,
    ended: CancellationToken,
}

/// The report that the current state is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// The time since the last answer.
    pub age: Duration,
    /// The failure of the query, as a message for clients.
    pub reason: Arc<str>,
}

impl Watch {
    pub(super) fn new(subject: Arc<Subject>, job: Option<JobId>, ended: CancellationToken) -> Self {
        Self { subject, job, since: Instant::now(), ended }
    }

    /// Waits until the scheduler was queried at least once, whatever the result.
    pub async fn observed(&self) {
        // The sender exists because this watch holds the subject.
        let _ = self.subject.status.subscribe().wait_for(|status| status.rounds > 0).await;
    }

    /// The staleness, if the last query failed.
    pub fn staleness(&self) -> Option<Staleness> {
        let status = self.subject.status.borrow();
        let reason = status.failure.clone()?;
        Some(Staleness { age: status.answered.unwrap_or(self.since).elapsed(), reason })
    }

    /// Waits until the state is stale or current again, other than `was_stale`; returns whether it is stale.
    pub async fn staleness_changes(&self, was_stale: bool) -> bool {
        let _ = self.subject.status.subscribe().wait_for(|status| status.failure.is_some() != was_stale).await;
        !was_stale
    }

    /// Waits for the end of observation, because the process ends or the system has a new configuration.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.subject.release(self.job.as_ref());
    }
}
