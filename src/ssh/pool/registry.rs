//! What all lanes of a cluster share: the cap on connections, and the round that keeps them tidy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::credentials::{Caller, Credential};
use crate::domain::{SystemName, Username};
use crate::ssh::connect::connection::{ConnectFailure, Connection, Target};
use crate::ssh::connect::login::Login;
use crate::ssh::lease::connection_manager::WaiterGuard;
use crate::ssh::pool::lane::Lane;
use crate::ssh::stats::Closed;
use crate::ssh::transport::LaneKind;

/// How long a connection that carries work is its user's while others wait for a place.
const MIN_TENURE: Duration = Duration::from_secs(2);

/// A connection over which nothing came for this long carries no more than a session that waits, or a command that says nothing.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// A connection that was asked to leave, and has not for so long, is not counted on any more.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two rounds.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(500);

/// The shared part of a cluster's lanes.
pub(crate) struct LaneRegistry {
    pub(crate) name: SystemName,
    pub(crate) target: Target,
    /// Told when a connection has become idle.
    pub(crate) idle: Notify,
    clients: Arc<Semaphore>,
    /// How many wait for a place.
    waiting: Arc<AtomicUsize>,
    lanes: Mutex<HashMap<Key, Arc<Lane>>>,
    connections: Mutex<Vec<Weak<Connection>>>,
    closed: AtomicBool,
    rounds: AtomicBool,
}

/// Whose lane it is. Callers with a credential of their own share nothing, even where they have the same name.
type Key = (Username, Option<Arc<Caller>>, LaneKind);

impl LaneRegistry {
    /// A cluster without lanes.
    pub(crate) fn new(name: SystemName, target: Target) -> Arc<Self> {
        let clients = Arc::new(Semaphore::new(target.config.max_clients));
        Arc::new(Self {
            name,
            target,
            idle: Notify::new(),
            clients,
            waiting: Arc::default(),
            lanes: Mutex::default(),
            connections: Mutex::default(),
            closed: AtomicBool::new(false),
            rounds: AtomicBool::new(false),
        })
    }

    /// The lane of a user.
    pub(crate) fn lane(self: &Arc<Self>, user: &Username, kind: LaneKind, credential: &Arc<Credential>) -> Arc<Lane> {
        if !self.rounds.swap(true, Ordering::AcqRel) {
            tokio::spawn(rounds(Arc::downgrade(self)));
        }
        let login = || Arc::new(Login::new(user.clone(), Arc::clone(credential)));
        let mut lanes = self.lanes();
        Arc::clone(lanes.entry((user.clone(), credential.caller.clone(), kind)).or_insert_with(|| Lane::new(self, login(), kind)))
    }

    /// A place under `max_clients`, in the order in which places are asked for. When none is free, the connection that has been idle
    /// longest makes room, whoever's it is; where all carry work, one takes no more of it (see [`LaneRegistry::yielding`]).
    ///
    /// # Errors
    /// When the lanes are closed.
    pub(crate) async fn admit(&self) -> Result<OwnedSemaphorePermit, ConnectFailure> {
        if let Ok(place) = Arc::clone(&self.clients).try_acquire_owned() {
            return Ok(place);
        }
        let place = Arc::clone(&self.clients).acquire_owned();
        tokio::pin!(place);
        let _waiting = WaiterGuard::new(&self.waiting);
        loop {
            self.make_room();
            tokio::select! {
                biased;
                place = &mut place => return place.map_err(|_| ConnectFailure::Closed),
                () = self.idle.notified() => {}
                () = tokio::time::sleep(UPKEEP_INTERVAL) => {}
            }
        }
    }

    fn make_room(&self) {
        if self.evict() {
            return;
        }
        // A connection that only keeps shells is as good as idle, and is so once they have ended.
        let lanes: Vec<Arc<Lane>> = self.lanes().values().cloned().collect();
        lanes.iter().for_each(|lane| lane.close_shells());
        let connections: Vec<Arc<Connection>> = self.connections().iter().filter_map(Weak::upgrade).collect();
        let leaving =
            connections.iter().filter(|connection| connection.retired().is_some_and(|(_, since)| since.elapsed() < LEAVE_TIMEOUT)).count();
        if leaving < self.waiting.load(Ordering::Acquire)
            && let Some(connection) = yielding(&connections)
        {
            connection.retire(Closed::Yielded);
        }
    }

