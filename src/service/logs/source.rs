//! The output of a job as it is written: from before the file exists until after the job has ended.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::ending::complete_output;
use crate::domain::{JobId, RemotePath};
use crate::filesystem::{FilesystemError, FollowFrom, FollowStream, Followed};
use crate::service::shared_follow::{Event, Source};
use crate::service::updates::expiry;
use crate::service::{Access, ServiceError};

/// The interval between checks whether the file exists.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The time to wait for more content of a file that was read to its end.
const LAST_CONTENT_WAIT: Duration = Duration::from_millis(250);

/// A source for the output in `path` from an offset on.
pub(super) fn open(access: Access, job: JobId, path: RemotePath, offset: u64) -> Source {
    let end = expiry(access.principal());
    // Existing content is sent before the scheduler is queried.
    let completion = complete_output(access.clone(), job, LAST_CONTENT_WAIT);
    let output = GrowingOutput { access, path, offset, file: None, phase: Phase::Opening, completion, complete_at: None, size: None };
    let events = stream::unfold(output, |mut output| async move { output.next().await.map(|event| (event, output)) });
    events.boxed().take_until(end).chain(stream::once(async { Event::Expired })).boxed()
}

struct GrowingOutput {
    access: Access,
    path: RemotePath,
    /// The end of the part that was read.
    offset: u64,
    file: Option<FollowStream>,
    phase: Phase,
    /// Waits for the end of the job.
    completion: BoxFuture<'static, Instant>,
    /// From when on it is complete, once the job has ended.
    complete_at: Option<Instant>,
    /// The size up to which it is read then.
    size: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Over,
}

impl GrowingOutput {
    async fn next(&mut self) -> Option<Event> {
        let event = match self.phase {
            Phase::Opening => match self.open_file().await {
                Ok(()) => {
                    self.phase = Phase::Open;
                    return Some(Event::Opened);
                }
                Err(error) => Err(error),
            },
            Phase::Open => self.read_on().await,
            Phase::Over => return None,
        };
        Some(match event {
            Ok(Some(change)) => Event::Change(change),
            Ok(None) => {
                self.phase = Phase::Over;
                Event::Ended
            }
            Err(error) => {
                self.phase = Phase::Over;
                Event::Failed(error.into())
            }
        })
    }

    /// The next change; none if the job has ended and everything was sent.
    async fn read_on(&mut self) -> Result<Option<Followed>, ServiceError> {
        loop {
            if self.is_whole().await? {
                return Ok(None);
            }
            match self.next_change().await {
                Some(change) => {
                    let change = change?;
                    match &change {
                        Followed::Data { end, .. } => self.offset = *end,
                        Followed::Truncated | Followed::Replaced => (self.offset, self.size) = (0, None),
                        Followed::Removed => {}
                    }
                    return Ok(Some(change));
                }
                None if self.file.is_none() => self.open_file().await?,
                None => {}
            }
        }
    }

    /// Waits for a change of the file, but not past the end of the job. Without a file, it waits until the next attempt to open it.
    async fn next_change(&mut self) -> Option<Result<Followed, FilesystemError>> {
        let Some(file) = &mut self.file else {
            match self.complete_at {
                Some(_) => sleep(LAST_CONTENT_WAIT).await,
                None => tokio::select! {
                    () = sleep(FILE_CHECK_INTERVAL) => {}
                    at = &mut self.completion => self.complete_at = Some(at),
                },
            }
            return None;
        };
        let change = match self.complete_at {
            Some(at) => timeout_at(at.max(Instant::now() + LAST_CONTENT_WAIT), file.next()).await.ok()?,
            None => tokio::select! {
                biased;
                change = file.next() => change,
                at = &mut self.completion => {
                    self.complete_at = Some(at);
                    return None;
                }
            },
        };
        if change.is_none() {
            // It is followed again if it still exists.
            self.file = None;
        }
        change
    }

    /// Opens the file if it exists.
    async fn open_file(&mut self) -> Result<(), ServiceError> {
        let files = self.access.files().await?;
        match files.follow(self.access.principal(), &self.path, FollowFrom::Start(self.offset)).await {
            Ok(file) => self.file = Some(file),
            Err(FilesystemError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether the job has ended and its output was read. The size is read once, so that a file to which others write has an end too.
    async fn is_whole(&mut self) -> Result<bool, ServiceError> {
        if self.complete_at.is_none_or(|at| Instant::now() < at) {
            return Ok(false);
        }
        if self.size.is_none() {
            let found = self.access.files().await?.stat(self.access.principal(), &self.path, true).await;
            self.size = match found {
                Ok(found) => Some(found.size),
                Err(FilesystemError::NotFound(_)) => Some(0),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(self.size.is_some_and(|size| self.offset >= size))
    }
}
