//! What a lane lends: a connection in use, and the right to one channel on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::Object;

use super::connection::Connection;
use super::lane::Lane;
use super::opener::Opener;
use super::stats::Closed;

/// A connection in use.
pub(super) struct Lent {
    pub(super) connection: Arc<Connection>,
    /// What goes back to the pool with the last slot; none when the connection was retired.
    pub(super) object: Mutex<Option<Object<Opener>>>,
    pub(super) slots: AtomicUsize,
}

/// The right to one channel. It is held until the server has closed the channel.
pub(super) struct Slot {
    pub(super) lane: Arc<Lane>,
    pub(super) lent: Arc<Lent>,
}

impl Lent {
    /// How many channels it carries.
    pub(super) fn slots(&self) -> usize {
        self.slots.load(Ordering::Acquire)
    }

    /// Takes it back for the pool.
    pub(super) fn take(&self) -> Option<Object<Opener>> {
        self.object.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes it away from the pool, which may then make another.
    pub(super) fn detach(&self) -> Option<Arc<Connection>> {
        self.take().map(Object::take)
    }
}

impl Slot {
    /// The connection that the slot is on.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.lent.connection
    }

    /// Takes the connection out of service; the slot stays valid.
    pub(super) fn retire(&self, reason: Closed) {
        self.lane.retire(&self.lent, reason);
    }

    /// Asks the connection for a sign of life, in the background; until it comes, nobody new waits on it.
    pub(super) fn doubt(&self, patience: Duration) {
        let (lane, lent) = (Arc::clone(&self.lane), Arc::clone(&self.lent));
        tokio::spawn(async move {
            if lent.connection.probe(patience).await {
                lane.recheck();
            } else {
                lane.retire(&lent, Closed::Frozen);
            }
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.lane.give_back(&self.lent);
    }
}
