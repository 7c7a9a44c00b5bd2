//! A cluster's configuration on the wire, without secrets.
//!
//! Members are listed one by one: a new key of the configuration is not shown until it is added here.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::cluster::{self, Cluster, NO_COMPUTE, NO_FILES, WithoutHealthCheck};
use crate::domain::{self, RemotePath, ServiceType};
use crate::http::enumeration::enum_schema;
use crate::http::status::data_transfer_model::DataTransfer;
use crate::scheduler::{self, ConnectionMode, UnsupportedOperation};
use crate::service::jobs::NO_PROFILES;
use crate::service::schedules::NO_SCHEDULES;
use crate::service::{commands, file_transfer, transfers};
use crate::ssh;

/// The systems.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetSystemsResponse {
    #[schema(value_type = Vec<HPCCluster>)]
    systems: Vec<Arc<RawValue>>,
}

impl FromIterator<Arc<RawValue>> for GetSystemsResponse {
    fn from_iter<I: IntoIterator<Item = Arc<RawValue>>>(systems: I) -> Self {
        Self { systems: systems.into_iter().collect() }
    }
}

/// A system: its settings and its health.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct HPCCluster {
    name: String,
    /// How it is reached; null if it has no SSH, and thus no files.
    #[schema(required = true)]
    ssh: Option<SSHClientPool>,
    /// Its scheduler; null if it has none, and thus no jobs.
    #[schema(required = true)]
    scheduler: Option<Scheduler>,
    /// The newest findings of the background checker. None yet, or no check at all, is an empty list: the contract allows null
    /// too, and then the web interface of FirecREST shows nothing but an error.
    #[schema(value_type = Option<Vec<ServiceHealth>>)]
    services_health: Vec<ServiceHealth>,
    probing: ProbingServices,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_health_check: Option<Timestamp>,
    #[schema(required = false)]
    file_systems: Vec<FileSystem>,
    #[schema(required = false)]
    data_operation: DataOperation,
    /// The operations that answer 501 on this system.
    #[schema(required = false)]
    unsupported: Vec<UnsupportedOperations>,
    /// The message about the maintenance of the system or the site. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<String>,
}

/// Operations that a system does not have.
#[derive(Serialize, ToSchema)]
struct UnsupportedOperations {
    /// The prefixes of their paths.
    #[schema(example = "/filesystem/{system_name}/transfer/mv")]
    operations: &'static str,
    /// The reason.
    reason: &'static str,
}

/// How the system is reached.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SSHClientPool {
    host: String,
    port: u16,
    proxy_host: Option<String>,
    proxy_port: Option<u16>,
    #[schema(required = false)]
    max_clients: usize,
    #[schema(required = false)]
    timeout: SSHTimeouts,
}

/// Time limits in seconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SSHTimeouts {
    #[schema(required = false)]
    connection: u64,
    #[schema(required = false)]
    login: u64,
    #[schema(required = false)]
    command_execution: u64,
    #[schema(required = false)]
    idle_timeout: u64,
    #[schema(required = false)]
    keep_alive: u64,
}

/// The scheduler.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Scheduler {
    #[schema(value_type = SchedulerType, example = "slurm")]
    r#type: scheduler::SchedulerType,
    #[schema(value_type = Option<SchedulerConnectionMode>, example = "ssh")]
    connection_mode: ConnectionMode,
    version: String,
    api_url: Option<String>,
    api_version: Option<String>,
    #[schema(required = false)]
    timeout: u64,
}

/// The probes of the background checker.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProbingServices {
    #[schema(value_type = Option<BTreeMap<String, ProbingService>>)]
    services: Option<BTreeMap<ServiceType, ProbingService>>,
    /// Seconds between checks.
    #[schema(required = false)]
    interval_check: u64,
}

/// One probe.
#[derive(Serialize, ToSchema)]
struct ProbingService {
    /// Seconds after which it counts as failed.
    timeout: Option<u64>,
}

/// A file system.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FileSystem {
    path: String,
    #[schema(value_type = FileSystemDataType, example = "scratch")]
    data_type: cluster::FileSystemDataType,
    #[schema(required = false)]
    default_work_dir: bool,
}

/// The value for "no limit" where the contract has a number: the largest that every JSON parser represents exactly (RFC 8259, 6).
const ANY_SIZE: u64 = (1 << 53) - 1;

/// Limits and transfers.
#[derive(Serialize, ToSchema)]
struct DataOperation {
    #[schema(required = false)]
    datatransfer_jobs_directives: Vec<String>,
    /// The largest file of `ops/upload` as a form, in bytes; 9007199254740991 for any size. Clients of FirecREST use transfers for larger files
    /// in both directions; `ops/download` itself has the limit `max_stream_size`.
    #[schema(required = false)]
    max_ops_file_size: u64,
    /// The largest file of streamed uploads and downloads, in bytes; null for any size.
    max_stream_size: Option<u64>,
    /// The transfer service of requests that name no method, without its secrets.
    #[schema(required = false)]
    data_transfer: Option<DataTransfer>,
    /// All transfer services, without their secrets. A request chooses one by its `transferMethod`.
    data_transfers: Vec<DataTransfer>,
}

