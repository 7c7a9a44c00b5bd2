//! A lane: the connections of one user for one class of traffic, lent out as channel slots.
//!
//! deadpool keeps the connections: it makes them, checks them before each use, bounds their number and drops them. A lane
//! takes a connection out of the pool, shares it among as many slots as its budget allows, and puts it back with the last one;
//! so a connection in the pool is an idle one. Requests stand in one queue, first come, first served, and only its head acts.
//! It must not know what a channel is used for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Pool, PoolError, QueueMode, RetainResult};
use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};

use crate::credentials::Credential;
use crate::domain::Username;
use crate::ssh::channel::exec::Open;
use crate::ssh::connect::connection::{ConnectFailure, Connection};
use crate::ssh::connect::login::Login;
use crate::ssh::lease::connection_manager::{ConnectionManager, WaiterGuard, is_usable};
use crate::ssh::lease::permit::{ChannelPermit, LeasedConnection};
use crate::ssh::pool::registry::LaneRegistry;
use crate::ssh::pool::shell_cache::Shells;
use crate::ssh::stats::{Closed, Gauge, add};
use crate::ssh::transport::{LaneKind, TransportError};

/// How long a learned budget holds before one more channel is tried.
const BUDGET_TTL: Duration = Duration::from_secs(60);

/// How long a lane that still has a connection waits after failing to open another.
const CONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// How long a refused login is not tried again with the same credential. sshd counts failures by address, and bans all users of
/// one that fails often (`PerSourcePenalties`).
const LOGIN_BACKOFF: Duration = Duration::from_secs(5);

/// The connections of one user for one class of traffic.
pub(crate) struct Lane {
    registry: Arc<LaneRegistry>,
    kind: LaneKind,
    pool: Pool<ConnectionManager>,
    /// The queue. Whoever holds it is the head; tokio hands it on in order.
    turn: tokio::sync::Mutex<()>,
    /// How many wait for a slot. The pool's manager looks at it before it connects.
    wanted: Arc<AtomicUsize>,
    /// Told whenever something changes that the head of the queue, or somebody who was there before, may wait for.
    changed: Notify,
    state: Mutex<State>,
    pub(crate) shells: Mutex<Shells>,
}

struct State {
    login: Arc<Login>,
    /// The connections that carry something now.
    leased: Vec<Arc<LeasedConnection>>,
    /// Channels on one connection, as far as is known; and when that was learned.
    budget: usize,
    learned: Instant,
    opening: bool,
    failure: Option<(Instant, ConnectFailure)>,
}

/// Whether a request has stood in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queueing {
    Join,
    Bypass,
}

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A command, which ends by itself.
    Command,
    /// A stream, which may be kept for long: it begins on a connection of the present credential.
    Stream,
}

/// Where a short command may run.
pub(crate) enum ShellOrPermit {
    /// In a shell that is kept on this channel.
    Shell(Open),
    /// On a channel that is still to be opened.
    ChannelPermit(ChannelPermit),
}

impl Lane {
    /// A lane without connections.
    pub(crate) fn new(registry: &Arc<LaneRegistry>, login: Arc<Login>, kind: LaneKind) -> Arc<Self> {
        let config = &registry.target.config;
        let wanted = Arc::new(AtomicUsize::new(0));
        let manager = ConnectionManager::new(Arc::clone(registry), kind, Arc::clone(&login), Arc::clone(&wanted));
        let pool = Pool::builder(manager)
            .max_size(config.max_connections_per_user)
            // The one used last is the one most surely alive; the others may reach their idle time.
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without time limits needs no runtime");
        let state =
            State { login, leased: Vec::new(), budget: config.max_channels, learned: Instant::now(), opening: false, failure: None };
        Arc::new(Self {
            registry: Arc::clone(registry),
            kind,
            pool,
            turn: tokio::sync::Mutex::new(()),
            wanted,
            changed: Notify::new(),
            state: Mutex::new(state),
            shells: Mutex::default(),
        })
    }

