//! The tasks of users: work that goes on after the request that began it, on whichever replica, also after a restart.
//!
//! A task is a record in the store whose work is due: the process that takes it has its lease, and only the holder of the lease writes the record.
//! Whoever cancels a task writes a record of its own beside it, and takes the lease for a moment to make an idle task due. A task that has ended is
//! removed without it. This module keeps the records, and what this process knows of tasks and
//! their users; it must not know what a task does.

mod record;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::{Principal, Username};
use crate::store::{Leased, Record, Store, StoreError};

pub(super) use record::{Done, StoredTask};
pub use record::{Place, Task, TaskFailure, TaskProgress, TaskState};

/// The kind of the records of tasks.
const TASK: &str = "task";
/// The kind of the records that say that a task is to be cancelled.
const CANCEL: &str = "task-cancel";
/// How long a task that has ended is shown.
const ENDED_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a task may take.
pub(super) const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the record of a task that has not ended is kept: longer than it may take.
const TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Maximum number of tasks of one user that are shown; of those that have ended, the oldest are removed.
const MAX_SHOWN: usize = 200;

/// The times of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The interval between looks for tasks that are due.
    pub tick: Duration,
    /// The interval at which progress is written, and a cancellation on another replica noticed.
    pub save: Duration,
    /// The time after which another process takes a task whose process is gone.
    pub lease: Duration,
    /// The interval at which the user's rights are checked again.
    pub recheck: Duration,
    /// The interval at which tokens that have expired, and users without unfinished tasks, are forgotten.
    pub forget: Duration,
    /// The pause after the first failure; each further one is twice as long, up to `max_pause`.
    pub first_pause: Duration,
    /// The maximum pause.
    pub max_pause: Duration,
    /// The time without any progress after which a task is given up.
    pub give_up: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            save: Duration::from_secs(2),
            lease: Duration::from_secs(30),
            recheck: Duration::from_secs(10),
            forget: Duration::from_secs(60),
            first_pause: Duration::from_secs(2),
            max_pause: Duration::from_secs(60),
            give_up: Duration::from_secs(24 * 3600),
        }
    }
}

/// The tasks of a site. Clones share everything.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

/// A user by name and subject.
type UserKey = (Username, String);

struct Inner {
    store: Arc<dyn Store>,
    timing: Timing,
    /// Notified when a task may be due.
    due: Notify,
    /// The tasks that this process works on, each with the token that cancels it, and its user.
    running: Mutex<HashMap<String, (CancellationToken, Username)>>,
    /// The users of tasks that this process knows, by name and subject, each with the newest token that was seen.
    users: Mutex<HashMap<UserKey, Option<Arc<Principal>>>>,
    /// Held while the tasks of a user are counted, and one is added or the user forgotten.
    adding: tokio::sync::Mutex<()>,
}

/// A task that this process works on, until it is dropped.
pub(super) struct UnderWay {
    tasks: Tasks,
    id: String,
    /// Cancelled when its user cancels it by a request to this process.
    pub(super) cancelled: CancellationToken,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.tasks.0.running.lock().remove(&self.id);
    }
}

