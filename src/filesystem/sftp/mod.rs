//! Files over SFTP: the fast path.
//!
//! `protocol/` is the codec, `session/` one channel, `sessions.rs` who has which; the other files are operations. What SFTP
//! cannot do goes to [`CommandFiles`]. It must not know HTTP or the path policy. A new operation is a file here and a method below.

mod budget;
mod change;
mod copy;
mod errors;
mod finish;
mod follow;
mod listing;
mod names;
mod operations;
mod part;
pub mod protocol;
mod read;
mod resolve;
mod session;
mod sessions;
mod target;
mod transfer;
mod upload;
mod waiting;
mod walk;

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::exec::CommandFiles;
use super::{CompressOptions, Compression, ContentStream, FileSystem, FilesystemError, ListOptions, Part, Settings};
use crate::domain::{Checksum, Content, DirectoryEntry, FileMode, FileStat, Identity, Principal, RemotePath, hex};
use crate::ssh::{CommandError, Transport, TransportError};

use change::Removed;
use errors::{attributes, bytes};
use listing::Lister;
use names::Names;
use part::{Parts, Stop};
use protocol::Request;
use read::{SMALL, Source};
use resolve::resolve;
use session::Session;
use sessions::Sessions;

/// The files of a cluster over SFTP.
pub struct Sftp {
    sessions: Arc<Sessions>,
    names: Arc<Names>,
    exec: CommandFiles,
    settings: Settings,
}

impl Sftp {
    /// Sessions are opened when first needed. What SFTP cannot do goes to `exec`.
    pub fn new(transport: Arc<dyn Transport>, exec: CommandFiles, settings: Settings) -> Self {
        Self { sessions: Arc::new(Sessions::new(transport, settings)), names: Arc::new(Names::new()), exec, settings }
    }

    /// Opens the caller's session, to learn whether there is SFTP at all.
    ///
    /// # Errors
    /// When there is no session.
    pub async fn probe(&self, principal: &Principal) -> Result<(), FilesystemError> {
        self.sessions.control(principal).await.map(drop)
    }

    async fn part(&self, principal: &Principal, path: &RemotePath, part: Part, is_head: bool) -> Result<Vec<u8>, FilesystemError> {
        let cap = self.settings.max_ops_file_size;
        let attempt = async |session: Arc<Session>, budget| {
            let source = Source::open(&session, path).await?;
            let mut parts = Parts { source: &source, cap, budget };
            if is_head { parts.head(part).await } else { parts.tail(part).await }
        };
        // Most answers are short and need no session of their own.
        let small = self.sessions.run(principal, true, |session| {
            attempt(session, SMALL).map(|result| match result {
                Ok(data) => Ok(Some(data)),
                Err(Stop::Budget) => Ok(None),
                Err(Stop::Error(error)) => Err(error),
            })
        });
        if let Some(data) = small.await? {
            return Ok(data);
        }
        let session = self.sessions.bulk(principal).await?;
        match attempt(Arc::clone(&session), u64::MAX).await {
            Ok(data) => Ok(data),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Budget) => Err(FilesystemError::TooLarge(cap)),
        }
    }

    /// A search for lines can read a whole file, so it has a command's time.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, FilesystemError>>) -> Result<T, FilesystemError> {
        let limit = self.settings.command_timeout;
        timeout(limit, work).await.map_err(|_| TransportError::Execution(limit))?
    }

    async fn digest(&self, mut content: ContentStream) -> Result<Checksum, FilesystemError> {
        let mut context = digest::Context::new(&digest::SHA256);
        while let Some(piece) = content.next().await {
            context.update(&piece?);
        }
        Ok(Checksum { algorithm: "SHA256", hex: hex(context.finish().as_ref()) })
    }
}

/// True when the site lets the caller run no such command.
fn no_command(error: &FilesystemError) -> bool {
    matches!(
        error,
        FilesystemError::Transport(TransportError::Refused(_))
            | FilesystemError::Command(CommandError::Transport(TransportError::Refused(_)) | CommandError::Exit { exit: 126 | 127, .. })
    )
}

#[async_trait]
impl FileSystem for Sftp {
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

    async fn file_type(&self, principal: &Principal, path: &RemotePath) -> Result<String, FilesystemError> {
        self.exec.file_type(principal, path).await
    }

    async fn head(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        let data = self.in_time(self.part(principal, path, part, true)).await?;
        Ok(part.head_content(data))
    }

    async fn tail(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError> {
        let data = self.in_time(self.part(principal, path, part, false)).await?;
        Ok(part.tail_content(data))
    }

    async fn view(&self, principal: &Principal, path: &RemotePath, offset: u64, size: u64) -> Result<Vec<u8>, FilesystemError> {
        if size > self.settings.max_ops_file_size {
            return Err(FilesystemError::TooLarge(self.settings.max_ops_file_size));
        }
        let read = |session: Arc<Session>| async move { Source::open(&session, path).await?.bytes(offset, size).await };
        match size <= SMALL {
            true => self.sessions.run(principal, true, read).await,
            false => {
                let session = self.sessions.bulk(principal).await?;
                read(Arc::clone(&session)).await
            }
        }
    }

    /// Small files are read; the rest is left to the cluster's own `sha256sum`, which saves the network, and read only where
    /// no command can be run.
    async fn checksum(&self, principal: &Principal, path: &RemotePath) -> Result<Checksum, FilesystemError> {
        let small = self
            .sessions
            .run(principal, true, |session| async move {
                let source = Source::open(&session, path).await?;
                match source.size() <= SMALL {
                    true => self.digest(source.whole()).await.map(Some),
                    false => Ok(None),
                }
            })
            .await?;
        if let Some(checksum) = small {
            return Ok(checksum);
        }
        match self.exec.checksum(principal, path).await {
            Err(error) if no_command(&error) => {}
            result => return result,
        }
        let session = self.sessions.bulk(principal).await?;
        let limit = self.settings.copy_timeout;
        let digest = timeout(limit, async { self.digest(Source::open(&session, path).await?.whole()).await }).await;
        digest.map_err(|_| FilesystemError::TooSlow { seconds: limit.as_secs(), instead: "download the file, and take its sum there" })?
    }

    /// What a symbolic mode comes to, `chmod` tells: it takes the umask of the login.
    async fn chmod(&self, principal: &Principal, path: &RemotePath, mode: &FileMode) -> Result<(), FilesystemError> {
        let FileMode::Bits(bits) = mode else {
            return match self.exec.chmod(principal, path, mode).await {
                Err(error) if no_command(&error) => {
                    Err(FilesystemError::Unsupported("this system runs no commands for its users: give the mode in octal"))
                }
                result => result,
            };
        };
        self.sessions.run(principal, true, |session| async move { change::chmod(&session, path, *bits).await }).await
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
        self.sessions.run(principal, parents, |session| async move { change::mkdir(&session, path, parents).await }).await
    }

    async fn symlink(&self, principal: &Principal, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError> {
        self.sessions.run(principal, false, |session| async move { change::symlink(&session, target, link).await }).await
    }

    async fn remove(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        let one = |session: Arc<Session>| async move { change::remove_one(&session, path).await };
        if let Removed::Yes = self.sessions.run(principal, false, one).await? {
            return Ok(());
        }
        match self.exec.remove(principal, path).await {
            Err(error) if no_command(&error) => {}
            result => return result,
        }
        self.sessions.run(principal, false, |session| async move { change::remove_tree(&session, path.clone(), 0).await }).await
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
