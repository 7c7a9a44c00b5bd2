//! Queries the scheduler at intervals, while there are watchers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::join4;
use futures::stream::{self, FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::time::{Instant as Clock, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Mirror;
use super::counters::Query;
use super::known::{KnownJobs, Listing};
use super::subjects::{Latest, Scope, Subject, Watch};
use crate::domain::{Job, JobEvent, JobId, JobQuery, Principal, Reading, Secret, Username};
use crate::error::{Classify, ErrorChain};
use crate::scheduler::{CachedScheduler, MirrorAccount, SchedulerError, SeenChanges};

/// Maximum number of concurrent queries of single jobs.
const MAX_CONCURRENT_LOOKUPS: usize = 4;

/// Minimum time between two queries on request.
const MIN_QUERY_INTERVAL: Duration = Duration::from_secs(1);

/// The interval between queries of a job that was reported as ended and is still being cleaned up.
const ENDING_JOB_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum number of these queries.
const MAX_ENDING_JOB_LOOKUPS: u32 = 20;

/// How long the jobs of a user without a token are observed with the same principal.
const PRINCIPAL_RENEWAL: Duration = Duration::from_secs(6 * 3600);

/// The state of an observation, besides its subject.
struct Observation<'a> {
    mirror: &'a Mirror,
    subject: &'a Subject,
    /// The time until which this replica has the lease, less a margin.
    lease: Option<Clock>,
    /// The time of the first complete list, in Unix seconds, and whether it was complete.
    begun: Option<(i64, bool)>,
}

/// Observes all subjects of a mirror until the token is cancelled.
pub(super) async fn run(mirror: &Mirror, stop: CancellationToken) {
    if mirror.settings.account == MirrorAccount::Service && mirror.cluster.scheduler_without_health_check().is_ok() {
        mirror.subjects.open(Scope::All);
    }
    stop.run_until_cancelled(join4(mirror.journal.follow(), poll_all(mirror), watch_for_interest(mirror), follow_scheduler(mirror))).await;
}

/// Looks at the jobs of a user at once when the scheduler itself reports a change of them.
async fn follow_scheduler(mirror: &Mirror) {
    match mirror.cluster.scheduler_without_health_check() {
        Ok(scheduler) => scheduler.keep_current(&|user| mirror.nudge(user)).await,
        Err(_) => std::future::pending().await,
    }
}

async fn poll_all(mirror: &Mirror) {
    let mut observed = FuturesUnordered::new();
    loop {
        tokio::select! {
            fresh = mirror.subjects.added() => {
                for subject in fresh {
                    observed.push(async move { Observation { mirror, subject: &subject, lease: None, begun: None }.run().await });
                }
            }
            Some(()) = observed.next() => {}
        }
    }
}

/// Watches the jobs of users whose events are needed while they do not watch themselves. It does not return.
async fn watch_for_interest(mirror: &Mirror) {
    let Some(interest) = mirror.interest.as_ref().filter(|_| mirror.settings.account == MirrorAccount::Caller) else {
        return std::future::pending().await;
    };
    let mut watched: HashMap<Username, (Watch, Clock)> = HashMap::new();
    loop {
        if let Some(users) = interest.users(mirror.cluster.name()).await {
            watched.retain(|user, (_, since)| since.elapsed() < PRINCIPAL_RENEWAL && users.contains(user));
            for user in users {
                watched.entry(user).or_insert_with_key(|user| (mirror.watch(&without_token(user)), Clock::now()));
            }
        }
        sleep(mirror.settings.pause()).await;
    }
}

/// The principal of a user without a token.
fn without_token(user: &Username) -> Principal {
    Principal {
        username: user.clone(),
        subject: user.as_str().to_owned(),
        client_id: None,
        email: None,
        groups: Vec::new(),
        scopes: Vec::new(),
        expires_at: Timestamp::now() + 2 * PRINCIPAL_RENEWAL,
        token: Secret::from(String::new()),
        is_service_account: false,
        validator: None,
    }
}

impl Observation<'_> {
    /// Queries at intervals, until there was no watcher for two intervals.
    async fn run(&mut self) {
        let (subject, pause) = (self.subject, self.mirror.settings.pause());
        loop {
            let begun = Clock::now();
            let outcome = self.round().await;
            self.publish(outcome);
            if subject.scope != Scope::All && self.mirror.subjects.close(subject, 2 * pause) {
                break;
            }
            self.pause(begun, pause).await;
        }
        let name = self.lease_name();
        if let Some(store) = self.mirror.journal.store().filter(|_| self.mirror.leases.lock().remove(&name)) {
            // A lease that is not released expires.
            let _ = store.release(&name, &self.mirror.holder).await;
        }
    }

    /// Waits for the next round. Meanwhile it queries the jobs that were reported as ended.
    async fn pause(&self, begun: Clock, pause: Duration) {
        let subject = self.subject;
        let earliest = begun + MIN_QUERY_INTERVAL.min(pause);
        let requested = async {
            subject.requested.notified().await;
            sleep_until(earliest).await;
        };
        tokio::pin!(requested);
        // Jobs that were reported as ended and are still being cleaned up.
        let mut ending: Vec<JobId> = Vec::new();
        let mut lookups_left = 0;
        loop {
            tokio::select! {
                () = sleep_until(begun + pause) => return,
                () = &mut requested => return,
                () = subject.reported.notified() => {
                    ending.extend(subject.hints());
                    lookups_left = MAX_ENDING_JOB_LOOKUPS;
                }
                () = sleep(ENDING_JOB_INTERVAL), if !ending.is_empty() => lookups_left -= 1,
            }
            if let Err(QueryFailure { log, .. }) = self.query_ended(&mut ending).await {
                // The next round reports the failure too.
                tracing::debug!(system = %self.mirror.cluster.name(), error = log, "a job that was reported as ended could not be read");
            }
            ending.retain(|id| lookups_left > 0 && self.mirror.journal.known(|known| known.is_ending(id.as_str())));
        }
    }

    /// Queries jobs that were reported as ended, unless their end is known. Every replica may do so.
    async fn query_ended(&self, jobs: &mut Vec<JobId>) -> Result<(), QueryFailure> {
        jobs.retain(|id| !self.mirror.is_over(id));
        let principal = self.principal().await?;
        self.look_up(self.mirror.cluster.scheduler_without_health_check()?, &principal, jobs.clone()).await
    }

    async fn principal(&self) -> Result<Principal, QueryFailure> {
        Ok(match &self.subject.scope {
            Scope::All => self.mirror.service.principal().await?,
            Scope::Of(_) => self.subject.principal().ok_or(SchedulerError::Unsupported("no user watches these jobs"))?,
        })
    }

    fn publish(&self, outcome: Result<(), QueryFailure>) {
        let system = self.mirror.cluster.name();
        let owner = self.subject.scope.owner();
        self.subject.status.send_if_modified(|status| {
            let before = (status.rounds == 0, status.failure.is_some());
            status.rounds += 1;
            match outcome {
                Ok(()) => {
                    if status.failure.take().is_some() {
                        tracing::info!(%system, owner, "the jobs can be observed again");
                    }
                    status.answered = Some(Clock::now());
                }
                Err(QueryFailure { message, log }) => {
                    if status.failure.is_none() {
                        tracing::warn!(%system, owner, error = log, "the jobs cannot be observed");
                    }
                    status.failure = Some(message.into());
                }
            }
            // Watchers are woken only by the first round and by changes between success and failure.
            before != (false, status.failure.is_some())
        });
    }

    /// Queries once, and adds the changes to the journal.
    async fn round(&mut self) -> Result<(), QueryFailure> {
        let (mirror, subject) = (self.mirror, self.subject);
        mirror.journal.catch_up().await?;
        // Soon after the start, the lease may be that of a killed process: query without it until it has expired.
        if !self.has_lease().await? && mirror.created.elapsed() > mirror.lease_time() {
            self.begun = None;
            return Ok(());
        }
        let principal = self.principal().await?;
        let scheduler = mirror.cluster.scheduler_without_health_check()?;
        let query = JobQuery { all_users: subject.scope == Scope::All, ..JobQuery::default() };
        let (queried_at, changes) = (Instant::now(), scheduler.changes());
        let answer = scheduler.jobs_anew(&principal, &query).await;
        mirror.counters.count_query(Query::List, answer.is_ok());
        let reading = answer?;
        self.remember(&reading, changes);
        let (ended_since, watched) = (self.ended_since(&reading), self.watched().await);
        let (owner, is_complete) = (subject.scope.owner(), reading.missing().is_none());
        let listing = Listing { jobs: &reading, queried_at, owner, ended_since, watched: &watched, is_complete };
        let missing = self.record(|known| known.compare(&listing)).await?;
        self.begun.get_or_insert((Timestamp::now().as_second(), is_complete));
        self.look_up(scheduler, &principal, missing).await
    }

    /// The jobs that are watched by their ids. Those of the interest matter only for the first list: later ones report the end of every job.
    async fn watched(&self) -> Vec<JobId> {
        let mut watched = self.subject.watched();
        if let Some(interest) = self.mirror.interest.as_ref().filter(|_| self.begun.is_none()) {
            watched.extend(interest.jobs(self.mirror.cluster.name(), self.subject.scope.user()).await);
        }
        watched
    }

    /// The time since which unknown jobs that have ended get events.
    fn ended_since(&self, reading: &Reading<Vec<Job>>) -> Option<i64> {
        match self.begun {
            Some((_, true)) => None,
            Some((begun, false)) => Some(begun),
            // Jobs that ended while no process ran get events, if the jobs were observed before.
            None => {
                let newest = self.mirror.journal.known(|known| known.newest(self.subject.scope.owner()));
                let latest = reading.iter().filter_map(|job| job.times.end).max().unwrap_or(0);
                Some(newest.map_or(latest.saturating_add(1), Timestamp::as_second))
            }
        }
    }

    /// Keeps the list for other readers, with the jobs that have left it.
    fn remember(&self, reading: &Reading<Vec<Job>>, changes: SeenChanges) {
        let mut latest = self.subject.latest.lock();
        let mut left: HashMap<JobId, Job> = HashMap::new();
        if let Some(before) = latest.take() {
            let unfinished = before.reading.iter().filter(|job| !job.status.has_ended());
            left.extend(before.left);
            left.extend(unfinished.map(|job| (job.id.clone(), job.clone())));
            reading.iter().for_each(|job| drop(left.remove(&job.id)));
            left.retain(|id, _| !self.mirror.is_over(id));
        }
        *latest = Some(Latest { reading: reading.clone(), changes, own: HashMap::new(), left });
    }

    /// Queries jobs that are missing in the list. A job that the scheduler does not know may still get to accounting.
    async fn look_up(&self, scheduler: &CachedScheduler, principal: &Principal, ids: Vec<JobId>) -> Result<(), QueryFailure> {
        let owner = self.subject.scope.owner();
        let look_up = |id: JobId| async move {
            let queried_at = Instant::now();
            let answer = scheduler.job_anew(principal, &id).await;
            let is_answered = matches!(answer, Ok(_) | Err(SchedulerError::JobNotFound));
            self.mirror.counters.count_query(Query::Job, is_answered);
            match answer {
                Ok(jobs) => self.record(|known| (known.found(&id, &jobs, queried_at, owner), ())).await,
                Err(SchedulerError::JobNotFound) => {
                    let is_certain = scheduler.knows_every_job();
                    self.record(|known| (known.not_found(&id, is_certain).into_iter().collect(), ())).await
                }
                // The scheduler does not accept the id, as for some tasks of an array; their state is in the list.
                Err(error @ (SchedulerError::Rejected(_) | SchedulerError::Denied(_))) => {
                    tracing::debug!(job = %id, error = %ErrorChain(&error), "a job could not be looked up");
                    Ok(())
                }
                Err(error) => Err(QueryFailure::from(error)),
            }
        };
        let outcomes: Vec<Result<(), QueryFailure>> =
            stream::iter(ids).map(look_up).buffer_unordered(MAX_CONCURRENT_LOOKUPS).collect().await;
        outcomes.into_iter().collect()
    }

    /// Adds the events of a comparison to the journal.
    async fn record<T>(&self, compare: impl Fn(&mut KnownJobs) -> (Vec<JobEvent>, T) + Send) -> Result<T, QueryFailure> {
        let (count, result) = self.mirror.journal.record(compare).await?;
        self.mirror.counters.count_events(count);
        Ok(result)
    }

    /// Takes or renews the lease; returns whether this replica holds it.
    async fn has_lease(&mut self) -> Result<bool, QueryFailure> {
        let Some(store) = self.mirror.journal.store() else { return Ok(true) };
        let time = self.mirror.lease_time();
        let now = Clock::now();
        if self.lease.is_some_and(|until| now < until) {
            return Ok(true);
        }
        let name = self.lease_name();
        let has_it = store.lease(&name, &self.mirror.holder, time).await?;
        self.lease = has_it.then_some(now + time / 2);
        if has_it {
            self.mirror.leases.lock().insert(name);
        }
        Ok(has_it)
    }

    fn lease_name(&self) -> String {
        let system = self.mirror.cluster.name();
        match self.subject.scope.owner() {
            None => format!("mirror/{system}"),
            Some(owner) => format!("mirror/{system}/{owner}"),
        }
    }
}

/// The failure of a query.
struct QueryFailure {
    /// The message for clients.
    message: String,
    /// The message with all causes, for the log.
    log: String,
}

impl<E: Classify> From<E> for QueryFailure {
    fn from(error: E) -> Self {
        Self { message: error.public_message().into_owned(), log: ErrorChain(&error).to_string() }
    }
}
