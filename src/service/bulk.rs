//! Many jobs of one request: submitting them, and cancelling those that a filter names.
//!
//! Each job is the use case of one, with its own audit line and outcome, and some of them run at a time: a scheduler's command is a process
//! on the cluster. What was done stays done.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;

use super::many::{Outcome, in_time};
use super::text::Findings;
use super::{Access, IdempotencyKey, InvalidRequest, ServiceError, Submission, jobs};
use crate::domain::{Job, JobId, JobQuery};
use crate::scheduler::Submitted;

/// The maximum number of jobs that are submitted at once.
pub const MAX_SUBMISSIONS: usize = 100;
/// The maximum number of jobs that are cancelled by one request.
pub const MAX_CANCELLATIONS: usize = 1_000;
/// The longest list of states and name of a partition, in bytes.
const MAX_TEXT: usize = 1024;
/// The maximum number of concurrent commands.
const MAX_CONCURRENT: usize = 8;
/// The age of a list from which a job is looked at again before it is cancelled.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Submits the jobs and returns their outcomes in the same order. With a key, each has its own key by its place, so that the same
/// request may be sent again. Submissions not done by `deadline` are abandoned.
///
/// # Errors
/// If there are too many of them, or the system runs no jobs.
pub async fn submit(
    access: &Access,
    submissions: Vec<Result<Submission, InvalidRequest>>,
    key: Option<&IdempotencyKey>,
    deadline: Instant,
) -> Result<Vec<Outcome<Submitted>>, ServiceError> {
    access.cluster().scheduler()?;
    if submissions.is_empty() || submissions.len() > MAX_SUBMISSIONS {
        return Err(InvalidRequest::new("jobs", format!("there must be 1 to {MAX_SUBMISSIONS} of them")).into());
    }
    let outcomes = stream::iter(submissions.into_iter().enumerate())
        .map(|(index, submission)| submit_one(access, submission, key.map(|key| key.numbered(index)), deadline));
    Ok(outcomes.buffered(MAX_CONCURRENT).collect().await)
}

async fn submit_one(
    access: &Access,
    submission: Result<Submission, InvalidRequest>,
    key: Option<IdempotencyKey>,
    deadline: Instant,
) -> Outcome<Submitted> {
    let work = async { jobs::submit(access, submission?, key.as_ref()).await.map(|submitted| submitted.value) };
    in_time(deadline, work, || true).await
}

/// A filter for the caller's jobs: unfinished jobs that match all fields given. At least one field is given.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// States in the scheduler's words, separated by commas.
    pub state: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The partition or queue.
    pub partition: Option<String>,
    /// The account.
    pub account: Option<String>,
}

/// Cancels the caller's own jobs that match the filter, and returns the outcome of each. Cancellations not done by `deadline` are abandoned.
///
/// # Errors
/// If the filter is empty or breaks a rule, too many jobs match, or the scheduler does not answer.
pub async fn cancel(
    access: &Access,
    JobFilter { state, name, partition, account }: JobFilter,
    deadline: Instant,
) -> Result<Vec<(JobId, Outcome<()>)>, ServiceError> {
    let mut findings = Findings::default();
    let mut line = |name, value| findings.line(name, value, MAX_TEXT);
    let (state, partition) = (line("state", state), line("partition", partition));
    let is_absent = |value: &Option<String>| value.as_ref().is_none_or(String::is_empty);
    if state.is_none() && partition.is_none() && is_absent(&name) && is_absent(&account) {
        findings.add("state", "name what is cancelled: `state` (such as PENDING,RUNNING), `name`, `partition` or `account`");
    }
    let states: Vec<&str> = state.iter().flat_map(|states| states.split(',')).map(str::trim).collect();
    findings.states("state", access, states.iter().copied());
    findings.into_result()?;
    let filter = Filter { user: access.principal().username.as_str(), states, partition: partition.as_deref() };
    let query = JobQuery { name, account, ..JobQuery::default() };
    let jobs = jobs::list_anew(access, query).await?;
    // The query may have begun before this request.
    let listed = jobs.asked();
    let (matching, others): (Vec<_>, Vec<_>) = jobs.iter().filter(|job| job.times.end.is_none()).partition(|job| filter.matches(job));
    if matching.len() > MAX_CANCELLATIONS {
        let message =
            format!("{} jobs match, and at most {MAX_CANCELLATIONS} are cancelled at once: use a narrower filter", matching.len());
        return Err(ServiceError::TooMuch(message.into()));
    }
    let has_other_tasks = |id: &JobId| others.iter().any(|other| is_part_of(&other.id, id));
    let ids: Vec<(JobId, bool)> = ids(&matching, &others).into_iter().map(|id| (id.clone(), has_other_tasks(&id))).collect();
    let filter = &filter;
    let outcomes = stream::iter(ids).map(|(id, has_other_tasks)| async move {
        let work = async {
            match has_other_tasks {
                true => Err(ServiceError::Conflict(OTHER_TASKS.into())),
                false => filter.cancel(access, &id, listed).await,
            }
        };
        let outcome = in_time(deadline, work, || true).await;
        (id, outcome)
    });
    Ok(outcomes.buffered(MAX_CONCURRENT).collect().await)
}

