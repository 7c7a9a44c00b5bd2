//! The cap on the connections to a cluster (`ssh.max_clients`).
//!
//! It must not know lanes: a request that waits here raises the pressure, and the registry, which owns the lanes, makes room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::ssh::connect::connection::{Connection, ConnectionPermit};
use crate::ssh::connect::target::Target;
use crate::ssh::stats::Gauge;
use crate::ssh::transport::TransportError;

/// The connections to a cluster, and the places for them.
pub(crate) struct Admission {
    pub(crate) target: Target,
    places: Arc<Semaphore>,
    /// The number of connections and of waiters.
    demand: Arc<AtomicU64>,
    pressure: Notify,
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Admission {
    /// Places for the connections to `target`.
    pub(crate) fn new(target: Target) -> Self {
        let places = Arc::new(Semaphore::new(target.config.max_clients));
        Self { target, places, demand: Arc::default(), pressure: Notify::new(), connections: Mutex::default() }
    }

    /// Waits for a place, in the order of the requests.
    ///
    /// # Errors
    /// If the lanes are closed.
    pub(crate) async fn admit(&self) -> Result<ConnectionPermit, TransportError> {
        let demand = Gauge::new(Arc::clone(&self.demand));
        let places = Arc::clone(&self.places);
        let permit = match Arc::clone(&places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.pressure.notify_one();
                places.acquire_owned().await.map_err(|_| TransportError::Broken { sent: false })?
            }
        };
        Ok(ConnectionPermit::new(demand, permit))
    }

    /// The number of waiters for which no place has become free yet.
    pub(crate) fn shortage(&self) -> usize {
        let demand = usize::try_from(self.demand.load(Ordering::Acquire)).unwrap_or(usize::MAX);
        demand.saturating_sub(self.target.config.max_clients)
    }

    /// Waits until there may be a shortage that can be helped.
    pub(crate) async fn pressed(&self) {
        self.pressure.notified().await;
    }

    /// Says that a connection has become idle.
    pub(crate) fn idle(&self) {
        if self.shortage() > 0 {
            self.pressure.notify_one();
        }
    }

    /// Counts a connection until it is closed.
    pub(crate) fn watch(&self, connection: &Arc<Connection>) {
        self.connections.lock().push(Arc::downgrade(connection));
    }

    /// All connections that still exist, whether or not they take work.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        let mut connections = self.connections.lock();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    /// Gives no more places.
    pub(crate) fn close(&self) {
        self.places.close();
    }

    /// Whether [`Admission::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }
}
