//! A connection that carries channels, outside of the pool for as long as it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deadpool::managed::Object;
use parking_lot::Mutex;

use crate::ssh::connect::connection::Connection;
use crate::ssh::lease::connection_manager::ConnectionManager;

/// A connection in use.
pub(crate) struct LeasedConnection {
    pub(crate) connection: Arc<Connection>,
    /// The object to return to the pool with the last permit; none if the connection was retired.
    object: Mutex<Option<Object<ConnectionManager>>>,
    permits: AtomicUsize,
}

impl LeasedConnection {
    /// Leases a connection of the pool.
    pub(crate) fn new(object: Object<ConnectionManager>) -> Arc<Self> {
        Arc::new(Self { connection: Arc::clone(&object), object: Mutex::new(Some(object)), permits: AtomicUsize::new(0) })
    }

    /// The number of its channels.
    pub(crate) fn permits(&self) -> usize {
        self.permits.load(Ordering::Acquire)
    }

    /// Counts one more channel.
    pub(crate) fn add_permit(&self) {
        self.permits.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts one channel less; whether that was the last.
    pub(crate) fn remove_permit(&self) -> bool {
        self.permits.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Gives it back to the pool, which keeps it for the next request.
    pub(crate) fn release(&self) {
        drop(self.object.lock().take());
    }

    /// Takes it away from the pool, which may then make another.
    pub(crate) fn detach(&self) -> Option<Arc<Connection>> {
        self.object.lock().take().map(Object::take)
    }
}
