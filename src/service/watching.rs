//! Waits for changes of jobs: for the next change of a job, or for each event.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::jobs::{self, job_id};
use super::text::Findings;
use super::updates::{expiry, validity};
use super::{Access, InvalidRequest, ServiceError};
use crate::domain::{Job, JobEvent, JobId, Reading};
use crate::mirror::{JournalEntry, Mirror, NewEvents, Reader, Selection, Staleness, Watch};
use crate::scheduler::SchedulerError;

/// The interval of heartbeats while there is no event, so that no intermediary takes the connection for dead.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// The time that a stream waits for the first list of the jobs; changes after that are events.
const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(10);

const NOT_WATCHED: &str = "jobs cannot be watched on this system";

/// The state of a job that a caller knows already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// The events up to this number.
    Event(u64),
    /// The state, in the scheduler's words.
    State(String),
}

impl Since {
    /// A number of an event, or a state of jobs on the system.
    ///
    /// # Errors
    /// If it is neither.
    pub fn new(access: &Access, text: &str) -> Result<Self, InvalidRequest> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse().map_err(|_| InvalidRequest::new("since", "there is no such event"))?;
            return Ok(Self::Event(number));
        }
        let mut findings = Findings::default();
        match text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => findings.states("since", access, [text]),
            false => findings.add("since", "it should be a state such as RUNNING, or the number of an event"),
        }
        findings.into_result()?;
        Ok(Self::State(text.to_owned()))
    }
}

/// A job after a wait.
pub struct Waited {
    /// The job, or the tasks of an array.
    pub job: Reading<Vec<Job>>,
    /// The number of the last event that was there before the answer.
    pub position: u64,
}

/// Returns one job, or all tasks of an array, when it has changed or the time is over. A job that has ended, or differs from `since`, is
/// returned at once.
///
/// # Errors
/// If there is no such job, or the scheduler does not answer and nothing is known of it.
pub async fn wait(access: &Access, id: &str, since: Option<&Since>, time: Duration) -> Result<Waited, ServiceError> {
    let deadline = Instant::now() + time;
    let (parsed, mirror, principal) = (job_id(id)?, mirror(access)?, access.principal());
    mirror.journal().open().await?;
    let selection = Selection::jobs([id]);
    let mut reader = Reader::new(Arc::clone(mirror.journal()), selection.clone(), mirror.journal().last());
    let mirrored = mirror.single(principal, &parsed);
    let before = match &mirrored {
        Some(job) => job.clone(),
        None => jobs::get(access, id).await?,
    };
    let is_over = before.iter().all(|job| job.status.has_ended());
    let is_news = match since {
        None => false,
        Some(Since::State(state)) => before.iter().any(|job| !job.status.state.eq_ignore_ascii_case(state)),
        Some(&Since::Event(known)) => known < mirror.last_event(&selection) || known > mirror.journal().last(),
    };
    if is_news || is_over {
        let job = if is_over && mirrored.is_some() { jobs::get(access, id).await? } else { before };
        return Ok(Waited { job, position: reader.position() });
    }
    let watch = mirror.watch_job(principal, &parsed);
    let states = States::of(&before);
    reader.select(selection_of(id, &before));
    let changed = async {
        loop {
            let NewEvents { entries, has_gap } = reader.next().await;
            if has_gap || entries.iter().any(|entry| states.differ_from(&entry.event)) {
                return;
            }
        }
    };
    let has_changed = tokio::select! {
        () = changed => true,
        () = sleep_until(deadline) => false,
        () = expiry(principal) => false,
        () = watch.ended() => false,
    };
    let position = reader.position();
    let job = if has_changed { after_change(access, id, &states).await? } else { unchanged(access, id, mirror, &parsed).await? };
    Ok(Waited { job, position })
}

/// The job after the change that an event reported; older cached answers of the scheduler are ignored.
async fn after_change(access: &Access, id: &str, before: &States) -> Result<Reading<Vec<Job>>, ServiceError> {
    let job = jobs::get(access, id).await?;
    if job.iter().any(|job| before.differs_from_job(job)) {
        return Ok(job);
    }
    let scheduler = access.cluster().scheduler()?;
    Ok(scheduler.job_anew(access.principal(), &job_id(id)?).await.unwrap_or(job))
}

/// The job when the time is over: as the mirror has it, so that many waiting clients cost no more than one.
async fn unchanged(access: &Access, id: &str, mirror: &Mirror, parsed: &JobId) -> Result<Reading<Vec<Job>>, ServiceError> {
    match mirror.single(access.principal(), parsed) {
        Some(job) => Ok(job),
        None => jobs::get(access, id).await,
    }
}

