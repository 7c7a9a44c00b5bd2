//! The kept-open control sessions, one for each user, and the sessions of single transfers.
//!
//! The key is the login name with the credential, so that one caller's session can never serve another, and none serves longer
//! than its credential. It must not know what the sessions are used for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::session::{Failure, Patience, Session, words};
use super::waiting::{Lease, Waiting};
use crate::domain::{Principal, Username};
use crate::filesystem::{FilesystemError, Settings};
use crate::ssh::{CredentialVersion, LaneKind, Transport, TransportError};

/// Whose a session is: the login name, under one credential.
pub type Owner = (Username, CredentialVersion);

type Opening = Shared<BoxFuture<'static, Result<Arc<Session>, TransportError>>>;

struct Slot {
    opening: Opening,
    used: Instant,
}

type Slots = Mutex<HashMap<Owner, Slot>>;

/// Sessions of one cluster.
pub struct Sessions {
    transport: Arc<dyn Transport>,
    settings: Settings,
    slots: Arc<Slots>,
    /// Sessions of transfers that have ended.
    waiting: Arc<Waiting>,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(transport: Arc<dyn Transport>, settings: Settings) -> Self {
        Self { transport, settings, slots: Arc::default(), waiting: Waiting::new(settings.transfer_session_idle) }
    }

    /// The user's session for small requests; opened by the first who asks, while the others wait for the same attempt.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn control(&self, principal: &Principal) -> Result<Arc<Session>, FilesystemError> {
        let owner = self.owner(principal).await?;
        let opening = self.slot(principal, &owner);
        let result = opening.clone().await;
        if result.is_err() {
            forget(&self.slots, &owner, &opening);
        }
        Ok(result?)
    }

    /// A session of its own for one transfer, on the bulk lane: one that has served before and waits, or a new one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn bulk(&self, principal: &Principal) -> Result<Lease, FilesystemError> {
        let owner = self.owner(principal).await?;
        if let Some(lease) = self.waiting.take(&owner).await {
            return Ok(lease);
        }
        let patience = Patience { request: self.settings.stall, while_stalled: true, idle: None };
        let session = open(self.transport.clone(), principal.clone(), LaneKind::Bulk, patience).await?;
        Ok(self.waiting.lease(&owner, session))
    }

    /// Runs an operation on the user's control session. When the session broke, it is run once more on a fresh one, if it is
    /// idempotent or provably nothing was sent.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn run<T, F>(
        &self,
        principal: &Principal,
        idempotent: bool,
        operation: impl Fn(Arc<Session>) -> F,
    ) -> Result<T, FilesystemError>
    where
        F: Future<Output = Result<T, FilesystemError>>,
    {
        let mut again = true;
        loop {
            let session = self.control(principal).await?;
            match operation(session).await {
                Err(FilesystemError::Transport(TransportError::Broken { sent })) if again && (idempotent || !sent) => again = false,
                result => return result,
            }
        }
    }

    async fn owner(&self, principal: &Principal) -> Result<Owner, FilesystemError> {
        Ok((principal.username.clone(), self.transport.credential_version(principal).await?))
    }

    fn slot(&self, principal: &Principal, owner: &Owner) -> Opening {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(owner)
            && slot.opening.peek().is_none_or(|result| result.as_ref().is_ok_and(|session| session.is_usable()))
        {
            slot.used = Instant::now();
            return slot.opening.clone();
        }
        let usable = |slot: &Slot| slot.opening.peek().is_none_or(|result| result.as_ref().is_ok_and(|session| session.is_usable()));
        slots.remove(owner);
        // Among them those of the caller's earlier credentials, which are idle since.
        slots.retain(|_, slot| usable(slot));
        if slots.len() >= self.settings.max_sessions
            && let Some(oldest) = slots.iter().min_by_key(|(_, slot)| slot.used).map(|(owner, _)| owner.clone())
        {
            // Requests under way on it hold it for as long as they need it.
            slots.remove(&oldest);
        }
        let patience = Patience { request: self.settings.command_timeout, while_stalled: false, idle: Some(self.settings.session_idle) };
        // A task of its own, so that who gives up waiting does not hold up the others.
        let task = tokio::spawn(open(self.transport.clone(), principal.clone(), LaneKind::Control, patience));
        let opening = task.map(|ended| ended.unwrap_or(Err(TransportError::Broken { sent: false }))).boxed().shared();
        slots.insert(owner.clone(), Slot { opening: opening.clone(), used: Instant::now() });
        tokio::spawn(let_go_when_retired(Arc::downgrade(&self.slots), owner.clone(), opening.clone()));
        opening
    }
}

/// Forgets a session when its connection is retired, so that it ends with the work under way and the connection after it.
async fn let_go_when_retired(slots: Weak<Slots>, owner: Owner, opening: Opening) {
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
    if let (Some(slots), Some(opening)) = (slots.upgrade(), opening) {
        forget(&slots, &owner, &opening);
    }
}

fn forget(slots: &Slots, owner: &Owner, opening: &Opening) {
    let mut slots = slots.lock();
    if slots.get(owner).is_some_and(|slot| slot.opening.ptr_eq(opening)) {
        slots.remove(owner);
    }
}

/// Opens a session. One that breaks before its greeting was asked for nothing.
async fn open(
    transport: Arc<dyn Transport>,
    principal: Principal,
    lane: LaneKind,
    patience: Patience,
) -> Result<Arc<Session>, TransportError> {
    let stream = transport.subsystem(&principal, lane, "sftp").await.map_err(|error| match error {
        TransportError::Broken { .. } => TransportError::Broken { sent: false },
        error => error,
    })?;
    Session::open(stream, patience).await.map_err(|failure| match failure {
        // sshd starts the subsystem without saying whether its program exists; a channel that ends at once says so.
        Failure::Broken { .. } => TransportError::Refused("the sftp subsystem ended before its greeting".to_owned()),
        Failure::Protocol(reason) => {
            let hint = "the sftp subsystem does not speak SFTP; a start-up file of the login shell may be printing text";
            TransportError::Refused(format!("{hint} ({reason})"))
        }
        Failure::Stalled(limit) => TransportError::Execution(limit),
        Failure::Status(_, message) => TransportError::Refused(format!("the sftp subsystem: {}", words(&message))),
    })
}
