//! The known jobs of a system, and their comparison with the scheduler's current list.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant as Clock};

use super::selection::Selection;
use crate::domain::{Job, JobEvent, JobId, is_ending_state};

/// How long a job that has left the queue is queried before its state counts as unknown: its end reaches accounting with a delay.
const MISSING_GRACE_PERIOD: Duration = Duration::from_secs(60);

/// How long an ended job is kept that is in no list any more.
const ENDED_JOB_RETENTION: SignedDuration = SignedDuration::from_hours(1);

/// Maximum number of jobs that are queried one by one after a list.
const MAX_LOOKUPS_PER_LIST: usize = 64;

/// The jobs as known from events, and those that had ended before the first observation.
#[derive(Default)]
pub(super) struct KnownJobs {
    jobs: HashMap<String, KnownJob>,
    /// When the newest event of each owner was seen.
    newest: HashMap<String, Timestamp>,
    newest_of_all: Option<Timestamp>,
}

/// One job.
struct KnownJob {
    owner: String,
    state: String,
    is_final: bool,
    /// The number of its last event; 0 if there was none.
    sequence: u64,
    at: Timestamp,
    /// When this state was learned. Answers to queries before this time are ignored.
    learned_at: Instant,
    /// The time since which the scheduler answers that there is no such job.
    missing_since: Option<Clock>,
}

/// A list of jobs from the scheduler.
pub(super) struct Listing<'a> {
    /// The jobs.
    pub(super) jobs: &'a [Job],
    /// When the scheduler was queried.
    pub(super) queried_at: Instant,
    /// The owner of all these jobs; the jobs of everybody if absent.
    pub(super) owner: Option<&'a str>,
    /// The time from which unknown jobs that have ended count as new: jobs that ended since then get events;
    /// all of them if absent.
    pub(super) ended_since: Option<i64>,
    /// The watched jobs, in the list or not.
    pub(super) watched: &'a [JobId],
    /// Whether the list is complete, so that a job that is not in it is removed.
    pub(super) is_complete: bool,
}

impl Listing<'_> {
    /// Whether an unknown job had ended before observation began.
    fn is_old(&self, job: &Job) -> bool {
        self.ended_since.is_some_and(|since| job.times.end.is_none_or(|end| end < since))
    }

    /// Whether the job, or the job that it is a part of, is watched.
    fn is_watched(&self, id: &str) -> bool {
        self.watched.iter().any(|watched| JobId::covers(watched.as_str(), id))
    }
}

impl KnownJobs {
    /// Applies an event.
    pub(super) fn apply(&mut self, sequence: u64, event: &JobEvent) {
        let job = KnownJob {
            owner: event.owner.clone(),
            state: event.state.clone(),
            is_final: event.is_final,
            sequence,
            at: event.at,
            learned_at: Instant::now(),
            missing_since: None,
        };
        self.jobs.insert(event.id.clone(), job);
        self.newest_of_all = self.newest_of_all.max(Some(event.at));
        match self.newest.get_mut(&event.owner) {
            Some(newest) => *newest = (*newest).max(event.at),
            None => drop(self.newest.insert(event.owner.clone(), event.at)),
        }
    }

    /// The time of the newest event of an owner, or of all owners.
    pub(super) fn newest(&self, owner: Option<&str>) -> Option<Timestamp> {
        owner.map_or(self.newest_of_all, |owner| self.newest.get(owner).copied())
    }

