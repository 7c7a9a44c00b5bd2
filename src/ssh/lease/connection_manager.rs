//! How deadpool makes and checks the connections of a lane.
//!
//! It must not know queues or slots: whether a connection is wanted, the lane says by a number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};

use crate::ssh::connect::connection::{ConnectFailure, Connection};
use crate::ssh::connect::login::Login;
use crate::ssh::pool::registry::LaneRegistry;
use crate::ssh::stats::Closed;
use crate::ssh::transport::LaneKind;

/// After this time a connection takes no more work, so that a key revoked on the cluster stops working.
const MAX_LIFE: Duration = Duration::from_secs(600);

/// How deadpool makes and checks connections.
pub(crate) struct ConnectionManager {
    registry: Arc<LaneRegistry>,
    kind: LaneKind,
    login: Mutex<Arc<Login>>,
    wanted: Arc<AtomicUsize>,
}

impl ConnectionManager {
    /// Opens connections of this kind with this login, while somebody is `wanted`.
    pub(crate) fn new(registry: Arc<LaneRegistry>, kind: LaneKind, login: Arc<Login>, wanted: Arc<AtomicUsize>) -> Self {
        Self { registry, kind, login: Mutex::new(login), wanted }
    }

    /// Logs in with another one from now on.
    pub(crate) fn change(&self, login: Arc<Login>) {
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = login;
    }

    fn login(&self) -> Arc<Login> {
        Arc::clone(&self.login.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Manager for ConnectionManager {
    type Type = Arc<Connection>;
    type Error = ConnectFailure;

    async fn create(&self) -> Result<Arc<Connection>, ConnectFailure> {
        let place = self.registry.admit().await?;
        // It may have taken longer than anybody would wait.
        if self.wanted.load(Ordering::Acquire) == 0 {
            return Err(ConnectFailure::Unwanted);
        }
        let login = self.login();
        // The credential may have changed since the request that wanted this decoded its own.
        login.decode().await.map_err(|reason| ConnectFailure::Key { user: login.user.clone(), reason })?;
        let opened = Connection::open(&self.registry.target, &login, self.kind, place).await;
        login.record(&self.registry.name, opened.as_ref().err());
        let connection = Arc::new(opened?);
        self.registry.watch(&connection);
        Ok(connection)
    }

    async fn recycle(&self, connection: &mut Arc<Connection>, _: &Metrics) -> RecycleResult<ConnectFailure> {
        if is_usable(connection, &self.login()) { Ok(()) } else { Err(RecycleError::message("it is not fit for more work")) }
    }
}

/// Whether a connection may take new work of this login. One that is too old, or whose own login has ended, is retired; so is
/// one of the login before, unless that one ends by itself.
pub(crate) fn is_usable(connection: &Connection, login: &Arc<Login>) -> bool {
    if connection.login.expired() || (connection.is_superseded(login) && !connection.login.ends()) {
        connection.retire(Closed::Credential);
    } else if connection.age() > MAX_LIFE {
        connection.retire(Closed::Aged);
    }
    connection.alive()
}

/// One more who waits, until it is dropped.
pub(crate) struct WaiterGuard(Arc<AtomicUsize>);

impl WaiterGuard {
    /// Counts one more.
    pub(crate) fn new(wanted: &Arc<AtomicUsize>) -> Self {
        wanted.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(wanted))
    }
}

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
