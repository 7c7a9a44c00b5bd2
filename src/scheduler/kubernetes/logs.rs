//! The output of jobs, which Kubernetes keeps for as long as it keeps their pods.
//!
//! The API server gives an output from its start alone, so what a reader has already is skipped here. A stream that breaks is opened again where
//! it was, until the container has ended and everything was given.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connection::{Actor, Output};
use super::failure::ApiFailure;
use super::jobs::{Jobs, rejected};
use super::names::JobRef;
use super::state::Progress;
use crate::domain::{JobId, Principal, Username};
use crate::scheduler::{JobOutputs, OutputPart, OutputStream, SchedulerError};

/// The time between two looks at a job whose output cannot be read yet, where no change is reported meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause before a stream that broke is opened again.
const BROKEN_PAUSE: Duration = Duration::from_millis(250);
/// How often in a row a stream may not be opened.
const MAX_FAILURES: u32 = 60;

/// Reads the output of jobs.
#[derive(Clone)]
pub(super) struct Outputs(pub(super) Arc<Jobs>);

#[async_trait]
impl JobOutputs for Outputs {
    async fn read(&self, principal: &Principal, id: &JobId) -> Result<OutputStream, SchedulerError> {
        let user = &principal.username;
        let (namespace, progress) = progress(&self.0, user, id).await?;
        let Some(pod) = progress.pod else { return Ok(stream::empty().boxed()) };
        match self.0.connection.output(Actor::User(user), &namespace, &pod, false).await {
            Ok(output) => Ok(output.map(|piece| piece.map(OutputPart::Data).map_err(ApiFailure::without_effect)).boxed()),
            // The container has not begun, or its pod was removed a moment ago.
            Err(ApiFailure::Refused { code: 400 | 404, .. }) => Ok(stream::empty().boxed()),
            Err(failure) => Err(failure.without_effect()),
        }
    }

    async fn follow(&self, principal: &Principal, id: &JobId, offset: u64) -> Result<OutputStream, SchedulerError> {
        progress(&self.0, &principal.username, id).await?;
        let changes = self.0.cache.changes();
        let follower = Follower {
            jobs: Arc::clone(&self.0),
            user: principal.username.clone(),
            id: id.clone(),
            changes,
            offset,
            reading: Reading::Past,
            failures: 0,
        };
        let parts = stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(part)) => Some((Ok(part), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(parts.boxed())
    }
}

/// Where a job stands whose output is to be read.
async fn progress(jobs: &Jobs, user: &Username, id: &JobId) -> Result<(Arc<str>, Progress), SchedulerError> {
    let JobRef { name, task } = JobRef::read(id)?;
    let (namespace, observed) = jobs.one(user, name).await?;
    match (observed.task_count(), task) {
        (None, None) | (Some(_), Some(_)) => Ok((namespace, observed.progress(task).ok_or(SchedulerError::JobNotFound)?)),
        (None, Some(_)) => Err(SchedulerError::JobNotFound),
        (Some(count), None) => {
            Err(rejected(&format!("it stands for {count} tasks, each with an output of its own: name one of them, such as {name}_0")))
        }
    }
}

/// Reads on while the job writes.
struct Follower {
    jobs: Arc<Jobs>,
    user: Username,
    id: JobId,
    changes: watch::Receiver<u64>,
    /// The end of the output that was sent.
    offset: u64,
    reading: Reading,
    /// How many attempts to open a stream have failed since the last success.
    failures: u32,
}

/// What a follower reads.
enum Reading {
    /// Nothing yet, or not any more: what there is now comes first.
    Past,
    /// What there was when it was opened. Its end says how long the output was.
    Present { output: Output, position: u64, is_last: bool },
    /// What is written.
    Growing { output: Output, position: u64 },
    /// Everything was given.
    Over,
}

impl Follower {
    /// The next part; none if the job has ended and all of its output was given.
    async fn next(&mut self) -> Result<Option<OutputPart>, SchedulerError> {
        loop {
            let (output, position) = match &mut self.reading {
                Reading::Over => return Ok(None),
                Reading::Past => {
                    self.open().await?;
                    continue;
                }
                Reading::Present { output, position, .. } | Reading::Growing { output, position } => (output, position),
            };
            match output.next().await {
                Some(Ok(piece)) => {
                    let start = *position;
                    *position += piece.len() as u64;
                    if let Some(data) = beyond(&piece, start, self.offset) {
                        self.offset += data.len() as u64;
                        return Ok(Some(OutputPart::Data(data)));
                    }
                }
                Some(Err(failure)) => {
                    tracing::debug!(job = %self.id, ?failure, "the output of a job is read anew");
                    self.reading = Reading::Past;
                    sleep(BROKEN_PAUSE).await;
                }
                None => {
                    if let Some(part) = self.end_of_stream().await {
                        return Ok(Some(part));
                    }
                }
            }
        }
    }

