//! The results of the background checker for a cluster.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RemotePath;

/// The services of a cluster that can be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceType {
    /// The external storage for transfers.
    #[serde(alias = "storage")]
    S3,
    /// A configured file system.
    #[serde(alias = "filesystems")]
    Filesystem,
    /// The login over SSH.
    Ssh,
    /// The batch scheduler.
    Scheduler,
    /// The checker itself failed; never configured.
    Exception,
}

impl ServiceType {
    /// Its name, as clients and operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Filesystem => "filesystem",
            Self::Ssh => "ssh",
            Self::Scheduler => "scheduler",
            Self::Exception => "exception",
        }
    }
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceHealth {
    /// The service that was probed.
    pub service: ServiceType,
    /// When.
    pub last_checked: Timestamp,
    /// The response time in seconds.
    pub latency: Option<f64>,
    /// Whether it may be used.
    pub healthy: bool,
    /// Why not.
    pub message: Option<String>,
    /// The file system, for [`ServiceType::Filesystem`].
    pub path: Option<RemotePath>,
}

/// The newest results for one cluster; empty before the first check.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ClusterHealth {
    /// One entry a probe.
    pub services: Vec<ServiceHealth>,
    /// When the last check ended.
    pub last_check: Option<Timestamp>,
    /// When the next check begins, where a checker runs.
    pub next_check: Option<Instant>,
}

impl ClusterHealth {
    /// Whether a probed service is unhealthy, so that requests are refused.
    pub fn refuses(&self) -> bool {
        self.services.iter().any(|entry| entry.service != ServiceType::Exception && !entry.healthy)
    }

    /// The time until the next check begins; zero while it is under way.
    pub fn time_to_next_check(&self) -> Option<Duration> {
        Some(self.next_check?.saturating_duration_since(Instant::now()))
    }

    /// The unhealthy entry that forbids the use of `service`, if there is one. A service that was never probed is usable.
    pub fn unhealthy(&self, service: ServiceType) -> Option<&ServiceHealth> {
        self.services.iter().find(|entry| entry.service == service && !entry.healthy)
    }

    /// The unhealthy file system that `path` lies on, if there is one: the one mounted deepest decides.
    pub fn unhealthy_filesystem(&self, path: &RemotePath) -> Option<&ServiceHealth> {
        self.services
            .iter()
            .filter(|entry| entry.service == ServiceType::Filesystem)
            .filter(|entry| entry.path.as_ref().is_some_and(|root| path.is_within(root)))
            .max_by_key(|entry| entry.path.as_ref().map_or(0, |root| root.as_bytes().len()))
            .filter(|entry| !entry.healthy)
    }
}
