//! Transfer sessions that wait for the next transfer of the same user.
//!
//! To start a session costs the cluster a process and, before it, a login shell with its start-up files; a small file costs
//! less than that to send. So a session that served its transfer well is kept for a moment. It must not know what transfers do.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::session::Session;
use crate::domain::Username;
use crate::filesystem::FilesystemError;
use crate::ssh::CredentialVersion;

/// The maximum number of sessions of one user that wait.
const MAX_SESSIONS_PER_USER: usize = 8;

/// After this age a session takes no further transfer, so that a login that was withdrawn ends with the transfers under way.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The time for an idle session to show that it is alive.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The owner of a session: the login name, under one credential.
pub type Owner = (Username, CredentialVersion);

/// The sessions that wait, by their owners: one's session never serves another.
pub struct Waiting {
    sessions: Mutex<HashMap<Owner, Vec<Waiter>>>,
    /// The time for which a session is kept.
    idle_timeout: Duration,
}

struct Waiter {
    session: Arc<Session>,
    _end: AbortOnDropHandle<()>,
}

/// A session for one transfer. Dropping it keeps the session for the next one, if it is usable.
pub struct Lease {
    session: Arc<Session>,
    owner: Owner,
    waiting: Arc<Waiting>,
}

impl Waiting {
    /// An empty cache; each session is kept for `idle_timeout`.
    pub fn new(idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { sessions: Mutex::default(), idle_timeout })
    }

    /// Takes an idle session of the user that still answers, with the result of its first use, which may be tried on several.
    pub async fn take<T, F>(
        self: &Arc<Self>,
        owner: &Owner,
        first: impl Fn(Arc<Session>) -> F,
    ) -> Option<(Lease, Result<T, FilesystemError>)>
    where
        F: Future<Output = Result<T, FilesystemError>>,
    {
        loop {
            let session = self.pop(owner)?;
            match timeout(PROBE_TIMEOUT, first(Arc::clone(&session))).await {
                Err(_) | Ok(Err(FilesystemError::Transport(_))) => {}
                Ok(result) => return Some((self.lease(owner, session), result)),
            }
        }
    }

    /// Lends a session to a transfer.
    pub fn lease(self: &Arc<Self>, owner: &Owner, session: Arc<Session>) -> Lease {
        Lease { session, owner: owner.clone(), waiting: Arc::clone(self) }
    }

    fn pop(&self, owner: &Owner) -> Option<Arc<Session>> {
        let mut sessions = self.sessions.lock();
        let waiters = sessions.get_mut(owner)?;
        let last = waiters.pop();
        if waiters.is_empty() {
            sessions.remove(owner);
        }
        last.map(|waiter| waiter.session)
    }

    fn keep(self: &Arc<Self>, owner: &Owner, session: &Arc<Session>) {
        if session.age() > MAX_AGE || !session.is_settled() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut sessions = self.sessions.lock();
        let waiters = sessions.entry(owner.clone()).or_default();
        if waiters.len() < MAX_SESSIONS_PER_USER {
            let (waiting, owner, kept, idle_timeout) = (Arc::downgrade(self), owner.clone(), Arc::downgrade(session), self.idle_timeout);
            let retired = session.retired();
            let end = runtime.spawn(async move {
                let _ = timeout(idle_timeout, retired.cancelled()).await;
                if let (Some(waiting), Some(session)) = (waiting.upgrade(), kept.upgrade()) {
                    waiting.dismiss(&owner, &session);
                }
            });
            waiters.push(Waiter { session: Arc::clone(session), _end: AbortOnDropHandle::new(end) });
        }
    }

    fn dismiss(&self, owner: &Owner, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock();
        let Some(waiters) = sessions.get_mut(owner) else { return };
        waiters.retain(|waiter| !Arc::ptr_eq(&waiter.session, session));
        if waiters.is_empty() {
            sessions.remove(owner);
        }
    }
}

impl Deref for Lease {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.waiting.keep(&self.owner, &self.session);
    }
}
