//! The subjects of observation: sets of jobs that somebody watches. A subject is observed while somebody does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::credentials::Caller;
use crate::domain::{Job, JobId, Principal, Reading, Username};
use crate::scheduler::SeenChanges;

/// The maximum number of jobs that are queried one by one because they were reported as ended.
const MAX_HINTS: usize = 64;

/// The set of jobs that are observed with one query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// The jobs of all users, with the service account.
    All,
    /// The jobs of a caller. Two callers may have the same user name, and one of them no credential for it.
    Of(Caller),
}

impl Scope {
    /// The owner of these jobs; none for the jobs of all users.
    pub(super) fn owner(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Of(caller) => Some(caller.username.as_str()),
        }
    }
}

/// A subject and the state of its observation.
pub(super) struct Subject {
    pub(super) scope: Scope,
    held: Mutex<Held>,
    /// Asks for a look at once.
    pub(super) nudged: Notify,
    /// Asks for a look at single jobs.
    pub(super) hinted: Notify,
    hints: Mutex<HashSet<JobId>>,
    pub(super) outlook: watch::Sender<Outlook>,
    pub(super) latest: Mutex<Option<Latest>>,
}

#[derive(Default)]
struct Held {
    count: usize,
    /// Since when nobody looks.
    idle_since: Option<Instant>,
    /// The principal of the queries: the caller whose token expires last.
    principal: Option<Principal>,
    /// The jobs that are watched by their ids.
    jobs: HashMap<JobId, usize>,
}

/// The last list of a subject.
pub(super) struct Latest {
    pub(super) reading: Reading<Vec<Job>>,
    /// The changes of users before the query.
    pub(super) changes: SeenChanges,
    /// The jobs of single users out of all jobs, computed on demand.
    pub(super) own: HashMap<Username, Reading<Vec<Job>>>,
    /// Jobs that were in the list before, and whose end is still looked for.
    pub(super) left: HashMap<JobId, Job>,
}

/// The state of a subject's observation.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlook {
    /// The number of queries, whatever their result.
    pub(super) rounds: u64,
    /// When it last answered.
    pub(super) answered: Option<Instant>,
    /// Why it did not answer the last time, in words for clients.
    pub(super) trouble: Option<Arc<str>>,
}

impl Subject {
    fn new(scope: Scope) -> Self {
        Self {
            scope,
            held: Mutex::default(),
            nudged: Notify::new(),
            hinted: Notify::new(),
            hints: Mutex::default(),
            outlook: watch::Sender::new(Outlook::default()),
            latest: Mutex::new(None),
        }
    }

    /// Asks for a look at a job.
    pub(super) fn hint(&self, job: &JobId) {
        let mut hints = self.hints.lock();
        // So many at once are seen in the next list.
        if hints.len() < MAX_HINTS {
            hints.insert(job.clone());
            self.hinted.notify_one();
        }
    }

    /// The jobs to query on request.
    pub(super) fn hints(&self) -> Vec<JobId> {
        self.hints.lock().drain().collect()
    }

    /// The principal of the queries.
    pub(super) fn principal(&self) -> Option<Principal> {
        self.held.lock().principal.clone()
    }

    /// The jobs that are watched by their ids.
    pub(super) fn watched(&self) -> Vec<JobId> {
        self.held.lock().jobs.keys().cloned().collect()
    }

    fn hold(&self, principal: &Principal, job: Option<&JobId>) {
        let mut held = self.held.lock();
        held.count += 1;
        held.idle_since = None;
        if held.principal.as_ref().is_none_or(|known| known.expires_at <= principal.expires_at) {
            held.principal = Some(principal.clone());
        }
        if let Some(job) = job {
            *held.jobs.entry(job.clone()).or_default() += 1;
        }
    }

    fn release(&self, job: Option<&JobId>) {
        let mut held = self.held.lock();
        held.count -= 1;
        if held.count == 0 {
            held.idle_since = Some(Instant::now());
        }
        if let Some(count) = job.and_then(|job| held.jobs.get_mut(job)) {
            *count -= 1;
        }
        held.jobs.retain(|_, count| *count > 0);
    }

    fn is_idle_for(&self, time: Duration) -> bool {
        let held = self.held.lock();
        held.count == 0 && held.idle_since.is_none_or(|since| since.elapsed() >= time)
    }
}

/// The subjects that are observed.
#[derive(Default)]
pub(super) struct Subjects {
    subjects: Mutex<HashMap<Scope, Arc<Subject>>>,
    /// The subjects that nobody observes yet.
    fresh: Mutex<Vec<Arc<Subject>>>,
    added: Notify,
}

impl Subjects {
    /// The subject, if it is observed.
    pub(super) fn get(&self, scope: &Scope) -> Option<Arc<Subject>> {
        self.subjects.lock().get(scope).cloned()
    }

    /// Opens a subject that is observed always.
    pub(super) fn open(&self, scope: Scope) {
        self.enter(scope, |_| {});
    }

    /// Opens the subject for a watcher, who watches this job of it.
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

    /// The subjects that were added since; it waits for one.
    pub(super) async fn added(&self) -> Vec<Arc<Subject>> {
        loop {
            let fresh = std::mem::take(&mut *self.fresh.lock());
            if !fresh.is_empty() {
                return fresh;
            }
            self.added.notified().await;
        }
    }

    /// Closes a subject that nobody has watched for this time; returns whether it did.
    pub(super) fn close(&self, subject: &Subject, idle: Duration) -> bool {
        let mut subjects = self.subjects.lock();
        let is_given_up = subject.is_idle_for(idle);
        if is_given_up {
            subjects.remove(&subject.scope);
        }
        is_given_up
    }

    /// How many hold a subject.
    pub(super) fn watchers(&self) -> usize {
        self.subjects.lock().values().map(|subject| subject.held.lock().count).sum()
    }

    /// All subjects of a user.
    pub(super) fn of(&self, user: &Username) -> Vec<Arc<Subject>> {
        let is_of = |subject: &&Arc<Subject>| subject.scope.owner().is_none_or(|owner| owner == user.as_str());
        self.subjects.lock().values().filter(is_of).cloned().collect()
    }
}

/// Somebody looks. While it is held, the jobs are observed.
pub struct Watch {
    subject: Arc<Subject>,
    job: Option<JobId>,
    since: Instant,
    ended: CancellationToken,
}

/// The report that the current state is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// For how long nothing new was learnt.
    pub age: Duration,
    /// Why, in words for clients.
    pub reason: Arc<str>,
}

impl Watch {
    pub(super) fn new(subject: Arc<Subject>, job: Option<JobId>, ended: CancellationToken) -> Self {
        Self { subject, job, since: Instant::now(), ended }
    }

    /// Waits until the scheduler was queried at least once, whatever the result.
    pub async fn observed(&self) {
        // The subject is held here, so that its sender is there.
        let _ = self.subject.outlook.subscribe().wait_for(|outlook| outlook.rounds > 0).await;
    }

    /// The staleness, if the last query failed.
    pub fn staleness(&self) -> Option<Staleness> {
        let outlook = self.subject.outlook.borrow();
        let reason = outlook.trouble.clone()?;
        Some(Staleness { age: outlook.answered.unwrap_or(self.since).elapsed(), reason })
    }

    /// Waits until that is otherwise than it was known to be, and says how it is.
    pub async fn turns(&self, was_stale: bool) -> bool {
        let _ = self.subject.outlook.subscribe().wait_for(|outlook| outlook.trouble.is_some() != was_stale).await;
        !was_stale
    }

    /// Waits until nothing is observed any more, because the process ends or the system was configured anew.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.subject.release(self.job.as_ref());
    }
}
