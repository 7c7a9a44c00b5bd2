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

use super::cluster::Cluster;
use super::connection::{ConnectFailure, Connection};
use super::login::Login;
use super::opener::{Opener, Wanted, fit};
use super::running::Open;
use super::shells::Shells;
use super::slot::{Lent, Slot};
use super::stats::{Closed, Gauge, add};
use super::transport::{LaneKind, TransportError};
use crate::credentials::Credential;
use crate::domain::Username;

/// How long a learned budget holds before one more channel is tried.
const LEARNED: Duration = Duration::from_secs(60);

/// How long a lane that still has a connection waits after failing to open another.
const REST: Duration = Duration::from_secs(1);

/// How long a refused login is not tried again with the same credential. sshd counts failures by address, and bans all users of
/// one that fails often (`PerSourcePenalties`).
const REFUSED: Duration = Duration::from_secs(5);

/// The connections of one user for one class of traffic.
pub(super) struct Lane {
    cluster: Arc<Cluster>,
    kind: LaneKind,
    pool: Pool<Opener>,
    /// The queue. Whoever holds it is the head; tokio hands it on in order.
    turn: tokio::sync::Mutex<()>,
    /// How many wait for a slot. The pool's manager looks at it before it connects.
    wanted: Arc<AtomicUsize>,
    /// Told whenever something changes that the head of the queue, or somebody who was there before, may wait for.
    changed: Notify,
    state: Mutex<State>,
    pub(super) shells: Mutex<Shells>,
}

struct State {
    login: Arc<Login>,
    /// The connections that carry something now.
    lent: Vec<Arc<Lent>>,
    /// Channels on one connection, as far as is known; and when that was learned.
    budget: usize,
    learned: Instant,
    opening: bool,
    failure: Option<(Instant, ConnectFailure)>,
}

/// Whether a request has stood in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    NotYet,
    Before,
}

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A command, which ends by itself.
    Brief,
    /// A stream, which may be kept for long: it begins on a connection of the present credential.
    Lasting,
}

/// Where a short command may run.
pub(super) enum ShellOrSlot {
    /// In a shell that is kept on this channel.
    Shell(Open),
    /// On a channel that is still to be opened.
    Slot(Slot),
}

