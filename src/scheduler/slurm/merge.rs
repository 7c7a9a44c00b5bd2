//! Merges the data of the controller and of accounting about the same jobs.

use std::collections::{BTreeMap, HashMap};

use super::job_ref::{JobRef, sort_key};
use crate::domain::{AccountingQuery, Job, JobId, JobQuery, Principal, Reported, is_final_state};
use crate::error::{ErrorChain, Recurring};
use crate::scheduler::SchedulerError;

/// The answer of accounting.
pub(super) enum Accounting {
    /// Its jobs.
    Jobs(Vec<Job>),
    /// The site has none.
    Off,
    /// It was not reached or did not answer.
    Unavailable(SchedulerError),
}

impl Accounting {
    /// Writes to the log whether accounting answers, where that is news.
    pub(super) fn noted(self, failure: &Recurring) -> Self {
        match &self {
            Self::Unavailable(error) if failure.begins(&ErrorChain(error)) => {
                tracing::warn!(error = %ErrorChain(error), "accounting does not answer: jobs that ended a while ago are missing");
            }
            Self::Jobs(_) | Self::Off if failure.ends() => tracing::info!("accounting answers again"),
            _ => {}
        }
        self
    }
}

/// A job as the controller has it, with the number that each task and component has of its own.
pub(super) type Queued = (Option<u64>, Job);

/// The note if accounting could not be queried.
pub(super) const WITHOUT_ACCOUNTING: &str = "accounting did not answer: jobs that ended a while ago, and steps, are missing";

/// The jobs of a query, from the controller and accounting. If accounting does not answer, they are those that the
/// controller knows; the report says so.
pub(super) fn list(queued: Vec<Queued>, accounting: Accounting, query: &JobQuery) -> Reported<Vec<Job>> {
    let mut jobs = match accounting {
        Accounting::Jobs(accounted) => merge(queued, accounted).into(),
        Accounting::Off => merge(queued, Vec::new()).into(),
        Accounting::Unavailable(_) => without_accounting(queued),
    };
    let since = jiff::Timestamp::now().as_second() - i64::from(query.window.hours()) * 3600;
    jobs.value.retain(|job| is_recent(job, since) && is_asked_for(job, query));
    jobs
}

/// One job with its parts, from the records of the controller and of accounting; no other jobs.
///
/// # Errors
/// [`SchedulerError::JobNotFound`] if both were queried and neither knows it. If one could not be queried and the other's answer
/// is not enough, its error.
pub(super) fn single(
    asked: JobRef<'_>,
    queued: Result<Vec<Queued>, SchedulerError>,
    accounting: Accounting,
) -> Result<Reported<Vec<Job>>, SchedulerError> {
    let queued = queued.map(|jobs| jobs.into_iter().filter(|(number, job)| asked.means(&job.id, *number)).collect::<Vec<_>>());
    let accounting = match accounting {
        Accounting::Jobs(jobs) if !asked.is_whole() || asked.is_for_commands() => {
            Accounting::Jobs(jobs.into_iter().filter(|job| asked.covers(&job.id)).collect())
        }
        accounting => accounting,
    };
    let jobs = match (queued, accounting) {
        // Nothing more happens to a job that ended, so that accounting's word is enough for it.
        (Err(SchedulerError::Down(_) | SchedulerError::Unanswered(_)), Accounting::Jobs(jobs)) if all_finished(&jobs) => jobs.into(),
        (Err(error), _) => return Err(error),
        (Ok(queued), Accounting::Jobs(accounted)) => merge(queued, accounted).into(),
        (Ok(queued), Accounting::Off) => merge(queued, Vec::new()).into(),
        (Ok(queued), Accounting::Unavailable(error)) if queued.is_empty() => return Err(error),
        (Ok(queued), Accounting::Unavailable(_)) => without_accounting(queued),
    };
    if jobs.is_empty() { Err(SchedulerError::JobNotFound) } else { Ok(jobs) }
}

/// The jobs of a query to accounting alone.
///
/// # Errors
/// If there is no accounting, or it does not answer.
pub(super) fn accounts(accounting: Accounting, principal: &Principal, query: &AccountingQuery) -> Result<Vec<Job>, SchedulerError> {
    let mut jobs = match accounting {
        Accounting::Jobs(jobs) => jobs,
        Accounting::Off => return Err(SchedulerError::Unsupported("the site keeps no accounting")),
        Accounting::Unavailable(error) => return Err(error),
    };
    let is_the_callers = |job: &Job| query.all_users || job.user.as_deref() == Some(principal.username.as_str());
    let asked = JobQuery { account: query.account.clone(), ..JobQuery::default() };
    jobs.retain(|job| is_the_callers(job) && is_asked_for(job, &asked));
    Ok(jobs)
}