    /// Opens what there is, or waits for a change.
    async fn open(&mut self) -> Result<(), SchedulerError> {
        self.changes.mark_unchanged();
        let found = progress(&self.jobs, &self.user, &self.id).await;
        let (namespace, progress) = match found {
            Ok(found) => found,
            // It was removed, and its output with it.
            Err(SchedulerError::JobNotFound) => {
                self.reading = Reading::Over;
                return Ok(());
            }
            Err(error) => return self.failed(error).await,
        };
        let Some(pod) = progress.pod else {
            if progress.is_over {
                self.reading = Reading::Over;
            } else {
                self.wait().await;
            }
            return Ok(());
        };
        let follow = !progress.is_over && self.offset == 0;
        match self.jobs.connection.output(Actor::User(&self.user), &namespace, &pod, follow).await {
            Ok(output) => {
                self.failures = 0;
                self.reading = match follow {
                    true => Reading::Growing { output, position: 0 },
                    false => Reading::Present { output, position: 0, is_last: progress.is_over },
                };
                Ok(())
            }
            Err(ApiFailure::Refused { code: 400 | 404, .. }) if progress.is_over => {
                self.reading = Reading::Over;
                Ok(())
            }
            Err(ApiFailure::Refused { code: 400 | 404, .. }) => {
                self.wait().await;
                Ok(())
            }
            Err(failure) => self.failed(failure.without_effect()).await,
        }
    }

    /// What the end of a stream means.
    async fn end_of_stream(&mut self) -> Option<OutputPart> {
        match std::mem::replace(&mut self.reading, Reading::Past) {
            // It is shorter than the output that was sent: it began anew.
            Reading::Present { position, .. } if position < self.offset => {
                self.offset = 0;
                Some(OutputPart::Restarted)
            }
            Reading::Present { is_last: true, .. } | Reading::Over => {
                self.reading = Reading::Over;
                None
            }
            Reading::Present { .. } => {
                self.grow().await;
                None
            }
            // The container has ended, or the stream was cut. Which of them, its state says.
            Reading::Growing { .. } | Reading::Past => {
                sleep(BROKEN_PAUSE).await;
                None
            }
        }
    }

    /// Opens the stream of what is written, which begins with what was.
    async fn grow(&mut self) {
        let opened = async {
            let (namespace, progress) = progress(&self.jobs, &self.user, &self.id).await.ok()?;
            self.jobs.connection.output(Actor::User(&self.user), &namespace, &progress.pod?, true).await.ok()
        };
        match opened.await {
            Some(output) => self.reading = Reading::Growing { output, position: 0 },
            None => sleep(BROKEN_PAUSE).await,
        }
    }

    /// Waits for a change of any job, which is reported at once where the cache is current.
    async fn wait(&mut self) {
        if let Ok(Err(_)) = timeout(PAUSE, self.changes.changed()).await {
            sleep(PAUSE).await;
        }
    }

    /// Goes on after a failure that may pass.
    async fn failed(&mut self, error: SchedulerError) -> Result<(), SchedulerError> {
        self.failures += 1;
        if self.failures > MAX_FAILURES || !matches!(error, SchedulerError::Down(_) | SchedulerError::Unanswered(_)) {
            return Err(error);
        }
        sleep(PAUSE).await;
        Ok(())
    }
}

/// What of a piece that begins at `start` lies beyond an offset.
fn beyond(piece: &Bytes, start: u64, offset: u64) -> Option<Bytes> {
    let known = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
    (known < piece.len()).then(|| piece.slice(known..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_has_is_skipped() {
        let rest = |start, offset| beyond(&Bytes::from_static(b"abcd"), start, offset).map(|rest| rest.to_vec());
        assert_eq!(rest(0, 0), Some(b"abcd".to_vec()));
        assert_eq!(rest(0, 3), Some(b"d".to_vec()));
        assert_eq!(rest(0, 4), None);
        assert_eq!(rest(10, 12), Some(b"cd".to_vec()));
        assert_eq!(rest(10, 3), Some(b"abcd".to_vec()));
        assert_eq!(rest(10, 99), None);
    }
}
