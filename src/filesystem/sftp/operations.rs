//! The operations past the contract, over SFTP.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::timeout;

use super::errors::{bytes, filesystem_error};
use super::follow::Follower;
use super::listing::Lister;
use super::protocol::{FileSystemSpace, Request, Response};
use super::read::SMALL;
use super::session::{Failure, Session};
use super::walk::{self, Walk};
use super::{Sftp, copy, no_command};
use crate::domain::{AclEntry, Principal, Quota, RemotePath, Space};
use crate::filesystem::{
    CopyOptions, EntryStream, Expected, FilesystemError, FollowFrom, FollowStream, ListOptions, Operations, Page, PageRequest, Transfer,
    UploadOptions, WalkOptions,
};
use crate::ssh::TransportError;

#[async_trait]
impl Operations for Sftp {
    /// On a session of the bulk lane: a walk takes long, and what else the user asks must not wait behind it.
    async fn walk(&self, principal: &Principal, path: &RemotePath, options: WalkOptions) -> Result<EntryStream, FilesystemError> {
        let session = self.sessions.bulk(principal).await?;
        Walk::new(session, &self.names, &principal.username, path, options).start().await
    }

    async fn page(
        &self,
        principal: &Principal,
        path: &RemotePath,
        options: ListOptions,
        request: &PageRequest,
    ) -> Result<Page, FilesystemError> {
        let page = |session: Arc<Session>| async move {
            let lister = Lister { session: &session, names: &self.names, caller: &principal.username, options };
            walk::page(&lister, path, request).await
        };
        self.sessions.run(principal, true, page).await
    }

    async fn copy(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError> {
        let limit = self.settings.copy_timeout;
        let copied = timeout(limit, self.copy_any(principal, source, target, options)).await;
        copied.map_err(|_| TransportError::Execution(limit))?
    }

    async fn rename(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        overwrite: bool,
    ) -> Result<(), FilesystemError> {
        let rename = |session: Arc<Session>| async move { copy::rename(&session, source, target, overwrite).await };
        let refused = match self.sessions.run(principal, false, rename).await {
            Err(error @ FilesystemError::Sftp { .. }) => error,
            result => return result,
        };
        // The server did not say why. The program does, and moves what is to go to another file system.
        match self.exec.rename(principal, source, target, overwrite).await {
            Err(error) if no_command(&error) => Err(refused),
            result => result,
        }
    }

    async fn touch(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        self.sessions.run(principal, true, |session| async move { copy::touch(&session, path).await }).await
    }

    async fn space(&self, principal: &Principal, path: &RemotePath) -> Result<Space, FilesystemError> {
        let ask = |session: Arc<Session>| async move {
            if !session.capabilities().statvfs {
                return Ok(None);
            }
            let failed = |failure| filesystem_error(path, failure);
            match session.request(&Request::Statvfs { path: bytes(path) }).await.map_err(failed)? {
                Response::ExtendedReply { data } => Ok(Some(FileSystemSpace::decode(data).map_err(|error| failed(error.into()))?)),
                _ => Err(failed(Failure::unexpected())),
            }
        };
        let Some(told) = self.sessions.run(principal, true, ask).await? else { return self.exec.space(principal, path).await };
        let bytes = |blocks: u64| blocks.saturating_mul(told.block);
        Ok(Space {
            total: bytes(told.blocks),
            free: bytes(told.free),
            available: bytes(told.available),
            files: told.files,
            files_free: told.files_free,
        })
    }

    async fn quota(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError> {
        self.exec.quota(principal, path).await
    }

    async fn acl(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError> {
        self.exec.acl(principal, path).await
    }

    async fn follow(&self, principal: &Principal, path: &RemotePath, from: FollowFrom) -> Result<FollowStream, FilesystemError> {
        Follower::start(&self.sessions, principal, path, from).await
    }
}

impl Sftp {
    async fn copy_any(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError> {
        let look = |session: Arc<Session>| async move { Ok((copy::look(&session, source, target, options).await?, session)) };
        let (found, session) = self.sessions.run(principal, true, look).await?;
        let (overwrite, by) = (options.overwrite, (&self.exec, principal));
        match found {
            copy::Source::Link(points_to) => copy::link(&session, &self.exec.temporaries, &points_to, target, overwrite).await,
            copy::Source::File(found) if session.capabilities().copy_data => match found.size.unwrap_or(u64::MAX) <= SMALL {
                true => copy::file(&session, by, source, &found, target, overwrite).await,
                // The server does nothing else meanwhile, so that it is not done where other requests would wait for it.
                false => copy::file(&*self.sessions.bulk(principal).await?, by, source, &found, target, overwrite).await,
            },
            copy::Source::File(_) => match self.exec.copy(principal, source, target, options).await {
                Err(error) if no_command(&error) => {
                    let download = self.download(principal, source, None, None).await?;
                    let expected = if overwrite { Expected::Anything } else { Expected::Nothing };
                    let options = UploadOptions { expected, ..UploadOptions::default() };
                    self.upload(principal, target, download.content, options).await.map(|_| ())
                }
                result => result,
            },
            copy::Source::Directory => match self.exec.copy(principal, source, target, options).await {
                Err(error) if no_command(&error) => {
                    Err(FilesystemError::Unsupported("this system runs no commands for its users, and SFTP has no way to copy a directory"))
                }
                result => result,
            },
        }
    }
}
