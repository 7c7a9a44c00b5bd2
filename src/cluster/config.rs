//! One entry of `clusters`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::Commands;
use super::template::JobTemplate;
use crate::domain::{Maintenance, RemotePath, Secret, ServiceType, SystemName, Username};
use crate::{filesystem, scheduler, ssh, transfer};

/// A cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Config {
    /// Name in URLs. Case is ignored.
    pub name: SystemName,
    /// SSH access. Without this section the system has no scheduler whose commands run there, and files only if its scheduler is `kubernetes`.
    pub ssh: Option<ssh::Config>,
    /// The batch scheduler. Without this section the system has no jobs.
    pub scheduler: Option<scheduler::Config>,
    /// Account of the health checker.
    pub service_account: ServiceAccount,
    /// Settings of the health checker.
    pub probing: ProbingConfig,
    /// File systems. File operations are limited to them.
    #[serde(default)]
    pub file_systems: Vec<FileSystemConfig>,
    /// How files are accessed: SFTP, commands, or the better one that is available.
    #[serde(default)]
    pub file_access: filesystem::FileAccess,
    /// Limits of file operations, and transfers.
    #[serde(default)]
    pub data_operation: DataOperation,
    /// Jobs that callers submit by name, with values for their parameters.
    #[serde(default)]
    pub job_templates: Vec<JobTemplate>,
    /// Commands that callers may run on the login node. If absent, none.
    pub commands: Option<Commands>,
    /// Notice for callers while the cluster is under maintenance. Requests for it are then refused with 503, the notice as `message`,
    /// and `"reason": "maintenance"`. If empty, there is no maintenance.
    #[serde(default)]
    pub maintenance: String,
    /// Seconds after which callers may try again, sent as `Retry-After` during a maintenance.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub maintenance_retry_after: Option<u32>,
}

impl Config {
    /// The maintenance of the cluster, if there is one.
    pub fn maintenance(&self) -> Option<Maintenance> {
        Maintenance::announced(&self.maintenance, self.maintenance_retry_after)
    }

    /// Channels that one user may have open at a time; any number without SSH, where nothing has several on one connection.
    pub fn channels_per_user(&self) -> usize {
        self.ssh.as_ref().map_or(usize::MAX, ssh::Config::channels_per_user)
    }

    /// The services that the system has, of those that can be probed.
    pub fn services(&self) -> impl Iterator<Item = ServiceType> {
        let (ssh, scheduler, store) = (self.ssh.is_some(), self.scheduler.is_some(), self.data_operation.object_store().is_some());
        let services =
            [(ServiceType::S3, store), (ServiceType::Filesystem, ssh), (ServiceType::Ssh, ssh), (ServiceType::Scheduler, scheduler)];
        services.into_iter().filter_map(|(service, is_there)| is_there.then_some(service))
    }

    /// Whether transfer jobs have a place to run in.
    pub fn has_transfer_directory(&self) -> bool {
        self.data_operation.datatransfer_jobs_directory.is_some()
            || self.file_systems.iter().any(|file_system| file_system.default_work_dir)
    }

    /// Adds what the configuration leaves out of the transfer services: a streamer to a system that can have one and says nothing of
    /// transfer services, and to each streamer the address to listen on.
    pub fn complete_transfers(&mut self, listen: IpAddr) {
        let can_stream = self.ssh.is_some() && self.scheduler.is_some() && self.has_transfer_directory();
        let default = || if can_stream { vec![transfer::DataTransfer::Streamer(transfer::Streamer::default())] } else { Vec::new() };
        for service in self.data_operation.data_transfer.get_or_insert_with(default) {
            if let transfer::DataTransfer::Streamer(streamer) = service {
                streamer.host.get_or_insert_with(|| listen.to_string());
            }
        }
    }

    /// Where the transfer jobs of `user` run, as the path policy has yet to read it; nothing where the configuration names no
    /// place.
    pub fn transfer_directory(&self, user: &Username) -> Option<String> {
        if let Some(directory) = &self.data_operation.datatransfer_jobs_directory {
            return Some(directory.replace("{username}", user.as_str()));
        }
        let file_system = self.file_systems.iter().find(|file_system| file_system.default_work_dir)?;
        Some(file_system.path.join(user.as_str().as_bytes()).to_text())
    }
}

/// An OAuth2 client for the client credentials grant (RFC 6749, 4.4).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct ServiceAccount {
    /// Id of the client.
    pub client_id: String,
    /// Secret of the client, in place or as `secret_file:/path`.
    pub secret: Secret,
}

/// Settings of the health checker for a cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct ProbingConfig {
    /// Seconds between checks. While a service is unhealthy, it is checked again sooner: after at most 5 seconds, then after at most twice as long each
    /// time, up to this interval.
    #[serde(default = "default_interval", alias = "interval")]
    #[schemars(extend("x-aliases" = ["interval"]))]
    pub interval_check: u64,
    /// Services to check: `ssh`, `scheduler`, `filesystem` (or `filesystems`) and `storage` (or `s3`). If empty, nothing is checked, and
    /// no request is refused because of an unhealthy service.
    #[schemars(extend("propertyNames" = {"enum": ["ssh", "scheduler", "filesystem", "filesystems", "storage", "s3"]}))]
    pub services: Option<BTreeMap<ServiceType, ProbeConfig>>,
}