impl Tasks {
    /// The tasks in this store.
    pub fn new(store: Arc<dyn Store>, timing: Timing) -> Self {
        let (running, users) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { store, timing, due: Notify::new(), running, users, adding: tokio::sync::Mutex::default() }))
    }

    /// The times.
    pub(super) fn timing(&self) -> &Timing {
        &self.0.timing
    }

    /// The number of tasks of a user that this process works on.
    pub(super) fn running_of(&self, user: &Username) -> usize {
        self.0.running.lock().values().filter(|(_, owner)| owner == user).count()
    }

    /// Adds a task, unless its user has `max` that have not ended: then the answer is none. This token is kept for it in memory.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn add(&self, task: StoredTask, token: &Arc<Principal>, max: u64) -> Result<Option<Task>, StoreError> {
        let _adding = self.0.adding.lock().await;
        let known = self.of_user(task.username()).await?;
        let unfinished = known.iter().filter(|task| !task.state.is_final()).count();
        if u64::try_from(unfinished).is_ok_and(|unfinished| unfinished >= max) {
            return Ok(None);
        }
        let mut ended: Vec<&Task> = known.iter().filter(|task| task.state.is_final()).collect();
        ended.sort_by_key(|task| task.ended);
        for old in ended.iter().take((known.len() + 1).saturating_sub(MAX_SHOWN)) {
            self.remove(&old.id).await?;
        }
        let id = format!("task-{}", uuid::Uuid::new_v4().simple());
        self.put(&id, &task, Some(Duration::ZERO)).await?;
        self.know(&task);
        self.renew(token);
        self.0.due.notify_one();
        Ok(Some(task.into_task(id)))
    }

    /// A task.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn get(&self, id: &str) -> Result<Option<StoredTask>, StoreError> {
        Ok(self.0.store.get(TASK, id).await?.as_ref().and_then(decode))
    }

    /// The tasks of a user, the newest first.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn of_user(&self, user: &Username) -> Result<Vec<Task>, StoreError> {
        let records = self.0.store.list(TASK, user.as_str()).await?;
        let mut tasks: Vec<Task> = records.into_iter().filter_map(|record| Some(decode(&record)?.into_task(record.id))).collect();
        for task in tasks.iter_mut().filter(|task| !task.state.is_final()) {
            task.cancel_requested = self.is_cancelled(&task.id).await?;
        }
        tasks.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(tasks)
    }

    /// Writes a task, whose work is due after this time; none if there is none now.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn put(&self, id: &str, task: &StoredTask, due_in: Option<Duration>) -> Result<(), StoreError> {
        let ttl = if task.state.is_final() { ENDED_TTL } else { TTL };
        let value = serde_json::to_vec(task).unwrap_or_default();
        let record = Record { kind: TASK, id: id.to_owned(), owner: task.username().as_str().to_owned(), value, due_in, ttl };
        self.0.store.put(&record).await
    }

    /// Removes a task.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn remove(&self, id: &str) -> Result<(), StoreError> {
        self.0.store.remove(TASK, id).await?;
        self.0.store.remove(CANCEL, id).await.map(drop)
    }

    /// Has a task cancelled by the process that works on it, or by the next one that takes it, which is soon.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn cancel(&self, id: &str, user: &Username) -> Result<(), StoreError> {
        let owner = user.as_str().to_owned();
        self.0.store.put(&Record { kind: CANCEL, id: id.to_owned(), owner, value: Vec::new(), due_in: None, ttl: TTL }).await?;
        if let Some((cancelled, _)) = self.0.running.lock().get(id) {
            cancelled.cancel();
        }
        Ok(())
    }

    /// Whether a task is to be cancelled.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn is_cancelled(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.0.store.get(CANCEL, id).await?.is_some())
    }

    /// Waits until a task may be due.
    pub(super) async fn wait(&self) {
        let _is_in_time = tokio::time::timeout(self.0.timing.tick, self.0.due.notified()).await.is_ok();
    }

    /// Takes tasks that are due, by their ids.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn take_due(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        let due = self.0.store.due(TASK, limit, self.0.timing.lease).await?;
        Ok(due.into_iter().map(|record| record.id).collect())
    }

    /// Takes the lease of a task, for which it waits so long at most.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn lease(&self, id: &str, wait: Duration) -> Result<Option<Leased>, StoreError> {
        Leased::take(&self.0.store, format!("task/{id}"), self.0.timing.lease, wait).await
    }

    /// Makes an idle task due now.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn hasten(&self, id: &str) -> Result<(), StoreError> {
        let Some(lease) = self.lease(id, Duration::ZERO).await? else { return Ok(()) };
        if let Some(task) = self.get(id).await?.filter(|task| !task.state.is_final()) {
            self.put(id, &task, Some(Duration::ZERO)).await?;
        }
        lease.release().await;
        self.0.due.notify_one();
        Ok(())
    }

    /// Registers that this process works on a task.
    pub(super) fn begin(&self, id: &str, task: &StoredTask) -> UnderWay {
        let cancelled = CancellationToken::new();
        self.0.running.lock().insert(id.to_owned(), (cancelled.clone(), task.username().clone()));
        UnderWay { tasks: self.clone(), id: id.to_owned(), cancelled }
    }

    /// Remembers the user of a task, whose newer tokens are then kept in memory.
    pub(super) fn know(&self, task: &StoredTask) {
        self.0.users.lock().entry((task.username().clone(), task.subject().to_owned())).or_default();
    }

    /// Keeps this token for the tasks of its user, if it has any here and the token is valid for longer than the one before.
    pub(in crate::service) fn renew(&self, principal: &Arc<Principal>) {
        let mut users = self.0.users.lock();
        if users.is_empty() || principal.token.expose().is_empty() {
            return;
        }
        let Some(newest) = users.get_mut(&(principal.username.clone(), principal.subject.clone())) else { return };
        let is_newer = newest.as_ref().is_none_or(|known| known.expires_at < principal.expires_at);
        if is_newer {
            let was_expired = newest.as_ref().is_none_or(|known| known.expires_at <= Timestamp::now());
            *newest = Some(Arc::clone(principal));
            drop(users);
            if was_expired {
                self.0.due.notify_one();
            }
        }
    }

    /// The newest token of the user of a task that was seen here and is still valid.
    pub(super) fn token(&self, task: &StoredTask) -> Option<Arc<Principal>> {
        let mut users = self.0.users.lock();
        let newest = users.get_mut(&(task.username().clone(), task.subject().to_owned()))?;
        newest.take_if(|principal| principal.expires_at <= Timestamp::now());
        newest.clone()
    }

    /// Forgets a user, with the tokens, if no task of the user is unfinished. The next task, or look at one, makes the user known again.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn forget_if_idle(&self, user: &Username) -> Result<(), StoreError> {
        let _adding = self.0.adding.lock().await;
        if self.of_user(user).await?.iter().all(|task| task.state.is_final()) {
            self.0.users.lock().retain(|(known, _), _| known != user);
        }
        Ok(())
    }

    /// Forgets the tokens that have expired, and all users whose tasks have ended, wherever they ended.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn forget_idle(&self) -> Result<(), StoreError> {
        let known: Vec<Username> = {
            let mut users = self.0.users.lock();
            for token in users.values_mut() {
                token.take_if(|principal| principal.expires_at <= Timestamp::now());
            }
            users.keys().map(|(user, _)| user.clone()).collect()
        };
        for user in known {
            self.forget_if_idle(&user).await?;
        }
        Ok(())
    }
}

fn decode(record: &Record) -> Option<StoredTask> {
    serde_json::from_slice(&record.value).ok()
}

#[cfg(test)]
mod tests;
