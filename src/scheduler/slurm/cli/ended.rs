//! The recent answers of accounting about ended jobs.
//!
//! An ended job does not change, and the controller still knows each one for a while. So a list needs accounting only now and
//! then: for what the controller has forgotten. The controller itself is queried for every list.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::time::Instant;

use crate::credentials::CallerKey;
use crate::domain::{Job, JobId, JobQuery, Principal, is_final_state};
use crate::scheduler::slurm::merge;

/// The jobs of all answers that are kept, at most: each takes about half a kilobyte.
const MAX_JOBS: u64 = 25_000;

/// The key of a list. Two callers may have the same user name, and one of them no credential for it.
type ListKey = (CallerKey, JobQuery);

/// Accounting's answers to lists, for a while.
pub(super) struct EndedJobs {
    answers: Cache<ListKey, Arc<AccountedJobs>>,
    freshness: Duration,
}

/// One answer of accounting.
pub(super) struct AccountedJobs {
    asked: Instant,
    jobs: Vec<Job>,
    ended: HashSet<JobId>,
}

impl EndedJobs {
    /// Keeps answers for `freshness` at most.
    pub(super) fn new(freshness: Duration) -> Self {
        let weigh = |_: &ListKey, answer: &Arc<AccountedJobs>| u32::try_from(answer.jobs.len()).unwrap_or(u32::MAX).saturating_add(1);
        let answers = Cache::builder().max_capacity(MAX_JOBS).weigher(weigh).time_to_live(freshness).build();
        Self { answers, freshness }
    }

    /// The kept answer, if it is still valid for a controller that remembers ended jobs for `controller_memory`: the jobs that it
    /// has forgotten since must have ended well before accounting was queried.
    pub(super) async fn get(&self, by: &Principal, query: &JobQuery, controller_memory: Duration) -> Option<Arc<AccountedJobs>> {
        let answer = self.answers.get(&(CallerKey::of(by), query.clone())).await?;
        (answer.asked.elapsed() <= self.freshness.min(controller_memory / 2)).then_some(answer)
    }

    /// Keeps accounting's answer to a query that was sent at `asked`.
    pub(super) async fn keep(&self, by: &Principal, query: &JobQuery, asked: Instant, jobs: &[Job]) {
        let ended = jobs.iter().filter(|job| is_final_state(&job.status.state)).map(|job| job.id.clone()).collect();
        let answer = AccountedJobs { asked, jobs: jobs.to_vec(), ended };
        self.answers.insert((CallerKey::of(by), query.clone()), Arc::new(answer)).await;
    }
}

impl AccountedJobs {
    /// The jobs, if accounting knew already of the end of each one that the controller says has ended.
    pub(super) fn beside(&self, queued: &[merge::Queued]) -> Option<Vec<Job>> {
        let known = |job: &Job| !is_final_state(&job.status.state) || self.ended.contains(&job.id);
        queued.iter().map(|(_, job)| job).all(known).then(|| self.jobs.clone())
    }
}
