//! One entry of `clusters`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Maintenance, RemotePath, Secret, ServiceType, SystemName, Username};
use crate::{filesystem, scheduler, ssh, transfer};

/// A cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Config {
    /// Its name in URLs, without case.
    pub name: SystemName,
    /// How it is reached.
    pub ssh: ssh::Config,
    /// Its batch scheduler.
    pub scheduler: scheduler::Config,
    /// The account that the background checker works as.
    pub service_account: ServiceAccount,
    /// What the background checker probes, and how often.
    pub probing: ProbingConfig,
    /// The file systems that file operations are confined to.
    #[serde(default)]
    pub file_systems: Vec<FileSystemConfig>,
    /// How files are reached.
    #[serde(default)]
    pub file_access: filesystem::FileAccess,
    /// Limits and transfers.
    #[serde(default)]
    pub data_operation: DataOperation,
    /// What callers are told while the cluster is under maintenance. Every request for it is then refused with 503, this text as `message`, and
    /// `"reason": "maintenance"`. Empty: no maintenance.
    #[serde(default)]
    pub maintenance: String,
    /// Seconds after which callers may ask again, sent as `Retry-After` during `maintenance`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub maintenance_retry_after: Option<u32>,
}

impl Config {
    /// The maintenance of the cluster, where there is one.
    pub fn maintenance(&self) -> Option<Maintenance> {
        Maintenance::announced(&self.maintenance, self.maintenance_retry_after)
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
    /// The client's id.
    pub client_id: String,
    /// The client's secret, in place or as `secret_file:/path`.
    pub secret: Secret,
}

/// The background checker's settings for a cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct ProbingConfig {
    /// Seconds between checks.
    #[serde(default = "default_interval", alias = "interval")]
    #[schemars(extend("x-aliases" = ["interval"]))]
    pub interval_check: u64,
    /// The services to probe. None: nothing is probed, and nothing is ever refused as unhealthy.
    pub services: Option<BTreeMap<ServiceType, ProbeConfig>>,
}

/// The settings of one probe.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct ProbeConfig {
    /// Seconds until the probe counts as failed.
    #[serde(default = "default_probe_timeout")]
    pub timeout: u64,
}

/// A mounted file system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct FileSystemConfig {
    /// Where it is mounted.
    #[serde(deserialize_with = "path")]
    #[schemars(with = "String")]
    pub path: RemotePath,
    /// What it is for.
    pub data_type: FileSystemDataType,
    /// Shown to clients as the place for the caller's jobs.
    #[serde(default)]
    pub default_work_dir: bool,
}

/// What a file system is for.
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
    /// The largest file for upload and download in the forms that FirecREST has, and the most that `head`, `tail` and `view` answer
    /// with, in bytes; `none` for files of any size. `head`, `tail` and `view`, whose answers are made in memory, then keep 5 MiB.
    pub max_ops_file_size: SizeLimit,
    /// The largest file for what streams: downloads with `Range`, `PUT` uploads, resumable uploads and archives; in bytes, or `none`.
    pub max_stream_size: SizeLimit,
    /// Seconds that work may take that grows with the files: `ops/cp`, `ops/mv`, `ops/checksum`, `ops/compress` and `ops/extract`.
    pub copy_timeout: u64,
    /// Scheduler directives at the head of each transfer job, such as `#SBATCH --time=1:00:00`. Where `{account}` stands in one,
    /// clients have to name an account.
    pub datatransfer_jobs_directives: Vec<String>,
    /// Where transfer jobs run and leave their logs, with `{username}` for the caller's name. Absent: the directory of that name
    /// below the file system that is `default_work_dir`.
    pub datatransfer_jobs_directory: Option<String>,
    /// The transfer service of the site, shown to clients without its secrets. An object store (`s3`) is used, the others are not yet.
    pub data_transfer: Option<transfer::DataTransfer>,
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
    /// The largest file that is moved in the forms of FirecREST, in bytes.
    pub fn max_at_once(&self) -> Option<u64> {
        self.max_ops_file_size.bytes().into_iter().chain(self.max_stream_size.bytes()).min()
    }

    /// The largest file that is moved otherwise, in bytes.
    pub fn max_streamed(&self) -> Option<u64> {
        self.max_stream_size.bytes()
    }

    /// The most of a file that is shown in an answer, in bytes.
    pub fn max_shown(&self) -> u64 {
        self.max_ops_file_size.bytes().unwrap_or(DEFAULT_SIZE)
    }
}

/// The default of `max_ops_file_size`, which is that of FirecREST.
const DEFAULT_SIZE: u64 = 5 * 1024 * 1024;

/// A largest size, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SizeLimit {
    /// So many bytes.
    Bytes(u64),
    /// Any size.
    Unlimited(Unlimited),
}

/// The word for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unlimited {
    /// There is none.
    None,
}

impl SizeLimit {
    /// The limit, where there is one.
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
    RemotePath::from_text(&text).map_err(serde::de::Error::custom)
}
