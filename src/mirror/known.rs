//! The known jobs of a system, and their comparison with the scheduler's current list.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant as Clock};

use super::selection::{Selection, concerns};
use crate::domain::{Job, JobEvent, JobId, is_ending_state};

/// How long a job that has left the queue is looked for: its end reaches accounting with a delay.
const GRACE: Duration = Duration::from_secs(60);

/// For so long an ended job is remembered that is in no list any more.
const MEMORY: SignedDuration = SignedDuration::from_hours(1);

/// The most jobs that are looked up one by one after a list.
const MAX_LOOKED_UP: usize = 64;

/// The jobs as known from events, and those that had ended before the first observation.
#[derive(Default)]
pub(super) struct Known {
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
    /// When this was learnt. An answer to a question that was put before says less.
    learnt: Instant,
    /// The time since which the scheduler answers that there is no such job.
    missing_since: Option<Clock>,
}

/// A list of jobs from the scheduler.
pub(super) struct Listing<'a> {
    /// The jobs.
    pub(super) jobs: &'a [Job],
    /// When the scheduler was queried.
    pub(super) asked: Instant,
    /// The owner of all these jobs; the jobs of everybody if absent.
    pub(super) owner: Option<&'a str>,
    /// The time from which unknown jobs that have ended count as new: jobs that ended since then get events;
    /// all of them if absent.
    pub(super) ended_since: Option<i64>,
    /// Jobs that somebody watches, in the list or not.
    pub(super) watched: &'a [JobId],
    /// Whether the list is complete, so that a job that is not in it is removed.
    pub(super) is_whole: bool,
}

impl Listing<'_> {
    /// Whether a job that nobody saw before had ended before anybody looked.
    fn is_old(&self, job: &Job) -> bool {
        self.ended_since.is_some_and(|since| job.times.end.is_none_or(|end| end < since))
    }

    /// Whether somebody watches the job, or the one that it is a part of.
    fn is_watched(&self, id: &str) -> bool {
        self.watched.iter().any(|watched| concerns(watched.as_str(), id))
    }
}

impl Known {
    /// Takes an event in.
    pub(super) fn apply(&mut self, sequence: u64, event: &JobEvent) {
        let job = KnownJob {
            owner: event.owner.clone(),
            state: event.state.clone(),
            is_final: event.is_final,
            sequence,
            at: event.at,
            learnt: Instant::now(),
            missing_since: None,
        };
        self.jobs.insert(event.id.clone(), job);
        self.newest_of_all = self.newest_of_all.max(Some(event.at));
        match self.newest.get_mut(&event.owner) {
            Some(newest) => *newest = (*newest).max(event.at),
            None => drop(self.newest.insert(event.owner.clone(), event.at)),
        }
    }

    /// When the newest event of an owner was seen, or that of all.
    pub(super) fn newest(&self, owner: Option<&str>) -> Option<Timestamp> {
        owner.map_or(self.newest_of_all, |owner| self.newest.get(owner).copied())
    }

    /// The events of a list, and the jobs that it should contain and does not.
    pub(super) fn compare(&mut self, listing: &Listing<'_>) -> (Vec<JobEvent>, Vec<JobId>) {
        let now = Timestamp::now();
        let owner = |job: &Job| listing.owner.or(job.user.as_deref()).unwrap_or_default().to_owned();
        let events = listing.jobs.iter().filter_map(|job| self.difference(job, owner(job), listing, now)).collect();
        let listed: HashSet<&str> = listing.jobs.iter().map(|job| job.id.as_str()).collect();
        let is_its = |job: &KnownJob| listing.owner.is_none_or(|owner| owner == job.owner);
        if listing.is_whole {
            let is_recent = |job: &KnownJob| now.duration_since(job.at) < MEMORY;
            self.jobs.retain(|id, job| !job.is_final || !is_its(job) || listed.contains(id.as_str()) || is_recent(job));
        }
        let is_missing =
            |(id, job): &(&String, &KnownJob)| !job.is_final && is_its(job) && job.learnt <= listing.asked && !listed.contains(id.as_str());
        let mut missing: HashSet<JobId> = self.jobs.iter().filter(is_missing).filter_map(|(id, _)| JobId::new(id).ok()).collect();
        let unseen = |id: &&JobId| {
            !listed.contains(id.as_str()) && !listed.iter().any(|listed| concerns(id.as_str(), listed)) && !self.is_over(id.as_str())
        };
        missing.extend(listing.watched.iter().filter(unseen).cloned());
        (events, missing.into_iter().take(MAX_LOOKED_UP).collect())
    }

