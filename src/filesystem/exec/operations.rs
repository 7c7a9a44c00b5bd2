//! The operations past the contract, by commands.

use async_trait::async_trait;
use futures::TryStreamExt;

use super::change::What;
use super::copy::{Copy, Move};
use super::storage::{GetFacl, GetQuota, StatFs};
use super::{CommandFiles, walk};
use crate::domain::{AclEntry, Principal, Quota, RemotePath, Space};
use crate::filesystem::page::Top;
use crate::filesystem::{
    CopyOptions, EntryStream, FilesystemError, FollowFrom, FollowStream, ListOptions, Operations, Page, PageRequest, WalkOptions,
};
use crate::ssh::{CommandError, TransportError};

#[async_trait]
impl Operations for CommandFiles {
    async fn walk(&self, principal: &Principal, path: &RemotePath, options: WalkOptions) -> Result<EntryStream, FilesystemError> {
        let stream = self.transport.stream(principal, &walk::command(path, &options)).await?;
        walk::entries(stream, path, options, self.settings.stall).await
    }

    async fn page(
        &self,
        principal: &Principal,
        path: &RemotePath,
        options: ListOptions,
        request: &PageRequest,
    ) -> Result<Page, FilesystemError> {
        let options = WalkOptions { list: ListOptions { recursive: false, ..options }, ..WalkOptions::default() };
        let mut entries = self.walk(principal, path, options).await?;
        let mut top = Top::new(request);
        while let Some(found) = entries.try_next().await? {
            for entry in found {
                top.offer(&entry.name, entry.size, entry.modified, || entry.clone());
            }
        }
        let (entries, next) = top.finish();
        Ok(Page { entries, next })
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

    async fn space(&self, principal: &Principal, path: &RemotePath) -> Result<Space, FilesystemError> {
        self.run(principal, &[path], &StatFs { seconds: self.seconds(), path }).await
    }

    async fn quota(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError> {
        let answer = self.run(principal, &[path], &GetQuota { seconds: self.seconds(), path }).await;
        answer.map_err(|error| absent(error, "this system has no program that tells of quotas (`quota`, `lfs`)"))
    }

    async fn acl(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError> {
        let answer = self.run(principal, &[path], &GetFacl { seconds: self.seconds(), path }).await;
        answer.map_err(|error| absent(error, "this system has no program that tells of access control lists (`getfacl`)"))
    }

    async fn follow(&self, _: &Principal, _: &RemotePath, _: FollowFrom) -> Result<FollowStream, FilesystemError> {
        Err(FilesystemError::Unsupported("following a file needs SFTP, which this system does not offer: ask for its tail instead"))
    }
}

/// The error for a program that the site may not have.
fn absent(error: FilesystemError, reason: &'static str) -> FilesystemError {
    match error {
        FilesystemError::Command(CommandError::Exit { exit: 126 | 127, .. }) | FilesystemError::Transport(TransportError::Refused(_)) => {
            FilesystemError::Unsupported(reason)
        }
        error => error,
    }
}