    /// The login for a credential, the same object as long as the credential is the same. What was opened with the one before
    /// is retired: at once, or where that one ends by itself, as soon as a connection of the new one is there.
    pub(crate) fn login(&self, user: &Username, credential: &Arc<Credential>) -> Arc<Login> {
        let mut state = self.state();
        if !state.login.is_for(credential) {
            state.login = Arc::new(Login::new(user.clone(), Arc::clone(credential)));
            state.failure = None;
            self.pool.manager().change(Arc::clone(&state.login));
        }
        Arc::clone(&state.login)
    }

    /// Waits in the queue for a slot. Who had a slot that was of no use does not queue again.
    ///
    /// # Errors
    /// When no connection can be made, or the deadline passes.
    pub(crate) async fn permit(self: &Arc<Self>, deadline: Instant, queued: Queueing, work: Use) -> Result<ChannelPermit, TransportError> {
        let place = |arrived| {
            let permit = self.place(arrived, work)?;
            if permit.is_none() {
                self.shed_shell();
            }
            Ok(permit)
        };
        self.queue(deadline, queued, place).await
    }

    /// Waits in the queue for a shell that is kept, or for a slot.
    ///
    /// # Errors
    /// As [`Lane::slot`].
    pub(crate) async fn shell_or_slot(self: &Arc<Self>, deadline: Instant, queued: Queueing) -> Result<ShellOrPermit, TransportError> {
        let place = |arrived| {
            let login = Arc::clone(&self.state().login);
            Ok(match self.take_shell(&login) {
                Some(shell) => Some(ShellOrPermit::Shell(shell)),
                None => self.place(arrived, Use::Command)?.map(ShellOrPermit::ChannelPermit),
            })
        };
        self.queue(deadline, queued, place).await
    }