    /// The events of a job that was queried by its id.
    pub(super) fn found(&mut self, id: &JobId, jobs: &[Job], asked: Instant, owner: Option<&str>) -> Vec<JobEvent> {
        let now = Timestamp::now();
        // The record of the tasks of an array that wait is gone once none waits.
        if !jobs.iter().any(|job| job.id == *id) {
            self.jobs.remove(id.as_str());
        }
        let listing = Listing { jobs, asked, owner, ended_since: None, watched: &[], is_whole: false };
        // It may be somebody else's that the scheduler shows.
        let owner = |job: &Job| job.user.as_deref().or(owner).unwrap_or_default().to_owned();
        jobs.iter().filter_map(|job| self.difference(job, owner(job), &listing, now)).collect()
    }

    /// Records that the scheduler knows no such job: returns the events once it has done so for long enough.
    pub(super) fn not_found(&mut self, id: &JobId) -> Option<JobEvent> {
        let job = self.jobs.get_mut(id.as_str()).filter(|job| !job.is_final)?;
        let since = *job.missing_since.get_or_insert_with(Clock::now);
        (since.elapsed() >= GRACE).then(|| JobEvent {
            id: id.as_str().to_owned(),
            name: None,
            owner: job.owner.clone(),
            previous: Some(job.state.clone()),
            state: JobEvent::UNKNOWN.to_owned(),
            exit_code: None,
            signal: None,
            is_final: true,
            at: Timestamp::now(),
        })
    }

    fn difference(&mut self, job: &Job, owner: String, listing: &Listing<'_>, now: Timestamp) -> Option<JobEvent> {
        let id = job.id.as_str();
        let is_final = job.status.has_ended();
        match self.jobs.get_mut(id) {
            Some(known) if known.learnt > listing.asked => return None,
            Some(known) if known.state == job.status.state => {
                known.missing_since = None;
                return None;
            }
            Some(_) => {}
            None if is_final && listing.is_old(job) && !listing.is_watched(id) => {
                let state = job.status.state.clone();
                let learnt = Instant::now();
                self.jobs.insert(id.to_owned(), KnownJob { owner, state, is_final, sequence: 0, at: now, learnt, missing_since: None });
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
            // Slurm tells 0 of jobs that run.
            exit_code: job.status.exit_code.filter(|_| is_final),
            signal: job.status.signal.filter(|_| is_final),
            is_final,
            at: now,
        })
    }

