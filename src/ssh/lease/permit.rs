//! What a lane lends: a connection in use, and the right to one channel on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::Object;

use crate::ssh::connect::connection::Connection;
use crate::ssh::lease::connection_manager::ConnectionManager;
use crate::ssh::pool::lane::Lane;
use crate::ssh::stats::Closed;

/// A connection in use.
pub(crate) struct LeasedConnection {
    pub(crate) connection: Arc<Connection>,
    /// What goes back to the pool with the last slot; none when the connection was retired.
    pub(crate) object: Mutex<Option<Object<ConnectionManager>>>,
    pub(crate) permits: AtomicUsize,
}

/// The right to one channel. It is held until the server has closed the channel.
pub(crate) struct ChannelPermit {
    pub(crate) lane: Arc<Lane>,
    pub(crate) leased: Arc<LeasedConnection>,
}

impl LeasedConnection {
    /// How many channels it carries.
    pub(crate) fn permits(&self) -> usize {
        self.permits.load(Ordering::Acquire)
    }

    /// Takes it back for the pool.
    pub(crate) fn take(&self) -> Option<Object<ConnectionManager>> {
        self.object.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes it away from the pool, which may then make another.
    pub(crate) fn detach(&self) -> Option<Arc<Connection>> {
        self.take().map(Object::take)
    }
}

impl ChannelPermit {
    /// The connection that the slot is on.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.leased.connection
    }

    /// Takes the connection out of service; the slot stays valid.
    pub(crate) fn retire(&self, reason: Closed) {
        self.lane.retire(&self.leased, reason);
    }

    /// Asks the connection for a sign of life, in the background; until it comes, nobody new waits on it.
    pub(crate) fn suspect(&self, patience: Duration) {
        let (lane, leased) = (Arc::clone(&self.lane), Arc::clone(&self.leased));
        tokio::spawn(async move {
            if leased.connection.probe(patience).await {
                lane.recheck();
            } else {
                lane.retire(&leased, Closed::Frozen);
            }
        });
    }
}

impl Drop for ChannelPermit {
    fn drop(&mut self) {
        self.lane.release(&self.leased);
    }
}
