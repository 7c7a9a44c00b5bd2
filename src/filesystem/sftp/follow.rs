//! Follows a file as it grows, over the existing session: no command, and almost no traffic while nothing changes.
//!
//! The protocol has neither notifications of changes nor inode numbers. So the sizes of the open file and of the file under its name are polled
//! repeatedly, and the two files are distinguished by changes that one file cannot make between two polls.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::sleep;

use super::errors::{attributes, bytes, filesystem_error};
use super::protocol::{Attributes, OpenFlags, Request, Response, Status};
use super::session::{Failure, Handle, Session};
use super::sessions::Sessions;
use crate::domain::{Principal, RemotePath};
use crate::filesystem::{FilesystemError, FollowFrom, FollowStream, Followed, regular};
use crate::ssh::TransportError;

/// The pause before the next poll: after a change, and at most.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(100);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The maximum size of one read, in bytes.
const MAX_READ: u64 = 64 * 1024;

/// The number of consecutive broken sessions after which following ends.
const MAX_BROKEN_SESSIONS: u32 = 3;

/// A file that is followed.
pub struct Follower {
    sessions: Arc<Sessions>,
    principal: Principal,
    path: RemotePath,
    /// The end of the part that was read.
    offset: u64,
    file: Option<OpenFile>,
    /// The file under the name at the last poll.
    seen: Option<Attributes>,
    /// Whether the name was missing then.
    removed: bool,
    /// Whether that may have been another file than the open one.
    doubtful: bool,
    pause: Duration,
    broken: u32,
    failed: bool,
}

struct OpenFile {
    session: Arc<Session>,
    handle: Handle,
}

/// The result of a poll.
enum Look {
    Happened(Followed),
    Nothing,
    /// Poll again at once.
    Again,
}

impl Follower {
    /// Opens the file.
    ///
    /// # Errors
    /// If it cannot be opened, or is no regular file.
    pub async fn start(
        sessions: &Arc<Sessions>,
        principal: &Principal,
        path: &RemotePath,
        from: FollowFrom,
    ) -> Result<FollowStream, FilesystemError> {
        let mut follower = Self {
            sessions: Arc::clone(sessions),
            principal: principal.clone(),
            path: path.clone(),
            offset: 0,
            file: None,
            seen: None,
            removed: false,
            doubtful: false,
            pause: MIN_POLL_INTERVAL,
            broken: 0,
            failed: false,
        };
        let size = follower.open().await?;
        follower.offset = match from {
            FollowFrom::Start(offset) => offset,
            FollowFrom::End(back) => size.saturating_sub(back),
        };
        Ok(stream::unfold(follower, |mut follower| async move { follower.next().await.map(|item| (item, follower)) }).boxed())
    }

