//! A transfer whose client is connected.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::domain::{Alternative, Job, JobId, RemotePath};
use crate::error::ErrorChain;
use crate::filesystem::{ContentStream, Download, Expected, FilesystemError, UploadOptions};
use crate::scheduler::SchedulerError;
use crate::service::contents::{self, TransferForm};
use crate::service::limits::UserPermit;
use crate::service::streams::{Streams, WaitingTransfer};
use crate::service::{Access, ServiceError};
use crate::transfer::streamer::{Direction, Report};

/// The interval between checks whether the job of a transfer still runs.
const JOB_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The number of checks between two signs of life for the job.
const CHECKS_PER_PING: u32 = 3;

/// Maximum duration of a transfer, from the first byte to the last.
const MAX_TRANSFER_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The pauses before a report is written again.
const REPORT_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The state of a transfer's job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    /// It has not begun, or does not go on.
    Waiting,
    Running,
    Ended,
    /// The scheduler does not know it: not yet, or no more.
    Unknown,
}

impl JobState {
    /// Whether a job that has run does not run any more. Some schedulers forget a job when it has ended.
    fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Unknown)
    }
}

/// A transfer whose client is connected. If it is dropped before [`Stream::end`], it has failed.
pub struct Stream {
    access: Access,
    direction: Direction,
    path: RemotePath,
    job: JobId,
    limit: u64,
    announced: Option<u64>,
    ending: Option<Ending>,
    _connected: UserPermit,
}

/// What the end of a transfer needs.
struct Ending {
    access: Access,
    job: JobId,
    report: RemotePath,
    /// The end of the process waits for this.
    _tracked: TaskTrackerToken,
}

/// Why a transfer does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Its job has ended: it was cancelled, or its time was over.
    #[error("the job of the transfer has ended")]
    Job,
    /// It has taken too long.
    #[error("the transfer took longer than {} days", MAX_TRANSFER_TIME.as_secs() / 86_400)]
    Time,
}

impl Stream {
    pub(super) fn new(access: Access, connected: UserPermit, waiting: &WaitingTransfer) -> Self {
        let tracked = access.state().streams.endings.token();
        let ending = Ending { access: access.clone(), job: waiting.job.clone(), report: waiting.report.clone(), _tracked: tracked };
        Self {
            access,
            direction: waiting.direction,
            path: waiting.path.clone(),
            job: waiting.job.clone(),
            limit: waiting.limit,
            announced: waiting.size,
            ending: Some(ending),
            _connected: connected,
        }
    }

    /// Its direction.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Maximum size of an upload, in bytes.
    pub fn limit(&self) -> u64 {
        let cap = TransferForm::Stream.cap(&self.access);
        cap.map_or(self.limit, |cap| cap.min(self.limit))
    }

