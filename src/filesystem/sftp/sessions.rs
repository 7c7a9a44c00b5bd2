//! The kept-open control sessions, one for each user, and the sessions of single transfers.
//!
//! The key is the login name with the credential, so that one caller's session can never serve another, and none serves longer
//! than its credential. It must not know what the sessions are used for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::missing::explained;
use super::protocol::Request;
use super::session::{Failure, Session, SessionTimeouts, words};
use super::waiting::{Lease, Owner, Waiting};
use crate::domain::Principal;
use crate::filesystem::{FilesystemError, Settings};
use crate::ssh::{Exec, LaneKind, Transport, TransportError};

/// Not `try_get_with` of a cache: a session that was opened may have ended since, and the next caller then opens a new one.
type Opening = Shared<BoxFuture<'static, Result<Arc<Session>, TransportError>>>;

struct Entry {
    opening: Opening,
    used: Instant,
}

type Entries = Mutex<HashMap<Owner, Entry>>;

/// Sessions of one cluster.
pub struct Sessions {
    transport: Arc<dyn Transport>,
    settings: Settings,
    entries: Arc<Entries>,
    /// Sessions of transfers that have ended.
    waiting: Arc<Waiting>,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(transport: Arc<dyn Transport>, settings: Settings) -> Self {
        Self { transport, settings, entries: Arc::default(), waiting: Waiting::new(settings.transfer_session_idle) }
    }

    /// The user's session for small requests; opened by the first caller, while the others wait for the same attempt.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn control(&self, principal: &Principal) -> Result<Arc<Session>, FilesystemError> {
        let owner = self.owner(principal).await?;
        let opening = self.entry(principal, &owner);
        let result = opening.clone().await;
        if result.is_err() {
            forget(&self.entries, &owner, &opening);
        }
        Ok(result?)
    }

    /// A session of its own for one transfer, on the bulk lane: one that has served before and waits, or a new one.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn bulk(&self, principal: &Principal) -> Result<Lease, FilesystemError> {
        let owner = self.owner(principal).await?;
        // A transfer cannot always be done again, so that a dead session has to be found before it.
        let answers = |session: Arc<Session>| async move {
            match session.request(&Request::Realpath { path: Bytes::from_static(b".") }).await {
                Ok(_) | Err(Failure::Status(..)) => Ok(()),
                Err(_) => Err(TransportError::Broken { sent: true }.into()),
            }
        };
        match self.waiting.take(&owner, answers).await {
            Some((lease, _)) => Ok(lease),
            None => self.new_bulk(principal, &owner).await,
        }
    }

    /// As [`Sessions::bulk`], with the result of its first use, which can be repeated, and shows whether a session that waits still answers.
    ///
    /// # Errors
    /// If it cannot be opened, and the errors of its first use.
    pub async fn bulk_for<T, F>(&self, principal: &Principal, first: impl Fn(Arc<Session>) -> F) -> Result<(Lease, T), FilesystemError>
    where
        F: Future<Output = Result<T, FilesystemError>>,
    {
        let owner = self.owner(principal).await?;
        let (lease, result) = match self.waiting.take(&owner, &first).await {
            Some(taken) => taken,
            None => {
                let lease = self.new_bulk(principal, &owner).await?;
                let result = first(Arc::clone(&lease)).await;
                (lease, result)
            }
        };
        let result = explained(&lease, result).await?;
        Ok((lease, result))
    }

    async fn new_bulk(&self, principal: &Principal, owner: &Owner) -> Result<Lease, FilesystemError> {
        let timeouts = SessionTimeouts { request: self.settings.stall, while_stalled: true, idle: None };
        let session = open(self.transport.clone(), principal.clone(), LaneKind::Bulk, timeouts).await?;
        Ok(self.waiting.lease(owner, session))
    }

    /// Runs an operation on the user's control session, and says why where a path leads nowhere. When the session broke, it is run once more on a fresh one, if it is
    /// idempotent or provably nothing was sent.
    ///
    /// # Errors
    /// The errors of the operation.
    pub async fn run<T, F>(
        &self,
        principal: &Principal,
        idempotent: bool,
        operation: impl Fn(Arc<Session>) -> F,
    ) -> Result<T, FilesystemError>
    where
        F: Future<Output = Result<T, FilesystemError>>,
    {
        let mut session = self.control(principal).await?;
        let mut result = operation(Arc::clone(&session)).await;
        if let Err(FilesystemError::Transport(TransportError::Broken { sent })) = result
            && (idempotent || !sent)
        {
            let second = |error| match error {
                FilesystemError::Transport(error) if sent => FilesystemError::Transport(error.of_second_attempt()),
                error => error,
            };
            session = self.control(principal).await.map_err(second)?;
            result = operation(Arc::clone(&session)).await.map_err(second);
        }
        explained(&session, result).await
    }

    async fn owner(&self, principal: &Principal) -> Result<Owner, FilesystemError> {
        Ok((principal.username.clone(), self.transport.credential_version(principal).await?))
    }

    fn entry(&self, principal: &Principal, owner: &Owner) -> Opening {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(owner)
            && is_usable(entry)
        {
            entry.used = Instant::now();
            return entry.opening.clone();
        }
        entries.remove(owner);
        // Among them those of the caller's earlier credentials, which are idle since.
        entries.retain(|_, entry| is_usable(entry));
        if entries.len() >= self.settings.max_sessions
            && let Some(oldest) = entries.iter().min_by_key(|(_, entry)| entry.used).map(|(owner, _)| owner.clone())
        {
            // Requests under way on it hold it for as long as they need it.
            entries.remove(&oldest);
        }
        let timeouts =
            SessionTimeouts { request: self.settings.command_timeout, while_stalled: false, idle: Some(self.settings.session_idle) };
        // A separate task, so that a waiter that gives up does not delay the others.
        let task = tokio::spawn(open(self.transport.clone(), principal.clone(), LaneKind::Control, timeouts));
        let opening = task.map(|ended| ended.unwrap_or(Err(TransportError::Broken { sent: false }))).boxed().shared();
        entries.insert(owner.clone(), Entry { opening: opening.clone(), used: Instant::now() });
        tokio::spawn(let_go_when_retired(Arc::downgrade(&self.entries), owner.clone(), opening.clone()));
        opening
    }
}

