//! Directories and their entries, by SFTP.

use std::sync::Arc;

use async_trait::async_trait;

use super::errors::{attributes, bytes};
use super::listing::Lister;
use super::protocol::Request;
use super::resolve::{existing, resolve};
use super::session::Session;
use super::walk::Walk;
use super::{Sftp, walk};
use crate::domain::{DirectoryEntry, FileStat, Principal, RemotePath};
use crate::filesystem::{Entries, EntryStream, FilesystemError, ListOptions, Page, PageRequest, WalkOptions};

#[async_trait]
impl Entries for Sftp {
    async fn list(&self, principal: &Principal, path: &RemotePath, options: ListOptions) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        let names = &self.names;
        let caller = &principal.username;
        let list = |session: Arc<Session>| async move { Lister { session: &session, names, caller, options }.list(path).await };
        self.sessions.run(principal, true, list).await
    }

    async fn entry(&self, principal: &Principal, path: &RemotePath) -> Result<DirectoryEntry, FilesystemError> {
        let names = &self.names;
        let caller = &principal.username;
        let entry = |session: Arc<Session>| async move {
            Lister { session: &session, names, caller, options: ListOptions::default() }.entry(path).await
        };
        self.sessions.run(principal, true, entry).await
    }

    async fn stat(&self, principal: &Principal, path: &RemotePath, dereference: bool) -> Result<FileStat, FilesystemError> {
        let request = match dereference {
            true => Request::Stat { path: bytes(path) },
            false => Request::Lstat { path: bytes(path) },
        };
        let request = &request;
        let found = self.sessions.run(principal, true, |session| async move { attributes(&session, path, request).await }).await?;
        let (uid, gid) = found.owner.unwrap_or_default();
        let (atime, mtime) = found.times.unwrap_or_default();
        Ok(FileStat {
            mode: found.mode.unwrap_or_default(),
            ino: 0,
            dev: 0,
            nlink: 1,
            uid,
            gid,
            size: found.size.unwrap_or_default(),
            atime: atime.into(),
            ctime: mtime.into(),
            mtime: mtime.into(),
        })
    }

    async fn resolve(&self, principal: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
        self.sessions.run(principal, true, |session| async move { resolve(&session, path).await }).await
    }

    async fn real_path(&self, principal: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
        self.sessions.run(principal, true, |session| async move { existing(&session, path).await }).await
    }

    /// On a session of the bulk lane: a walk takes long, and other requests of the user must not wait behind it.
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

    async fn page_real(&self, principal: &Principal, path: &RemotePath, mode: u32, request: &PageRequest) -> Result<Page, FilesystemError> {
        let options = ListOptions { hidden: true, numeric_ids: true, ..ListOptions::default() };
        let page = |session: Arc<Session>| async move {
            let lister = Lister { session: &session, names: &self.names, caller: &principal.username, options };
            walk::page_real(&lister, path, mode, request).await
        };
        self.sessions.run(principal, true, page).await
    }
}