/// The result of one probe.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServiceHealth {
    #[schema(value_type = BackendServiceType)]
    service_type: ServiceType,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_checked: Option<Timestamp>,
    /// The response time in seconds.
    latency: Option<f64>,
    #[schema(required = false)]
    healthy: bool,
    message: Option<String>,
    /// The file system; only for probes of file systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

enum_schema! {
    /// The kind of probe; `exception` means that the checker itself failed.
    BackendServiceType of [ServiceType::S3, ServiceType::Filesystem, ServiceType::Ssh, ServiceType::Scheduler, ServiceType::Exception]
}

enum_schema! {
    /// The schedulers.
    SchedulerType of [
        scheduler::SchedulerType::Slurm, scheduler::SchedulerType::Pbs, scheduler::SchedulerType::Local, scheduler::SchedulerType::Kubernetes,
    ]
}

enum_schema! {
    /// How the scheduler is accessed.
    SchedulerConnectionMode of [ConnectionMode::Ssh, ConnectionMode::Rest, ConnectionMode::Hybrid]
}

enum_schema! {
    /// The purpose of a file system.
    FileSystemDataType of [
        cluster::FileSystemDataType::Users,
        cluster::FileSystemDataType::Store,
        cluster::FileSystemDataType::Archive,
        cluster::FileSystemDataType::Apps,
        cluster::FileSystemDataType::Scratch,
        cluster::FileSystemDataType::Project,
    ]
}

impl HPCCluster {
    /// A cluster of which the checker has found this.
    pub(in crate::http) fn new(cluster: &Cluster, health: &domain::ClusterHealth, maintenance: Option<&domain::Maintenance>) -> Self {
        let config = cluster.config();
        Self {
            name: config.name.to_string(),
            ssh: config.ssh.as_ref().map(SSHClientPool::from),
            scheduler: config.scheduler.as_ref().map(Scheduler::from),
            services_health: health.services.iter().map(ServiceHealth::from).collect(),
            probing: (&config.probing).into(),
            last_health_check: health.last_check,
            file_systems: config.file_systems.iter().map(FileSystem::from).collect(),
            data_operation: (&config.data_operation).into(),
            unsupported: unsupported(cluster),
            maintenance: maintenance.map(|maintenance| maintenance.message.clone()),
        }
    }
}

/// The path prefixes of operations that need a scheduler.
const OF_COMPUTE: [&str; 11] = [
    "/compute/{system_name}/jobs",
    "/compute/{system_name}/acct",
    "/compute/{system_name}/templates",
    "/compute/{system_name}/profiles",
    "/compute/{system_name}/schedules",
    "/compute/{system_name}/usage",
    "/status/{system_name}/nodes",
    "/status/{system_name}/limits",
    "/status/{system_name}/partitions",
    "/status/{system_name}/reservations",
    "/status/{system_name}/userinfo",
];

/// The path prefixes of operations that need files, or the login over SSH.
const OF_FILES: [&str; 2] = ["/filesystem/{system_name}", "/status/{system_name}/userinfo"];

/// The path prefixes of operations that run as jobs on files.
const OF_TRANSFER_JOBS: [&str; 7] = [
    "/filesystem/{system_name}/transfer/mv",
    "/filesystem/{system_name}/transfer/cp",
    "/filesystem/{system_name}/transfer/rm",
    "/filesystem/{system_name}/transfer/compress",
    "/filesystem/{system_name}/transfer/extract",
    "/filesystem/{system_name}/transfer/upload",
    "/filesystem/{system_name}/transfer/download",
];

fn unsupported(cluster: &Cluster) -> Vec<UnsupportedOperations> {
    let listed = |operations, reason| UnsupportedOperations { operations, reason };
    let mut found = Vec::new();
    let WithoutHealthCheck { compute, files, .. } = cluster.without_health_check();
    match compute {
        // A script on the cluster needs files too, which is said below.
        Some(scheduler) => {
            let unsupported = scheduler.unsupported().iter().filter(|(gap, _)| files.is_some() || *gap != UnsupportedOperation::ScriptPath);
            found.extend(unsupported.flat_map(|(gap, reason)| paths_of(*gap).iter().map(|path| listed(path, reason))));
            let without_profiles = scheduler.profiles().is_none().then(|| listed("/compute/{system_name}/profiles", NO_PROFILES));
            let without_schedules = scheduler.schedules().is_none().then(|| listed("/compute/{system_name}/schedules", NO_SCHEDULES));
            found.extend(without_profiles.into_iter().chain(without_schedules));
        }
        None => found.extend(OF_COMPUTE.map(|operations| listed(operations, NO_COMPUTE))),
    }
    if let Err(reason) = commands::support(cluster) {
        found.push(listed("/compute/{system_name}/commands", reason));
    }
    if files.is_none() {
        found.extend(OF_FILES.map(|operations| listed(operations, NO_FILES)));
        found.extend(compute.iter().flat_map(|_| paths_of(UnsupportedOperation::ScriptPath)).map(|path| listed(path, NO_FILES)));
    } else if let Some(reason) = transfers::unsupported(cluster) {
        // What transfer jobs would be needed for is not listed beside them.
        found.extend(OF_TRANSFER_JOBS.map(|operations| listed(operations, reason)));
    } else if let Some(reason) = file_transfer::unsupported(cluster) {
        found.push(listed("/filesystem/{system_name}/transfer/upload", reason));
        found.push(listed("/filesystem/{system_name}/transfer/download", reason));
    }
    found
}

