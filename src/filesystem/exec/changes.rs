//! Changes of entries by commands.

use async_trait::async_trait;

use super::CommandFiles;
use super::archive::{Pack, Unpack};
use super::change::What;
use super::copy::{Copy, Move};
use crate::domain::{Alternative, FileMode, Principal, RemotePath};
use crate::filesystem::{Changes, CompressOptions, Compression, CopyOptions, FilesystemError};

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

    async fn symlink(&self, principal: &Principal, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError> {
        self.change(principal, link, What::LinkTo(target)).await
    }

    async fn remove(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        self.change(principal, path, What::Remove).await
    }

    async fn compress(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError> {
        let command = Pack::new(self.long_seconds(), source, target, options);
        self.run_sized(principal, &[source, target], &command, Alternative::CompressJob).await
    }

    async fn extract(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        compression: Compression,
    ) -> Result<(), FilesystemError> {
        let command = Unpack { seconds: self.long_seconds(), source, target, compression };
        self.run_sized(principal, &[source, target], &command, Alternative::ExtractJob).await
    }

    async fn copy(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError> {
        let seconds = self.settings.copy_timeout.as_secs().max(1);
        self.run_long(principal, &[source, target], &Copy { seconds, source, target, options }).await
    }

    async fn rename(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        overwrite: bool,
    ) -> Result<(), FilesystemError> {
        let seconds = self.settings.copy_timeout.as_secs().max(1);
        self.run_long(principal, &[source, target], &Move { seconds, source, target, overwrite }).await
    }

    async fn touch(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        self.change(principal, path, What::Touch).await
    }
}