/// Whether a session is being opened, or is open and takes requests.
fn is_usable(entry: &Entry) -> bool {
    entry.opening.peek().is_none_or(|result| result.as_ref().is_ok_and(|session| session.is_usable()))
}

/// Forgets a session when its connection is retired, so that it ends with the work under way and the connection after it.
async fn let_go_when_retired(entries: Weak<Entries>, owner: Owner, opening: Opening) {
    let Ok(session) = opening.clone().await else { return };
    let (retired, over) = (session.retired(), session.over());
    drop(session);
    let opening = {
        // While it waits, this must not keep the session alive.
        let weak = opening.downgrade();
        drop(opening);
        tokio::select! {
            () = retired.cancelled() => {}
            () = over.cancelled() => {}
        }
        weak.and_then(|weak| weak.upgrade())
    };
    if let (Some(entries), Some(opening)) = (entries.upgrade(), opening) {
        forget(&entries, &owner, &opening);
    }
}

fn forget(entries: &Entries, owner: &Owner, opening: &Opening) {
    let mut entries = entries.lock();
    if entries.get(owner).is_some_and(|entry| entry.opening.ptr_eq(opening)) {
        entries.remove(owner);
    }
}

/// Opens a session. One that breaks before its greeting was asked for nothing.
async fn open(
    transport: Arc<dyn Transport>,
    principal: Principal,
    lane: LaneKind,
    timeouts: SessionTimeouts,
) -> Result<Arc<Session>, TransportError> {
    let stream = transport.subsystem(&principal, lane, "sftp").await.map_err(|error| match error {
        TransportError::Broken { .. } => TransportError::Broken { sent: false },
        error => error,
    })?;
    let failure = match Session::open(stream, timeouts).await {
        Ok(session) => return Ok(session),
        Err(failure) => failure,
    };
    // The login shell starts the subsystem. If it starts nothing because the account is closed, a command reveals the reason.
    match transport.exec(&principal, Exec::nothing(None)).await {
        Err(closed @ TransportError::AccountClosed(_)) => Err(closed),
        Ok(_) | Err(_) => Err(greeting(failure)),
    }
}

fn greeting(failure: Failure) -> TransportError {
    match failure {
        // sshd starts the subsystem without saying whether its program exists; a channel that ends at once says so.
        Failure::Broken { .. } => TransportError::Refused("the sftp subsystem ended before its greeting".to_owned()),
        Failure::Protocol(reason) => {
            let hint = "the sftp subsystem does not speak SFTP; a start-up file of the login shell may be printing text";
            TransportError::Refused(format!("{hint} ({reason})"))
        }
        Failure::Stalled(limit) => TransportError::Execution(limit),
        Failure::Status(_, message) => TransportError::Refused(format!("the sftp subsystem: {}", words(&message))),
    }
}
