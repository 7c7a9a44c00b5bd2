//! One cluster: its configuration, and gated access to its capabilities.
//!
//! A cluster is a set of optional capabilities: [`Capabilities`]. A missing capability is refused with the reason, and a
//! service that the background checker found unhealthy is not handed out. This module must not know callers, nor HTTP. A further
//! capability is a member of [`Capabilities`], its service in [`Config::services`], and a method of [`Cluster`] that hands it out.

mod commands;
mod config;
mod template;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::domain::{ClusterHealth, InvalidPath, RemotePath, ServiceHealth, ServiceType, SystemName};
use crate::error::{Classify, Kind};
use crate::filesystem;
use crate::scheduler::{self, CachedScheduler, Scheduler};
use crate::ssh::Transport;
use crate::transfer::s3::ObjectStore;

pub use commands::Commands;
pub use config::{Config, DataOperation, FileSystemConfig, FileSystemDataType, ProbeConfig, ProbingConfig, ServiceAccount, SizeLimit};
pub use template::{JobTemplate, ParameterType, ParameterValue, TemplateParameter};

/// Why there are no file operations on a cluster.
pub const NO_FILES: &str = "Files cannot be reached on this system: it has no `ssh` section, nor volumes of Kubernetes (`files`)";

/// Why no commands are run on a cluster.
pub const NO_LOGIN: &str = "No commands can be run on this system: it has no `ssh` section";

/// Why there are no jobs on a cluster.
pub const NO_COMPUTE: &str = "No jobs can be run on this system: it has no `scheduler` section";

/// A cluster and its capabilities.
pub struct Cluster {
    config: Config,
    compute: Option<CachedScheduler>,
    files: Option<FileCapability>,
    objects: Option<Arc<ObjectStore>>,
    health: watch::Receiver<ClusterHealth>,
}

/// The capabilities of a cluster.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// Jobs.
    pub compute: Option<Arc<dyn Scheduler>>,
    /// Files, over SSH or in the volumes of pods.
    pub files: Option<FileCapability>,
    /// Transfers through an object store.
    pub objects: Option<Arc<ObjectStore>>,
}

/// The files of a cluster, and the way on which they are reached.
#[derive(Clone)]
pub struct FileCapability {
    /// The way.
    pub transport: Arc<dyn Transport>,
    /// The operations.
    pub operations: filesystem::ClusterFiles,
}

/// The capabilities of a cluster without the health gate, for the checker itself.
pub struct WithoutHealthCheck<'a> {
    /// The scheduler.
    pub compute: Option<&'a CachedScheduler>,
    /// The files, and the way on which they are reached.
    pub files: Option<&'a FileCapability>,
    /// The object store for transfers.
    pub objects: Option<&'a ObjectStore>,
}

impl Cluster {
    /// Creates a cluster; reads of the scheduler are shared. `health` is written by the checker; while it is empty
    /// everything may be used.
    pub fn new(config: Config, capabilities: Capabilities, health: watch::Receiver<ClusterHealth>) -> Self {
        let Capabilities { compute, files, objects } = capabilities;
        let freshness = config.scheduler.as_ref().map(scheduler::Config::freshness).unwrap_or_default();
        let compute = compute.map(|scheduler| CachedScheduler::new(scheduler, freshness));
        Self { config, compute, files, objects, health }
    }

    /// Its name.
    pub fn name(&self) -> &SystemName {
        &self.config.name
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The newest results of the checker.
    pub fn health(&self) -> ClusterHealth {
        self.health.borrow().clone()
    }

    /// Whether these are the newest results of the checker.
    pub fn is_as_found(&self, health: &ClusterHealth) -> bool {
        *self.health.borrow() == *health
    }

    /// The scheduler, unless it is known to be unhealthy.
    ///
    /// # Errors
    /// [`GateError::Unsupported`] if there is none, [`GateError::Unhealthy`] with the checker's result.
    pub fn scheduler(&self) -> Result<&CachedScheduler, GateError> {
        let scheduler = self.scheduler_without_health_check()?;
        self.require(ServiceType::Scheduler)?;
        Ok(scheduler)
    }

    /// The scheduler regardless of the checker: for `nodes`, `partitions` and similar reads, which the contract does not gate.
    ///
    /// # Errors
    /// [`GateError::Unsupported`] if there is none.
    pub fn scheduler_without_health_check(&self) -> Result<&CachedScheduler, GateError> {
        self.compute.as_ref().ok_or(GateError::Unsupported(NO_COMPUTE))
    }

    /// The files, for a caller who was shown to stay inside the configured file systems: see [`Cluster::check`].
    ///
    /// # Errors
    /// [`GateError::Unsupported`] where files cannot be reached, [`GateError::Unhealthy`] when the way to them is known to be unhealthy.
    pub fn files(&self) -> Result<&filesystem::ClusterFiles, GateError> {
        let files = self.files_without_health_check()?;
        // Without SSH, they are reached by the scheduler's server.
        self.require(if self.config.ssh.is_some() { ServiceType::Ssh } else { ServiceType::Scheduler })?;
        Ok(&files.operations)
    }

    /// The files regardless of the checker.
    ///
    /// # Errors
    /// [`GateError::Unsupported`] where files cannot be reached.
    pub fn files_without_health_check(&self) -> Result<&FileCapability, GateError> {
        self.files.as_ref().ok_or(GateError::Unsupported(NO_FILES))
    }

    /// Whether its files are only reached with a valid token of their user, so not by work that goes on without one.
    pub fn files_need_token(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.transport.needs_token())
    }

