//! The lanes of a cluster, their upkeep, and the choice of connections to close under the cap.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::credentials::{CallerKey, Credential};
use crate::domain::Username;
use crate::ssh::connect::connection::Connection;
use crate::ssh::connect::login::Login;
use crate::ssh::connect::target::Target;
use crate::ssh::lease::admission::Admission;
use crate::ssh::pool::lane::Lane;
use crate::ssh::stats::Closed;
use crate::ssh::transport::LaneKind;

/// The minimum time that a user keeps a connection with work while others wait for a place.
const MIN_TENURE: Duration = Duration::from_secs(2);

/// A connection over which nothing came for this long carries no more than a session that waits, or a command that says nothing.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// The time after which a connection that was asked to close, and has not, is no longer expected to.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between two rounds of upkeep.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(500);

/// The lanes of a cluster.
pub(crate) struct LaneRegistry {
    pub(crate) admission: Arc<Admission>,
    lanes: Mutex<HashMap<Key, Arc<Lane>>>,
}

/// The owner of a lane. Callers with separate credentials share nothing, even if they have the same name.
type Key = (Username, Option<Arc<CallerKey>>, LaneKind);

impl LaneRegistry {
    /// A cluster without lanes.
    pub(crate) fn new(target: Target) -> Arc<Self> {
        Arc::new(Self { admission: Arc::new(Admission::new(target)), lanes: Mutex::default() })
    }

    /// The lane of a user.
    pub(crate) fn lane(&self, user: &Username, kind: LaneKind, credential: &Arc<Credential>) -> Arc<Lane> {
        let login = || Arc::new(Login::new(user.clone(), Arc::clone(credential)));
        let mut lanes = self.lanes.lock();
        let lane = lanes.entry((user.clone(), credential.caller.clone(), kind));
        Arc::clone(lane.or_insert_with(|| Lane::new(&self.admission, login(), kind)))
    }

    /// Ends all lanes and returns the connections that are still open.
    pub(crate) fn close(&self) -> Vec<Arc<Connection>> {
        self.admission.close();
        let lanes = std::mem::take(&mut *self.lanes.lock());
        lanes.values().for_each(|lane| lane.close());
        self.admission.connections()
    }

    fn all(&self) -> Vec<Arc<Lane>> {
        self.lanes.lock().values().cloned().collect()
    }

    /// Makes room for those who wait for a place: the connections of any user that have been idle longest are closed;
    /// where all carry work, some take no more of it (see [`yielding`]).
    fn make_room(&self) {
        let shortage = self.admission.shortage();
        let evicted = (0..shortage).take_while(|_| self.evict()).count();
        if evicted == shortage {
            return;
        }
        // A connection that only keeps shells is as good as idle, and is so once they have ended.
        self.all().iter().for_each(|lane| lane.shells.clear());
        let connections = self.admission.connections();
        let is_leaving = |connection: &&Arc<Connection>| connection.retired().is_some_and(|(_, since)| since.elapsed() < LEAVE_TIMEOUT);
        let leaving = connections.iter().filter(is_leaving).count();
        for _ in leaving..shortage - evicted {
            if let Some(connection) = yielding(&connections) {
                connection.retire(Closed::Yielded);
            }
        }
    }

    fn evict(&self) -> bool {
        let lanes = self.all();
        let longest = lanes.iter().filter_map(|lane| Some((lane.state.idle_longest()?, lane))).max_by_key(|(idle, _)| *idle);
        longest.inspect(|(_, lane)| lane.state.evict()).is_some()
    }

    /// Closes idle connections past their time and connections that must end, and forgets lanes without connections.
    fn tidy(&self) {
        let target = &self.admission.target;
        let idle = Duration::from_secs(target.config.timeout.idle_timeout);
        for lane in self.all() {
            lane.shells.tidy();
            lane.state.tidy(idle);
        }
        self.lanes.lock().retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.state.is_empty());
        for connection in self.admission.connections() {
            if connection.liveness.stuck_for() > target.dead_after() {
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
}

/// Chooses the connection that accepts no more work, so that its place becomes free when its present work has ended.
///
/// First one without traffic: kept-open sessions close at once. Then the oldest of the user who has the most, and if all
/// have one, the oldest of all; but a connection with traffic keeps its place for [`MIN_TENURE`]. So waiting users and users with connections
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

/// Keeps the lanes tidy and makes room in them, until the cluster is gone or closed.
pub(crate) async fn upkeep(registry: Weak<LaneRegistry>, admission: Arc<Admission>) {
    let mut rounds = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        let round = tokio::select! {
            _ = rounds.tick() => true,
            () = admission.pressed() => false,
        };
        let Some(registry) = registry.upgrade().filter(|_| !admission.is_closed()) else { return };
        if round {
            registry.tidy();
        }
        registry.make_room();
    }
}

/// The time that a retired connection may continue its work; none if it may until the end.
fn last_work(reason: Closed, kind: LaneKind) -> Option<Duration> {
    match (reason, kind) {
        (Closed::Credential, LaneKind::Control) => Some(Duration::from_secs(60)),
        (Closed::Credential, LaneKind::Bulk) | (Closed::Aged | Closed::Yielded, LaneKind::Control) => Some(Duration::from_secs(15 * 60)),
        _ => None,
    }
}