    /// The events that follow from a list, and the jobs that are missing in it.
    pub(super) fn compare(&mut self, listing: &Listing<'_>) -> (Vec<JobEvent>, Vec<JobId>) {
        let now = Timestamp::now();
        let owner = |job: &Job| listing.owner.or(job.user.as_deref()).unwrap_or_default().to_owned();
        let mut events: Vec<JobEvent> = listing.jobs.iter().filter_map(|job| self.difference(job, owner(job), listing, now)).collect();
        let listed: HashSet<&str> = listing.jobs.iter().map(|job| job.id.as_str()).collect();
        let is_its = |job: &KnownJob| listing.owner.is_none_or(|owner| owner == job.owner);
        if listing.is_complete {
            let is_recent = |job: &KnownJob| now.duration_since(job.at) < ENDED_JOB_RETENTION;
            self.jobs.retain(|id, job| !job.is_final || !is_its(job) || listed.contains(id.as_str()) || is_recent(job));
        }
        let is_missing = |(id, job): &(&String, &KnownJob)| {
            !job.is_final && is_its(job) && job.learned_at <= listing.queried_at && !listed.contains(id.as_str())
        };
        let mut missing: HashSet<JobId> = self.jobs.iter().filter(is_missing).filter_map(|(id, _)| JobId::new(id).ok()).collect();
        let unseen = |id: &&JobId| {
            !listed.contains(id.as_str()) && !listed.iter().any(|listed| JobId::covers(id.as_str(), listed)) && !self.is_over(id.as_str())
        };
        missing.extend(listing.watched.iter().filter(unseen).cloned());
        // The record of the pending tasks of an array disappears when all have started.
        let has_listed_tasks = |id: &str| listed.iter().any(|task| task.strip_prefix(id).is_some_and(|rest| rest.starts_with('_')));
        self.mark_ends(&mut events, |id| {
            listing.is_complete && missing.iter().any(|missing| missing.as_str() == id) && has_listed_tasks(id)
        });
        (events, missing.into_iter().take(MAX_LOOKUPS_PER_LIST).collect())
    }

    /// The events of a job that was queried by its id.
    pub(super) fn found(&mut self, id: &JobId, jobs: &[Job], queried_at: Instant, owner: Option<&str>) -> Vec<JobEvent> {
        let now = Timestamp::now();
        // The record of the pending tasks of an array disappears when none is pending.
        if !jobs.iter().any(|job| job.id == *id) {
            self.jobs.remove(id.as_str());
        }
        let listing = Listing { jobs, queried_at, owner, ended_since: None, watched: &[], is_complete: false };
        // The scheduler may show a job of another user.
        let owner = |job: &Job| job.user.as_deref().or(owner).unwrap_or_default().to_owned();
        let mut events: Vec<JobEvent> = jobs.iter().filter_map(|job| self.difference(job, owner(job), &listing, now)).collect();
        self.mark_ends(&mut events, |_| false);
        events
    }

    /// Records that the scheduler does not know the job. After the grace period, or at once if that is certain, returns the event that its
    /// state is unknown.
    pub(super) fn not_found(&mut self, id: &JobId, is_certain: bool) -> Option<JobEvent> {
        let job = self.jobs.get_mut(id.as_str()).filter(|job| !job.is_final)?;
        let since = *job.missing_since.get_or_insert_with(Clock::now);
        let (owner, state) = (job.owner.clone(), job.state.clone());
        (is_certain || since.elapsed() >= MISSING_GRACE_PERIOD).then(|| JobEvent {
            id: id.as_str().to_owned(),
            name: None,
            owner,
            previous: Some(state),
            state: JobEvent::UNKNOWN.to_owned(),
            exit_code: None,
            signal: None,
            is_final: true,
            ends_whole: self.is_last_part(id.as_str()),
            at: Timestamp::now(),
        })
    }

    /// Whether no other part of the job to which `id` belongs is open.
    fn is_last_part(&self, id: &str) -> bool {
        let is_other = |known: &str| known != id && JobId::number(known) == JobId::number(id);
        self.jobs.iter().all(|(known, job)| job.is_final || !is_other(known))
    }

