//! SFTP where the server offers it, commands where it does not.

use async_trait::async_trait;
use moka::future::Cache;
use std::sync::Arc;

use super::{
    ArchiveFormat, CommandFiles, CompressOptions, Compression, ContentStream, CopyOptions, Download, EntryStream, Expected, FileSystem,
    FilesystemError, FollowFrom, FollowStream, ListOptions, Operations, Page, PageRequest, Part, PartOptions, Placed, Settings, Sftp,
    Transfer, UploadOptions, WalkOptions,
};
use crate::domain::{
    AclEntry, ByteRange, Checksum, Content, DirectoryEntry, FileMode, FileStat, Identity, Principal, Quota, RemotePath, Space, Username,
};
use crate::ssh::{Transport, TransportError};

/// The files of a cluster, by the better way that the server offers.
///
/// Found out for each user apart, at the first use and again after [`Settings::probe_again`]: what a user's start-up files do
/// to the subsystem must not slow anyone else down.
pub struct Auto {
    sftp: Sftp,
    exec: CommandFiles,
    without_sftp: Cache<Username, ()>,
}

impl Auto {
    /// Nothing is asked of the cluster before the first operation.
    pub fn new(transport: Arc<dyn Transport>, settings: Settings) -> Self {
        let exec = CommandFiles::new(transport.clone(), settings);
        Self {
            sftp: Sftp::with_commands(transport, exec.clone(), settings),
            exec,
            without_sftp: Cache::builder().max_capacity(10_000).time_to_live(settings.probe_again).build(),
        }
    }

    async fn files(&self, principal: &Principal) -> Result<&dyn FileSystem, FilesystemError> {
        if self.without_sftp.contains_key(&principal.username) {
            return Ok(&self.exec);
        }
        match self.sftp.probe(principal).await {
            Ok(()) => Ok(&self.sftp),
            Err(FilesystemError::Transport(TransportError::Refused(reason))) => {
                tracing::info!(user = %principal.username, %reason, "the cluster offers no SFTP; files are reached by commands");
                self.without_sftp.insert(principal.username.clone(), ()).await;
                Ok(&self.exec)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl FileSystem for Auto {
    async fn list(&self, principal: &Principal, path: &RemotePath, options: ListOptions) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        self.files(principal).await?.list(principal, path, options).await
    }

    async fn entry(&self, principal: &Principal, path: &RemotePath) -> Result<DirectoryEntry, FilesystemError> {
        self.files(principal).await?.entry(principal, path).await
    }

    async fn stat(&self, principal: &Principal, path: &RemotePath, dereference: bool) -> Result<FileStat, FilesystemError> {
        self.files(principal).await?.stat(principal, path, dereference).await
    }

    async fn resolve(&self, principal: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
        self.files(principal).await?.resolve(principal, path).await
    }

    async fn file_type(&self, principal: &Principal, path: &RemotePath) -> Result<String, FilesystemError> {
        self.exec.file_type(principal, path).await
    }

    async fn head(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        self.files(principal).await?.head(principal, path, part).await
    }

    async fn tail(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        self.files(principal).await?.tail(principal, path, part).await
    }

    async fn view(&self, principal: &Principal, path: &RemotePath, offset: u64, size: u64) -> Result<Vec<u8>, FilesystemError> {
        self.files(principal).await?.view(principal, path, offset, size).await
    }

    async fn checksum(&self, principal: &Principal, path: &RemotePath) -> Result<Checksum, FilesystemError> {
        self.files(principal).await?.checksum(principal, path).await
    }

    async fn chmod(&self, principal: &Principal, path: &RemotePath, mode: &FileMode) -> Result<(), FilesystemError> {
        self.files(principal).await?.chmod(principal, path, mode).await
    }

    async fn chown(
        &self,
        principal: &Principal,
        path: &RemotePath,
        owner: Option<&str>,
        group: Option<&str>,
    ) -> Result<(), FilesystemError> {
        self.exec.chown(principal, path, owner, group).await
    }

    async fn mkdir(&self, principal: &Principal, path: &RemotePath, parents: bool) -> Result<(), FilesystemError> {
        self.files(principal).await?.mkdir(principal, path, parents).await
    }

    async fn symlink(&self, principal: &Principal, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError> {
        self.files(principal).await?.symlink(principal, target, link).await
    }

    async fn remove(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        self.files(principal).await?.remove(principal, path).await
    }

    async fn compress(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError> {
        self.exec.compress(principal, source, target, options).await
    }

    async fn extract(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        compression: Compression,
    ) -> Result<(), FilesystemError> {
        self.exec.extract(principal, source, target, compression).await
    }

    async fn identity(&self, principal: &Principal) -> Result<Identity, FilesystemError> {
        self.exec.identity(principal).await
    }

    async fn settle(&self) {
        self.exec.settle().await;
    }
}

#[async_trait]
impl Transfer for Auto {
    async fn download(
        &self,
        principal: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError> {
        self.files(principal).await?.download(principal, path, range, cap).await
    }

    async fn upload(
        &self,
        principal: &Principal,
        path: &RemotePath,
        content: ContentStream,
        options: UploadOptions,
    ) -> Result<Placed, FilesystemError> {
        self.files(principal).await?.upload(principal, path, content, options).await
    }

    async fn begin_part(&self, principal: &Principal, part: &RemotePath, target: &RemotePath) -> Result<(), FilesystemError> {
        self.files(principal).await?.begin_part(principal, part, target).await
    }

    async fn extend_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        content: ContentStream,
        options: PartOptions,
    ) -> Result<u64, FilesystemError> {
        self.files(principal).await?.extend_part(principal, part, content, options).await
    }

    async fn place_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        target: &RemotePath,
        size: u64,
        expected: Expected,
    ) -> Result<Placed, FilesystemError> {
        self.files(principal).await?.place_part(principal, part, target, size, expected).await
    }

    async fn pack(&self, principal: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
        self.exec.pack(principal, source, format).await
    }

    async fn unpack(
        &self,
        principal: &Principal,
        target: &RemotePath,
        format: ArchiveFormat,
        content: ContentStream,
        cap: Option<u64>,
    ) -> Result<Placed, FilesystemError> {
        self.exec.unpack(principal, target, format, content, cap).await
    }
}

#[async_trait]
impl Operations for Auto {
    async fn walk(&self, principal: &Principal, path: &RemotePath, options: WalkOptions) -> Result<EntryStream, FilesystemError> {
        self.files(principal).await?.walk(principal, path, options).await
    }

    async fn page(
        &self,
        principal: &Principal,
        path: &RemotePath,
        options: ListOptions,
        request: &PageRequest,
    ) -> Result<Page, FilesystemError> {
        self.files(principal).await?.page(principal, path, options, request).await
    }

    async fn copy(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError> {
        self.files(principal).await?.copy(principal, source, target, options).await
    }

    async fn rename(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        overwrite: bool,
    ) -> Result<(), FilesystemError> {
        self.files(principal).await?.rename(principal, source, target, overwrite).await
    }

    async fn touch(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        self.files(principal).await?.touch(principal, path).await
    }

    async fn space(&self, principal: &Principal, path: &RemotePath) -> Result<Space, FilesystemError> {
        self.files(principal).await?.space(principal, path).await
    }

    async fn quota(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError> {
        self.exec.quota(principal, path).await
    }

    async fn acl(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError> {
        self.exec.acl(principal, path).await
    }

    async fn follow(&self, principal: &Principal, path: &RemotePath, from: FollowFrom) -> Result<FollowStream, FilesystemError> {
        self.files(principal).await?.follow(principal, path, from).await
    }
}
