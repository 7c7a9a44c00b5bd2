//! Nodes, partitions, reservations, users and liveness on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{self, Reading, SystemName};
use crate::http::extract::parameters::lenient;

/// The filter for partitions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PartitionsParameters {
    /// Includes those that the scheduler does not show to everyone.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    pub(in crate::http) show_hidden: bool,
}

/// When the clusters were last checked.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GetLiveness {
    /// The end of the last check of each cluster.
    #[schema(value_type = BTreeMap<String, String>, required = false)]
    healthcheck_runs: BTreeMap<String, Timestamp>,
    /// Seconds since the oldest of these checks; 0 before the first.
    #[schema(required = false)]
    last_update: i64,
}

impl GetLiveness {
    /// The answer at the time `now`.
    pub(in crate::http) fn new(checks: Vec<(SystemName, Timestamp)>, now: Timestamp) -> Self {
        let last_update = checks.iter().map(|(_, check)| now.duration_since(*check).as_secs()).max().unwrap_or(0).max(0);
        Self { healthcheck_runs: checks.into_iter().map(|(name, check)| (name.into(), check)).collect(), last_update }
    }
}

/// The caller, as the access token describes them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GetWhoamiResponse {
    /// The login name on the systems.
    #[schema(example = "ada")]
    username: String,
    /// The token's `sub`.
    subject: String,
    /// The OAuth2 client that the token was issued to.
    client_id: Option<String>,
    email: Option<String>,
    /// Whether the token counts as that of a service account, not of a person: it has no claim `email`, or a JupyterHub says so.
    service_account: bool,
    groups: Vec<String>,
    scopes: Vec<String>,
    /// When the token expires.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<&domain::Principal> for GetWhoamiResponse {
    fn from(caller: &domain::Principal) -> Self {
        Self {
            username: caller.username.to_string(),
            subject: caller.subject.clone(),
            client_id: caller.client_id.clone(),
            email: caller.email.clone(),
            service_account: caller.is_service_account,
            groups: caller.groups.clone(),
            scopes: caller.scopes.clone(),
            expires_at: caller.expires_at,
        }
    }
}

/// Nodes.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetNodesResponse {
    nodes: Vec<NodeModel>,
}

/// A compute node. Memory in MiB.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeModel {
    sockets: Option<u32>,
    /// Cores per socket.
    cores: Option<u32>,
    /// Threads per core.
    threads: Option<u32>,
    cpus: u32,
    cpu_load: Option<f64>,
    free_memory: Option<u64>,
    /// Its features, separated by commas.
    #[schema(example = "gpu,fast")]
    features: Option<String>,
    name: String,
    address: Option<String>,
    hostname: Option<String>,
    state: Vec<NodeState>,
    partitions: Option<Vec<String>>,
    weight: Option<u32>,
    alloc_memory: Option<u64>,
    alloc_cpus: Option<u32>,
    idle_cpus: Option<u32>,
}

/// The state of a node; several may hold at once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum NodeState {
    Idle,
    Allocated,
    Mixed,
    Down,
    Drain,
    Offline,
    Reserved,
    Completing,
    Busy,
    PoweringDown,
    PoweringUp,
    Unknown,
}

impl From<domain::NodeState> for NodeState {
    fn from(state: domain::NodeState) -> Self {
        match state {
            domain::NodeState::Idle => Self::Idle,
            domain::NodeState::Allocated => Self::Allocated,
            domain::NodeState::Mixed => Self::Mixed,
            domain::NodeState::Down => Self::Down,
            domain::NodeState::Drain => Self::Drain,
            domain::NodeState::Offline => Self::Offline,
            domain::NodeState::Reserved => Self::Reserved,
            domain::NodeState::Completing => Self::Completing,
            domain::NodeState::Busy => Self::Busy,
            domain::NodeState::PoweringDown => Self::PoweringDown,
            domain::NodeState::PoweringUp => Self::PoweringUp,
            domain::NodeState::Unknown => Self::Unknown,
        }
    }
}