    /// Marks the events after which no part of their job is open: of each job the last one. `is_gone` names jobs that are open no more.
    fn mark_ends(&self, events: &mut [JobEvent], is_gone: impl Fn(&str) -> bool) {
        let mut last: HashMap<&str, usize> = HashMap::new();
        last.extend(events.iter().enumerate().filter(|(_, event)| event.is_final).map(|(index, event)| (JobId::number(&event.id), index)));
        if last.is_empty() {
            return;
        }
        let changed: HashSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
        let is_open = |(id, job): &(&String, &KnownJob)| !job.is_final && !changed.contains(id.as_str()) && !is_gone(id);
        let open = self.jobs.iter().filter(is_open).map(|(id, _)| id.as_str());
        let open = open.chain(events.iter().filter(|event| !event.is_final).map(|event| event.id.as_str()));
        for id in open {
            last.remove(JobId::number(id));
        }
        let ends: Vec<usize> = last.into_values().collect();
        ends.into_iter().for_each(|index| events[index].ends_whole = true);
    }

    fn difference(&mut self, job: &Job, owner: String, listing: &Listing<'_>, now: Timestamp) -> Option<JobEvent> {
        let id = job.id.as_str();
        let is_final = job.status.has_ended();
        match self.jobs.get_mut(id) {
            Some(known) if known.learned_at > listing.queried_at => return None,
            Some(known) if known.state == job.status.state => {
                known.missing_since = None;
                return None;
            }
            Some(_) => {}
            None if is_final && listing.is_old(job) && !listing.is_watched(id) => {
                let state = job.status.state.clone();
                let learned_at = Instant::now();
                self.jobs.insert(id.to_owned(), KnownJob { owner, state, is_final, sequence: 0, at: now, learned_at, missing_since: None });
                return None;
            }
            None => {}
        }
        Some(JobEvent {
            id: id.to_owned(),
            name: Some(job.name.clone()),
            owner,
            previous: self.jobs.get(id).map(|known| known.state.clone()),
            state: job.status.state.clone(),
            // Slurm reports 0 for running jobs.
            exit_code: job.status.exit_code.filter(|_| is_final),
            signal: job.status.signal.filter(|_| is_final),
            is_final,
            ends_whole: false,
            at: now,
        })
    }

    /// Whether a different state of one of these jobs was learned after `taken`.
    pub(super) fn is_newer(&self, jobs: &[Job], taken: Instant) -> bool {
        let differs = |job: &Job, known: &KnownJob| known.learned_at > taken && known.state != job.status.state;
        jobs.iter().any(|job| self.jobs.get(job.id.as_str()).is_some_and(|known| differs(job, known)))
    }

    /// Whether a job, or all of its known parts, have ended.
    pub(super) fn is_over(&self, id: &str) -> bool {
        let mut parts = self.parts(id).peekable();
        parts.peek().is_some() && parts.all(|job| job.is_final)
    }

    /// Whether a job, or one of its known parts, is about to end.
    pub(super) fn is_ending(&self, id: &str) -> bool {
        self.parts(id).any(|job| is_ending_state(&job.state))
    }

    /// The number of the last event of a job or its parts; 0 if there was none.
    pub(super) fn last_event(&self, selection: &Selection) -> u64 {
        let is_selected = |(id, job): &(&String, &KnownJob)| selection.selects(id, &job.owner);
        self.jobs.iter().filter(is_selected).map(|(_, job)| job.sequence).max().unwrap_or(0)
    }

    /// Whether a job of this id belongs to the user.
    pub(super) fn belongs_to(&self, id: &str, owner: &str) -> bool {
        self.parts(id).any(|job| job.owner == owner)
    }

