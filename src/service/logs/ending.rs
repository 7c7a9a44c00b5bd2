//! Whether a job has ended, and from when on its output is complete.
//!
//! Where the jobs are mirrored, its news end the wait; the scheduler itself is queried too, in case that there are none.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::domain::JobId;
use crate::error::ErrorChain;
use crate::mirror::{Mirror, Reader, Selection, Watch};
use crate::scheduler::SchedulerError;
use crate::service::Access;

/// The interval of queries whether the job has ended, where nothing else reports its end.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The interval where its end is an event.
const CHECK_INTERVAL_WITH_EVENTS: Duration = Duration::from_secs(30);

/// The age of an end, by the cluster's clock, from which on the clocks do not matter.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// Checks whether one job has ended.
pub(super) struct JobWatch<'a> {
    access: &'a Access,
    job: &'a JobId,
}

/// What is known about the end of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// It has not ended.
    Pending,
    /// It has ended, at this Unix time where that is known: nothing more will be written.
    Ended(Option<i64>),
    /// The scheduler does not say.
    Unknown,
}

impl<'a> JobWatch<'a> {
    pub(super) fn new(access: &'a Access, job: &'a JobId) -> Self {
        Self { access, job }
    }

    /// Whether it has ended. A job that the scheduler has forgotten has ended.
    pub(super) async fn end(&self) -> JobEnd {
        self.query(false).await
    }

    async fn query(&self, anew: bool) -> JobEnd {
        let Ok(scheduler) = self.access.cluster().scheduler() else { return JobEnd::Unknown };
        let principal = self.access.principal();
        let answer = if anew { scheduler.job_anew(principal, self.job).await } else { scheduler.job(principal, self.job).await };
        match answer {
            Ok(jobs) => {
                let own = jobs.iter().find(|job| job.id == *self.job);
                let parts = own.map_or(&jobs[..], std::slice::from_ref);
                if parts.iter().any(|job| !job.status.has_ended()) {
                    return JobEnd::Pending;
                }
                let ends: Option<Vec<i64>> = parts.iter().map(|job| job.times.end).collect();
                JobEnd::Ended(ends.and_then(|ends| ends.into_iter().max()))
            }
            Err(SchedulerError::JobNotFound) => JobEnd::Ended(None),
            Err(error) => {
                tracing::debug!(job = %self.job, error = %ErrorChain(&error), "could not find out whether a job has ended");
                JobEnd::Unknown
            }
        }
    }

    /// The time for which its last output may still be in transit.
    fn transit_time(&self, end: Option<i64>) -> Duration {
        let age = end.map(|end| Timestamp::now().as_second().saturating_sub(end));
        let is_long_over = age.and_then(|age| u64::try_from(age).ok()).is_some_and(|age| age > CLOCK_TOLERANCE.as_secs());
        match self.access.cluster().scheduler_without_health_check() {
            Ok(scheduler) if !is_long_over => scheduler.output_transit_time(),
            _ => Duration::ZERO,
        }
    }
}

/// Waits until a job has ended, and returns from when on its output is complete. The first query is made after `delay`.
pub(super) fn complete_output(access: Access, job: JobId, delay: Duration) -> BoxFuture<'static, Instant> {
    Box::pin(async move {
        let watch = JobWatch::new(&access, &job);
        sleep(delay).await;
        let (mut news, mut anew) = (None, false);
        loop {
            if let JobEnd::Ended(at) = watch.query(anew).await {
                return Instant::now() + watch.transit_time(at);
            }
            if news.is_none() {
                news = News::open(&access, &job).await;
                if news.as_ref().is_some_and(|news| news.mirror.is_over(&job)) {
                    // Its end was reported after the answer, or before the news began.
                    anew = true;
                    continue;
                }
            }
            let interval = if news.as_ref().is_some_and(News::is_current) { CHECK_INTERVAL_WITH_EVENTS } else { CHECK_INTERVAL };
            anew = tokio::select! {
                () = News::end(news.as_mut()) => true,
                () = sleep(interval) => false,
            };
        }
    })
}

/// The events of one job.
struct News<'a> {
    mirror: &'a Mirror,
    reader: Reader,
    watch: Watch,
}

impl<'a> News<'a> {
    /// None where the jobs are not mirrored, or the store with their events does not answer.
    async fn open(access: &'a Access, job: &JobId) -> Option<Self> {
        let mirror = access.mirror()?;
        mirror.journal().open().await.ok()?;
        let reader = Reader::new(mirror.journal().clone(), Selection::jobs([job.as_str()]), mirror.journal().last());
        Some(Self { mirror, reader, watch: mirror.watch_job(access.principal(), job) })
    }

    /// Whether an event would come no later than the next query.
    fn is_current(&self) -> bool {
        self.mirror.interval() <= CHECK_INTERVAL && self.watch.staleness().is_none()
    }

    /// Waits for the event of an end, of which there is none without news.
    async fn end(news: Option<&mut Self>) {
        let Some(news) = news else { return std::future::pending().await };
        loop {
            let new_events = news.reader.next().await;
            if new_events.has_gap || new_events.entries.iter().any(|entry| entry.event.is_final) {
                return;
            }
        }
    }
}
