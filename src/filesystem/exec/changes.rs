//! Changes of entries by commands.

use async_trait::async_trait;

use super::CommandFiles;
use super::archive::{CheckArchiveTarget, Pack, Unpack};
use super::change::{Removal, Remove, What};
use super::copy::{Copy, Move};
use super::errors::not_removed;
use super::rights::SetDirectory;
use crate::domain::{Alternative, FileMode, Principal, RemotePath};
use crate::error::Classify;
use crate::filesystem::temporary::{temporary_beside, temporary_in};
use crate::filesystem::{Changes, CompressOptions, Compression, CopyOptions, FilesystemError, SOME_PLACED, SOME_REMOVED};

#[async_trait]
impl Changes for CommandFiles {
    async fn chmod(&self, principal: &Principal, path: &RemotePath, mode: &FileMode) -> Result<(), FilesystemError> {
        self.change(principal, path, What::Mode(mode)).await
    }

    async fn chown(
        &self,
        principal: &Principal,
        path: &RemotePath,
        owner: Option<&str>,
        group: Option<&str>,
    ) -> Result<(), FilesystemError> {
        let (user, group) = (owner.unwrap_or_default(), group.unwrap_or_default());
        if user.is_empty() && group.is_empty() {
            return Err(FilesystemError::Invalid("an owner or a group is needed".to_owned()));
        }
        self.change(principal, path, What::Owner { user, group }).await
    }

    async fn mkdir(&self, principal: &Principal, path: &RemotePath, parents: bool) -> Result<(), FilesystemError> {
        self.change(principal, path, What::MakeDirectory { parents }).await
    }

    async fn mkdir_with_mode(&self, principal: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
        self.change(principal, path, What::MakeDirectoryWithMode(mode)).await
    }

    async fn set_directory_mode(&self, principal: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
        self.run(principal, &[path], &SetDirectory { seconds: self.seconds(), path, mode }).await
    }

    async fn symlink(&self, principal: &Principal, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError> {
        self.change(principal, link, What::LinkTo(target)).await
    }

    async fn remove(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        match self.run(principal, &[path], &Remove { seconds: self.seconds(), path }).await? {
            Removal::Whole => Ok(()),
            Removal::Partly(error) => Err(not_removed(error, path).partly(SOME_REMOVED)),
        }
    }

    async fn compress(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError> {
        let temporary = temporary_beside(target);
        let command = Pack { seconds: self.long_seconds(), source, target, temporary: &temporary, options };
        let paths = [source, target];
        let packed = self.run_sized(principal, &paths, &command, Alternative::CompressJob);
        let packed = self.clearing(principal, &temporary, target, packed).await;
        self.sweep(principal, target);
        packed
    }

    async fn check_archive_target(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError> {
        self.run(principal, &[source, target], &CheckArchiveTarget { seconds: self.seconds(), source, target, options }).await
    }

    async fn extract(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        compression: Compression,
    ) -> Result<(), FilesystemError> {
        let temporary = temporary_in(target);
        let command = Unpack { seconds: self.long_seconds(), source, target, temporary: &temporary, compression };
        let paths = [source, target];
        let unpacked = self.run_sized(principal, &paths, &command, Alternative::ExtractJob);
        let unpacked = self.clearing(principal, &temporary, target, unpacked).await;
        self.sweep_into(principal, target);
        match unpacked {
            Ok(placed) => placed.map_err(|failed| failed.error().with_shown_path(&temporary, target)),
            Err(error @ FilesystemError::TooSlow { .. }) => Err(error.partly(SOME_PLACED)),
            Err(error) => Err(error),
        }
    }

    async fn copy(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError> {
        let temporary = temporary_beside(target);
        let command = Copy { seconds: self.long_seconds(), source, target, temporary: &temporary, options };
        let copied = self.clearing(principal, &temporary, target, self.run_long(principal, &[source, target], &command)).await;
        self.sweep(principal, target);
        copied
    }

    async fn rename(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        overwrite: bool,
    ) -> Result<(), FilesystemError> {
        let temporary = temporary_beside(target);
        let command = Move { seconds: self.long_seconds(), source, target, temporary: &temporary, overwrite };
        let moved = self.clearing(principal, &temporary, target, self.run_long(principal, &[source, target], &command)).await;
        self.sweep(principal, target);
        moved
    }

    async fn touch(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        self.change(principal, path, What::Touch).await
    }
}

impl CommandFiles {
    /// Runs a command that writes to `temporary`, and removes that itself unless it is cut off: then it is removed here. Errors
    /// name `target` in its place.
    async fn clearing<T>(
        &self,
        principal: &Principal,
        temporary: &RemotePath,
        target: &RemotePath,
        command: impl Future<Output = Result<T, FilesystemError>>,
    ) -> Result<T, FilesystemError> {
        let (files, user, folder) = (self.clone(), principal.clone(), temporary.clone());
        let registered = self.temporaries.add(move || files.clone().discard_folder(user.clone(), folder.clone()));
        let result = command.await;
        if !result.as_ref().is_err_and(|error| error.maybe_effected() == Some(true)) {
            registered.placed();
        }
        result.map_err(|error| error.with_shown_path(temporary, target))
    }
}
