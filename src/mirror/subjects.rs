//! Who looks at which jobs. A subject is observed while somebody does.

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

/// The most jobs that are looked at one by one because somebody said that they ended.
const MAX_HINTS: usize = 64;

/// Whose jobs are observed with one query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Those of all users, in the name of the service account.
    All,
    /// A caller's own. Two callers may have one user name, and one of them no credential for it.
    Of(Caller),
}

impl Scope {
    /// Whose jobs these are; none for those of all.
    pub(super) fn owner(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Of(caller) => Some(caller.username.as_str()),
        }
    }
}

/// What is observed, and how that goes.
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
    /// In whose name the scheduler is asked: the caller whose token ends last.
    principal: Option<Principal>,
    /// The jobs that are looked at by their ids.
    jobs: HashMap<JobId, usize>,
}

/// The last list of a subject.
pub(super) struct Latest {
    pub(super) reading: Reading<Vec<Job>>,
    /// What users had changed before it was asked for.
    pub(super) changes: SeenChanges,
    /// The parts of it that are single users' jobs, as they are asked for.
    pub(super) own: HashMap<Username, Reading<Vec<Job>>>,
    /// Jobs that were in the list before, and whose end is still looked for.
    pub(super) left: HashMap<JobId, Job>,
}

/// How the observation of a subject goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlook {
    /// How many times the scheduler was asked, whatever came of it.
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

    /// The jobs that a look was asked for.
    pub(super) fn hints(&self) -> Vec<JobId> {
        self.hints.lock().drain().collect()
    }

    /// In whose name the scheduler is asked.
    pub(super) fn principal(&self) -> Option<Principal> {
        self.held.lock().principal.clone()
    }

    /// The jobs that are looked at by their ids.
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
    /// Those that nobody observes yet.
    fresh: Mutex<Vec<Arc<Subject>>>,
    added: Notify,
}

impl Subjects {
    /// The subject, where it is observed.
    pub(super) fn get(&self, scope: &Scope) -> Option<Arc<Subject>> {
        self.subjects.lock().get(scope).cloned()
    }

    /// What is observed whether anybody looks or not.
    pub(super) fn open(&self, scope: Scope) {
        self.enter(scope, |_| {});
    }

    /// The subject for somebody who looks at it, and at this job of it.
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

    /// Gives a subject up that nobody has looked at for so long: whether it was.
    pub(super) fn close(&self, subject: &Subject, idle: Duration) -> bool {
        let mut subjects = self.subjects.lock();
        let is_given_up = subject.is_idle_for(idle);
        if is_given_up {
            subjects.remove(&subject.scope);
        }
        is_given_up
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

/// How it is told that nobody knows how things are now.
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

    /// Waits until the scheduler was asked at least once, whatever came of it.
    pub async fn observed(&self) {
        // The subject is held here, so that its sender is there.
        let _ = self.subject.outlook.subscribe().wait_for(|outlook| outlook.rounds > 0).await;
    }

    /// Says where nothing new could be learnt the last time.
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