fn mirror(access: &Access) -> Result<&Arc<Mirror>, ServiceError> {
    access.cluster().scheduler_without_health_check()?;
    access.mirror().ok_or(ServiceError::Unsupported(NOT_WATCHED))
}

/// The requested job, and its parts among these jobs.
fn selection_of(id: &str, jobs: &[Job]) -> Selection {
    Selection::jobs(std::iter::once(id).chain(jobs.iter().map(|job| job.id.as_str())))
}

/// The states of a job and its parts.
struct States(HashMap<String, String>);

impl States {
    fn of(jobs: &[Job]) -> Self {
        Self(jobs.iter().map(|job| (job.id.as_str().to_owned(), job.status.state.clone())).collect())
    }

    fn differ_from(&self, event: &JobEvent) -> bool {
        self.0.get(&event.id) != Some(&event.state)
    }

    fn differs_from_job(&self, job: &Job) -> bool {
        self.0.get(job.id.as_str()) != Some(&job.status.state)
    }
}

/// The start of a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From now on.
    Present,
    /// From the event after this one.
    After(u64),
    /// From now on, because the requested start is not the number of an event.
    Malformed,
}

/// An item of a stream of events.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Something happened.
    Event(Arc<JournalEntry>),
    /// The state of a job at the start of the stream.
    Present(JobEvent),
    /// The requested start is unknown: the stream begins now.
    NotResumed(&'static str),
    /// Some events in between are no longer kept.
    Gap,
    /// The scheduler does not answer, so it is unknown whether anything happened.
    Stale(Staleness),
    /// It answers again.
    Current,
    /// Nothing happened for a while.
    Quiet,
    /// There is no more, for this reason.
    End(&'static str),
}

/// The events of jobs, in order.
pub struct JobEvents {
    reader: Reader,
    watch: Watch,
    mirror: Arc<Mirror>,
    /// The job, if the stream is for one job.
    single: Option<Single>,
    notices: VecDeque<Notice>,
    token_ends: Instant,
    is_stale: bool,
    has_ended: bool,
}

struct Single {
    id: JobId,
    states: States,
    is_over: bool,
    /// How it ended, where that was found when the stream began and may not be among the events yet.
    end: Vec<JobEvent>,
}

/// The events of the caller's jobs, until the caller's token ends.
///
/// # Errors
/// If the system runs no jobs, or the store does not answer.
pub async fn own_events(access: &Access, from: Resume) -> Result<JobEvents, ServiceError> {
    let mirror = mirror(access)?;
    read_up_to(mirror, from).await?;
    let watch = mirror.watch(access.principal());
    if !matches!(from, Resume::After(_)) {
        // It finds the present state, which is no event.
        let _ = tokio::time::timeout(FIRST_LIST_TIMEOUT, watch.observed()).await;
    }
    let selection = Selection::Owner(access.principal().username.as_str().to_owned());
    let last = mirror.journal().last();
    Ok(JobEvents::new(access, mirror, watch, (selection, last), from))
}

/// The events of one job and its parts, until it has ended.
///
/// # Errors
/// If there is no such job, or it is unknown whether the caller may see it.
pub async fn job_events(access: &Access, id: &str, from: Resume) -> Result<JobEvents, ServiceError> {
    let (parsed, mirror, principal) = (job_id(id)?, mirror(access)?, access.principal());
    read_up_to(mirror, from).await?;
    let last = mirror.journal().last();
    let jobs = match jobs::get(access, id).await {
        Ok(jobs) => Some(jobs),
        Err(ServiceError::Scheduler(SchedulerError::JobNotFound)) => return Err(SchedulerError::JobNotFound.into()),
        Err(error) if !mirror.belongs_to(&parsed, &principal.username) => return Err(error),
        Err(_) => None,
    };
    let jobs = jobs.as_ref().map_or(&[][..], |jobs| jobs);
    let is_over = !jobs.is_empty() && jobs.iter().all(|job| job.status.has_ended());
    let watch = if is_over { mirror.watch(principal) } else { mirror.watch_job(principal, &parsed) };
    let mut events = JobEvents::new(access, mirror, watch, (selection_of(id, jobs), last), from);
    let resumes = matches!(from, Resume::After(number) if number <= last);
    if !resumes {
        events.notices.extend(jobs.iter().map(|job| Notice::Present(present(job, principal.username.as_str()))));
    }
    let states = if resumes { States(HashMap::new()) } else { States::of(jobs) };
    let found = jobs.iter().filter(|_| resumes && is_over).map(|job| present(job, principal.username.as_str()));
    events.single = Some(Single { id: parsed, states, is_over, end: found.collect() });
    Ok(events)
}

/// Reads the events that the journal lacks. Another replica may have given the number from which the caller continues.
async fn read_up_to(mirror: &Mirror, from: Resume) -> Result<(), ServiceError> {
    mirror.journal().open().await?;
    if matches!(from, Resume::After(number) if number > mirror.journal().last()) {
        mirror.journal().catch_up().await?;
    }
    Ok(())
}

/// The state of a job as an event without the previous state.
fn present(job: &Job, caller: &str) -> JobEvent {
    JobEvent {
        id: job.id.as_str().to_owned(),
        name: Some(job.name.clone()),
        owner: job.user.clone().unwrap_or_else(|| caller.to_owned()),
        previous: None,
        state: job.status.state.clone(),
        exit_code: job.status.exit_code.filter(|_| job.status.has_ended()),
        signal: job.status.signal.filter(|_| job.status.has_ended()),
        is_final: job.status.has_ended(),
        ends_whole: false,
        at: Timestamp::now(),
    }
}

impl JobEvents {
    /// The events of the selection after the event `last`, unless the caller gives another start.
    fn new(access: &Access, mirror: &Arc<Mirror>, watch: Watch, (selection, last): (Selection, u64), from: Resume) -> Self {
        let (position, note) = match from {
            Resume::Present => (last, None),
            Resume::After(number) if number <= last => (number, None),
            Resume::After(_) => (last, Some("there was no such event: the events begin now")),
            Resume::Malformed => (last, Some("Last-Event-ID is no number of an event: the events begin now")),
        };
        Self {
            reader: Reader::new(Arc::clone(mirror.journal()), selection, position),
            watch,
            mirror: Arc::clone(mirror),
            single: None,
            notices: note.map(Notice::NotResumed).into_iter().collect(),
            token_ends: Instant::now() + validity(access.principal()),
            is_stale: false,
            has_ended: false,
        }
    }

    /// The number of the event after which it begins.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Waits for the next item; nothing after the end.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Some(notice);
            }
            if self.has_ended {
                return None;
            }
            if self.single.as_ref().is_some_and(|single| single.is_over) {
                match self.reader.ready().await {
                    Ok(Some(news)) => self.take(news),
                    Ok(None) | Err(_) => self.add_end_of_job(),
                }
                continue;
            }
            tokio::select! {
                biased;
                news = self.reader.next() => self.take(news),
                () = self.watch.ended() => self.has_ended = true,
                () = sleep_until(self.token_ends) => self.end("the access token has ended"),
                is_stale = self.watch.staleness_changes(self.is_stale) => self.note_staleness(is_stale),
                () = sleep(HEARTBEAT_INTERVAL) => self.add_heartbeat(),
            }
        }
    }

    fn take(&mut self, NewEvents { entries, has_gap }: NewEvents) {
        if has_gap {
            self.notices.push_back(Notice::Gap);
        }
        let Some(single) = &mut self.single else {
            self.notices.extend(entries.into_iter().map(Notice::Event));
            return;
        };
        for entry in entries {
            if single.states.differ_from(&entry.event) {
                single.states.0.insert(entry.event.id.clone(), entry.event.state.clone());
                self.notices.push_back(Notice::Event(entry));
            }
        }
        single.is_over = single.is_over || self.mirror.is_over(&single.id);
    }

    /// Sends a heartbeat. It also checks for the end of an array, whose record of pending tasks disappears without an event.
    fn add_heartbeat(&mut self) {
        self.notices.push_back(self.watch.staleness().map_or(Notice::Quiet, Notice::Stale));
        if let Some(single) = &mut self.single {
            single.is_over = self.mirror.is_over(&single.id);
        }
    }

    fn note_staleness(&mut self, is_stale: bool) {
        self.is_stale = is_stale;
        self.notices.push_back(self.watch.staleness().map_or(Notice::Current, Notice::Stale));
    }

    /// The job has ended, and all of its events were sent.
    fn add_end_of_job(&mut self) {
        if let Some(single) = &mut self.single {
            let found = std::mem::take(&mut single.end);
            let unknown = found.into_iter().filter(|event| single.states.differ_from(event));
            self.notices.extend(unknown.map(Notice::Present));
        }
        self.end("the job has ended");
    }

    fn end(&mut self, reason: &'static str) {
        self.has_ended = true;
        self.notices.push_back(Notice::End(reason));
    }
}
