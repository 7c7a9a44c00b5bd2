//! Nodes, partitions, reservations, accounts and POSIX identities.

/// A compute node.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Node {
    /// The scheduler's name for it.
    pub name: String,
    /// CPUs that the scheduler may give out.
    pub cpus: u32,
    /// Sockets.
    pub sockets: Option<u32>,
    /// Cores per socket.
    pub cores: Option<u32>,
    /// Threads per core.
    pub threads: Option<u32>,
    /// The load average.
    pub cpu_load: Option<f64>,
    /// Free memory in MiB.
    pub free_memory: Option<u64>,
    /// Allocated memory in MiB.
    pub alloc_memory: Option<u64>,
    /// CPUs given out.
    pub alloc_cpus: Option<u32>,
    /// CPUs free.
    pub idle_cpus: Option<u32>,
    /// Features (constraints) that it offers.
    pub features: Vec<String>,
    /// The address the scheduler uses.
    pub address: Option<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Its state; several may hold at once.
    pub state: Vec<NodeState>,
    /// The partitions it belongs to.
    pub partitions: Vec<String>,
    /// Its scheduling weight.
    pub weight: Option<u32>,
}

/// The state of a node, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Free.
    Idle,
    /// Fully given out.
    Allocated,
    /// Partly given out.
    Mixed,
    /// Out of service after a failure.
    Down,
    /// Taken out of service, or being so.
    Drain,
    /// Switched off for maintenance.
    Offline,
    /// Held by a reservation.
    Reserved,
    /// Its job is ending.
    Completing,
    /// Busy (PBS).
    Busy,
    /// Being switched off.
    PoweringDown,
    /// Being switched on.
    PoweringUp,
    /// Anything else.
    Unknown,
}

impl NodeState {
    /// Each of the states once, in the order in which they were named first; [`NodeState::Unknown`] where none was.
    pub fn each_once(named: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut states = Vec::new();
        for state in named {
            if !states.contains(&state) {
                states.push(state);
            }
        }
        if states.is_empty() {
            states.push(Self::Unknown);
        }
        states
    }
}

/// A partition or queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// All its CPUs.
    pub cpus: Option<u32>,
    /// All its nodes.
    pub total_nodes: Option<u32>,
    /// Its state words, such as `UP`.
    pub state: Vec<String>,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its name.
    pub name: String,
    /// Its nodes, in the scheduler's notation.
    pub node_list: String,
    /// When it starts, in Unix seconds.
    pub start: i64,
    /// When it ends, in Unix seconds.
    pub end: i64,
    /// Features that its nodes must have.
    pub features: Option<String>,
    /// `active` or `inactive`.
    pub state: Option<String>,
}

/// An account that the caller may charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Whether jobs that name none use it.
    pub default: bool,
}

/// A numeric id and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PosixId {
    /// The number, in decimal.
    pub id: String,
    /// The name; the number again where the system has none.
    pub name: String,
}

/// The caller as a cluster's operating system knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: PosixId,
    /// The primary group.
    pub group: PosixId,
    /// All groups.
    pub groups: Vec<PosixId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once_in_the_order_of_its_first_naming_and_none_is_unknown() {
        use NodeState::{Down, Idle, Unknown};
        assert_eq!(NodeState::each_once([Down, Idle, Down, Idle]), [Down, Idle]);
        assert_eq!(NodeState::each_once([]), [Unknown]);
    }
}