/// The jobs of one user that a filter means.
struct Filter<'a> {
    user: &'a str,
    states: Vec<&'a str>,
    partition: Option<&'a str>,
}

impl Filter<'_> {
    fn matches(&self, job: &Job) -> bool {
        job.user.as_deref().is_none_or(|owner| owner == self.user)
            && (self.states.is_empty() || self.states.iter().any(|state| job.status.state.eq_ignore_ascii_case(state)))
            && self.partition.is_none_or(|partition| job.partition == partition)
    }

    /// Cancels a job that was meant when it was `listed`. Where that is too long ago, the scheduler is asked whether it still is: a job may have
    /// started since.
    async fn cancel(&self, access: &Access, id: &JobId, listed: std::time::Instant) -> Result<(), ServiceError> {
        if listed.elapsed() > MAX_AGE {
            let (scheduler, now) = (access.cluster().scheduler()?, std::time::Instant::now());
            let mut job = scheduler.job_anew(access.principal(), id).await?;
            if job.asked() < now {
                // It was under way already. The next one is not, or has begun since.
                job = scheduler.job_anew(access.principal(), id).await?;
            }
            if job.iter().any(|job| job.times.end.is_none() && !self.matches(job)) {
                return Err(ServiceError::Conflict(CHANGED.into()));
            }
        }
        jobs::cancel(access, id.as_str()).await.map(|cancelled| cancelled.value)
    }
}

/// The ids to cancel for the jobs that match. The components of a heterogeneous job are cancelled together if all unfinished ones
/// match: Slurm does not cancel a single pending component.
fn ids(meant: &[&Job], others: &[&Job]) -> Vec<JobId> {
    let mut ids = Vec::new();
    for job in meant {
        let whole = job.id.as_str().split_once('+').and_then(|(whole, _)| JobId::new(whole).ok());
        let id = whole.filter(|whole| !others.iter().any(|other| is_part_of(&other.id, whole))).unwrap_or_else(|| job.id.clone());
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

const CHANGED: &str = "the job has changed since it was listed, and the filter does not match it any more: it was not cancelled";

const OTHER_TASKS: &str =
    "this id covers the pending tasks of an array with other tasks, which the filter does not match: cancel the whole array by its id";

/// Whether `part` is a task or component of the job `whole`.
fn is_part_of(part: &JobId, whole: &JobId) -> bool {
    part != whole && JobId::covers(whole.as_str(), part.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_and_components_are_parts_of_what_they_belong_to() {
        let part = |part: &str, whole: &str| is_part_of(&JobId::new(part).unwrap(), &JobId::new(whole).unwrap());
        assert!(part("12_3", "12") && part("12+1", "12") && part("12[3]", "12[]") && part("12[3].srv", "12[].srv"));
        assert!(!part("12", "12") && !part("123", "12") && !part("12[]", "12[]") && !part("13_1", "12"));
    }
}
