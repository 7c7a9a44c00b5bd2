//! Changes of entries by SFTP.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::time::timeout;

use super::change::Removed;
use super::proof::{Links, again};
use super::protocol::Attributes;
use super::read::{SMALL, Source};
use super::session::Session;
use super::{Sftp, cannot_run_commands, change, copy};
use crate::domain::{FileMode, FileType, Principal, RemotePath};
use crate::filesystem::{Changes, CompressOptions, Compression, CopyOptions, Entries, FilesystemError, LINK_TO_IT, SAME_FILE};
use crate::ssh::TransportError;

#[async_trait]
impl Changes for Sftp {
    /// Resolves a symbolic mode with `chmod`, because it depends on the umask of the login.
    async fn chmod(&self, principal: &Principal, path: &RemotePath, mode: &FileMode) -> Result<(), FilesystemError> {
        let FileMode::Bits(bits) = mode else {
            return match self.exec.chmod(principal, path, mode).await {
                Err(error) if cannot_run_commands(&error) => {
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

    async fn mkdir_with_mode(&self, principal: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
        let mode = mode & 0o777;
        let make = |session: Arc<Session>| async move { change::make_directory(&session, path, Attributes::with_mode(mode)).await };
        self.sessions.run(principal, false, make).await.map_err(|error| error.in_making(path))?;
        // The umask of the server may have taken something away.
        self.set_directory_mode(principal, path, mode).await.map_err(|error| error.partly("the directory was made"))
    }

    async fn set_directory_mode(&self, principal: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
        let mode = mode & 0o777;
        let found = self.stat(principal, path, false).await?.mode;
        if FileType::from_mode(found) != FileType::Directory {
            return Err(FilesystemError::Changed(path.clone()));
        }
        if found & 0o777 == mode {
            return Ok(());
        }
        // A request of SFTP that sets a mode by a name follows links; the command does not.
        match self.exec.set_directory_mode(principal, path, mode).await {
            Err(error) if cannot_run_commands(&error) && found & 0o077 & !mode == 0 => Ok(()),
            result => result,
        }
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
            Err(error) if cannot_run_commands(&error) => {}
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

    async fn check_archive_target(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError> {
        match self.exec.check_archive_target(principal, source, target, options).await {
            Err(error) if cannot_run_commands(&error) => Ok(()),
            result => result,
        }
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

    async fn copy(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError> {
        let limit = self.settings.copy_timeout;
        let copied = timeout(limit, again(|| self.copy_any(principal, source, target, options))).await;
        self.exec.sweep(principal, target);
        copied.map_err(|_| TransportError::Execution(limit))?
    }

    async fn rename(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        overwrite: bool,
    ) -> Result<(), FilesystemError> {
        if overwrite && self.is_link_over_other(principal, source, target).await {
            match self.exec.rename(principal, source, target, overwrite).await {
                Err(error) if cannot_run_commands(&error) => self.leads_elsewhere(principal, source, target).await?,
                result => return result,
            }
        }
        let rename = |session: Arc<Session>| async move { copy::rename(&session, source, target, overwrite).await };
        let refused = match self.sessions.run(principal, false, rename).await {
            Err(error @ FilesystemError::Sftp { .. }) => error,
            Ok(()) if overwrite && self.is_one_file(principal, source, target).await => {
                return Err(FilesystemError::WrongType { path: target.clone(), reason: SAME_FILE });
            }
            result => return result,
        };
        // The server gives no reason. The program does, and it moves between file systems.
        match self.exec.rename(principal, source, target, overwrite).await {
            Err(error) if cannot_run_commands(&error) => Err(refused),
            result => result,
        }
    }

    async fn touch(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError> {
        self.sessions.run(principal, true, |session| async move { copy::touch(&session, path).await }).await
    }
}

impl Sftp {
    /// Whether, after a rename that succeeded, both names are there and are those of one file: then nothing was renamed (POSIX, rename). Where no
    /// command can be run, two files of equal attributes count as one.
    async fn is_one_file(&self, principal: &Principal, source: &RemotePath, target: &RemotePath) -> bool {
        let Ok(left) = self.stat(principal, source, false).await else { return false };
        match futures::join!(self.exec.stat(principal, source, false), self.exec.stat(principal, target, false)) {
            (Ok(source), Ok(target)) => (source.dev, source.ino) == (target.dev, target.ino),
            (Err(FilesystemError::NotFound(_)), _) => false,
            _ => self.stat(principal, target, false).await.is_ok_and(|moved| moved == left),
        }
    }

    /// Whether a command finds that the source of a copy is the same file as the target. Where none can be run this is unknown: a copy that was made
    /// before has the attributes of its source too.
    async fn is_same_file(&self, principal: &Principal, source: &RemotePath, target: &RemotePath, dereference: bool) -> bool {
        let found = futures::join!(self.exec.stat(principal, source, dereference), self.exec.stat(principal, target, false));
        matches!(found, (Ok(source), Ok(target)) if (source.dev, source.ino) == (target.dev, target.ino))
    }

    /// Whether a link is to take the place of something else. If it leads there, the content would be lost, which a command sees for certain.
    async fn is_link_over_other(&self, principal: &Principal, source: &RemotePath, target: &RemotePath) -> bool {
        let is_link = async |path| {
            let found = self.stat(principal, path, false).await;
            found.ok().map(|found| FileType::from_mode(found.mode) == FileType::Symlink)
        };
        is_link(source).await == Some(true) && is_link(target).await.is_some()
    }

    /// Checks, where no command can be run, that a link does not lead to a file: two of equal attributes count as one.
    async fn leads_elsewhere(&self, principal: &Principal, link: &RemotePath, file: &RemotePath) -> Result<(), FilesystemError> {
        match (self.stat(principal, link, true).await, self.stat(principal, file, false).await) {
            (Ok(end), Ok(found)) if end == found => Err(FilesystemError::WrongType { path: file.clone(), reason: LINK_TO_IT }),
            _ => Ok(()),
        }
    }

    async fn copy_any(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError> {
        let look = |session: Arc<Session>| async move { Ok((copy::look(&session, source, target, options).await?, session)) };
        let (found, session) = self.sessions.run(principal, true, look).await?;
        let links = if options.dereference { Links::Followed } else { Links::OnTheWay };
        let (overwrite, context) = (options.overwrite, copy::CopyContext { sessions: &self.sessions, exec: &self.exec, principal, links });
        match found {
            copy::Source::Link(points_to) => {
                if overwrite && self.is_link_over_other(principal, source, target).await {
                    match self.exec.copy(principal, source, target, options).await {
                        Err(error) if cannot_run_commands(&error) => self.leads_elsewhere(principal, source, target).await?,
                        result => return result,
                    }
                }
                copy::link(&session, context, &points_to, target, overwrite).await
            }
            copy::Source::File { is_like_target: true, .. } if self.is_same_file(principal, source, target, options.dereference).await => {
                Err(FilesystemError::WrongType { path: target.clone(), reason: SAME_FILE })
            }
            copy::Source::File { found, .. } if session.capabilities().copy_data => match found.size.unwrap_or(u64::MAX) <= SMALL {
                true => copy::file(&session, context, source, &found, target, overwrite, None).await,
                // The server does nothing else meanwhile, so that it is not done where other requests would wait for it.
                false => copy::file(&*self.sessions.bulk(principal).await?, context, source, &found, target, overwrite, None).await,
            },
            copy::Source::File { .. } => match self.exec.copy(principal, source, target, options).await {
                Err(error) if cannot_run_commands(&error) => {
                    let open = |session: Arc<Session>| async move {
                        Source::open(&session, source, Source::look(&session, source, links).await?).await
                    };
                    let (lease, from) = self.sessions.bulk_for(principal, open).await?;
                    let found = from.attributes;
                    let content = from.whole().inspect(move |_| _ = &lease).boxed();
                    copy::file(&*self.sessions.bulk(principal).await?, context, source, &found, target, overwrite, Some(content)).await
                }
                result => result,
            },
            copy::Source::Directory => match self.exec.copy(principal, source, target, options).await {
                Err(error) if cannot_run_commands(&error) => {
                    Err(FilesystemError::Unsupported("this system runs no commands for its users, and SFTP has no way to copy a directory"))
                }
                result => result,
            },
        }
    }
}