impl Lane {
    /// A lane without connections.
    pub(super) fn new(cluster: &Arc<Cluster>, login: Arc<Login>, kind: LaneKind) -> Arc<Self> {
        let config = &cluster.target.config;
        let wanted = Arc::new(AtomicUsize::new(0));
        let opener = Opener::new(Arc::clone(cluster), kind, Arc::clone(&login), Arc::clone(&wanted));
        let pool = Pool::builder(opener)
            .max_size(config.max_connections_per_user)
            // The one used last is the one most surely alive; the others may reach their idle time.
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without time limits needs no runtime");
        let state = State { login, lent: Vec::new(), budget: config.max_channels, learned: Instant::now(), opening: false, failure: None };
        Arc::new(Self {
            cluster: Arc::clone(cluster),
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
    pub(super) fn login(&self, user: &Username, credential: &Arc<Credential>) -> Arc<Login> {
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
    pub(super) async fn slot(self: &Arc<Self>, deadline: Instant, queued: Queued, work: Work) -> Result<Slot, TransportError> {
        let place = |arrived| {
            let slot = self.place(arrived, work)?;
            if slot.is_none() {
                self.shed_shell();
            }
            Ok(slot)
        };
        self.queue(deadline, queued, place).await
    }

    /// Waits in the queue for a shell that is kept, or for a slot.
    ///
    /// # Errors
    /// As [`Lane::slot`].
    pub(super) async fn shell_or_slot(self: &Arc<Self>, deadline: Instant, queued: Queued) -> Result<ShellOrSlot, TransportError> {
        let place = |arrived| {
            let login = Arc::clone(&self.state().login);
            Ok(match self.take_shell(&login) {
                Some(shell) => Some(ShellOrSlot::Shell(shell)),
                None => self.place(arrived, Work::Brief)?.map(ShellOrSlot::Slot),
            })
        };
        self.queue(deadline, queued, place).await
    }

    async fn queue<T>(
        &self,
        deadline: Instant,
        queued: Queued,
        place: impl Fn(Instant) -> Result<Option<T>, ConnectFailure>,
    ) -> Result<T, TransportError> {
        let arrived = Instant::now();
        let counters = &self.cluster.target.counters;
        let _waiting = Gauge::new(&counters.waiting);
        let _wanted = Wanted::new(&self.wanted);
        let queue = async {
            let mut waited = false;
            let _turn = match queued {
                Queued::Before => None,
                Queued::NotYet => match self.turn.try_lock() {
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
                let _ = timeout(REST, self.changed.notified()).await;
            }
        };
        match timeout_at(deadline.into(), queue).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::Saturated(arrived.elapsed())),
        }
    }

    /// A slot on a connection that has room. Otherwise none, and a further connection is being opened if that is allowed.
    fn place(self: &Arc<Self>, arrived: Instant, work: Work) -> Result<Option<Slot>, ConnectFailure> {
        if self.cluster.is_closed() {
            return Err(ConnectFailure::Closed);
        }
        let mut state = self.state();
        let config = &self.cluster.target.config;
        if state.budget < config.max_channels && state.learned.elapsed() > LEARNED {
            state.budget += 1;
            state.learned = Instant::now();
        }
        let login = Arc::clone(&state.login);
        if login.expired() {
            return Err(ConnectFailure::Key { user: login.user.clone(), reason: "its time has ended".to_owned() });
        }
        let mut unfit = Vec::new();
        let too_old = |lent: &Lent| work == Work::Lasting && lent.connection.is_superseded(&login);
        let mut idle = (work == Work::Lasting).then(|| self.retire_idle(&login));
        state.lent.retain(|lent| {
            if too_old(lent) && lent.slots() == 0 {
                lent.connection.retire(Closed::Credential);
            }
            let fit = fit(&lent.connection, &login);
            if !fit {
                unfit.push(lent.detach());
            }
            fit
        });
        // Connecting again at once would only be more logins for nothing.
        if unfit.iter().flatten().any(|connection| connection.retired().is_none() && connection.most_channels() == 0) {
            state.failure = Some((Instant::now(), ConnectFailure::stillborn()));
        }
        let room = state.lent.iter().filter(|lent| lent.slots() < state.budget && !lent.connection.doubted() && !too_old(lent));
        let best = match self.kind {
            // Short commands are packed, so that few connections are needed.
            LaneKind::Control => room.max_by_key(|lent| (!lent.connection.is_superseded(&login), lent.slots())),
            // A slow reader stalls everything on its connection, so that bulk data is spread.
            LaneKind::Bulk => room.min_by_key(|lent| (lent.connection.is_superseded(&login), lent.slots())),
        };
        let best = best.cloned();
        let failed_lately = state.failure.as_ref().is_some_and(|(at, _)| at.elapsed() < REST);
        let may_open = state.lent.len() < config.max_connections_per_user && !state.opening;
        // It carries this request, and the one of the new credential that takes over is made meanwhile.
        let superseded = best.as_ref().is_some_and(|best| best.connection.is_superseded(&login));
        let open = match (&best, self.kind) {
            (None, _) => state.lent.is_empty() || !failed_lately,
            (Some(_), _) if superseded => state.failure.as_ref().is_none_or(|(at, _)| at.elapsed() >= REFUSED),
            (Some(best), LaneKind::Bulk) => best.slots() > 0 && !failed_lately,
            (Some(_), LaneKind::Control) => false,
        };
        if state.lent.is_empty()
            && !state.opening
            && self.pool.status().available == 0
            && let Some((at, failure)) = &state.failure
            && (*at >= arrived || (matches!(failure, ConnectFailure::Login(_)) && at.elapsed() < REFUSED))
        {
            return Err(failure.clone());
        }
        let slot = match best {
            Some(best) if superseded || !(open && may_open) => {
                best.slots.fetch_add(1, Ordering::AcqRel);
                Some(Slot { lane: Arc::clone(self), lent: best })
            }
            _ => None,
        };
        if open && may_open && (slot.is_none() || superseded) {
            state.opening = true;
            let successor = superseded.then(|| Wanted::new(&self.wanted));
            if superseded {
                // The pool would give these before it makes one.
                idle = Some(self.retire_idle(&login));
            }
            tokio::spawn(Arc::clone(self).open(successor));
        }
        drop(state);
        drop((unfit, idle));
        Ok(slot)
    }

    /// Takes a connection out of the pool, which makes one if none is idle.
    async fn open(self: Arc<Self>, _wanted: Option<Wanted>) {
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
                    state.lent.retain(|lent| {
                        let superseded = lent.connection.is_superseded(&login);
                        if superseded {
                            lent.connection.retire(Closed::Credential);
                            retired.push(lent.detach());
                        }
                        !superseded
                    });
                    idle = Some(self.retire_idle(&login));
                }
                state.lent.push(Arc::new(Lent { connection, object: Mutex::new(Some(object)), slots: AtomicUsize::new(0) }));
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
    pub(super) fn refused(&self, slot: &Slot) -> bool {
        let most = slot.connection().most_channels();
        add(&self.cluster.target.counters.refused);
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
    pub(super) fn channels(&self) -> &AtomicU64 {
        &self.cluster.target.counters.channels
    }

    /// Whether nobody gets a slot any more.
    pub(super) fn is_closed(&self) -> bool {
        self.cluster.is_closed()
    }

    /// Lets the head of the queue look again, after a connection was found unfit.
    pub(super) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Drops idle connections that are unfit or idle for too long, and settles what nobody came for.
    pub(super) fn tidy(&self, idle: Duration) {
        self.tidy_shells();
        let unclaimed: Vec<Arc<Lent>> = {
            let mut state = self.state();
            let unclaimed = |lent: &Arc<Lent>| lent.slots() == 0 && lent.connection.idle_for() > REST;
            let found = state.lent.iter().filter(|lent| unclaimed(lent)).cloned().collect();
            state.lent.retain(|lent| !unclaimed(lent));
            found
        };
        for lent in unclaimed {
            drop(lent.take());
        }
        let login = {
            let state = self.state();
            // One in use whose credential has ended is retired here when nobody asks for it; what it carries has its last time.
            for lent in &state.lent {
                let _ = fit(&lent.connection, &state.login);
            }
            Arc::clone(&state.login)
        };
        drop(self.pool.retain(|connection, _| fit(connection, &login) && connection.idle_for() < idle));
    }

    /// How long the connection that was idle longest has been so.
    pub(super) fn idle_longest(&self) -> Option<Duration> {
        let mut longest = None;
        self.pool.retain(|connection, _| {
            longest = longest.max(Some(connection.idle_for()));
            true
        });
        longest
    }

    /// Closes the connection that was idle longest.
    pub(super) fn evict(&self) {
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
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state();
        let remembers = state.failure.as_ref().is_some_and(|(at, _)| at.elapsed() < REFUSED);
        state.lent.is_empty() && !state.opening && !remembers && self.pool.status().size == 0
    }

    /// Ends the lane: nobody gets a slot any more, and idle connections are closed.
    pub(super) fn close(&self) {
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
    pub(super) fn give_back(&self, lent: &Arc<Lent>) {
        let mut state = self.state();
        if lent.slots.fetch_sub(1, Ordering::AcqRel) == 1 {
            state.lent.retain(|other| !Arc::ptr_eq(other, lent));
            drop(state);
            lent.connection.touch();
            if fit(&lent.connection, &self.state().login) {
                drop(lent.take());
            } else {
                drop(lent.detach());
            }
            self.cluster.idle.notify_one();
        } else {
            drop(state);
        }
        self.changed.notify_one();
    }

    /// Takes a connection out of service.
    pub(super) fn retire(&self, lent: &Arc<Lent>, reason: Closed) {
        lent.connection.retire(reason);
        self.state().lent.retain(|other| !Arc::ptr_eq(other, lent));
        drop(lent.detach());
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
