//! One entry of `clusters`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{RemotePath, Secret, ServiceType, SystemName};
use crate::{filesystem, scheduler, ssh};

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
    pub file_access: filesystem::Access,
    /// Limits and transfers.
    #[serde(default)]
    pub data_operation: DataOperation,
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

/// Limits of direct file operations, and what clients are told of transfers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct DataOperation {
    /// The largest file for direct upload and download and the most that `head`, `tail` and `view` answer with, in bytes.
    pub max_ops_file_size: u64,
    /// Scheduler directives for transfer jobs, shown to clients; this version has no transfer jobs.
    pub datatransfer_jobs_directives: Vec<String>,
    /// The transfer service of the site, shown to clients without its secrets; this version has no transfer jobs.
    pub data_transfer: Option<serde_json::Value>,
}

impl Default for DataOperation {
    fn default() -> Self {
        Self { max_ops_file_size: 5 * 1024 * 1024, datatransfer_jobs_directives: Vec::new(), data_transfer: None }
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