/// The path prefixes of operations that are impossible without it.
fn paths_of(gap: UnsupportedOperation) -> &'static [&'static str] {
    match gap {
        UnsupportedOperation::Accounting => &["/compute/{system_name}/acct"],
        UnsupportedOperation::ScriptPath => &["/compute/{system_name}/jobs with scriptPath"],
        UnsupportedOperation::Metadata => &["/compute/{system_name}/jobs/{job_id}/metadata", "/compute/{system_name}/jobs/{job_id}/logs"],
        UnsupportedOperation::Hold => &["/compute/{system_name}/jobs/{job_id}/hold"],
        UnsupportedOperation::Release => &["/compute/{system_name}/jobs/{job_id}/release"],
        UnsupportedOperation::Requeue => &["/compute/{system_name}/jobs/{job_id}/requeue"],
        UnsupportedOperation::TimeLimit => &["/compute/{system_name}/jobs/{job_id}/time-limit"],
        UnsupportedOperation::Signal => &["/compute/{system_name}/jobs/{job_id}/signal"],
        UnsupportedOperation::Usage => &["/compute/{system_name}/usage"],
        UnsupportedOperation::Limits => &["/status/{system_name}/limits"],
        UnsupportedOperation::Validate => &["/compute/{system_name}/jobs/validate"],
        UnsupportedOperation::Attach => &["/compute/{system_name}/jobs/{job_id}/attach"],
    }
}

impl From<&ssh::Config> for SSHClientPool {
    fn from(config: &ssh::Config) -> Self {
        Self {
            host: config.host.clone(),
            port: config.port,
            proxy_host: config.proxy_host.clone(),
            proxy_port: config.proxy_port,
            max_clients: config.max_clients,
            timeout: SSHTimeouts {
                connection: config.timeout.connection,
                login: config.timeout.login,
                command_execution: config.timeout.command_execution,
                idle_timeout: config.timeout.idle_timeout,
                keep_alive: config.timeout.keep_alive,
            },
        }
    }
}

impl From<&scheduler::Config> for Scheduler {
    fn from(config: &scheduler::Config) -> Self {
        let common = config.common();
        let (api_url, api_version) = match config {
            scheduler::Config::Slurm { slurm, .. } => (slurm.api_url.clone(), slurm.api_version.clone()),
            scheduler::Config::Pbs { .. } | scheduler::Config::Local { .. } | scheduler::Config::Kubernetes { .. } => (None, None),
        };
        Self {
            r#type: config.kind(),
            connection_mode: config.connection_mode(),
            version: common.version.clone(),
            api_url,
            api_version,
            timeout: common.timeout,
        }
    }
}

impl From<&cluster::ProbingConfig> for ProbingServices {
    fn from(config: &cluster::ProbingConfig) -> Self {
        let services = config
            .services
            .as_ref()
            .map(|services| services.iter().map(|(service, probe)| (*service, ProbingService { timeout: Some(probe.timeout) })).collect());
        Self { services, interval_check: config.interval_check }
    }
}

impl From<&cluster::FileSystemConfig> for FileSystem {
    fn from(config: &cluster::FileSystemConfig) -> Self {
        Self { path: config.path.to_text(), data_type: config.data_type, default_work_dir: config.default_work_dir }
    }
}

impl From<&cluster::DataOperation> for DataOperation {
    fn from(config: &cluster::DataOperation) -> Self {
        Self {
            datatransfer_jobs_directives: config.datatransfer_jobs_directives.clone(),
            max_ops_file_size: config.max_at_once().unwrap_or(ANY_SIZE),
            max_stream_size: config.max_streamed(),
            data_transfer: config.transfers().first().map(DataTransfer::from),
            data_transfers: config.transfers().iter().map(DataTransfer::from).collect(),
        }
    }
}

impl From<&domain::ServiceHealth> for ServiceHealth {
    fn from(health: &domain::ServiceHealth) -> Self {
        Self {
            service_type: health.service,
            last_checked: Some(health.last_checked),
            latency: health.latency,
            healthy: health.healthy,
            message: health.message.clone(),
            path: health.path.as_ref().map(RemotePath::to_text),
        }
    }
}
