//! Uploads: into a temporary file beside the target, which replaces the target at once when all has arrived.
//!
//! Where the target is a symbolic link, the file that it leads to is replaced and the link stays. An existing file's mode is
//! kept; its owner becomes the caller, as with every program that writes by renaming. Where the server does not offer
//! `posix-rename@openssh.com`, the target is removed before the rename, and for a moment there is no file of that name.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::budget::Share;
use super::errors::{attributes, bytes, filesystem_error, making};
use super::finish::{finish, not_written};
use super::protocol::{Attributes, OpenFlags, Request, Response};
use super::read::{MAX_REQUESTS, version};
use super::session::{Failure, Handle, Session};
use super::sessions::Sessions;
use crate::domain::{FileType, FileVersion, Principal, RemotePath};
use crate::filesystem::{ContentStream, Expected, FilesystemError, Placed, UploadOptions, regular, temporary_beside};

/// Where a new file goes.
pub struct Target {
    /// The file to be replaced, links followed.
    pub path: RemotePath,
    /// The permission bits of the file that is there.
    pub mode: Option<u32>,
    version: Option<FileVersion>,
}

impl Target {
    /// Looks at what is there.
    ///
    /// # Errors
    /// When it is not a regular file, or cannot be looked at.
    pub async fn find(session: &Session, path: &RemotePath) -> Result<Self, FilesystemError> {
        let found = match attributes(session, path, &Request::Lstat { path: bytes(path) }).await {
            Err(FilesystemError::NotFound(_)) => return Ok(Self { path: path.clone(), mode: None, version: None }),
            other => other?,
        };
        if FileType::from_mode(found.mode.unwrap_or_default()) != FileType::Symlink {
            return Self::file(path, path.clone(), &found);
        }
        let real = match session.request(&Request::Realpath { path: bytes(path) }).await {
            Ok(Response::Name { entries }) if entries.len() == 1 => entries[0].name.clone(),
            Ok(_) => return Err(filesystem_error(path, Failure::unexpected())),
            Err(failure) => return Err(filesystem_error(path, failure)),
        };
        let real = RemotePath::from_bytes(&real).map_err(|_| filesystem_error(path, Failure::unexpected()))?;
        match attributes(session, &real, &Request::Lstat { path: bytes(&real) }).await {
            Ok(found) => Self::file(path, real, &found),
            Err(FilesystemError::NotFound(_)) => Ok(Self { path: real, mode: None, version: None }),
            Err(error) => Err(error),
        }
    }

    fn file(asked: &RemotePath, path: RemotePath, found: &Attributes) -> Result<Self, FilesystemError> {
        regular(asked, found.mode.unwrap_or_default())?;
        Ok(Self { path, mode: found.mode.map(|mode| mode & 0o7777), version: Some(version(found)) })
    }

    /// Whether what is there is what was expected.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, expected: Expected) -> Result<(), FilesystemError> {
        match (expected, &self.version) {
            (Expected::Nothing, Some(_)) => Err(FilesystemError::Exists(self.path.clone())),
            (Expected::Version(_), None) => Err(FilesystemError::NotFound(self.path.clone())),
            (Expected::Version(expected), Some(found)) if expected != *found => Err(FilesystemError::Changed(self.path.clone())),
            _ => Ok(()),
        }
    }

    /// Puts a finished file into the place, if that is as expected.
    ///
    /// # Errors
    /// When it is not, or the server refuses.
    pub async fn take(&self, session: &Session, from: &RemotePath, expected: Expected) -> Result<Placed, FilesystemError> {
        if expected == Expected::Nothing {
            // This request never replaces: OpenSSH makes a second name for the file, which fails where there is one, and removes
            // the first.
            let renamed = session.command(&Request::Rename { from: bytes(from), to: bytes(&self.path) }).await;
            return match renamed {
                Ok(()) => Ok(Placed::Created),
                Err(failure) => Err(making(session, &self.path, failure).await),
            };
        }
        if let Expected::Version(_) = expected {
            Self::find(session, &self.path).await?.check(expected)?;
        }
        rename(session, from, &self.path).await.map_err(|failure| filesystem_error(&self.path, failure))?;
        Ok(if self.version.is_some() { Placed::Replaced } else { Placed::Created })
    }
}

/// Removes the temporary file when dropped before it was renamed: after a failure, and when the client went away.
struct Temporary {
    sessions: Arc<Sessions>,
    principal: Principal,
    session: Arc<Session>,
    path: RemotePath,
    renamed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        let (sessions, principal) = (self.sessions.clone(), self.principal.clone());
        let (session, path) = (self.session.clone(), self.path.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let request = &Request::Remove { path: bytes(&path) };
            // On the same session the server takes it after all that was written there.
            let removed = match session.command(request).await {
                Err(Failure::Broken { .. } | Failure::Stalled(_)) => {
                    let path = &path;
                    let remove = |session: Arc<Session>| async move {
                        session.command(request).await.map_err(|failure| filesystem_error(path, failure))
                    };
                    sessions.run(&principal, true, remove).await
                }
                result => result.map_err(|failure| filesystem_error(&path, failure)),
            };
            match removed {
                // It had not been made yet.
                Ok(()) | Err(FilesystemError::NotFound(_)) => {}
                Err(error) => tracing::warn!(%error, "could not remove the temporary file of an upload that failed"),
            }
        });
    }
}

