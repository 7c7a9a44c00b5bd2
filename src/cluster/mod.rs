//! One cluster: its configuration, and gated access to its scheduler, files and SSH.
//!
//! A service that the background checker found unhealthy is not handed out. This module must not know who asks, nor HTTP.

mod config;

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{ClusterHealth, InvalidPath, RemotePath, ServiceHealth, ServiceType, SystemName};
use crate::error::{Classify, Kind};
use crate::filesystem::Files;
use crate::scheduler::{CachedScheduler, Scheduler};
use crate::ssh::Transport;
use crate::transfer::s3::Store;

pub use config::{Config, DataOperation, FileSystemConfig, FileSystemDataType, ProbeConfig, ProbingConfig, ServiceAccount, SizeLimit};

/// A cluster and the ways to work with it.
pub struct Cluster {
    config: Config,
    transport: Arc<dyn Transport>,
    scheduler: CachedScheduler,
    files: Files,
    store: Option<Arc<Store>>,
    health: watch::Receiver<ClusterHealth>,
}

/// The parts of a cluster without the health gate, for the checker itself.
pub struct WithoutHealthCheck<'a> {
    /// SSH.
    pub transport: &'a dyn Transport,
    /// The scheduler.
    pub scheduler: &'a CachedScheduler,
    /// The files.
    pub files: &'a Files,
    /// The object store for transfers, where there is one.
    pub store: Option<&'a Store>,
}

impl Cluster {
    /// Puts a cluster together; what is read from `scheduler` is shared. `health` is written by the checker; while it is empty everything may be used.
    pub fn new(
        config: Config,
        transport: Arc<dyn Transport>,
        scheduler: Arc<dyn Scheduler>,
        files: impl Into<Files>,
        health: watch::Receiver<ClusterHealth>,
    ) -> Self {
        let scheduler = CachedScheduler::new(scheduler, config.scheduler.freshness());
        Self { config, transport, scheduler, files: files.into(), store: None, health }
    }

    /// The same cluster with an object store for transfers.
    #[must_use]
    pub fn with_store(self, store: Arc<Store>) -> Self {
        Self { store: Some(store), ..self }
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
    /// [`GateError::Unhealthy`] with the checker's finding.
    pub fn scheduler(&self) -> Result<&CachedScheduler, GateError> {
        self.require(ServiceType::Scheduler)?;
        Ok(&self.scheduler)
    }

    /// The scheduler whatever the checker says: for `nodes`, `partitions` and the like, which the contract does not gate.
    pub fn scheduler_without_health_check(&self) -> &CachedScheduler {
        &self.scheduler
    }

    /// The files, for a caller who was shown to stay inside the configured file systems: see [`Cluster::check`].
    ///
    /// # Errors
    /// [`GateError::Unhealthy`] when SSH is known to be unhealthy.
    pub fn files(&self) -> Result<&Files, GateError> {
        self.require(ServiceType::Ssh)?;
        Ok(&self.files)
    }

    /// Waits, for a few seconds at most, until what requests that were cut left on it is removed.
    pub async fn settle(&self) {
        self.files.settle().await;
    }

    /// The object store for transfers, unless it is known to be unhealthy; nothing where there is none.
    ///
    /// # Errors
    /// [`GateError::Unhealthy`] with the checker's finding.
    pub fn store(&self) -> Result<Option<&Store>, GateError> {
        self.require(ServiceType::S3)?;
        Ok(self.store.as_deref())
    }

    /// Reads a path of ours and applies the path policy, as [`Cluster::check`] does. Paths of requests are read where the links
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
    /// [`GateError::Outside`] or [`GateError::Unhealthy`].
    pub fn check(&self, path: RemotePath) -> Result<RemotePath, GateError> {
        if !self.config.file_systems.iter().any(|fs| path.is_within(&fs.path)) {
            return Err(GateError::Outside { path, system: self.config.name.clone() });
        }
        if let Some(entry) = self.health.borrow().unhealthy_filesystem(&path) {
            let on = entry.path.as_ref().map(RemotePath::to_text).unwrap_or_default();
            return Err(unhealthy(&format!("The requested filesystem ({on} on {})", self.config.name), entry));
        }
        Ok(path)
    }

    /// Whether a path is one of the configured file systems, or holds one.
    pub fn holds_file_system(&self, path: &RemotePath) -> bool {
        self.config.file_systems.iter().any(|fs| fs.path.is_within(path))
    }

    /// All parts without the health gate, for the checker.
    pub fn without_health_check(&self) -> WithoutHealthCheck<'_> {
        WithoutHealthCheck { transport: &*self.transport, scheduler: &self.scheduler, files: &self.files, store: self.store.as_deref() }
    }

    fn require(&self, service: ServiceType) -> Result<(), GateError> {
        match self.health.borrow().unhealthy(service) {
            None => Ok(()),
            Some(entry) => {
                let word = match service {
                    ServiceType::Ssh => "ssh",
                    ServiceType::S3 => "s3",
                    _ => "scheduler",
                };
                Err(unhealthy(&format!("The {word} service for the requested system ({})", self.config.name), entry))
            }
        }
    }
}

fn unhealthy(what: &str, entry: &ServiceHealth) -> GateError {
    GateError::Unhealthy(match &entry.message {
        Some(reason) => format!("{what} is unhealthy: {reason}"),
        None => format!("{what} is unhealthy."),
    })
}

/// Why a part of the cluster, or a path, may not be used.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The checker found the service unhealthy.
    #[error("{0}")]
    Unhealthy(String),
    /// The path is no path.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// The path lies outside every configured file system.
    #[error("The provided path ({path}) does not match any of the defined filesystem paths for the requested system ({system}).")]
    Outside {
        /// The normalised path.
        path: RemotePath,
        /// The system.
        system: SystemName,
    },
}

impl Classify for GateError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unhealthy(_) => Kind::Unavailable,
            Self::Path(_) | Self::Outside { .. } => Kind::Invalid,
        }
    }

    fn public_message(&self) -> Cow<'static, str> {
        self.to_string().into()
    }
}