    fn parts<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a KnownJob> {
        self.jobs.iter().filter(move |(known, _)| JobId::covers(id, known)).map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobTimes;

    fn job(id: &str, state: &str) -> Job {
        let times = JobTimes { end: Some(100), ..JobTimes::default() };
        Job { name: "relax".to_owned(), times, user: Some("ada".to_owned()), ..Job::new(JobId::new(id).unwrap(), state) }
    }

    /// The id, the previous state and the state.
    type Change = (String, Option<String>, String);

    /// Compares a list with the known jobs, and applies the changes.
    fn compare(known: &mut KnownJobs, jobs: &[Job], ended_since: Option<i64>) -> (Vec<Change>, Vec<String>) {
        let listing = Listing { jobs, queried_at: Instant::now(), owner: Some("ada"), ended_since, watched: &[], is_complete: true };
        let (events, missing) = known.compare(&listing);
        events.iter().enumerate().for_each(|(index, event)| known.apply(1 + index as u64, event));
        let change = events.into_iter().map(|event| (event.id, event.previous, event.state)).collect();
        (change, missing.into_iter().map(String::from).collect())
    }

    fn change(id: &str, previous: Option<&str>, state: &str) -> Change {
        (id.to_owned(), previous.map(str::to_owned), state.to_owned())
    }

    #[test]
    fn each_state_of_a_job_is_reported_once() {
        let mut known = KnownJobs::default();
        assert_eq!(compare(&mut known, &[job("1", "PENDING")], None).0, [change("1", None, "PENDING")]);
        assert_eq!(compare(&mut known, &[job("1", "PENDING")], None).0, []);
        assert_eq!(compare(&mut known, &[job("1", "RUNNING")], None).0, [change("1", Some("PENDING"), "RUNNING")]);
        assert_eq!(compare(&mut known, &[job("1", "COMPLETED")], None).0, [change("1", Some("RUNNING"), "COMPLETED")]);
        assert!(known.is_over("1") && known.last_event(&Selection::jobs(["1"])) == 1);
    }

    #[test]
    fn jobs_that_had_ended_before_observation_began_get_no_event() {
        let mut known = KnownJobs::default();
        assert_eq!(compare(&mut known, &[job("1", "FAILED"), job("2", "RUNNING")], Some(101)).0, [change("2", None, "RUNNING")]);
        // Observation has begun, so an unknown job that has ended began and ended since.
        assert_eq!(
            compare(&mut known, &[job("1", "FAILED"), job("2", "RUNNING"), job("3", "FAILED")], None).0,
            [change("3", None, "FAILED")]
        );
        assert_eq!(compare(&mut KnownJobs::default(), &[job("1", "FAILED")], Some(100)).0, [change("1", None, "FAILED")]);
    }

    #[test]
    fn the_end_of_a_watched_job_is_reported_at_the_first_query_too() {
        let watched = [JobId::new("1").unwrap()];
        let jobs = [job("1", "FAILED"), job("2", "FAILED")];
        let listing = Listing {
            jobs: &jobs,
            queried_at: Instant::now(),
            owner: Some("ada"),
            ended_since: Some(101),
            watched: &watched,
            is_complete: true,
        };
        let (events, _) = KnownJobs::default().compare(&listing);
        assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn an_answer_from_before_an_event_is_outdated() {
        let mut known = KnownJobs::default();
        let before = Instant::now();
        compare(&mut known, &[job("1", "COMPLETED")], None);
        assert!(known.is_newer(&[job("1", "RUNNING")], before));
        assert!(!known.is_newer(&[job("1", "COMPLETED"), job("2", "RUNNING")], before));
        assert!(!known.is_newer(&[job("1", "RUNNING")], Instant::now()));
    }

    #[test]
    fn a_job_that_left_the_list_is_queried_and_one_that_ended_is_not() {
        let mut known = KnownJobs::default();
        compare(&mut known, &[job("1", "RUNNING"), job("2", "COMPLETED")], None);
        assert_eq!(compare(&mut known, &[], None), (Vec::new(), vec!["1".to_owned()]));
        let id = JobId::new("1").unwrap();
        let events = known.found(&id, &[job("1", "TIMEOUT")], Instant::now(), Some("ada"));
        assert_eq!(events.iter().map(|event| event.state.as_str()).collect::<Vec<_>>(), ["TIMEOUT"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_job_is_given_up_only_after_the_grace_period() {
        let mut known = KnownJobs::default();
        compare(&mut known, &[job("1", "RUNNING")], None);
        let id = JobId::new("1").unwrap();
        assert_eq!(known.not_found(&id, false), None);
        tokio::time::advance(MISSING_GRACE_PERIOD - Duration::from_secs(1)).await;
        assert_eq!(known.not_found(&id, false), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let event = known.not_found(&id, false).unwrap();
        assert_eq!((event.state.as_str(), event.is_final), (JobEvent::UNKNOWN, true));
        // When it is found again, the grace period starts anew.
        let mut known = KnownJobs::default();
        compare(&mut known, &[job("1", "RUNNING")], None);
        known.not_found(&id, false);
        tokio::time::advance(MISSING_GRACE_PERIOD).await;
        compare(&mut known, &[job("1", "RUNNING")], None);
        assert_eq!(known.not_found(&id, false), None);
        // There is none for a scheduler that knows every job.
        assert_eq!(known.not_found(&id, true).unwrap().state, JobEvent::UNKNOWN);
    }

    #[test]
    fn an_answer_to_an_older_query_changes_nothing() {
        let mut known = KnownJobs::default();
        let queried_at = Instant::now();
        compare(&mut known, &[job("1", "COMPLETED")], None);
        let listing =
            Listing { jobs: &[job("1", "RUNNING")], queried_at, owner: Some("ada"), ended_since: None, watched: &[], is_complete: true };
        assert_eq!(known.compare(&listing), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_record_of_waiting_tasks_goes_without_an_event_when_all_have_started() {
        let mut known = KnownJobs::default();
        compare(&mut known, &[job("7", "PENDING")], None);
        let (_, missing) = compare(&mut known, &[job("7_1", "COMPLETED"), job("7_2", "COMPLETED")], None);
        assert_eq!(missing, ["7"]);
        assert!(!known.is_over("7"));
        let events = known.found(&JobId::new("7").unwrap(), &[job("7_1", "COMPLETED"), job("7_2", "COMPLETED")], Instant::now(), None);
        assert!(events.is_empty() && known.is_over("7"));
    }

    /// The ids of the events after which no part of their job is open.
    fn ends(known: &mut KnownJobs, jobs: &[Job]) -> Vec<String> {
        let listing = Listing { jobs, queried_at: Instant::now(), owner: Some("ada"), ended_since: None, watched: &[], is_complete: true };
        let (events, _) = known.compare(&listing);
        events.iter().enumerate().for_each(|(index, event)| known.apply(1 + index as u64, event));
        events.into_iter().filter(|event| event.ends_whole).map(|event| event.id).collect()
    }

    #[test]
    fn the_last_event_of_a_job_says_that_no_part_is_open() {
        let mut known = KnownJobs::default();
        assert!(ends(&mut known, &[job("7", "PENDING"), job("8+0", "RUNNING"), job("8+1", "RUNNING"), job("9", "RUNNING")]).is_empty());
        let others = [job("8+0", "COMPLETED"), job("8+1", "RUNNING"), job("9", "FAILED")];
        assert_eq!(ends(&mut known, &[&[job("7", "PENDING"), job("7_1", "COMPLETED")], &others[..]].concat()), ["9"]);
        // The last tasks started and ended between two lists, and their record is gone.
        let tasks = ["7_1", "7_2", "7_3"].map(|id| job(id, "COMPLETED"));
        let others = [job("8+0", "COMPLETED"), job("8+1", "FAILED"), job("9", "FAILED")];
        let mut ended = ends(&mut known, &[&tasks[..], &others].concat());
        ended.sort();
        assert_eq!(ended, ["7_3", "8+1"]);
    }

    #[test]
    fn the_end_of_a_part_is_not_that_of_the_job_while_another_part_is_open() {
        let mut known = KnownJobs::default();
        ends(&mut known, &[job("7", "PENDING"), job("7_1", "RUNNING")]);
        assert!(ends(&mut known, &[job("7", "CANCELLED"), job("7_1", "RUNNING")]).is_empty());
        assert_eq!(ends(&mut known, &[job("7", "CANCELLED"), job("7_1", "COMPLETED")]), ["7_1"]);
    }
}