    async fn next(&mut self) -> Option<Result<Followed, FilesystemError>> {
        while !self.failed {
            match self.look().await {
                Ok(Look::Happened(followed)) => {
                    self.pause = MIN_POLL_INTERVAL;
                    self.broken = 0;
                    return Some(Ok(followed));
                }
                Ok(Look::Again) => {}
                Ok(Look::Nothing) => {
                    self.broken = 0;
                    sleep(self.pause).await;
                    self.pause = self.pause.mul_f32(1.5).min(MAX_POLL_INTERVAL);
                }
                Err(FilesystemError::Transport(TransportError::Broken { .. })) if self.broken < MAX_BROKEN_SESSIONS => {
                    self.broken += 1;
                    self.file = None;
                    self.seen = None;
                    sleep(self.pause).await;
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    async fn look(&mut self) -> Result<Look, FilesystemError> {
        let Some(file) = &self.file else {
            return match self.open().await {
                Ok(_) if self.removed => {
                    self.removed = false;
                    Ok(Look::Happened(self.replaced()))
                }
                Ok(_) => Ok(Look::Again),
                Err(FilesystemError::NotFound(_)) if self.removed => Ok(Look::Nothing),
                Err(FilesystemError::NotFound(_)) => {
                    self.removed = true;
                    Ok(Look::Happened(Followed::Removed))
                }
                Err(error) => Err(error),
            };
        };
        // Sent together and answered in this order: the second look is never older than the first.
        let (own, named) = (Request::Fstat { handle: file.handle.bytes() }, Request::Stat { path: bytes(&self.path) });
        let (own, named) = futures::join!(attributes(&file.session, &self.path, &own), attributes(&file.session, &self.path, &named));
        let own = own?;
        let size = own.size.unwrap_or_default();
        if size > self.offset {
            return self.read(size).await;
        }
        if size < self.offset {
            self.offset = 0;
            self.seen = None;
            return Ok(Look::Happened(Followed::Truncated));
        }
        let named = match named {
            Ok(named) => named,
            Err(FilesystemError::NotFound(_)) => {
                (self.file, self.removed, self.seen) = (None, true, None);
                return Ok(Look::Happened(Followed::Removed));
            }
            Err(error) => return Err(error),
        };
        let before = self.seen.replace(named);
        if self.is_other(&own, &named, before) {
            (self.file, self.seen) = (None, None);
            return match self.open().await {
                Ok(_) => Ok(Look::Happened(self.replaced())),
                Err(FilesystemError::NotFound(_)) => Ok(Look::Again),
                Err(error) => Err(error),
            };
        }
        Ok(Look::Nothing)
    }

    /// Whether another file than the open one now has the name, which has not changed since it was read to its end.
    fn is_other(&mut self, own: &Attributes, named: &Attributes, before: Option<Attributes>) -> bool {
        // What had the name before was larger than the open file is now: a file that only grows cannot have been both.
        if before.is_some_and(|before| before.size > own.size) {
            return true;
        }
        // The size may differ for once because it grew between the two looks, and the rest because it was changed there.
        let differs = (own.size, own.owner, own.mode, own.times.map(|times| times.1))
            != (named.size, named.owner, named.mode, named.times.map(|times| times.1));
        let doubtful = std::mem::replace(&mut self.doubtful, differs);
        doubtful && differs && before.is_some_and(|before| before.size == named.size)
    }

    fn replaced(&mut self) -> Followed {
        (self.offset, self.doubtful) = (0, false);
        Followed::Replaced
    }

    async fn read(&mut self, size: u64) -> Result<Look, FilesystemError> {
        let Some(file) = &self.file else { return Ok(Look::Again) };
        let length = (size - self.offset).min(MAX_READ).min(file.session.read_block().into());
        let request = Request::Read { handle: file.handle.bytes(), offset: self.offset, length: u32::try_from(length).unwrap_or(u32::MAX) };
        match file.session.request(&request).await {
            Ok(Response::Data { data }) if !data.is_empty() && data.len() as u64 <= length => {
                self.offset += data.len() as u64;
                Ok(Look::Happened(Followed::Data { data, end: self.offset }))
            }
            Ok(_) => Err(filesystem_error(&self.path, Failure::unexpected())),
            // Truncated since the last poll.
            Err(Failure::Status(Status::Eof, _)) => Ok(Look::Nothing),
            Err(failure) => Err(filesystem_error(&self.path, failure)),
        }
    }

    /// Opens the file that has the name now, and returns its size.
    async fn open(&mut self) -> Result<u64, FilesystemError> {
        let path = &self.path;
        let open = |session: Arc<Session>| async move {
            // Asked first, since opening a named pipe would block the server.
            let found = attributes(&session, path, &Request::Stat { path: bytes(path) }).await?;
            regular(path, found.mode.unwrap_or_default())?;
            let request = Request::Open { path: bytes(path), flags: OpenFlags::READ, attributes: Attributes::default() };
            let handle = session.handle(&request).await.map_err(|failure| filesystem_error(path, failure))?;
            Ok((OpenFile { session, handle }, found.size.unwrap_or_default()))
        };
        let (file, size) = self.sessions.run(&self.principal, true, open).await?;
        self.file = Some(file);
        Ok(size)
    }
}
