//! The output of a job as it is written: from before the file exists until after the job has ended.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::ending::JobWatch;
use crate::domain::{JobId, RemotePath};
use crate::filesystem::{FilesystemError, FollowFrom, FollowStream, Followed};
use crate::service::shared_follow::{Event, Source};
use crate::service::updates::expiry;
use crate::service::{Access, ServiceError};

/// The interval between checks whether the job has ended.
const JOB_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The interval between checks whether the file exists.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The time after the end of a job in which its last output may still be in transit: from the node to the file server, and from there to the reader.
const OUTPUT_SETTLE_TIME: Duration = Duration::from_secs(2);

/// The time to wait for more content of a file that was read to its end.
const LAST_CONTENT_WAIT: Duration = Duration::from_millis(250);

/// A source for the output in `path` from an offset on.
pub(super) fn open(access: Access, job: JobId, path: RemotePath, offset: u64) -> Source {
    let end = expiry(access.principal());
    // Existing content is sent before the scheduler is queried.
    let next_job_check = Instant::now() + LAST_CONTENT_WAIT;
    let output = GrowingOutput { access, job, path, offset, file: None, phase: Phase::Opening, next_job_check, ended: None, size: None };
    let events = stream::unfold(output, |mut output| async move { output.next().await.map(|event| (event, output)) });
    events.boxed().take_until(end).chain(stream::once(async { Event::Expired })).boxed()
}

struct GrowingOutput {
    access: Access,
    job: JobId,
    path: RemotePath,
    /// The end of the part that was read.
    offset: u64,
    file: Option<FollowStream>,
    phase: Phase,
    next_job_check: Instant,
    /// When the job was first known to have ended.
    ended: Option<Instant>,
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
            self.check_job().await;
            if self.is_whole().await? {
                return Ok(None);
            }
            let Some(file) = &mut self.file else {
                sleep(if self.ended.is_some() { LAST_CONTENT_WAIT } else { FILE_CHECK_INTERVAL }).await;
                self.open_file().await?;
                continue;
            };
            let next = match self.ended {
                Some(_) => timeout(LAST_CONTENT_WAIT, file.next()).await,
                None => timeout_at(self.next_job_check, file.next()).await,
            };
            match next {
                Ok(Some(change)) => {
                    let change = change?;
                    match &change {
                        Followed::Data { end, .. } => self.offset = *end,
                        Followed::Truncated | Followed::Replaced => (self.offset, self.size) = (0, None),
                        Followed::Removed => {}
                    }
                    return Ok(Some(change));
                }
                // It is followed again if it still exists.
                Ok(None) => self.file = None,
                Err(_) => {}
            }
        }
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

    async fn check_job(&mut self) {
        if self.ended.is_some() || Instant::now() < self.next_job_check {
            return;
        }
        if JobWatch::new(&self.access, &self.job).has_ended().await == Some(true) {
            self.ended = Some(Instant::now());
        }
        self.next_job_check = Instant::now() + JOB_CHECK_INTERVAL;
    }

    /// Whether the job has ended and its output was read. The size is read once, so that a file to which others write has an end too.
    async fn is_whole(&mut self) -> Result<bool, ServiceError> {
        if self.ended.is_none_or(|ended| ended.elapsed() < OUTPUT_SETTLE_TIME) {
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
