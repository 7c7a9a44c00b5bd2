//! Uploads: into a temporary file beside the target, which replaces the target at once when all has arrived.
//!
//! Where the target is a symbolic link, the file that it leads to is replaced and the link stays. An existing file's mode is
//! kept; its owner becomes the caller, as with every program that writes by renaming. Where the server does not offer
//! `posix-rename@openssh.com`, the target is removed before the rename, and for a moment there is no file of that name.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::errors::{attributes, bytes, filesystem_error};
use super::protocol::{Attributes, OpenFlags, Request, Response};
use super::read::window;
use super::session::{Failure, Session};
use super::sessions::Sessions;
use crate::domain::{FileType, Principal, RemotePath};
use crate::filesystem::{ContentStream, FilesystemError, regular, temporary_beside};

/// Where an upload goes.
pub struct Target {
    /// The file to be replaced, links followed.
    path: RemotePath,
    /// The mode of the file that is there.
    mode: Option<u32>,
}

impl Target {
    /// Looks at what is there.
    ///
    /// # Errors
    /// When it is not a regular file, or cannot be looked at.
    pub async fn find(session: &Arc<Session>, path: &RemotePath) -> Result<Self, FilesystemError> {
        let found = match attributes(session, path, &Request::Lstat { path: bytes(path) }).await {
            Err(FilesystemError::NotFound(_)) => return Ok(Self { path: path.clone(), mode: None }),
            other => other?,
        };
        let mode = found.mode.unwrap_or_default();
        if FileType::from_mode(mode) != FileType::Symlink {
            regular(path, mode)?;
            return Ok(Self { path: path.clone(), mode: Some(mode & 0o7777) });
        }
        let real = match session.request(&Request::Realpath { path: bytes(path) }).await {
            Ok(Response::Name { entries }) if entries.len() == 1 => entries[0].name.clone(),
            Ok(_) => return Err(filesystem_error(path, Failure::unexpected())),
            Err(failure) => return Err(filesystem_error(path, failure)),
        };
        let real = RemotePath::from_bytes(&real).map_err(|_| filesystem_error(path, Failure::unexpected()))?;
        let mode = match attributes(session, &real, &Request::Lstat { path: bytes(&real) }).await {
            Ok(found) => {
                regular(path, found.mode.unwrap_or_default())?;
                found.mode.map(|mode| mode & 0o7777)
            }
            Err(FilesystemError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path: real, mode })
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

/// Writes the whole content, then puts it in the target's place.
///
/// # Errors
/// When the content fails or is over `cap`, or the server refuses. The target is then as it was.
pub async fn upload(
    sessions: &Arc<Sessions>,
    principal: &Principal,
    session: &Arc<Session>,
    target: &Target,
    mut content: ContentStream,
    cap: Option<u64>,
) -> Result<(), FilesystemError> {
    let path = &target.path;
    let failed = |failure| filesystem_error(path, failure);
    let temporary_path = temporary_beside(path);
    // The temporary file is never open to more people than the target.
    let attributes = target.mode.map_or_else(Attributes::default, |mode| Attributes::with_mode(mode & 0o777));
    let request = Request::Open { path: bytes(&temporary_path), flags: OpenFlags::CREATE_NEW, attributes };
    // Watched from before it exists: an OPEN whose reply is not awaited may have made it.
    let mut temporary = Temporary {
        sessions: sessions.clone(),
        principal: principal.clone(),
        session: session.clone(),
        path: temporary_path.clone(),
        renamed: false,
    };
    let handle = session.handle(&request).await.map_err(failed)?;

    let block = session.capabilities().write_block() as usize;
    let window = window(session.capabilities().write_block());
    let mut offset = 0_u64;
    let mut waiting = Bytes::new();
    let mut ended = false;
    let mut writes = FuturesUnordered::new();
    loop {
        while !waiting.is_empty() && writes.len() < window {
            let data = waiting.split_to(waiting.len().min(block));
            let length = data.len() as u64;
            let request = Request::Write { handle: handle.bytes(), offset, data };
            offset += length;
            writes.push(async move { session.command(&request).await });
        }
        // Both are driven at once: a slow client must not hold back what is to be written, nor its acknowledgement.
        tokio::select! {
            Some(written) = writes.next() => written.map_err(|failure| not_written(path, failure))?,
            piece = content.next(), if !ended && waiting.is_empty() => match piece {
                Some(piece) => waiting = piece?,
                None => ended = true,
            },
            else => break,
        }
        if let Some(cap) = cap.filter(|cap| offset + waiting.len() as u64 > *cap) {
            return Err(FilesystemError::TooLarge(cap));
        }
    }
    if let Some(mode) = target.mode {
        let request = Request::Fsetstat { handle: handle.bytes(), attributes: Attributes::with_mode(mode) };
        session.command(&request).await.map_err(failed)?;
    }
    if session.capabilities().fsync {
        session.command(&Request::Fsync { handle: handle.bytes() }).await.map_err(failed)?;
    }
    handle.close().await.map_err(failed)?;
    rename(session, &temporary_path, path).await.map_err(failed)?;
    temporary.renamed = true;
    Ok(())
}

/// The error for a WRITE. The protocol has no word for a full file system, and OpenSSH says no more than `Failure`.
fn not_written(path: &RemotePath, failure: Failure) -> FilesystemError {
    let is_status = matches!(failure, Failure::Status(..));
    match filesystem_error(path, failure) {
        FilesystemError::Sftp { path, message } if is_status => {
            FilesystemError::Sftp { path, message: format!("{message} (the file system may be full, or a quota reached)") }
        }
        error => error,
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