    /// Keeps an eye on a connection until it is gone.
    pub(crate) fn watch(&self, connection: &Arc<Connection>) {
        self.connections().push(Arc::downgrade(connection));
    }

    /// Whether the lanes were closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all lanes and returns the connections that are still open.
    pub(crate) fn close(&self) -> Vec<Arc<Connection>> {
        self.closed.store(true, Ordering::Release);
        self.clients.close();
        for lane in self.drain() {
            lane.close();
        }
        self.connections().iter().filter_map(Weak::upgrade).collect()
    }

    fn drain(&self) -> Vec<Arc<Lane>> {
        self.lanes().drain().map(|(_, lane)| lane).collect()
    }

    fn evict(&self) -> bool {
        let lanes: Vec<Arc<Lane>> = self.lanes().values().cloned().collect();
        let longest = lanes.iter().filter_map(|lane| Some((lane.idle_longest()?, lane))).max_by_key(|(idle, _)| *idle);
        longest.inspect(|(_, lane)| lane.evict()).is_some()
    }

    /// One round: idle connections past their time, lanes without connections, and connections that must end.
    fn tidy(&self) {
        let idle = Duration::from_secs(self.target.config.timeout.idle_timeout);
        let lanes: Vec<Arc<Lane>> = self.lanes().values().cloned().collect();
        for lane in &lanes {
            lane.tidy(idle);
        }
        drop(lanes);
        self.lanes().retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_empty());
        let connections: Vec<Arc<Connection>> = {
            let mut connections = self.connections();
            connections.retain(|connection| connection.strong_count() > 0);
            connections.iter().filter_map(Weak::upgrade).collect()
        };
        for connection in connections {
            if connection.liveness.stuck_for() > self.target.dead_after() {
                connection.retire(Closed::Frozen);
                connection.liveness.cut();
            }
            if let Some((reason, since)) = connection.retired()
                && last_work(reason, connection.kind).is_some_and(|grace| since.elapsed() > grace)
            {
                connection.liveness.cut();
            }
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Key, Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the connections in use is to take no more work, so that its place comes free when what it carries has ended.
///
/// First one over which nothing comes: kept-open sessions leave at once. Then the oldest of the user who has the most, and where all
/// have one, the oldest of all; but a connection that brings something has its [`MIN_TENURE`] first. So those who wait and those who have
/// take turns, and nothing under way is cut.
fn yielding(connections: &[Arc<Connection>]) -> Option<&Arc<Connection>> {
    let in_use = || connections.iter().filter(|connection| connection.alive());
    let recent = Instant::now().checked_sub(QUIET_AFTER);
    let is_quiet = |connection: &Connection| recent.is_some_and(|recent| !connection.liveness.heard_since(recent));
    let of_the_same_user = |connection: &Connection| in_use().filter(|other| other.login.user == connection.login.user).count();
    let quiet = in_use().filter(|connection| is_quiet(connection)).max_by_key(|connection| connection.age());
    quiet.or_else(|| {
        let had_its_turn = in_use().filter(|connection| connection.age() > MIN_TENURE);
        // Transfers take long, so that commands make room sooner.
        had_its_turn.max_by_key(|connection| (of_the_same_user(connection), connection.kind == LaneKind::Control, connection.age()))
    })
}

/// Runs until the cluster is gone or closed.
async fn rounds(registry: Weak<LaneRegistry>) {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        match registry.upgrade() {
            Some(registry) if !registry.is_closed() => registry.tidy(),
            _ => return,
        }
    }
}

/// How long a retired connection may go on with what it carries; none where it may until the end.
fn last_work(reason: Closed, kind: LaneKind) -> Option<Duration> {
    match (reason, kind) {
        (Closed::Credential, LaneKind::Control) => Some(Duration::from_secs(60)),
        (Closed::Credential, LaneKind::Bulk) | (Closed::Aged | Closed::Yielded, LaneKind::Control) => Some(Duration::from_secs(15 * 60)),
        _ => None,
    }
}
