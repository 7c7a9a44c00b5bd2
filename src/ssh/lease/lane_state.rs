//! The connections of a lane, and the learned limits of the server.
//!
//! deadpool keeps the connections: it makes them, checks them before each use, bounds their number and drops them. A connection
//! with channels on it is leased from the pool and goes back with its last permit; so a connection in the pool is an idle one.
//! It must not know the queue of a lane, nor what a channel is used for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use deadpool::managed::{Pool, QueueMode};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::credentials::Credential;
use crate::domain::Username;
use crate::ssh::connect::connection::Connection;
use crate::ssh::connect::login::Login;
use crate::ssh::lease::admission::Admission;
use crate::ssh::lease::connection_manager::{ConnectionManager, is_usable};
use crate::ssh::lease::leased::LeasedConnection;
use crate::ssh::stats::{Closed, add};
use crate::ssh::transport::{LaneKind, TransportError};

/// The pause of a lane that still has a connection after it failed to open another.
pub(crate) const CONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// The time for which a refused login is not retried with the same credential. sshd counts failures by address, and bans all users of
/// one that fails often (`PerSourcePenalties`).
pub(crate) const LOGIN_BACKOFF: Duration = Duration::from_secs(5);

/// The connections of one user for one class of traffic.
pub(crate) struct LaneState {
    pub(crate) admission: Arc<Admission>,
    pub(crate) kind: LaneKind,
    pub(super) pool: Pool<ConnectionManager>,
    /// The number of waiters for a permit. The pool's manager reads it before it connects.
    pub(crate) waiting: Arc<AtomicU64>,
    /// Notified when something changes that a request may wait for.
    pub(crate) changed: Notify,
    pub(super) leases: Mutex<Leases>,
}

/// The part of a lane's state that changes under its lock.
pub(super) struct Leases {
    pub(super) login: Arc<Login>,
    /// The connections that carry something now.
    pub(super) leased: Vec<Arc<LeasedConnection>>,
    /// Channels on one connection, as far as is known; and when that was learned.
    pub(super) budget: usize,
    pub(super) learned: Instant,
    pub(super) opening: bool,
    pub(super) failure: Option<(Instant, TransportError)>,
}

impl LaneState {
    /// A lane without connections.
    pub(crate) fn new(admission: &Arc<Admission>, login: Arc<Login>, kind: LaneKind) -> Arc<Self> {
        let config = &admission.target.config;
        let waiting = Arc::default();
        let manager = ConnectionManager::new(Arc::clone(admission), kind, Arc::clone(&login), Arc::clone(&waiting));
        let pool = Pool::builder(manager)
            .max_size(config.max_connections_per_user)
            // The one used last is the one most surely alive; the others may reach their idle time.
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without time limits needs no runtime");
        let leases =
            Leases { login, leased: Vec::new(), budget: config.max_channels, learned: Instant::now(), opening: false, failure: None };
        Arc::new(Self { admission: Arc::clone(admission), kind, pool, waiting, changed: Notify::new(), leases: Mutex::new(leases) })
    }

    /// The login for a credential, the same object as long as the credential is the same. Connections with the previous one
    /// are retired: at once, or, if that one expires by itself, as soon as there is a connection with the new one.
    pub(crate) fn login_for(&self, user: &Username, credential: &Arc<Credential>) -> Arc<Login> {
        let mut leases = self.leases.lock();
        if !leases.login.is_for(credential) {
            leases.login = Arc::new(Login::new(user.clone(), Arc::clone(credential)));
            leases.failure = None;
            self.pool.manager().change(Arc::clone(&leases.login));
        }
        Arc::clone(&leases.login)
    }

    /// The present login.
    pub(crate) fn login(&self) -> Arc<Login> {
        Arc::clone(&self.leases.lock().login)
    }