    /// The size in bytes that an upload must have, if its request announced one.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Waits for a place among the transfers that move bytes. It is given back when the result is dropped.
    ///
    /// # Errors
    /// None in practice: the places are never closed.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        let places = Arc::clone(&self.streams().places);
        places.acquire_owned().await.map_err(|error| FilesystemError::Interrupted(std::io::Error::other(error)).into())
    }

    /// Writes the new file, of `size` bytes. It appears when `content` has ended without an error, if the job still runs.
    ///
    /// # Errors
    /// If something has that name by now, `content` fails, the job has ended, or the cluster does not allow it.
    pub async fn receive(&self, content: ContentStream, size: u64) -> Result<(), ServiceError> {
        let (access, job) = (self.access.clone(), self.job.clone());
        let last_look = stream::once(async move {
            match job_state(&access, &job).await {
                Ok(state) if state.is_over() => Some(Err::<Bytes, _>(FilesystemError::Interrupted(std::io::Error::other(StopReason::Job)))),
                _ => None,
            }
        });
        let content = content.chain(last_look.filter_map(std::future::ready)).boxed();
        let options = UploadOptions { cap: Some(self.limit()), length: Some(size), expected: Expected::Nothing };
        contents::write(&self.access, &self.path, content, options, Alternative::WriteStream).await.map(drop)
    }

    /// Opens the file.
    ///
    /// # Errors
    /// If there is none any more, it is too large, or the cluster does not deliver it.
    pub async fn open(&self) -> Result<Download, ServiceError> {
        contents::open(&self.access, &self.path, None, TransferForm::Stream.cap(&self.access), Alternative::TransferJob).await
    }

    /// Tells the job that the client is connected, and works until the work is done or the job has ended. The job has a sign of life
    /// now and then.
    ///
    /// # Errors
    /// Those of the work, and [`StopReason`].
    pub async fn while_running<T, E: From<StopReason>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        if let Some(ending) = &self.ending {
            report(&self.access, &ending.report, &Report::Begun).await;
        }
        tokio::select! {
            outcome = work => outcome,
            ended = self.watch() => Err(ended.into()),
            () = sleep(MAX_TRANSFER_TIME) => Err(StopReason::Time.into()),
        }
    }

    /// Returns when the job has ended. That the scheduler does not answer is no end.
    async fn watch(&self) -> StopReason {
        let Some(ending) = &self.ending else { return StopReason::Job };
        let mut looks = 0_u32;
        loop {
            sleep(JOB_CHECK_INTERVAL).await;
            match job_state(&self.access, &self.job).await {
                Ok(state) if state.is_over() => return StopReason::Job,
                Ok(_) => {}
                Err(error) => tracing::debug!(error = %ErrorChain(&error), "whether the job of a transfer runs is not known"),
            }
            looks += 1;
            if looks.is_multiple_of(CHECKS_PER_PING)
                && let Ok(files) = self.access.files().await
            {
                // What fails now may succeed in half a minute, and the job waits for ten times that.
                let _ = files.touch(self.access.principal(), &ending.report).await;
            }
        }
    }

    /// Ends the transfer: its job ends in the same way, with this reason if it failed.
    pub async fn end(mut self, outcome: Result<(), String>) {
        let Some(ending) = self.ending.take() else { return };
        let report = outcome.map_or_else(Report::Failed, |()| Report::Done);
        // It ends in order also where the connection does not.
        let task = self.streams().endings.spawn(ending.run(report));
        _ = task.await;
    }

    fn streams(&self) -> &Streams {
        &self.access.state().streams
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            let report = Report::Failed("the connection of the client was lost".to_owned());
            self.streams().endings.spawn(ending.run(report));
        }
    }
}

impl Ending {
    /// Tells the job, if it is still there. What was written too late for it is removed.
    async fn run(self, report: Report) {
        if job_state(&self.access, &self.job).await.is_ok_and(JobState::is_over) {
            if let Ok(files) = self.access.files().await {
                // Most often the job has removed it.
                let _ = files.remove(self.access.principal(), &self.report).await;
            }
            return;
        }
        self::report(&self.access, &self.report, &report).await;
    }
}

/// Writes the report for the job. If it cannot be written, it is removed, which says that there was one.
pub(super) async fn report(access: &Access, path: &RemotePath, report: &Report) {
    let Err(error) = write_report(access, path, report).await else { return };
    if *report != Report::Begun {
        for pause in REPORT_PAUSES {
            sleep(pause).await;
            if write_report(access, path, report).await.is_ok() {
                return;
            }
        }
        if let Ok(files) = access.files().await {
            let _ = files.remove(access.principal(), path).await;
        }
    }
    tracing::warn!(%path, ?report, error = %ErrorChain(&error), "could not write the report for the job of a transfer");
}

async fn write_report(access: &Access, path: &RemotePath, report: &Report) -> Result<(), ServiceError> {
    let content = report.content();
    let options = UploadOptions { length: Some(content.len() as u64), ..UploadOptions::default() };
    let content = stream::iter([Ok(content)]).boxed();
    access.files().await?.upload(access.principal(), path, content, options).await?;
    Ok(())
}

/// The state of a job of the caller's.
///
/// # Errors
/// If the scheduler does not say.
pub(super) async fn job_state(access: &Access, job: &JobId) -> Result<JobState, ServiceError> {
    let found = match access.cluster().scheduler()?.job(access.principal(), job).await {
        Ok(found) => found,
        Err(SchedulerError::JobNotFound) => return Ok(JobState::Unknown),
        Err(error) => return Err(error.into()),
    };
    // PBS has letters where its own states are shown.
    let is_running = |job: &Job| matches!(job.status.state.as_str(), "RUNNING" | "R");
    Ok(match found.as_slice() {
        [] => JobState::Unknown,
        jobs if jobs.iter().any(is_running) => JobState::Running,
        jobs if jobs.iter().all(|job| job.status.has_ended()) => JobState::Ended,
        _ => JobState::Waiting,
    })
}