/// An upload.
pub struct Upload<'a> {
    pub sessions: &'a Arc<Sessions>,
    pub principal: &'a Principal,
    pub target: &'a Target,
    pub options: UploadOptions,
}

impl Upload<'_> {
    /// Writes the whole content, then puts it in the target's place.
    ///
    /// # Errors
    /// When the content fails or is over the cap, or the server refuses. The target is then as it was.
    pub async fn run(&self, session: &Arc<Session>, content: ContentStream) -> Result<Placed, FilesystemError> {
        let target = self.target;
        let path = &target.path;
        let temporary_path = temporary_beside(path);
        // The temporary file is never open to more people than the target.
        let attributes = target.mode.map_or_else(Attributes::default, |mode| Attributes::with_mode(mode & 0o777));
        let request = Request::Open { path: bytes(&temporary_path), flags: OpenFlags::CREATE_NEW, attributes };
        // Watched from before it exists: an OPEN whose reply is not awaited may have made it.
        let mut temporary = Temporary {
            sessions: self.sessions.clone(),
            principal: self.principal.clone(),
            session: session.clone(),
            path: temporary_path.clone(),
            renamed: false,
        };
        let handle = match session.handle(&request).await {
            Ok(handle) => handle,
            Err(failure) => return Err(not_written(session, path, failure).await),
        };
        let (size, outcome) = write(session, &handle, path, 0, content, self.options.cap).await;
        outcome?;
        let wanted = target.mode.map_or_else(Attributes::default, Attributes::with_mode);
        finish(session, handle, path, size, wanted).await?;
        let placed = target.take(session, &temporary_path, self.options.expected).await?;
        temporary.renamed = true;
        Ok(placed)
    }
}

/// Writes content to an open file from `offset` on. Returns up to where the server has taken all of it, also where the content, or a
/// write, failed: every request has been answered then.
///
/// # Errors
/// Those of the content, that it would end beyond `cap`, and those of the server.
pub async fn write(
    session: &Session,
    handle: &Handle,
    path: &RemotePath,
    mut offset: u64,
    mut content: ContentStream,
    cap: Option<u64>,
) -> (u64, Result<(), FilesystemError>) {
    let block = session.capabilities().write_block() as usize;
    let (mut waiting, mut end) = (Bytes::new(), None);
    let (mut share, mut granted) = (Share::new(), None);
    let mut writes = FuturesUnordered::new();
    // The first block that the server did not take; what came behind it does not count.
    let mut failed: Option<(u64, Failure)> = None;
    loop {
        let next = waiting.len().min(block);
        if next > 0 && granted.is_none() && writes.len() < MAX_REQUESTS {
            granted = share.grant(next);
        }
        // All are driven at once: a slow client must not hold back what is to be written, nor its acknowledgement.
        tokio::select! {
            room = session.room(next), if next > 0 && granted.is_some() => {
                let at = offset;
                let request = Request::Write { handle: handle.bytes(), offset, data: waiting.split_to(next) };
                let grant = granted.take();
                offset += next as u64;
                writes.push(session.carry(&request, room).map(move |written| (at, written, grant)));
            }
            Some((at, written, grant)) = writes.next() => {
                share.release(grant);
                if let Err(failure) = written {
                    waiting.clear();
                    end.get_or_insert(Ok(()));
                    if failed.as_ref().is_none_or(|(first, _)| at < *first) {
                        failed = Some((at, failure));
                    }
                }
            },
            piece = content.next(), if end.is_none() && waiting.is_empty() => match piece {
                Some(Ok(piece)) if cap.is_some_and(|cap| offset + piece.len() as u64 > cap) => {
                    end = Some(Err(FilesystemError::TooLarge(cap.unwrap_or_default())));
                }
                Some(Ok(piece)) => waiting = piece,
                Some(Err(error)) => end = Some(Err(error)),
                None => end = Some(Ok(())),
            },
            else => break,
        }
    }
    match (failed, end.unwrap_or(Ok(()))) {
        (None, outcome) => (offset, outcome),
        (Some((at, _)), Err(error)) => (at, Err(error)),
        (Some((at, failure)), Ok(())) => (at, Err(not_written(session, path, failure).await)),
    }
}

async fn rename(session: &Session, from: &RemotePath, to: &RemotePath) -> Result<(), Failure> {
    if session.capabilities().posix_rename {
        return session.command(&Request::PosixRename { from: bytes(from), to: bytes(to) }).await;
    }
    let request = Request::Rename { from: bytes(from), to: bytes(to) };
    let refused = match session.command(&request).await {
        Err(refused @ Failure::Status(..)) => refused,
        other => return other,
    };
    // Version 3 does not say why; a target that is there is the reason that can be helped.
    if session.request(&Request::Lstat { path: bytes(to) }).await.is_err() {
        return Err(refused);
    }
    session.command(&Request::Remove { path: bytes(to) }).await?;
    session.command(&request).await
}