    /// Learns the server's limit from a refused channel.
    ///
    /// The limit is the maximum that the connection has ever carried, not the current number: sshd frees a session only some
    /// time after the close of the channel, and refuses until then.
    ///
    /// Returns false if the server has never opened a channel on the connection: then the limit is not the cause.
    pub(crate) fn refused(&self, connection: &Connection) -> bool {
        let max_channels = connection.max_channels();
        add(&self.admission.target.counters.refused);
        if max_channels == 0 {
            return false;
        }
        let mut leases = self.leases.lock();
        leases.learned = Instant::now();
        if max_channels < leases.budget {
            tracing::warn!(channels = max_channels, "sshd refused an SSH channel; its MaxSessions may be lower than ssh.max_channels");
            leases.budget = max_channels;
        }
        true
    }

    /// Wakes the waiting requests.
    pub(crate) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Takes back one permit; the last one returns the connection to the pool.
    pub(crate) fn release(&self, leased: &Arc<LeasedConnection>) {
        let mut leases = self.leases.lock();
        if leased.remove_permit() {
            leases.leased.retain(|other| !Arc::ptr_eq(other, leased));
            let login = Arc::clone(&leases.login);
            drop(leases);
            leased.connection.touch();
            if is_usable(&leased.connection, &login) {
                leased.release();
            } else {
                drop(leased.detach());
            }
            self.admission.idle();
        } else {
            drop(leases);
        }
        self.changed.notify_one();
    }

    /// Takes a connection out of service.
    pub(crate) fn retire(&self, leased: &Arc<LeasedConnection>, reason: Closed) {
        leased.connection.retire(reason);
        self.leases.lock().leased.retain(|other| !Arc::ptr_eq(other, leased));
        drop(leased.detach());
        self.changed.notify_one();
    }

    /// Takes the idle connections of other logins than this one out of the pool.
    pub(super) fn retire_idle(&self, login: &Arc<Login>) -> Vec<Arc<Connection>> {
        let retained = self.pool.retain(|connection, _| {
            let superseded = connection.is_superseded(login);
            if superseded {
                connection.retire(Closed::Credential);
            }
            !superseded
        });
        retained.removed
    }

    /// Drops idle connections that may accept no more work or were idle for `idle`, and returns leased ones that no request took.
    pub(crate) fn tidy(&self, idle: Duration) {
        let (unclaimed, login): (Vec<_>, _) = {
            let mut leases = self.leases.lock();
            let unclaimed = |leased: &Arc<LeasedConnection>| leased.permits() == 0 && leased.connection.idle_for() > CONNECT_BACKOFF;
            let found = leases.leased.extract_if(.., |leased| unclaimed(leased)).collect();
            // One in use whose credential has ended is retired here when no request uses it; what it carries has its last time.
            for leased in &leases.leased {
                let _ = is_usable(&leased.connection, &leases.login);
            }
            (found, Arc::clone(&leases.login))
        };
        unclaimed.iter().for_each(|leased| leased.release());
        drop(self.pool.retain(|connection, _| is_usable(connection, &login) && connection.idle_for() < idle));
    }

    /// The longest idle time of a connection.
    pub(crate) fn idle_longest(&self) -> Option<Duration> {
        let mut longest = None;
        self.pool.retain(|connection, _| {
            longest = longest.max(Some(connection.idle_for()));
            true
        });
        longest
    }

    /// Closes the connection that was idle longest.
    pub(crate) fn evict(&self) {
        let Some(longest) = self.idle_longest() else { return };
        let mut evicted = false;
        let retained = self.pool.retain(|connection, _| {
            let this = !evicted && connection.idle_for() >= longest;
            evicted |= this;
            !this
        });
        for connection in retained.removed {
            connection.retire(Closed::Evicted);
        }
    }

    /// Whether it has no connection and no learned state.
    pub(crate) fn is_empty(&self) -> bool {
        let leases = self.leases.lock();
        let remembers = leases.failure.as_ref().is_some_and(|(at, _)| at.elapsed() < LOGIN_BACKOFF);
        leases.leased.is_empty() && !leases.opening && !remembers && self.pool.status().size == 0
    }

    /// Gives no more permits, and closes idle connections.
    pub(crate) fn close(&self) {
        drop(self.pool.retain(|connection, _| {
            connection.retire(Closed::Shutdown);
            false
        }));
        self.pool.close();
        self.changed.notify_waiters();
        self.changed.notify_one();
    }
}
