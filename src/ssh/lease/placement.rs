//! Chooses the connection for a request, and decides when a lane opens another.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use deadpool::managed::PoolError;

use crate::ssh::config::Config;
use crate::ssh::connect::connection::Connection;
use crate::ssh::connect::login::Login;
use crate::ssh::lease::connection_manager::is_usable;
use crate::ssh::lease::lane_state::{CONNECT_BACKOFF, LOGIN_BACKOFF, LaneState, Leases};
use crate::ssh::lease::leased::LeasedConnection;
use crate::ssh::lease::permit::ChannelPermit;
use crate::ssh::stats::{Closed, Gauge};
use crate::ssh::transport::{LaneKind, TransportError};

/// The time for which a learned limit is valid before one more channel is tried.
const BUDGET_TTL: Duration = Duration::from_secs(60);

/// The purpose of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A command, which ends by itself.
    Command,
    /// A stream, which may be kept for long: it begins on a connection of the present credential.
    Stream,
}

impl Use {
    /// Whether a connection must not be used for this, although its present work may continue.
    fn excludes(self, connection: &Connection, login: &Arc<Login>) -> bool {
        self == Self::Stream && connection.is_superseded(login)
    }
}

impl LaneState {
    /// A permit on a connection that has room, for a request that arrived at `arrived`. Otherwise none, and a further connection is
    /// being opened if that is allowed.
    ///
    /// # Errors
    /// If there is no connection and none can be made.
    pub(crate) fn place(self: &Arc<Self>, arrived: Instant, work: Use) -> Result<Option<ChannelPermit>, TransportError> {
        if self.admission.is_closed() {
            return Err(TransportError::Broken { sent: false });
        }
        let config = &self.admission.target.config;
        let mut leases = self.leases.lock();
        leases.regain_budget(config.max_channels);
        let login = Arc::clone(&leases.login);
        if login.expired() {
            return Err(TransportError::Key { user: login.user.clone(), reason: "its time has ended".to_owned() });
        }
        // What is taken out of service here is closed after the lock.
        let mut ended = leases.remove_unusable(work, config);
        if work == Use::Stream {
            ended.extend(self.retire_idle(&login));
        }
        let best = leases.best(self.kind, work);
        if leases.leased.is_empty()
            && !leases.opening
            && self.pool.status().available == 0
            && let Some(failure) = leases.failure_for(arrived)
        {
            return Err(failure);
        }
        // It carries this request, while one of the new credential that takes over is made.
        let superseded = best.as_ref().is_some_and(|best| best.connection.is_superseded(&login));
        let may_open = leases.leased.len() < config.max_connections_per_user && !leases.opening;
        let wanted = leases.needs_another(self.kind, best.as_deref());
        let opens = wanted && may_open;
        // One that is being opened is waited for, but not while it waits for a place itself.
        let waits = opens || (wanted && leases.opening && self.admission.shortage() == 0);
        if opens {
            leases.opening = true;
            let successor = superseded.then(|| Gauge::new(Arc::clone(&self.waiting)));
            if superseded {
                // The pool would give these before it makes one.
                ended.extend(self.retire_idle(&login));
            }
            tokio::spawn(Arc::clone(self).open(successor));
        }
        let permit = best.filter(|_| superseded || !waits).map(|best| ChannelPermit::new(self, best));
        drop(leases);
        drop(ended);
        Ok(permit)
    }

    /// Takes a connection out of the pool, which opens one if none is idle.
    async fn open(self: Arc<Self>, _waiting: Option<Gauge<Arc<AtomicU64>>>) {
        let taken = self.pool.get().await;
        let mut ended = Vec::new();
        let mut leases = self.leases.lock();
        leases.opening = false;
        match taken {
            Ok(object) => {
                let login = Arc::clone(&leases.login);
                if !object.is_superseded(&login) {
                    leases.failure = None;
                    for leased in leases.leased.extract_if(.., |leased| leased.connection.is_superseded(&login)) {
                        leased.connection.retire(Closed::Credential);
                        ended.extend(leased.detach());
                    }
                    ended.extend(self.retire_idle(&login));
                }
                leases.leased.push(LeasedConnection::new(object));
            }
            // No request waited for it any more.
            Err(PoolError::Backend(TransportError::Saturated(_))) => {}
            Err(PoolError::Backend(failure)) => leases.failure = Some((Instant::now(), failure)),
            Err(_) => leases.failure = Some((Instant::now(), TransportError::Broken { sent: false })),
        }
        drop(leases);
        drop(ended);
        self.changed.notify_one();
    }
}

impl Leases {
    /// Tries one more channel when a refusal is long ago.
    fn regain_budget(&mut self, max: usize) {
        if self.budget < max && self.learned.elapsed() > BUDGET_TTL {
            self.budget += 1;
            self.learned = Instant::now();
        }
    }

    /// Takes out the connections that may take no more work.
    fn remove_unusable(&mut self, work: Use, config: &Config) -> Vec<Arc<Connection>> {
        let login = &self.login;
        let removed = self.leased.extract_if(.., |leased| {
            if leased.permits() == 0 && work.excludes(&leased.connection, login) {
                leased.connection.retire(Closed::Credential);
            }
            !is_usable(&leased.connection, login)
        });
        let ended: Vec<Arc<Connection>> = removed.filter_map(|leased| leased.detach()).collect();
        // Connecting again at once would only be more logins for nothing.
        if let Some(failure) = ended.iter().find_map(|connection| connection.stillborn(config)) {
            self.failure = Some((Instant::now(), failure));
        }
        ended
    }

    /// The connection for one more channel.
    fn best(&self, kind: LaneKind, work: Use) -> Option<Arc<LeasedConnection>> {
        let has_room = |leased: &&Arc<LeasedConnection>| {
            leased.permits() < self.budget && !leased.connection.is_suspect() && !work.excludes(&leased.connection, &self.login)
        };
        let room = self.leased.iter().filter(has_room);
        let superseded = |leased: &LeasedConnection| leased.connection.is_superseded(&self.login);
        let best = match kind {
            // Short commands are packed, so that few connections are needed.
            LaneKind::Control => room.max_by_key(|leased| (!superseded(leased), leased.permits())),
            // A slow reader stalls everything on its connection, so that bulk data is spread.
            LaneKind::Bulk => room.min_by_key(|leased| (superseded(leased), leased.permits())),
        };
        best.cloned()
    }

    /// Whether another connection is needed in addition to the best existing one.
    fn needs_another(&self, kind: LaneKind, best: Option<&LeasedConnection>) -> bool {
        let failed_within = |time| self.failure.as_ref().is_some_and(|(at, _)| at.elapsed() < time);
        match best {
            None => self.leased.is_empty() || !failed_within(CONNECT_BACKOFF),
            Some(best) if best.connection.is_superseded(&self.login) => !failed_within(LOGIN_BACKOFF),
            Some(best) => kind == LaneKind::Bulk && best.permits() > 0 && !failed_within(CONNECT_BACKOFF),
        }
    }

    /// The failure to connect for a request that arrived at `arrived`: one since then, or a login refused shortly before.
    fn failure_for(&self, arrived: Instant) -> Option<TransportError> {
        let tells = |(at, failure): &&(Instant, TransportError)| {
            *at >= arrived
                || (matches!(failure, TransportError::Login(_) | TransportError::AccountClosed(_)) && at.elapsed() < LOGIN_BACKOFF)
        };
        self.failure.as_ref().filter(tells).map(|(_, failure)| failure.clone())
    }
}
