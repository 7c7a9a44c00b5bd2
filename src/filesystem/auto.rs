//! Chooses how the files of a cluster are accessed: SFTP if the server offers it, commands otherwise.

use std::sync::Arc;

use moka::future::Cache;

use super::{CommandFiles, FileAccess, FileSystem, FilesystemError, Settings, Sftp};
use crate::domain::{Principal, Username};
use crate::ssh::{Transport, TransportError};

/// The files of a cluster, before the user is known.
#[derive(Clone)]
pub struct ClusterFiles {
    preferred: Arc<dyn FileSystem>,
    auto: Option<Auto>,
}

/// The choice of [`FileAccess::Auto`], for each user separately, at the first use and again after [`Settings::probe_again`]: what a user's
/// start-up files do to the subsystem must not slow anyone else down.
#[derive(Clone)]
struct Auto {
    sftp: Arc<Sftp>,
    exec: CommandFiles,
    without_sftp: Cache<Username, ()>,
}

impl ClusterFiles {
    /// Nothing is sent to the cluster before the first operation.
    pub fn open(transport: Arc<dyn Transport>, access: FileAccess, settings: Settings) -> Self {
        let exec = CommandFiles::new(transport.clone(), settings);
        if access == FileAccess::Exec {
            return Self { preferred: Arc::new(exec), auto: None };
        }
        let sftp = Arc::new(Sftp::new(transport, exec.clone(), settings));
        let without_sftp = Cache::builder().max_capacity(10_000).time_to_live(settings.probe_again).build();
        let auto = (access == FileAccess::Auto).then(|| Auto { sftp: Arc::clone(&sftp), exec, without_sftp });
        Self { preferred: sftp, auto }
    }

    /// The backend for the files of one user.
    ///
    /// # Errors
    /// If it is not known yet, and the cluster cannot be reached.
    pub async fn of(&self, principal: &Principal) -> Result<&dyn FileSystem, FilesystemError> {
        match &self.auto {
            Some(auto) if !auto.has_sftp(principal).await? => Ok(&auto.exec),
            _ => Ok(&*self.preferred),
        }
    }

    /// Waits until the temporary files of requests that were cut are removed.
    pub async fn settle(&self) {
        self.preferred.settle().await;
    }
}

impl<F: FileSystem + 'static> From<Arc<F>> for ClusterFiles {
    fn from(files: Arc<F>) -> Self {
        Self { preferred: files, auto: None }
    }
}

impl Auto {
    async fn has_sftp(&self, principal: &Principal) -> Result<bool, FilesystemError> {
        if self.without_sftp.contains_key(&principal.username) {
            return Ok(false);
        }
        match self.sftp.probe(principal).await {
            Ok(()) => Ok(true),
            Err(FilesystemError::Transport(TransportError::Refused(reason))) => {
                tracing::info!(user = %principal.username, %reason, "the cluster offers no SFTP; files are reached by commands");
                self.without_sftp.insert(principal.username.clone(), ()).await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