    /// Waits until no submission to it is under way that goes on without its request.
    pub async fn settle_submissions(&self) {
        if let Some(scheduler) = &self.compute {
            scheduler.settle().await;
        }
    }

    /// Waits, for so long at most, until what requests that were cut left on it is removed.
    pub async fn settle(&self, limit: Duration) {
        if let Some(files) = &self.files
            && timeout(limit, files.operations.settle()).await.is_err()
        {
            tracing::warn!(system = %self.name(), "temporary files of requests that were cut may be left on the cluster");
        }
    }

    /// The object store for transfers, unless it is known to be unhealthy; nothing if there is none.
    ///
    /// # Errors
    /// [`GateError::Unhealthy`] with the checker's finding.
    pub fn store(&self) -> Result<Option<&ObjectStore>, GateError> {
        self.require(ServiceType::S3)?;
        Ok(self.objects.as_deref())
    }

    /// Parses a path from the configuration or the service itself, and applies the path policy, as [`Cluster::check`] does. Paths of requests are read where the links
    /// are known: by `Access::path`.
    ///
    /// # Errors
    /// [`GateError::Path`], or those of [`Cluster::check`].
    pub fn path(&self, text: &str) -> Result<RemotePath, GateError> {
        self.check(RemotePath::from_text(text)?)
    }

    /// Applies the path policy: inside a configured file system, and that file system not known to be unhealthy.
    ///
    /// # Errors
    /// [`GateError::Unsupported`], [`GateError::Outside`] or [`GateError::Unhealthy`].
    pub fn check(&self, path: RemotePath) -> Result<RemotePath, GateError> {
        self.files_without_health_check()?;
        if !self.config.file_systems.iter().any(|fs| path.is_within(&fs.path)) {
            let roots: Vec<String> = self.config.file_systems.iter().map(|fs| fs.path.to_text()).collect();
            let file_systems = if roots.is_empty() { "none".to_owned() } else { roots.join(", ") };
            return Err(GateError::Outside { path, system: self.config.name.clone(), file_systems });
        }
        let health = self.health.borrow();
        if let Some(entry) = health.unhealthy_filesystem(&path) {
            let on = entry.path.as_ref().map(RemotePath::to_text).unwrap_or_default();
            return Err(unhealthy(&format!("The requested filesystem ({on} on {})", self.config.name), entry, &health));
        }
        Ok(path)
    }

    /// Whether a path is one of the configured file systems, or contains one.
    pub fn holds_file_system(&self, path: &RemotePath) -> bool {
        self.config.file_systems.iter().any(|fs| fs.path.is_within(path))
    }

    /// All capabilities without the health gate, for the checker.
    pub fn without_health_check(&self) -> WithoutHealthCheck<'_> {
        WithoutHealthCheck { compute: self.compute.as_ref(), files: self.files.as_ref(), objects: self.objects.as_deref() }
    }

    fn require(&self, service: ServiceType) -> Result<(), GateError> {
        let health = self.health.borrow();
        match health.unhealthy(service) {
            None => Ok(()),
            Some(entry) => {
                Err(unhealthy(&format!("The {} service for the requested system ({})", service.name(), self.config.name), entry, &health))
            }
        }
    }
}

fn unhealthy(what: &str, entry: &ServiceHealth, health: &ClusterHealth) -> GateError {
    let message = match &entry.message {
        Some(reason) => format!("{what} is unhealthy: {reason}"),
        None => format!("{what} is unhealthy."),
    };
    GateError::Unhealthy { message, wait: health.time_to_next_check() }
}

/// Why a part of the cluster, or a path, may not be used.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The cluster has no such capability.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The checker found the service unhealthy.
    #[error("{message}")]
    Unhealthy {
        /// What is unhealthy, and why.
        message: String,
        /// The time until the next check, where one is due.
        wait: Option<Duration>,
    },
    /// A part of this service itself cannot be used now.
    #[error("{0}")]
    Unavailable(String),
    /// The path is no path.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// The path lies outside every configured file system.
    #[error(
        "The provided path ({path}) does not match any of the defined filesystem paths for the requested system ({system}). Its file \
         systems: {file_systems}"
    )]
    Outside {
        /// The normalised path.
        path: RemotePath,
        /// The system.
        system: SystemName,
        /// Its file systems.
        file_systems: String,
    },
}

impl Classify for GateError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Unhealthy { .. } | Self::Unavailable(_) => Kind::Unavailable,
            Self::Path(_) | Self::Outside { .. } => Kind::Invalid,
        }
    }
}
