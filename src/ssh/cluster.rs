//! What all lanes of a cluster share: the cap on connections, and the round that keeps them tidy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::connection::{ConnectFailure, Connection, Target};
use super::lane::Lane;
use super::login::Login;
use super::stats::Closed;
use super::transport::LaneKind;
use crate::credentials::Credential;
use crate::domain::{SystemName, Username};

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(500);

/// The shared part of a cluster's lanes.
pub(super) struct Cluster {
    pub(super) name: SystemName,
    pub(super) target: Target,
    /// Told when a connection has become idle.
    pub(super) idle: Notify,
    clients: Arc<Semaphore>,
    lanes: Mutex<HashMap<(Username, LaneKind), Arc<Lane>>>,
    connections: Mutex<Vec<Weak<Connection>>>,
    closed: AtomicBool,
    rounds: AtomicBool,
}

impl Cluster {
    /// A cluster without lanes.
    pub(super) fn new(name: SystemName, target: Target) -> Arc<Self> {
        let clients = Arc::new(Semaphore::new(target.config.max_clients));
        Arc::new(Self {
            name,
            target,
            idle: Notify::new(),
            clients,
            lanes: Mutex::default(),
            connections: Mutex::default(),
            closed: AtomicBool::new(false),
            rounds: AtomicBool::new(false),
        })
    }

    /// The lane of a user.
    pub(super) fn lane(self: &Arc<Self>, user: &Username, kind: LaneKind, credential: &Arc<Credential>) -> Arc<Lane> {
        if !self.rounds.swap(true, Ordering::AcqRel) {
            tokio::spawn(rounds(Arc::downgrade(self)));
        }
        let login = || Arc::new(Login::new(user.clone(), Arc::clone(credential)));
        let mut lanes = self.lanes();
        Arc::clone(lanes.entry((user.clone(), kind)).or_insert_with(|| Lane::new(self, login(), kind)))
    }

    /// A place under `max_clients`. When none is free, the connection that has been idle longest makes room, whoever's it is.
    ///
    /// # Errors
    /// When the lanes are closed.
    pub(super) async fn admit(&self) -> Result<OwnedSemaphorePermit, ConnectFailure> {
        if let Ok(place) = Arc::clone(&self.clients).try_acquire_owned() {
            return Ok(place);
        }
        let place = Arc::clone(&self.clients).acquire_owned();
        tokio::pin!(place);
        loop {
            self.evict();
            tokio::select! {
                biased;
                place = &mut place => return place.map_err(|_| ConnectFailure::Closed),
                () = self.idle.notified() => {}
            }
        }
    }

    /// Keeps an eye on a connection until it is gone.
    pub(super) fn watch(&self, connection: &Arc<Connection>) {
        self.connections().push(Arc::downgrade(connection));
    }

    /// Whether the lanes were closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all lanes and returns the connections that are still open.
    pub(super) fn close(&self) -> Vec<Arc<Connection>> {
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

    fn evict(&self) {
        let lanes: Vec<Arc<Lane>> = self.lanes().values().cloned().collect();
        if let Some(lane) = lanes.iter().filter(|lane| lane.idle_longest().is_some()).max_by_key(|lane| lane.idle_longest()) {
            lane.evict();
        }
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
            if connection.pulse.stuck_for() > self.target.dead_after() {
                connection.retire(Closed::Frozen);
                connection.pulse.cut();
            }
            if let Some((reason, since)) = connection.retired()
                && last_work(reason, connection.kind).is_some_and(|grace| since.elapsed() > grace)
            {
                connection.pulse.cut();
            }
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<(Username, LaneKind), Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the cluster is gone or closed.
async fn rounds(cluster: Weak<Cluster>) {
    loop {
        tokio::time::sleep(ROUND).await;
        match cluster.upgrade() {
            Some(cluster) if !cluster.is_closed() => cluster.tidy(),
            _ => return,
        }
    }
}

/// How long a retired connection may go on with what it carries; none where it may until the end.
fn last_work(reason: Closed, kind: LaneKind) -> Option<Duration> {
    match (reason, kind) {
        (Closed::Credential, LaneKind::Control) => Some(Duration::from_secs(60)),
        (Closed::Credential, LaneKind::Bulk) | (Closed::Aged, LaneKind::Control) => Some(Duration::from_secs(15 * 60)),
        _ => None,
    }
}