impl From<&Vec<domain::Node>> for GetNodesResponse {
    fn from(nodes: &Vec<domain::Node>) -> Self {
        Self { nodes: nodes.iter().cloned().map(NodeModel::from).collect() }
    }
}

impl From<domain::Node> for NodeModel {
    fn from(node: domain::Node) -> Self {
        Self {
            sockets: node.sockets,
            cores: node.cores,
            threads: node.threads,
            cpus: node.cpus,
            cpu_load: node.cpu_load,
            free_memory: node.free_memory,
            features: Some(node.features.join(",")).filter(|features| !features.is_empty()),
            name: node.name,
            address: node.address,
            hostname: node.hostname,
            state: node.state.into_iter().map(NodeState::from).collect(),
            partitions: Some(node.partitions),
            weight: node.weight,
            alloc_memory: node.alloc_memory,
            alloc_cpus: node.alloc_cpus,
            idle_cpus: node.idle_cpus,
        }
    }
}

/// Partitions.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetPartitionsResponse {
    partitions: Vec<PartitionModel>,
}

/// A partition or queue.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PartitionModel {
    name: String,
    cpus: Option<u32>,
    total_nodes: Option<u32>,
    /// Its state.
    #[schema(example = "UP")]
    partition: String,
}

impl From<&Vec<domain::Partition>> for GetPartitionsResponse {
    fn from(partitions: &Vec<domain::Partition>) -> Self {
        let model = |partition: domain::Partition| PartitionModel {
            name: partition.name,
            cpus: partition.cpus,
            total_nodes: partition.total_nodes,
            partition: partition.state.join("+"),
        };
        Self { partitions: partitions.iter().cloned().map(model).collect() }
    }
}

/// Reservations.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetReservationsResponse {
    reservations: Vec<ReservationModel>,
}

/// A reservation. Times in Unix seconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReservationModel {
    name: String,
    node_list: String,
    end_time: i64,
    start_time: i64,
    features: Option<String>,
    state: Option<String>,
}

impl From<&Vec<domain::Reservation>> for GetReservationsResponse {
    fn from(reservations: &Vec<domain::Reservation>) -> Self {
        let model = |reservation: domain::Reservation| ReservationModel {
            name: reservation.name,
            node_list: reservation.node_list,
            end_time: reservation.end,
            start_time: reservation.start,
            features: reservation.features,
            state: reservation.state,
        };
        Self { reservations: reservations.iter().cloned().map(model).collect() }
    }
}

/// The caller on a system.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct UserInfoResponse {
    user: PosixIdentified,
    group: PosixIdentified,
    groups: Vec<GroupMembership>,
    /// The accounts that the caller may charge; null if the scheduler has no accounts.
    accounts: Option<Vec<AccountsModel>>,
}

/// A numeric id and its name.
#[derive(Serialize, ToSchema)]
struct PosixIdentified {
    id: String,
    name: String,
}

/// A group that the caller is in.
#[derive(Serialize, ToSchema)]
struct GroupMembership {
    id: String,
    name: String,
    /// Whether it is the caller's primary group, which new files belong to.
    default: bool,
}

/// An account.
#[derive(Serialize, ToSchema)]
struct AccountsModel {
    name: String,
    /// Whether jobs that name none use it.
    default: bool,
}

impl From<domain::PosixId> for PosixIdentified {
    fn from(posix: domain::PosixId) -> Self {
        Self { id: posix.id, name: posix.name }
    }
}

impl From<(domain::Identity, Reading<Option<Vec<domain::Account>>>)> for UserInfoResponse {
    fn from((identity, accounts): (domain::Identity, Reading<Option<Vec<domain::Account>>>)) -> Self {
        let model = |account: &domain::Account| AccountsModel { name: account.name.clone(), default: account.default };
        let primary = identity.group.id.clone();
        let membership = |group: domain::PosixId| GroupMembership { default: group.id == primary, id: group.id, name: group.name };
        Self {
            user: identity.user.into(),
            group: identity.group.into(),
            groups: identity.groups.into_iter().map(membership).collect(),
            accounts: accounts.as_ref().map(|accounts| accounts.iter().map(model).collect()),
        }
    }
}
