//! A lane: the queue of one user's requests for one class of traffic, before the user's connections and kept shells.
//!
//! Requests wait in one queue, first come, first served, and only its head acts. It must not know what a channel is used for.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::{timeout, timeout_at};

use crate::ssh::channel::kept_shell::KeptShell;
use crate::ssh::channel::lifecycle::OpenChannel;
use crate::ssh::connect::login::Login;
use crate::ssh::lease::admission::Admission;
use crate::ssh::lease::lane_state::{CONNECT_BACKOFF, LaneState};
use crate::ssh::lease::permit::ChannelPermit;
use crate::ssh::lease::placement::Use;
use crate::ssh::pool::shell_cache::ShellCache;
use crate::ssh::stats::{Gauge, add};
use crate::ssh::transport::{LaneKind, TransportError};

/// The requests, connections and shells of one user for one class of traffic.
pub(crate) struct Lane {
    pub(crate) state: Arc<LaneState>,
    /// The queue. The holder of the lock is its head; tokio grants it in order.
    turn: tokio::sync::Mutex<()>,
    pub(crate) shells: ShellCache,
}

/// Whether a request waits in the queue. One whose permit was useless has waited already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queueing {
    Join,
    Bypass,
}

/// The place where a short command may run.
pub(crate) enum ShellOrPermit {
    /// In a shell that is kept on this channel.
    Shell(OpenChannel),
    /// On a channel that is still to be opened.
    ChannelPermit(ChannelPermit),
}

impl Lane {
    /// A lane without connections.
    pub(crate) fn new(admission: &Arc<Admission>, login: Arc<Login>, kind: LaneKind) -> Arc<Self> {
        Arc::new(Self { state: LaneState::new(admission, login, kind), turn: tokio::sync::Mutex::default(), shells: ShellCache::default() })
    }

    /// Waits in the queue for a permit.
    ///
    /// # Errors
    /// If no connection can be made, or the deadline passes.
    pub(crate) async fn permit(&self, deadline: Instant, queueing: Queueing, work: Use) -> Result<ChannelPermit, TransportError> {
        let place = |arrived| {
            let permit = self.state.place(arrived, work)?;
            if permit.is_none() {
                self.shells.shed();
            }
            Ok(permit)
        };
        self.queue(deadline, queueing, place).await
    }

    /// Waits in the queue for a shell that is kept, or for a permit.
    ///
    /// # Errors
    /// As [`Lane::permit`].
    pub(crate) async fn shell_or_permit(&self, deadline: Instant, queueing: Queueing) -> Result<ShellOrPermit, TransportError> {
        let place = |arrived| {
            Ok(match self.shells.take(&self.state.login()) {
                Some(shell) => Some(ShellOrPermit::Shell(shell)),
                None => self.state.place(arrived, Use::Command)?.map(ShellOrPermit::ChannelPermit),
            })
        };
        self.queue(deadline, queueing, place).await
    }

    async fn queue<T>(
        &self,
        deadline: Instant,
        queueing: Queueing,
        place: impl Fn(Instant) -> Result<Option<T>, TransportError>,
    ) -> Result<T, TransportError> {
        let arrived = Instant::now();
        let counters = &self.state.admission.target.counters;
        let _waiting = (Gauge::new(&counters.waiting), Gauge::new(&*self.state.waiting));
        let queue = async {
            let mut waited = false;
            let _turn = match queueing {
                Queueing::Bypass => None,
                Queueing::Join => match self.turn.try_lock() {
                    Ok(turn) => Some(turn),
                    Err(_) => {
                        waited = true;
                        add(&counters.waits);
                        Some(self.turn.lock().await)
                    }
                },
            };
            loop {
                if let Some(placed) = place(arrived)? {
                    if waited {
                        // There may be room for another request that waits.
                        self.state.recheck();
                    }
                    return Ok(placed);
                }
                if !waited {
                    waited = true;
                    add(&counters.waits);
                }
                // Some things change by time alone, such as that another connection may be tried.
                let _ = timeout(CONNECT_BACKOFF, self.state.changed.notified()).await;
            }
        };
        match timeout_at(deadline.into(), queue).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::Saturated(arrived.elapsed())),
        }
    }

    /// Keeps a shell for the next command.
    pub(crate) fn keep_shell(&self, shell: KeptShell) {
        if !self.state.admission.is_closed() && self.shells.keep(shell) {
            self.state.recheck();
        }
    }

    /// Ends the lane: it grants no further permits, and idle connections are closed.
    pub(crate) fn close(&self) {
        self.shells.clear();
        self.state.close();
    }
}
