//! Nodes, partitions, reservations, associations, and the answer to a ping.

use serde::Deserialize;

use super::lenient::{Flag, Number, Text, Words};
use crate::domain::{Node, Partition, Reservation};
use crate::scheduler::slurm::values::node_states;

/// A node of `/slurm/.../nodes`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct NodeRecord {
    name: Text,
    cpus: Number,
    sockets: Number,
    cores: Number,
    threads: Number,
    /// In hundredths.
    cpu_load: Number,
    #[serde(alias = "free_memory")]
    free_mem: Number,
    alloc_memory: Number,
    alloc_cpus: Number,
    #[serde(alias = "alloc_idle_cpus")]
    idle_cpus: Number,
    features: Words,
    address: Text,
    hostname: Text,
    state: Words,
    state_flags: Words,
    partitions: Words,
    weight: Number,
}

impl From<NodeRecord> for Node {
    fn from(record: NodeRecord) -> Self {
        let unsigned = |number: Number| number.0.and_then(|number| u64::try_from(number).ok());
        let mut partitions = record.partitions.0;
        partitions.sort_unstable();
        Self {
            name: record.name.0.unwrap_or_default(),
            cpus: record.cpus.u32().unwrap_or(0),
            sockets: record.sockets.u32(),
            cores: record.cores.u32(),
            threads: record.threads.u32(),
            cpu_load: record.cpu_load.u32().filter(|&load| load < u32::MAX - 1).map(|load| f64::from(load) / 100.0),
            free_memory: unsigned(record.free_mem).filter(|&memory| memory < u64::from(u32::MAX - 1)),
            alloc_memory: unsigned(record.alloc_memory),
            alloc_cpus: record.alloc_cpus.u32(),
            idle_cpus: record.idle_cpus.u32(),
            features: record.features.0,
            address: record.address.given(),
            hostname: record.hostname.given(),
            state: node_states(record.state.0.iter().chain(&record.state_flags.0).map(String::as_str)),
            partitions,
            weight: record.weight.u32(),
        }
    }
}

/// A partition of `/slurm/.../partitions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct PartitionRecord {
    name: Text,
    flags: Words,
    state: Words,
    total_cpus: Number,
    total_nodes: Number,
    partition: Option<PartitionState>,
    cpus: Option<Total>,
    nodes: Counted,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PartitionState {
    state: Words,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Total {
    total: Number,
}

/// The nodes: a list of names as a text in the first versions, which is not used, an object later.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Counted {
    Object(Total),
    Other(serde::de::IgnoredAny),
}

impl Default for Counted {
    fn default() -> Self {
        Self::Other(serde::de::IgnoredAny)
    }
}

impl PartitionRecord {
    /// Whether it is not shown to everyone. Later versions leave those out by themselves.
    pub(in super::super) fn is_hidden(&self) -> bool {
        self.flags.0.iter().any(|flag| flag.eq_ignore_ascii_case("hidden"))
    }
}

impl From<PartitionRecord> for Partition {
    fn from(record: PartitionRecord) -> Self {
        let nodes = match record.nodes {
            Counted::Object(Total { total }) => total.u32(),
            Counted::Other(_) => None,
        };
        let state = record.partition.map(|partition| partition.state).unwrap_or(record.state);
        Self {
            name: record.name.0.unwrap_or_default(),
            cpus: record.cpus.and_then(|cpus| cpus.total.u32()).or(record.total_cpus.u32()),
            total_nodes: nodes.or(record.total_nodes.u32()),
            state: state.0,
        }
    }
}

/// A reservation of `/slurm/.../reservations`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct ReservationRecord {
    name: Text,
    node_list: Text,
    start_time: Number,
    end_time: Number,
    features: Text,
}

impl ReservationRecord {
    /// The reservation in our words. Whether it is active is not written: it is between its start and its end.
    pub(in super::super) fn into_reservation(self, now: i64) -> Reservation {
        let (start, end) = (self.start_time.0.unwrap_or(0), self.end_time.0.unwrap_or(0));
        let state = if (start..end).contains(&now) { "active" } else { "inactive" };
        Reservation {
            name: self.name.0.unwrap_or_default(),
            node_list: self.node_list.0.unwrap_or_default(),
            start,
            end,
            features: self.features.given(),
            state: Some(state.to_owned()),
        }
    }
}

/// An association of `/slurmdb/.../associations`: a user may charge an account on a cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Association {
    pub(in super::super) account: Text,
    pub(in super::super) cluster: Text,
    pub(in super::super) user: Text,
    is_default: Flag,
    flags: Words,
}

impl Association {
    /// Whether jobs go to this account when they name none.
    pub(in super::super) fn is_default(&self) -> bool {
        self.is_default.0.unwrap_or_else(|| self.flags.0.iter().any(|flag| flag.eq_ignore_ascii_case("default")))
    }
}

/// The controller's answer to a ping. The member with the word was renamed, and a boolean came later.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Ping {
    #[serde(alias = "ping")]
    pinged: Text,
    responding: Flag,
}

impl Ping {
    /// Whether the controller answered.
    pub(in super::super) fn is_up(&self) -> bool {
        self.responding.0 == Some(true) || self.pinged.0.as_deref().is_some_and(|word| word.eq_ignore_ascii_case("up"))
    }
}