/// One job as accounting alone has it.
///
/// # Errors
/// [`SchedulerError::JobNotFound`] if it does not know it, or if there is no accounting.
pub(super) fn forgotten(accounting: Accounting) -> Result<Vec<Job>, SchedulerError> {
    match accounting {
        Accounting::Jobs(jobs) if !jobs.is_empty() => Ok(jobs),
        Accounting::Jobs(_) | Accounting::Off => Err(SchedulerError::JobNotFound),
        Accounting::Unavailable(error) => Err(error),
    }
}

/// One list of both, in the order of the ids. Of a job that both know, the controller's word is newer and its texts are
/// whole (accounting replaces some characters); accounting adds what the controller does not keep.
///
/// Accounting knows the components of a heterogeneous job that waits by their numbers alone: they are found by those. Of the runs of a
/// requeued job the last one counts.
fn merge(queued: Vec<Queued>, accounted: Vec<Job>) -> Vec<Job> {
    let numbers: HashMap<String, JobId> = queued
        .iter()
        .filter(|(_, job)| job.id.as_str().contains('+'))
        .filter_map(|(number, job)| Some((number.as_ref()?.to_string(), job.id.clone())))
        .collect();
    let mut jobs: BTreeMap<_, Job> = BTreeMap::new();
    for mut job in accounted {
        if let Some(id) = numbers.get(job.id.as_str()) {
            job.id.clone_from(id);
        }
        let key = key(&job);
        if job.status.state != "REQUEUED" || !jobs.contains_key(&key) {
            jobs.insert(key, job);
        }
    }
    for (_, job) in queued {
        let key = key(&job);
        let job = match jobs.remove(&key) {
            Some(accounted) => complete(job, accounted),
            None => job,
        };
        jobs.insert(key, job);
    }
    jobs.into_values().collect()
}

/// Whether a job belongs into a list that reaches back to `since`, in Unix seconds: it has not ended, or ended later.
fn is_recent(job: &Job, since: i64) -> bool {
    !is_final_state(&job.status.state) || job.times.end.is_none_or(|end| end >= since)
}

/// Whether the job is what the query names. Slurm filters too, but by lists, and accounting without regard to case.
fn is_asked_for(job: &Job, query: &JobQuery) -> bool {
    let account_fits = |account: &String| job.account.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(account));
    query.account.as_ref().is_none_or(account_fits) && query.name.as_ref().is_none_or(|name| *name == job.name)
}

fn all_finished(jobs: &[Job]) -> bool {
    !jobs.is_empty() && jobs.iter().all(|job| is_final_state(&job.status.state))
}

fn without_accounting(queued: Vec<Queued>) -> Reported<Vec<Job>> {
    Reported { missing: Some(WITHOUT_ACCOUNTING), ..merge(queued, Vec::new()).into() }
}

fn key(job: &Job) -> ((u64, u64), String) {
    (sort_key(&job.id), job.id.as_str().to_owned())
}

