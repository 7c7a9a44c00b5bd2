//! The manager with which deadpool opens and checks the connections of a lane.
//!
//! It must not know queues or permits: the lane provides the number of waiters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use parking_lot::Mutex;

use crate::ssh::connect::connection::Connection;
use crate::ssh::connect::login::Login;
use crate::ssh::lease::admission::Admission;
use crate::ssh::stats::Closed;
use crate::ssh::transport::{LaneKind, TransportError};

/// After this time a connection takes no more work, so that a key revoked on the cluster stops working.
const MAX_LIFE: Duration = Duration::from_secs(600);

/// Makes connections of one kind with the present login of a user, and checks them before each use.
pub(crate) struct ConnectionManager {
    admission: Arc<Admission>,
    kind: LaneKind,
    login: Mutex<Arc<Login>>,
    waiting: Arc<AtomicU64>,
}

impl ConnectionManager {
    /// Opens connections of this kind with this login, while any request is `waiting`.
    pub(crate) fn new(admission: Arc<Admission>, kind: LaneKind, login: Arc<Login>, waiting: Arc<AtomicU64>) -> Self {
        Self { admission, kind, login: Mutex::new(login), waiting }
    }

    /// Logs in with another one from now on.
    pub(crate) fn change(&self, login: Arc<Login>) {
        *self.login.lock() = login;
    }
}

impl Manager for ConnectionManager {
    type Type = Arc<Connection>;
    type Error = TransportError;

    /// Returns [`TransportError::Saturated`] if a place became free when no request waited any more.
    async fn create(&self) -> Result<Arc<Connection>, TransportError> {
        let asked = Instant::now();
        let place = self.admission.admit().await?;
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Err(TransportError::Saturated(asked.elapsed()));
        }
        let login = Arc::clone(&self.login.lock());
        // The credential may have changed since the request that waits decoded its own.
        login.decode().await?;
        let target = &self.admission.target;
        let opened = Connection::open(target, &login, self.kind, place).await;
        login.record(&target.system, opened.as_ref().err());
        let connection = Arc::new(opened?);
        self.admission.watch(&connection);
        Ok(connection)
    }

    async fn recycle(&self, connection: &mut Arc<Connection>, _: &Metrics) -> RecycleResult<TransportError> {
        let login = Arc::clone(&self.login.lock());
        if is_usable(connection, &login) { Ok(()) } else { Err(RecycleError::message("it may take no more work")) }
    }
}

/// Whether a connection may accept new work of this login. One that is too old, or whose own login has expired, is retired; so is
/// one of the previous login, unless that one expires by itself.
pub(crate) fn is_usable(connection: &Connection, login: &Arc<Login>) -> bool {
    if connection.login.expired() || (connection.is_superseded(login) && !connection.login.ends()) {
        connection.retire(Closed::Credential);
    } else if connection.age() > MAX_LIFE {
        connection.retire(Closed::Aged);
    }
    connection.alive()
}