    async fn queue<T>(
        &self,
        deadline: Instant,
        queued: Queueing,
        place: impl Fn(Instant) -> Result<Option<T>, ConnectFailure>,
    ) -> Result<T, TransportError> {
        let arrived = Instant::now();
        let counters = &self.registry.target.counters;
        let _waiting = Gauge::new(&counters.waiting);
        let _wanted = WaiterGuard::new(&self.wanted);
        let queue = async {
            let mut waited = false;
            let _turn = match queued {
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
                        // There may be room for one more who waits.
                        self.changed.notify_one();
                    }
                    return Ok(placed);
                }
                if !waited {
                    waited = true;
                    add(&counters.waits);
                }
                // Some things change by time alone, such as that another connection may be tried.
                let _ = timeout(CONNECT_BACKOFF, self.changed.notified()).await;
            }
        };
        match timeout_at(deadline.into(), queue).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::Saturated(arrived.elapsed())),
        }
    }

    /// A slot on a connection that has room. Otherwise none, and a further connection is being opened if that is allowed.
    fn place(self: &Arc<Self>, arrived: Instant, work: Use) -> Result<Option<ChannelPermit>, ConnectFailure> {
        if self.registry.is_closed() {
            return Err(ConnectFailure::Closed);
        }
        let mut state = self.state();
        let config = &self.registry.target.config;
        if state.budget < config.max_channels && state.learned.elapsed() > BUDGET_TTL {
            state.budget += 1;
            state.learned = Instant::now();
        }
        let login = Arc::clone(&state.login);
        if login.expired() {
            return Err(ConnectFailure::Key { user: login.user.clone(), reason: "its time has ended".to_owned() });
        }
        let mut unfit = Vec::new();
        let too_old = |leased: &LeasedConnection| work == Use::Stream && leased.connection.is_superseded(&login);
        let mut idle = (work == Use::Stream).then(|| self.retire_idle(&login));
        state.leased.retain(|leased| {
            if too_old(leased) && leased.permits() == 0 {
                leased.connection.retire(Closed::Credential);
            }
            let fit = is_usable(&leased.connection, &login);
            if !fit {
                unfit.push(leased.detach());
            }
            fit
        });
        // Connecting again at once would only be more logins for nothing.
        if let Some(connection) = unfit.iter().flatten().find(|connection| connection.retired().is_none() && connection.max_channels() == 0)
        {
            state.failure = Some((Instant::now(), ConnectFailure::stillborn(config, connection)));
        }
        let room =
            state.leased.iter().filter(|leased| leased.permits() < state.budget && !leased.connection.is_suspect() && !too_old(leased));
        let best = match self.kind {
            // Short commands are packed, so that few connections are needed.
            LaneKind::Control => room.max_by_key(|leased| (!leased.connection.is_superseded(&login), leased.permits())),
            // A slow reader stalls everything on its connection, so that bulk data is spread.
            LaneKind::Bulk => room.min_by_key(|leased| (leased.connection.is_superseded(&login), leased.permits())),
        };
        let best = best.cloned();
        let failed_lately = state.failure.as_ref().is_some_and(|(at, _)| at.elapsed() < CONNECT_BACKOFF);
        let may_open = state.leased.len() < config.max_connections_per_user && !state.opening;
        // It carries this request, and the one of the new credential that takes over is made meanwhile.
        let superseded = best.as_ref().is_some_and(|best| best.connection.is_superseded(&login));
        let open = match (&best, self.kind) {
            (None, _) => state.leased.is_empty() || !failed_lately,
            (Some(_), _) if superseded => state.failure.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOGIN_BACKOFF),
            (Some(best), LaneKind::Bulk) => best.permits() > 0 && !failed_lately,
            (Some(_), LaneKind::Control) => false,
        };
        if state.leased.is_empty()
            && !state.opening
            && self.pool.status().available == 0
            && let Some((at, failure)) = &state.failure
            && (*at >= arrived || (matches!(failure, ConnectFailure::Login(_)) && at.elapsed() < LOGIN_BACKOFF))
        {
            return Err(failure.clone());
        }
        let permit = match best {
            Some(best) if superseded || !(open && may_open) => {
                best.permits.fetch_add(1, Ordering::AcqRel);
                Some(ChannelPermit { lane: Arc::clone(self), leased: best })
            }
            _ => None,
        };
        if open && may_open && (permit.is_none() || superseded) {
            state.opening = true;
            let successor = superseded.then(|| WaiterGuard::new(&self.wanted));
            if superseded {
                // The pool would give these before it makes one.
                idle = Some(self.retire_idle(&login));
            }
            tokio::spawn(Arc::clone(self).open(successor));
        }
        drop(state);
        drop((unfit, idle));
        Ok(permit)
    }

    /// Takes a connection out of the pool, which makes one if none is idle.
    async fn open(self: Arc<Self>, _wanted: Option<WaiterGuard>) {
        let taken = self.pool.get().await;
        let mut retired = Vec::new();
        let mut idle = None;
        let mut state = self.state();
        state.opening = false;
        match taken {
            Ok(object) => {
                let connection = Arc::clone(&object);
                let login = Arc::clone(&state.login);
                if !connection.is_superseded(&login) {
                    state.failure = None;
                    state.leased.retain(|leased| {
                        let superseded = leased.connection.is_superseded(&login);
                        if superseded {
                            leased.connection.retire(Closed::Credential);
                            retired.push(leased.detach());
                        }
                        !superseded
                    });
                    idle = Some(self.retire_idle(&login));
                }
                state.leased.push(Arc::new(LeasedConnection {
                    connection,
                    object: Mutex::new(Some(object)),
                    permits: AtomicUsize::new(0),
                }));
            }
            Err(PoolError::Backend(ConnectFailure::Unwanted)) => {}
            Err(PoolError::Backend(failure)) => state.failure = Some((Instant::now(), failure)),
            Err(_) => state.failure = Some((Instant::now(), ConnectFailure::Closed)),
        }
        drop(state);
        drop((retired, idle));
        self.changed.notify_one();
    }

    /// Learns from a refused channel how many the server allows.
    ///
    /// What counts is the most that the connection has ever carried, not what it carries now: sshd frees a session only some
    /// time after it was told that the channel is closed, and refuses until then.
    ///
    /// Returns false when the server has never opened a channel on the connection: then it is no matter of budgets.
    pub(crate) fn refused(&self, permit: &ChannelPermit) -> bool {
        let most = permit.connection().max_channels();
        add(&self.registry.target.counters.refused);
        if most == 0 {
            return false;
        }
        let mut state = self.state();
        state.learned = Instant::now();
        if most < state.budget {
            tracing::warn!(channels = most, "sshd refused an SSH channel; its MaxSessions may be lower than ssh.max_channels");
            state.budget = most;
        }
        true
    }

    /// The counter of opened channels.
    pub(crate) fn channels(&self) -> &AtomicU64 {
        &self.registry.target.counters.channels
    }

    /// Whether nobody gets a slot any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.registry.is_closed()
    }

    /// Lets the head of the queue look again, after a connection was found unfit.
    pub(crate) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Drops idle connections that are unfit or idle for too long, and settles what nobody came for.
    pub(crate) fn tidy(&self, idle: Duration) {
        self.tidy_shells();
        let unclaimed: Vec<Arc<LeasedConnection>> = {
            let mut state = self.state();
            let unclaimed = |leased: &Arc<LeasedConnection>| leased.permits() == 0 && leased.connection.idle_for() > CONNECT_BACKOFF;
            let found = state.leased.iter().filter(|leased| unclaimed(leased)).cloned().collect();
            state.leased.retain(|leased| !unclaimed(leased));
            found
        };
        for leased in unclaimed {
            drop(leased.take());
        }
        let login = {
            let state = self.state();
            // One in use whose credential has ended is retired here when nobody asks for it; what it carries has its last time.
            for leased in &state.leased {
                let _ = is_usable(&leased.connection, &state.login);
            }
            Arc::clone(&state.login)
        };
        drop(self.pool.retain(|connection, _| is_usable(connection, &login) && connection.idle_for() < idle));
    }

    /// How long the connection that was idle longest has been so.
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
        let removed = self.pool.retain(|connection, _| {
            let this = !evicted && connection.idle_for() >= longest;
            evicted |= this;
            !this
        });
        for connection in removed.removed {
            connection.retire(Closed::Evicted);
        }
    }

    /// Whether it holds no connection and nothing worth remembering.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        let remembers = state.failure.as_ref().is_some_and(|(at, _)| at.elapsed() < LOGIN_BACKOFF);
        state.leased.is_empty() && !state.opening && !remembers && self.pool.status().size == 0
    }

    /// Ends the lane: nobody gets a slot any more, and idle connections are closed.
    pub(crate) fn close(&self) {
        self.close_shells();
        drop(self.pool.retain(|connection, _| {
            connection.retire(Closed::Shutdown);
            false
        }));
        self.pool.close();
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Takes the idle connections of other logins than this one out of the pool.
    fn retire_idle(&self, login: &Arc<Login>) -> RetainResult<Arc<Connection>> {
        self.pool.retain(|connection, _| {
            let superseded = connection.is_superseded(login);
            if superseded {
                connection.retire(Closed::Credential);
            }
            !superseded
        })
    }

    /// Takes back one slot; the last one gives the connection back to the pool.
    pub(crate) fn release(&self, leased: &Arc<LeasedConnection>) {
        let mut state = self.state();
        if leased.permits.fetch_sub(1, Ordering::AcqRel) == 1 {
            state.leased.retain(|other| !Arc::ptr_eq(other, leased));
            drop(state);
            leased.connection.touch();
            if is_usable(&leased.connection, &self.state().login) {
                drop(leased.take());
            } else {
                drop(leased.detach());
            }
            self.registry.idle.notify_one();
        } else {
            drop(state);
        }
        self.changed.notify_one();
    }

    /// Takes a connection out of service.
    pub(crate) fn retire(&self, leased: &Arc<LeasedConnection>, reason: Closed) {
        leased.connection.retire(reason);
        self.state().leased.retain(|other| !Arc::ptr_eq(other, leased));
        drop(leased.detach());
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
