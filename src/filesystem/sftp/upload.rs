//! Uploads: into a temporary file in the target's directory, which atomically replaces the target when it is complete.
//!
//! An existing file's mode, group and access control list are kept, or narrowed; its owner becomes the caller, as with every program
//! that writes by renaming.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::budget::Share;
use super::errors::{bytes, filesystem_error, not_written};
use super::finish::{Properties, finish, set_group};
use super::protocol::{Attributes, OpenFlags, Request};
use super::read::MAX_REQUESTS;
use super::session::{Failure, Handle, Session};
use super::sessions::Sessions;
use super::target::Target;
use crate::domain::{Principal, RemotePath};
use crate::filesystem::exec::CommandFiles;
use crate::filesystem::rights::{Acl, Rights};
use crate::filesystem::temporary::temporary_beside;
use crate::filesystem::{ContentStream, FilesystemError, Placed, UploadOptions};

/// Removes the temporary file of an upload or a copy, each time that it is called.
pub fn discard(
    sessions: &Arc<Sessions>,
    principal: &Principal,
    session: &Arc<Session>,
    path: &RemotePath,
) -> impl Fn() -> BoxFuture<'static, Result<(), FilesystemError>> + Send + Sync + use<> {
    let (sessions, principal, session, path) = (Arc::clone(sessions), principal.clone(), Arc::clone(session), path.clone());
    move || remove(Arc::clone(&sessions), principal.clone(), Arc::clone(&session), path.clone()).boxed()
}

/// Removes a file: on another session where its own is broken.
async fn remove(sessions: Arc<Sessions>, principal: Principal, session: Arc<Session>, path: RemotePath) -> Result<(), FilesystemError> {
    let request = &Request::Remove { path: bytes(&path) };
    // On the same session the server takes it after all that was written there.
    match session.command(request).await {
        Err(Failure::Broken { .. } | Failure::Stalled(_)) => {
            let path = &path;
            let remove =
                |session: Arc<Session>| async move { session.command(request).await.map_err(|failure| filesystem_error(path, failure)) };
            sessions.run(&principal, true, remove).await
        }
        result => result.map_err(|failure| filesystem_error(&path, failure)),
    }
}

/// Carries what SFTP does not see of a target's rights over to the file that is to replace it: its access control list, by a command.
pub struct TargetRights<'a> {
    pub exec: &'a CommandFiles,
    pub principal: &'a Principal,
    pub target: &'a Target,
}

impl TargetRights<'_> {
    /// Takes from a part what its target does not permit: the target may have lost rights since the part was made, and a part is always open to
    /// its owner. A server that sets no modes (`sftp-server -P setstat,fsetstat`) leaves that to a command; if there is none, the part is
    /// not put in place.
    pub async fn narrow(&self, part: &RemotePath, found: &Attributes) {
        let (Some(rights), Some(mode), Some((user, _))) = (self.target.rights, found.mode, found.owner) else { return };
        let (has, may_have) = (mode & 0o777, rights.for_any_group() & 0o777);
        if has & !may_have != 0 {
            let known = (found.size.unwrap_or_default(), user);
            // Whether it may be put in place is decided by what the server says of it then.
            let _ = self.exec.narrow(self.principal, part, known, has & may_have).await;
        }
    }

    /// The rights of the target, and whether the file that was written has the same list. If no command can be run, this is unknown.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn rights(
        &self,
        session: &Session,
        handle: &Handle,
        temporary: &RemotePath,
    ) -> Result<Option<(Rights, Acl)>, FilesystemError> {
        let Some(rights) = self.target.rights else { return Ok(None) };
        // The group's bits are the mask of a list: without them it gives nothing.
        if rights.mode & 0o077 == 0 {
            return Ok(Some((rights, Acl::Same)));
        }
        let found = set_group(session, handle, temporary, &rights).await?;
        let written = (found.size.unwrap_or_default(), found.owner);
        let acl = self.exec.keep_acl(self.principal, &self.target.path, temporary, &rights, written).await;
        Ok(Some((rights, acl)))
    }
}

/// An upload.
pub struct Upload<'a> {
    pub sessions: &'a Arc<Sessions>,
    pub exec: &'a CommandFiles,
    pub principal: &'a Principal,
    pub target: &'a Target,
    pub options: UploadOptions,
}

impl Upload<'_> {
    /// Writes the whole content, then puts it in the target's place.
    ///
    /// # Errors
    /// If the content fails or is over the cap, or the server refuses. The target is then as it was.
    pub async fn run(&self, session: &Arc<Session>, content: ContentStream) -> Result<Placed, FilesystemError> {
        let placed = self.write(session, content).await;
        self.exec.sweep(self.principal, &self.target.path);
        placed
    }

    /// Writes the content to a hidden file, and puts that in the target's place.
    async fn write(&self, session: &Arc<Session>, content: ContentStream) -> Result<Placed, FilesystemError> {
        let target = self.target;
        let path = &target.path;
        let temporary_path = temporary_beside(path);
        let request = Request::Open { path: bytes(&temporary_path), flags: OpenFlags::CREATE_NEW, attributes: target.creation(0) };
        // Registered before it exists: an OPEN whose reply is not awaited may have created it.
        let temporary = self.exec.temporaries.add(discard(self.sessions, self.principal, session, &temporary_path));
        let handle = match session.handle(&request).await {
            Ok(handle) => handle,
            Err(failure) => return Err(not_written(session, path, failure).await.beside(path)),
        };
        target.permits(session, &handle, &temporary_path).await?;
        let (size, outcome) = write(session, &handle, path, 0, content, self.options.cap).await;
        outcome?;
        let target_rights = TargetRights { exec: self.exec, principal: self.principal, target };
        let placed = async {
            let wanted = Properties { rights: target_rights.rights(session, &handle, &temporary_path).await?, times: None, mode: None };
            let finished = finish(session, handle, path, Some(&temporary_path), size, wanted).await?;
            let _alone = self.exec.placing.lock(path).await;
            target.take(session, &temporary_path, &finished, self.options.expected).await
        };
        let placed = placed.await.map_err(|error: FilesystemError| error.with_shown_path(&temporary_path, path))?;
        temporary.placed();
        Ok(placed)
    }
}

/// Writes content to an open file from `offset` on. Returns up to where the server has taken all of it, also where the content, or a
/// write, failed: every request has been answered then.
///
/// # Errors
/// The errors of the content, an end beyond `cap`, and the errors of the server.
pub async fn write(
    session: &Session,
    handle: &Handle,
    path: &RemotePath,
    mut offset: u64,
    mut content: ContentStream,
    cap: Option<u64>,
) -> (u64, Result<(), FilesystemError>) {
    let block = session.write_block() as usize;
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