    /// Whether another state of one of these jobs was learnt after `taken`.
    pub(super) fn is_newer(&self, jobs: &[Job], taken: Instant) -> bool {
        let differs = |job: &Job, known: &KnownJob| known.learnt > taken && known.state != job.status.state;
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

    /// Whether a user has or had a job of this id.
    pub(super) fn belongs_to(&self, id: &str, owner: &str) -> bool {
        self.parts(id).any(|job| job.owner == owner)
    }

    fn parts<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a KnownJob> {
        self.jobs.iter().filter(move |(known, _)| concerns(id, known)).map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobStatus, JobTimes};

    fn job(id: &str, state: &str) -> Job {
        Job {
            id: JobId::new(id).unwrap(),
            name: "relax".to_owned(),
            status: JobStatus { state: state.to_owned(), ..JobStatus::default() },
            steps: None,
            times: JobTimes { end: Some(100), ..JobTimes::default() },
            account: None,
            allocation_nodes: 1,
            cluster: "daint".to_owned(),
            group: None,
            nodes: String::new(),
            partition: "normal".to_owned(),
            kill_request_user: None,
            user: Some("ada".to_owned()),
            working_directory: "/".to_owned(),
            priority: None,
        }
    }

    /// Compares a list with the known jobs, and applies the changes.
    /// The id, the previous state and the state.
    type Change = (String, Option<String>, String);

    fn tell(known: &mut Known, jobs: &[Job], ended_since: Option<i64>) -> (Vec<Change>, Vec<String>) {
        let listing = Listing { jobs, asked: Instant::now(), owner: Some("ada"), ended_since, watched: &[], is_whole: true };
        let (events, missing) = known.compare(&listing);
        events.iter().enumerate().for_each(|(index, event)| known.apply(1 + index as u64, event));
        let told = events.into_iter().map(|event| (event.id, event.previous, event.state)).collect();
        (told, missing.into_iter().map(String::from).collect())
    }

    fn told(id: &str, previous: Option<&str>, state: &str) -> Change {
        (id.to_owned(), previous.map(str::to_owned), state.to_owned())
    }

    #[test]
    fn a_state_is_told_once_and_each_change_of_it_once() {
        let mut known = Known::default();
        assert_eq!(tell(&mut known, &[job("1", "PENDING")], None).0, [told("1", None, "PENDING")]);
        assert_eq!(tell(&mut known, &[job("1", "PENDING")], None).0, []);
        assert_eq!(tell(&mut known, &[job("1", "RUNNING")], None).0, [told("1", Some("PENDING"), "RUNNING")]);
        assert_eq!(tell(&mut known, &[job("1", "COMPLETED")], None).0, [told("1", Some("RUNNING"), "COMPLETED")]);
        assert!(known.is_over("1") && known.last_event(&Selection::jobs(["1"])) == 1);
    }

    #[test]
    fn jobs_that_had_ended_before_anybody_looked_are_no_news() {
        let mut known = Known::default();
        assert_eq!(tell(&mut known, &[job("1", "FAILED"), job("2", "RUNNING")], Some(101)).0, [told("2", None, "RUNNING")]);
        // Now somebody looks, so that one which was never seen began and ended since.
        assert_eq!(tell(&mut known, &[job("1", "FAILED"), job("2", "RUNNING"), job("3", "FAILED")], None).0, [told("3", None, "FAILED")]);
        assert_eq!(tell(&mut Known::default(), &[job("1", "FAILED")], Some(100)).0, [told("1", None, "FAILED")]);
    }

    #[test]
    fn the_end_of_a_job_that_somebody_watches_is_news_at_the_first_look_too() {
        let watched = [JobId::new("1").unwrap()];
        let jobs = [job("1", "FAILED"), job("2", "FAILED")];
        let listing =
            Listing { jobs: &jobs, asked: Instant::now(), owner: Some("ada"), ended_since: Some(101), watched: &watched, is_whole: true };
        let (events, _) = Known::default().compare(&listing);
        assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn an_answer_from_before_an_event_is_outdated() {
        let mut known = Known::default();
        let before = Instant::now();
        tell(&mut known, &[job("1", "COMPLETED")], None);
        assert!(known.is_newer(&[job("1", "RUNNING")], before));
        assert!(!known.is_newer(&[job("1", "COMPLETED"), job("2", "RUNNING")], before));
        assert!(!known.is_newer(&[job("1", "RUNNING")], Instant::now()));
    }

    #[test]
    fn a_job_that_left_the_list_is_looked_for_and_one_that_ended_is_not() {
        let mut known = Known::default();
        tell(&mut known, &[job("1", "RUNNING"), job("2", "COMPLETED")], None);
        assert_eq!(tell(&mut known, &[], None), (Vec::new(), vec!["1".to_owned()]));
        let id = JobId::new("1").unwrap();
        let events = known.found(&id, &[job("1", "TIMEOUT")], Instant::now(), Some("ada"));
        assert_eq!(events.iter().map(|event| event.state.as_str()).collect::<Vec<_>>(), ["TIMEOUT"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_given_up_only_when_the_scheduler_has_said_for_long_that_there_is_none() {
        let mut known = Known::default();
        tell(&mut known, &[job("1", "RUNNING")], None);
        let id = JobId::new("1").unwrap();
        assert_eq!(known.not_found(&id), None);
        tokio::time::advance(GRACE - Duration::from_secs(1)).await;
        assert_eq!(known.not_found(&id), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let event = known.not_found(&id).unwrap();
        assert_eq!((event.state.as_str(), event.is_final), (JobEvent::UNKNOWN, true));
        // It is there again in between: the time begins anew.
        let mut known = Known::default();
        tell(&mut known, &[job("1", "RUNNING")], None);
        known.not_found(&id);
        tokio::time::advance(GRACE).await;
        tell(&mut known, &[job("1", "RUNNING")], None);
        assert_eq!(known.not_found(&id), None);
    }

    #[test]
    fn an_answer_to_an_older_question_changes_nothing() {
        let mut known = Known::default();
        let asked = Instant::now();
        tell(&mut known, &[job("1", "COMPLETED")], None);
        let listing = Listing { jobs: &[job("1", "RUNNING")], asked, owner: Some("ada"), ended_since: None, watched: &[], is_whole: true };
        assert_eq!(known.compare(&listing), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_record_of_waiting_tasks_goes_without_an_event_when_all_have_started() {
        let mut known = Known::default();
        tell(&mut known, &[job("7", "PENDING")], None);
        let (_, missing) = tell(&mut known, &[job("7_1", "COMPLETED"), job("7_2", "COMPLETED")], None);
        assert_eq!(missing, ["7"]);
        assert!(!known.is_over("7"));
        let events = known.found(&JobId::new("7").unwrap(), &[job("7_1", "COMPLETED"), job("7_2", "COMPLETED")], Instant::now(), None);
        assert!(events.is_empty() && known.is_over("7"));
    }
}