/// Settings of one check.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct ProbeConfig {
    /// Time limit of the check in seconds.
    #[serde(default = "default_probe_timeout")]
    pub timeout: u64,
}

/// A mounted file system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct FileSystemConfig {
    /// Mount point.
    #[serde(deserialize_with = "path")]
    #[schemars(with = "String")]
    pub path: RemotePath,
    /// Purpose, shown to clients.
    pub data_type: FileSystemDataType,
    /// Whether jobs work here by default. Shown to clients, and used for transfer jobs.
    #[serde(default)]
    pub default_work_dir: bool,
}

/// Purpose of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileSystemDataType {
    /// Home directories.
    Users,
    /// Long-term project storage.
    Store,
    /// Tape or other archives.
    Archive,
    /// Software.
    Apps,
    /// Temporary, fast.
    Scratch,
    /// Projects.
    Project,
}

/// Limits of direct file operations, and how transfer jobs run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct DataOperation {
    /// Size limit in bytes of uploads as a form, and of the answers of `head`, `tail` and `view`: `view` returns at most this much from
    /// `offset` on, and does not report that there is more. FirecREST's clients read it from `/status/systems`, and use transfers for larger
    /// files; downloads are not limited by it. `none` removes the limit; `head`, `tail` and `view`, which are built in memory, then keep 5 MiB.
    pub max_ops_file_size: SizeLimit,
    /// Size limit in bytes of streams (downloads, `PUT` uploads, resumable uploads, archives), or `none`.
    pub max_stream_size: SizeLimit,
    /// Time limit in seconds of `ops/cp`, `ops/mv`, `ops/checksum`, `ops/compress` and `ops/extract`.
    pub copy_timeout: u64,
    /// Scheduler directives at the head of each transfer job, such as `#SBATCH --time=1:00:00`. If one contains `{account}`, requests
    /// must name an account.
    pub datatransfer_jobs_directives: Vec<String>,
    /// Working directory of transfer jobs, and of their logs; `{username}` stands for the caller's name. If absent, it is the directory
    /// of that name below the first file system with `default_work_dir`.
    pub datatransfer_jobs_directory: Option<String>,
    /// The site's transfer service, or a list of them, shown to clients without their secrets: `s3` and `streamer`. Clients choose by the
    /// method, and get the first if they name none. If absent, a system with jobs and files has `streamer` with its defaults; `[]` for none.
    #[serde(deserialize_with = "transfer::one_or_more")]
    #[schemars(schema_with = "transfer::one_or_more_schema")]
    pub data_transfer: Option<Vec<transfer::DataTransfer>>,
}

impl Default for DataOperation {
    fn default() -> Self {
        Self {
            max_ops_file_size: SizeLimit::Bytes(DEFAULT_SIZE),
            max_stream_size: SizeLimit::Unlimited(Unlimited::None),
            copy_timeout: 600,
            datatransfer_jobs_directives: Vec::new(),
            datatransfer_jobs_directory: None,
            data_transfer: None,
        }
    }
}

impl DataOperation {
    /// The transfer services, the default one first.
    pub fn transfers(&self) -> &[transfer::DataTransfer] {
        self.data_transfer.as_deref().unwrap_or_default()
    }

    /// The object store, if there is one.
    pub fn object_store(&self) -> Option<&transfer::S3> {
        self.transfers().iter().find_map(|service| match service {
            transfer::DataTransfer::S3(store) => Some(&**store),
            _ => None,
        })
    }

    /// The largest file that is moved in the forms of FirecREST, in bytes.
    pub fn max_at_once(&self) -> Option<u64> {
        self.max_ops_file_size.bytes().into_iter().chain(self.max_stream_size.bytes()).min()
    }

    /// The largest file that is moved otherwise, in bytes.
    pub fn max_streamed(&self) -> Option<u64> {
        self.max_stream_size.bytes()
    }

    /// The maximum size of a part of a file in an answer, in bytes.
    pub fn max_shown(&self) -> u64 {
        self.max_ops_file_size.bytes().unwrap_or(DEFAULT_SIZE)
    }
}

/// The default of `max_ops_file_size`, which is that of FirecREST.
const DEFAULT_SIZE: u64 = 5 * 1024 * 1024;

/// A size limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SizeLimit {
    /// The number of bytes.
    Bytes(u64),
    /// Any size.
    Unlimited(Unlimited),
}

/// The word for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unlimited {
    /// No limit.
    None,
}

impl SizeLimit {
    /// The limit, if there is one.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unlimited(Unlimited::None) => None,
        }
    }
}

fn default_interval() -> u64 {
    120
}

fn default_probe_timeout() -> u64 {
    10
}

fn path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<RemotePath, D::Error> {
    let text = String::deserialize(deserializer)?;
    let path = RemotePath::from_text(&text).map_err(serde::de::Error::custom)?;
    // What `..` means depends on the links of the cluster, and read as text it may come to more than is meant.
    if text.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(serde::de::Error::custom(format!("{text} has a part `.` or `..`: write the directory that is meant, such as {path}")));
    }
    Ok(path)
}
