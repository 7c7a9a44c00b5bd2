//! The questions to the scheduler, at intervals and for as long as somebody looks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::join3;
use futures::stream::{self, FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::time::{Instant as Clock, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Mirror;
use super::counters::Query;
use super::known::{Known, Listing};
use super::subjects::{Latest, Scope, Subject, Watch};
use crate::domain::{Job, JobEvent, JobId, JobQuery, Principal, Reading, Secret, Username};
use crate::error::{Classify, ErrorChain};
use crate::scheduler::{CachedScheduler, MirrorAccount, SchedulerError, SeenChanges};

/// Jobs that are looked up by themselves at a time.
const LOOKED_UP_AT_ONCE: usize = 4;

/// The minimum time between two queries on request.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The pause between two looks at a job that was reported as ended and is still cleaned up, and how many there are.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
const MAX_LOOKS: u32 = 20;

/// For so long the jobs of a user who does not look are observed with the same credential.
const RENEWAL: Duration = Duration::from_secs(6 * 3600);

/// The state of an observation, besides its subject.
struct Observation<'a> {
    mirror: &'a Mirror,
    subject: &'a Subject,
    /// Until when this replica has the lease, less a margin.
    lease: Option<Clock>,
    /// The time of the first complete list, in Unix seconds, and whether it was complete.
    begun: Option<(i64, bool)>,
}

/// Observes all subjects of a mirror until the token is cancelled.
pub(super) async fn run(mirror: &Mirror, stop: CancellationToken) {
    if mirror.settings.account == MirrorAccount::Service && mirror.cluster.scheduler_without_health_check().is_ok() {
        mirror.subjects.open(Scope::All);
    }
    stop.run_until_cancelled(join3(mirror.journal.follow(), poll_all(mirror), attend(mirror))).await;
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

/// Keeps the jobs of users under observation who do not watch themselves, while somebody else needs their events. It does not return.
async fn attend(mirror: &Mirror) {
    let Some(interest) = mirror.interest.as_ref().filter(|_| mirror.settings.account == MirrorAccount::Caller) else {
        return std::future::pending().await;
    };
    let mut watched: HashMap<Username, (Watch, Clock)> = HashMap::new();
    loop {
        let users = interest.users(mirror.cluster.name()).await;
        watched.retain(|user, (_, since)| since.elapsed() < RENEWAL && users.contains(user));
        for user in users {
            watched.entry(user).or_insert_with_key(|user| (mirror.watch(&absent(user)), Clock::now()));
        }
        sleep(mirror.settings.pause()).await;
    }
}

/// A user without a token.
fn absent(user: &Username) -> Principal {
    Principal {
        username: user.clone(),
        subject: user.as_str().to_owned(),
        client_id: None,
        email: None,
        groups: Vec::new(),
        scopes: Vec::new(),
        expires_at: Timestamp::now() + 2 * RENEWAL,
        token: Secret::from(String::new()),
        is_service_account: false,
        validator: None,
    }
}

impl Observation<'_> {
    /// Asks at intervals, until nobody has looked for two of them.
    async fn run(&mut self) {
        let (subject, pause) = (self.subject, self.mirror.settings.pause());
        loop {
            let begun = Clock::now();
            let outcome = self.round().await;
            self.tell(outcome);
            if subject.scope != Scope::All && self.mirror.subjects.close(subject, 2 * pause) {
                break;
            }
            self.pause(begun, pause).await;
        }
        let name = self.lease_name();
        if let Some(store) = self.mirror.journal.store().filter(|_| self.mirror.leases.lock().remove(&name)) {
            // It ends by itself where this fails.
            let _ = store.release(&name, &self.mirror.holder).await;
        }
    }

    /// Waits for the next round. Meanwhile it queries the jobs that were reported as ended.
    async fn pause(&self, begun: Clock, pause: Duration) {
        let subject = self.subject;
        let earliest = begun + MIN_PAUSE.min(pause);
        let nudged = async {
            subject.nudged.notified().await;
            sleep_until(earliest).await;
        };
        tokio::pin!(nudged);
        // Jobs that were reported as ended and are still cleaned up.
        let mut ending: Vec<JobId> = Vec::new();
        let mut looks_left = 0;
        loop {
            tokio::select! {
                () = sleep_until(begun + pause) => return,
                () = &mut nudged => return,
                () = subject.hinted.notified() => {
                    ending.extend(subject.hints());
                    looks_left = MAX_LOOKS;
                }
                () = sleep(LOOK_PAUSE), if !ending.is_empty() => looks_left -= 1,
            }
            if let Err(Trouble { log, .. }) = self.look_at(&mut ending).await {
                // The next round shows it too.
                tracing::debug!(system = %self.mirror.cluster.name(), error = log, "a job that was reported as ended could not be read");
            }
            ending.retain(|id| looks_left > 0 && self.mirror.journal.known(|known| known.is_ending(id.as_str())));
        }
    }

    /// Looks at jobs that are said to have ended, unless that is known. Any replica may do so.
    async fn look_at(&self, jobs: &mut Vec<JobId>) -> Result<(), Trouble> {
        jobs.retain(|id| !self.mirror.is_over(id));
        let principal = self.principal().await?;
        self.look_up(self.mirror.cluster.scheduler_without_health_check()?, &principal, jobs.clone()).await
    }

    async fn principal(&self) -> Result<Principal, Trouble> {
        Ok(match &self.subject.scope {
            Scope::All => self.mirror.service.principal().await?,
            Scope::Of(_) => self.subject.principal().ok_or(SchedulerError::Unsupported("no user has asked for these jobs"))?,
        })
    }

    fn tell(&self, outcome: Result<(), Trouble>) {
        let system = self.mirror.cluster.name();
        let owner = self.subject.scope.owner();
        self.subject.outlook.send_if_modified(|outlook| {
            let before = (outlook.rounds == 0, outlook.trouble.is_some());
            outlook.rounds += 1;
            match outcome {
                Ok(()) => {
                    if outlook.trouble.take().is_some() {
                        tracing::info!(%system, owner, "the jobs can be observed again");
                    }
                    outlook.answered = Some(Clock::now());
                }
                Err(Trouble { message, log }) => {
                    if outlook.trouble.is_none() {
                        tracing::warn!(%system, owner, error = log, "the jobs cannot be observed");
                    }
                    outlook.trouble = Some(message.into());
                }
            }
            // Those who wait are woken by what they wait for alone.
            before != (false, outlook.trouble.is_some())
        });
    }

    /// Queries once, and adds the changes to the journal.
    async fn round(&mut self) -> Result<(), Trouble> {
        let (mirror, subject) = (self.mirror, self.subject);
        mirror.journal.catch_up().await?;
        // A lease from before may be that of a process that was killed. It ends; until then nobody waits for its end.
        if !self.has_lease().await? && mirror.created.elapsed() > mirror.lease_time() {
            self.begun = None;
            return Ok(());
        }
        let principal = self.principal().await?;
        let scheduler = mirror.cluster.scheduler_without_health_check()?;
        let query = JobQuery { all_users: subject.scope == Scope::All, ..JobQuery::default() };
        let (asked, changes) = (Instant::now(), scheduler.changes());
        let answer = scheduler.jobs_anew(&principal, &query).await;
        mirror.counters.count_query(Query::List, answer.is_ok());
        let reading = answer?;
        self.remember(&reading, changes);
        let (ended_since, watched) = (self.ended_since(&reading), subject.watched());
        let (owner, is_whole) = (subject.scope.owner(), reading.missing().is_none());
        let listing = Listing { jobs: &reading, asked, owner, ended_since, watched: &watched, is_whole };
        let missing = self.record(|known| known.compare(&listing)).await?;
        self.begun.get_or_insert((Timestamp::now().as_second(), is_whole));
        self.look_up(scheduler, &principal, missing).await
    }

    /// Since when jobs that nobody knew, and that have ended, are news.
    fn ended_since(&self, reading: &Reading<Vec<Job>>) -> Option<i64> {
        match self.begun {
            Some((_, true)) => None,
            Some((begun, false)) => Some(begun),
            // What ended while this process did not run is news, where somebody looked before.
            None => {
                let newest = self.mirror.journal.known(|known| known.newest(self.subject.scope.owner()));
                let latest = reading.iter().filter_map(|job| job.times.end).max().unwrap_or(0);
                Some(newest.map_or(latest.saturating_add(1), Timestamp::as_second))
            }
        }
    }

    /// Keeps the list for other readers, and the jobs that have left it.
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

    /// Looks up jobs that are in no list. One that the scheduler does not know may be on the way to accounting.
    async fn look_up(&self, scheduler: &CachedScheduler, principal: &Principal, ids: Vec<JobId>) -> Result<(), Trouble> {
        let owner = self.subject.scope.owner();
        let look_up = |id: JobId| async move {
            let asked = Instant::now();
            let answer = scheduler.job_anew(principal, &id).await;
            let is_answered = matches!(answer, Ok(_) | Err(SchedulerError::JobNotFound));
            self.mirror.counters.count_query(Query::Job, is_answered);
            match answer {
                Ok(jobs) => self.record(|known| (known.found(&id, &jobs, asked, owner), ())).await,
                Err(SchedulerError::JobNotFound) => self.record(|known| (known.not_found(&id).into_iter().collect(), ())).await,
                // No id that it takes, such as some tasks of an array: what is known of them stands in the list.
                Err(error @ (SchedulerError::Rejected(_) | SchedulerError::Denied(_))) => {
                    tracing::debug!(job = %id, error = %ErrorChain(&error), "a job could not be looked up");
                    Ok(())
                }
                Err(error) => Err(Trouble::from(error)),
            }
        };
        let outcomes: Vec<Result<(), Trouble>> = stream::iter(ids).map(look_up).buffer_unordered(LOOKED_UP_AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }

    /// Adds the events of a comparison to the journal.
    async fn record<T>(&self, compare: impl Fn(&mut Known) -> (Vec<JobEvent>, T) + Send) -> Result<T, Trouble> {
        let (count, result) = self.mirror.journal.record(compare).await?;
        self.mirror.counters.count_events(count);
        Ok(result)
    }

    /// Whether this replica holds the lease, which it keeps while it queries.
    async fn has_lease(&mut self) -> Result<bool, Trouble> {
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

/// Why nothing was learnt.
struct Trouble {
    /// In words for clients.
    message: String,
    /// With all causes, for the log.
    log: String,
}

impl<E: Classify> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self { message: error.public_message().into_owned(), log: ErrorChain(&error).to_string() }
    }
}
