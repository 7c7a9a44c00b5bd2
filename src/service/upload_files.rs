//! The write lock on the file of a resumable upload, across replicas: a rename to a private name.
//!
//! A request renames the file to a name that no other process knows, adds to it, and renames it back. A file under such a name
//! belongs to a request that still works, perhaps on another replica, or was cut. A request that takes it over continues with a copy: what
//! the other still writes then goes into an unlinked file, and the other finds nothing under its private name.

use super::{Access, ServiceError};
use crate::domain::{FileStat, Principal, RemotePath};
use crate::filesystem::{CopyOptions, FileSystem, FilesystemError, ListOptions, held_part};

/// The files of uploads, for one request.
pub struct UploadFiles<'a> {
    pub files: &'a dyn FileSystem,
    principal: &'a Principal,
}

impl<'a> UploadFiles<'a> {
    /// The files that the caller may access.
    ///
    /// # Errors
    /// If the cluster hands out no files.
    pub async fn of(access: &'a Access) -> Result<Self, ServiceError> {
        Ok(Self { files: access.files().await?, principal: access.principal() })
    }

    /// The current path and status of an upload's file; `None` if there is none.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub async fn find(&self, part: &RemotePath) -> Result<Option<(RemotePath, FileStat)>, FilesystemError> {
        match self.files.stat(self.principal, part, false).await {
            Ok(found) => Ok(Some((part.clone(), found))),
            Err(FilesystemError::NotFound(_)) => self.find_held(part).await,
            Err(error) => Err(error),
        }
    }

    /// The file that another request has or had; of several the longest.
    async fn find_held(&self, part: &RemotePath) -> Result<Option<(RemotePath, FileStat)>, FilesystemError> {
        let Some(directory) = part.parent() else { return Ok(None) };
        let entries = match self.files.list(self.principal, &directory, ListOptions { hidden: true, ..ListOptions::default() }).await {
            Err(FilesystemError::NotFound(_)) => return Ok(None),
            entries => entries?,
        };
        let prefix = [part.file_name(), b"-"].concat();
        let held = entries.iter().filter(|entry| entry.name.starts_with(&prefix)).max_by_key(|entry| entry.size);
        let Some(path) = held.map(|entry| directory.join(&entry.name)) else { return Ok(None) };
        match self.files.stat(self.principal, &path, false).await {
            Ok(found) => Ok(Some((path, found))),
            Err(FilesystemError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the file of an upload, and returns its private name.
    ///
    /// # Errors
    /// If there is none, the caller may not rename it, or another one takes it at the same time.
    pub async fn hold(&self, part: &RemotePath) -> Result<RemotePath, ServiceError> {
        let mine = held_part(part);
        match self.files.rename(self.principal, part, &mine, true).await {
            Ok(()) => return Ok(mine),
            Err(FilesystemError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let Some((held, _)) = self.find_held(part).await? else { return Err(FilesystemError::NotFound(part.clone()).into()) };
        match self.files.rename(self.principal, &held, &mine, true).await {
            Err(FilesystemError::NotFound(_)) => return Err(ServiceError::Busy),
            renamed => renamed?,
        }
        let copy = held_part(part);
        self.files.copy(self.principal, &mine, &copy, CopyOptions::default()).await?;
        let stat = async |path| self.files.stat(self.principal, path, false).await;
        if stat(&mine).await?.uid != stat(&copy).await?.uid {
            // The copy is the user's own, and what was copied is another user's, who could put it there.
            self.files.remove(self.principal, &copy).await?;
            return Err(FilesystemError::Changed(part.clone()).into());
        }
        if let Err(error) = self.files.remove(self.principal, &mine).await {
            tracing::warn!(%error, "could not remove the file of an upload that was taken over");
        }
        Ok(copy)
    }

    /// Gives a file that was taken its name back.
    ///
    /// # Errors
    /// [`ServiceError::Busy`] when another request has taken it over.
    pub async fn put_back(&self, part: &RemotePath, held: &RemotePath) -> Result<(), ServiceError> {
        match self.files.rename(self.principal, held, part, false).await {
            Err(FilesystemError::NotFound(_)) => Err(ServiceError::Busy),
            renamed => Ok(renamed?),
        }
    }
}