fn complete(queued: Job, accounted: Job) -> Job {
    let cancelled = queued.status.state == "CANCELLED";
    let mut times = queued.times;
    times.suspended = times.suspended.or(accounted.times.suspended);
    times.elapsed = times.elapsed.or(accounted.times.elapsed);
    Job {
        steps: accounted.steps,
        cluster: accounted.cluster,
        group: queued.group.or(accounted.group),
        user: queued.user.or(accounted.user),
        account: queued.account.or(accounted.account),
        priority: queued.priority.or(accounted.priority),
        kill_request_user: accounted.kill_request_user.filter(|_| cancelled),
        times,
        ..queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobId, JobStatus, JobStep, JobTimes};

    fn job(id: &str, state: &str, name: &str) -> Job {
        Job { name: name.to_owned(), ..Job::new(JobId::new(id).unwrap(), state) }
    }

    #[test]
    fn the_controller_is_newer_and_accounting_adds_what_it_has() {
        let step = JobStep { id: "5.0".to_owned(), name: String::new(), status: JobStatus::default(), times: JobTimes::default() };
        let accounted = Job {
            steps: Some(vec![step]),
            cluster: "alps".to_owned(),
            group: Some("g".to_owned()),
            kill_request_user: Some("jane".to_owned()),
            ..job("5", "RUNNING", "q`uote")
        };
        let merged = merge(vec![(Some(5), job("5", "CANCELLED", "q\"uote"))], vec![accounted]);
        assert_eq!(merged.len(), 1);
        assert_eq!((merged[0].status.state.as_str(), merged[0].name.as_str()), ("CANCELLED", "q\"uote"));
        assert_eq!((merged[0].cluster.as_str(), merged[0].group.as_deref()), ("alps", Some("g")));
        assert_eq!((merged[0].steps.as_ref().map(Vec::len), merged[0].kill_request_user.as_deref()), (Some(1), Some("jane")));
    }

    #[test]
    fn a_job_that_was_requeued_is_not_shown_as_cancelled_by_someone() {
        let accounted = Job { kill_request_user: Some("jane".to_owned()), ..job("5", "CANCELLED", "") };
        assert_eq!(merge(vec![(Some(5), job("5", "PENDING", ""))], vec![accounted])[0].kill_request_user, None);
    }

    #[test]
    fn jobs_that_only_one_side_knows_stay_and_ids_are_in_order() {
        let queued = vec![(Some(10), job("10", "PENDING", "")), (Some(12), job("9_2", "RUNNING", ""))];
        let merged = merge(queued, vec![job("9_10", "COMPLETED", ""), job("2", "FAILED", "")]);
        let ids: Vec<&str> = merged.iter().map(|job| job.id.as_str()).collect();
        assert_eq!(ids, ["2", "9_2", "9_10", "10"]);
    }

    #[test]
    fn the_components_of_a_waiting_job_are_listed_once() {
        let queued = vec![(Some(125), job("125+0", "PENDING", "")), (Some(126), job("125+1", "PENDING", ""))];
        let accounted = || vec![job("125", "PENDING", ""), job("126", "PENDING", "")];
        let ids = |jobs: &[Job]| jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
        assert_eq!(ids(&merge(queued.clone(), accounted())), ["125+0", "125+1"]);
        let single = |text: &str| {
            let id = JobId::new(text).unwrap();
            single(JobRef::new(&id).unwrap(), Ok(queued.clone()), Accounting::Jobs(accounted())).map(|jobs| ids(&jobs))
        };
        assert_eq!(single("125").unwrap(), ["125+0", "125+1"]);
    }

    #[test]
    fn of_a_component_its_neighbours_are_not_told_and_one_that_is_not_there_is_not_found() {
        let queued = || vec![(Some(40), job("40+0", "RUNNING", "")), (Some(41), job("40+1", "RUNNING", ""))];
        let accounted = || vec![job("40+0", "RUNNING", ""), job("40+1", "RUNNING", "")];
        let single = |text: &str| {
            let id = JobId::new(text).unwrap();
            single(JobRef::new(&id).unwrap(), Ok(queued()), Accounting::Jobs(accounted()))
        };
        assert_eq!(single("40+1").unwrap().iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["40+1"]);
        assert!(matches!(single("40+7"), Err(SchedulerError::JobNotFound)));
    }

    #[test]
    fn of_a_requeued_job_the_last_run_is_listed() {
        for runs in [["REQUEUED", "RUNNING"], ["RUNNING", "REQUEUED"]] {
            let jobs = merge(Vec::new(), runs.map(|state| job("31", state, "")).into());
            assert_eq!((jobs.len(), jobs[0].status.state.as_str()), (1, "RUNNING"));
        }
    }

    #[test]
    fn a_list_without_accounting_says_so() {
        let down = Accounting::Unavailable(SchedulerError::Down("x".to_owned()));
        let jobs = list(vec![(Some(1), job("1", "RUNNING", ""))], down, &JobQuery::default());
        assert_eq!((jobs.len(), jobs.missing), (1, Some(WITHOUT_ACCOUNTING)));
    }

    #[test]
    fn only_jobs_that_ended_before_the_window_are_left_out() {
        let ended = |end| Job { times: JobTimes { end, ..JobTimes::default() }, ..job("1", "COMPLETED", "") };
        assert!(is_recent(&ended(Some(100)), 100) && is_recent(&ended(None), 100));
        assert!(!is_recent(&ended(Some(99)), 100));
        assert!(is_recent(&Job { status: JobStatus { state: "RUNNING".to_owned(), ..JobStatus::default() }, ..ended(Some(99)) }, 100));
    }
}
