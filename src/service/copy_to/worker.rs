//! Works on the tasks that are due, several at a time, each under a lease.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::cleanup::remove_parts;
use super::copy::{copy, look};
use super::file::{CopyError, Ends, on};
use super::progress::Progress;
use crate::authz::Relation;
use crate::domain::RemotePath;
use crate::error::{Classify, ErrorChain, Kind, Recurring};
use crate::service::audit::{self, Change};
use crate::service::counts::{Action, ChangeOutcome};
use crate::service::tasks::{MAX_AGE, Place, StoredTask, TaskFailure, TaskState, Tasks, UnderWay};
use crate::service::updates::validity;
use crate::service::{Access, AccessError, Gate};
use crate::store::{Leased, StoreError};

/// Maximum number of tasks that this process works on at a time.
const MAX_RUNNING: usize = 16;
/// Maximum number of tasks of one user that this process works on at a time.
const MAX_RUNNING_PER_USER: usize = 2;
/// The time that work has to end in order.
const HALT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for removing what an ended task left.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);
/// The time after which a task is looked at again that waits for a token, in pauses after a first failure.
const TOKEN_PAUSES: u32 = 3;

/// How long the work waits for the lease of its task, which [`Tasks::hasten`] holds briefly.
const LEASE_WAIT: Duration = Duration::from_millis(300);

const NO_TOKEN: &str = "the access token of the request has ended, and credentials are only made with a valid one: the copy goes on when you \
                        send any request with a newer token";

/// The gate of the present configuration.
type PresentGate = Arc<dyn Fn() -> Gate + Send + Sync>;

/// Works on the tasks that are due until the token is cancelled; then each that is under way is left to the next process.
pub async fn run(gate: impl Fn() -> Gate + Send + Sync + 'static, stop: CancellationToken) {
    let gate: PresentGate = Arc::new(gate);
    let Some(tasks) = gate().state().tasks else { return };
    let (mut work, failure, mut last_forgotten) = (JoinSet::new(), Recurring::default(), Instant::now());
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = work.join_next() => report_panic(ended),
            () = tasks.wait() => {}
        }
        if last_forgotten.elapsed() > tasks.timing().forget {
            last_forgotten = Instant::now();
            if let Err(error) = tasks.forget_idle().await {
                tracing::debug!(error = %ErrorChain(&error), "the users without tasks could not be looked for");
            }
        }
        let free = MAX_RUNNING.saturating_sub(work.len());
        match if free == 0 { Ok(Vec::new()) } else { tasks.take_due(free).await } {
            Ok(due) => {
                if failure.ends() {
                    tracing::info!("the tasks are read again");
                }
                for id in due {
                    work.spawn(drive(tasks.clone(), Arc::clone(&gate), id, stop.clone()));
                }
            }
            Err(error) if failure.begins(&ErrorChain(&error)) => {
                tracing::warn!(error = %ErrorChain(&error), "the tasks that are due could not be read");
            }
            Err(_) => {}
        }
    }
    while let Some(ended) = work.join_next().await {
        report_panic(ended);
    }
}

/// Writes it to the log if the work on a task panicked: the task is due again when its lease has ended.
fn report_panic(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("the work on a task panicked: it is taken up again");
    }
}

/// Works on one task, if no other process does.
async fn drive(tasks: Tasks, gate: PresentGate, id: String, stop: CancellationToken) {
    let outcome = async {
        if let Some(lease) = tasks.lease(&id, LEASE_WAIT).await? {
            let worked = work(&tasks, &gate, &id, &lease, stop).await;
            lease.release().await;
            return worked;
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = outcome.await {
        tracing::warn!(task = id, error = %ErrorChain(&error), "the state of a task could not be written: it is taken up again");
    }
}

async fn work(tasks: &Tasks, gate: &PresentGate, id: &str, lease: &Leased, stop: CancellationToken) -> Result<(), StoreError> {
    // None also for a record that cannot be decoded.
    let Some(task) = tasks.get(id).await? else { return tasks.remove(id).await };
    if task.state.is_final() {
        return tasks.put(id, &task, None).await;
    }
    if tasks.running_of(task.username()) >= MAX_RUNNING_PER_USER {
        return tasks.put(id, &task, Some(tasks.timing().first_pause)).await;
    }
    let under_way = tasks.begin(id, &task);
    tasks.know(&task);
    let mut attempt = Attempt { tasks, gate, id, lease, task, stop, under_way };
    attempt.run().await?;
    let Attempt { task, under_way, .. } = attempt;
    drop(under_way);
    if task.state.is_final()
        && let Err(error) = tasks.forget_if_idle(task.username()).await
    {
        tracing::debug!(error = %ErrorChain(&error), "whether a user has other tasks could not be looked up: the tokens are kept for now");
    }
    Ok(())
}

/// Work on a task until it ends, or does not go on for now.
struct Attempt<'a> {
    tasks: &'a Tasks,
    gate: &'a PresentGate,
    id: &'a str,
    lease: &'a Leased,
    task: StoredTask,
    stop: CancellationToken,
    under_way: UnderWay,
}

/// The two ends of the copy, for the user of the task.
struct Pair {
    source: Reached,
    target: Reached,
}

/// One of them.
struct Reached {
    access: Access,
    path: RemotePath,
    /// Whether its credentials are only made with a valid token.
    needs_token: bool,
}

/// How an attempt ended.
enum End {
    Completed,
    /// It failed; whether the same may succeed later.
    Failed(TaskFailure, bool),
    /// There is no valid token.
    NoToken,
    Cancelled,
    /// The process ends.
    Stopped,
    /// Another process may have the task: nothing may be written of it.
    Lost,
}

impl From<AccessError> for End {
    fn from(error: AccessError) -> Self {
        Self::Failed(failure(error.kind(), error.public_message().into_owned()), error.is_transient())
    }
}

impl From<CopyError> for End {
    fn from(error: CopyError) -> Self {
        let message = format!("{}: {}", error.system, error.error.public_message());
        Self::Failed(failure(error.error.kind(), message), error.error.is_transient())
    }
}

fn no_token() -> TaskFailure {
    failure(Kind::Unauthenticated, NO_TOKEN.to_owned())
}

fn failure(kind: Kind, message: String) -> TaskFailure {
    TaskFailure { kind, message, at: Timestamp::now() }
}

impl Attempt<'_> {
    /// Works, and writes how it ended.
    async fn run(&mut self) -> Result<(), StoreError> {
        let is_cancelled = self.tasks.is_cancelled(self.id).await?;
        let progress = Arc::new(Progress::new(&self.task.progress, self.task.done.clone()));
        let (end, pair) = match self.admit().await {
            _ if is_cancelled => (End::Cancelled, None),
            Ok(pair) => (self.attempt(&pair, &progress).await?, Some(pair)),
            Err(end) => (end, None),
        };
        (self.task.progress, self.task.done) = progress.now();
        if progress.settled() > self.task.furthest {
            (self.task.furthest, self.task.failures, self.task.progressed) = (progress.settled(), 0, Timestamp::now());
        }
        self.settle(end, pair).await
    }

    /// Checks that the user still has both rights.
    async fn admit(&self) -> Result<Pair, End> {
        let source = self.admit_to(Relation::Read, &self.task.source).await?;
        Ok(Pair { source, target: self.admit_to(Relation::Write, &self.task.target).await? })
    }

    async fn admit_to(&self, relation: Relation, place: &Place) -> Result<Reached, End> {
        let token = self.tasks.token(&self.task);
        let access = (self.gate)().admit_task(self.task.requester(token.clone()), relation, &place.system).await?;
        let needs_token = access.cluster().files_need_token();
        if needs_token && token.is_none() {
            return Err(End::NoToken);
        }
        let path = access.cluster().path(&place.path).map_err(on(&access))?;
        Ok(Reached { access, path, needs_token })
    }

    async fn attempt(&mut self, pair: &Pair, progress: &Arc<Progress>) -> Result<End, StoreError> {
        self.task.attempts += 1;
        (self.task.state, self.task.failure) = (TaskState::Running, None);
        self.write(None).await?;
        let (this, halt) = (&*self, CancellationToken::new());
        let ends = Ends {
            id: this.id,
            source: &pair.source.access,
            target: &pair.target.access,
            overwrite: this.task.overwrite,
            is_resumed: this.task.done.has_begun,
            progress: Arc::clone(progress),
            halt: halt.clone(),
        };
        let mut work = std::pin::pin!(this.work(&ends, &pair.source.path, &pair.target.path));
        let end = tokio::select! {
            biased;
            end = &mut work => return end,
            end = this.watch(pair, progress) => end,
        };
        halt.cancel();
        Ok(match timeout(HALT_TIMEOUT, work).await {
            Ok(Ok(End::Completed)) if matches!(end, End::Stopped | End::Cancelled) => End::Completed,
            _ => end,
        })
    }

    /// Copies. That something is about to be made at the target is written before: what is there then may be the task's own.
    async fn work(&self, ends: &Ends<'_>, from: &RemotePath, to: &RemotePath) -> Result<End, StoreError> {
        let (found, from) = match look(ends, from, to).await {
            Ok(found) => found,
            Err(error) => return Ok(error.into()),
        };
        if !ends.progress.begin()
            && let Some(end) = self.save(&ends.progress).await?
        {
            return Ok(end);
        }
        Ok(copy(ends, found, &from, to).await.map_or_else(End::from, |()| End::Completed))
    }

    /// Returns when the work is not to go on. Until then progress is written, the lease renewed, and the rights are checked.
    async fn watch(&self, pair: &Pair, progress: &Progress) -> End {
        let timing = self.tasks.timing();
        let save = async {
            let (mut saves, mut saved) = (interval_at(Instant::now() + timing.save, timing.save), Instant::now());
            loop {
                saves.tick().await;
                match self.save(progress).await {
                    Ok(None) => saved = Instant::now(),
                    Ok(Some(end)) => return end,
                    Err(error) => {
                        tracing::debug!(task = self.id, error = %ErrorChain(&error), "the progress of a task could not be written");
                        if saved.elapsed() > timing.lease / 2 {
                            return End::Lost;
                        }
                    }
                }
            }
        };
        let recheck = async {
            loop {
                sleep(timing.recheck).await;
                if let Err(end) = self.admit().await {
                    return end;
                }
            }
        };
        let token_end = async {
            if !pair.source.needs_token && !pair.target.needs_token {
                std::future::pending::<()>().await;
            }
            sleep(validity(pair.target.access.principal())).await;
        };
        tokio::select! {
            () = self.stop.cancelled() => End::Stopped,
            () = self.under_way.cancelled.cancelled() => End::Cancelled,
            () = token_end => End::NoToken,
            end = save => end,
            end = recheck => end,
        }
    }

    /// Writes the progress; how the work ends, if it is to.
    async fn save(&self, progress: &Progress) -> Result<Option<End>, StoreError> {
        if !self.lease.renew().await? {
            return Ok(Some(End::Lost));
        }
        if self.tasks.is_cancelled(self.id).await? {
            return Ok(Some(End::Cancelled));
        }
        let mut task = self.task.clone();
        (task.progress, task.done) = progress.now();
        task.updated = Timestamp::now();
        self.tasks.put(self.id, &task, Some(self.tasks.timing().lease)).await?;
        Ok(None)
    }

    /// Writes how the attempt ended, if the task still is that of this process: one that was suspended for a while learns it here.
    async fn settle(&mut self, end: End, pair: Option<Pair>) -> Result<(), StoreError> {
        let end = if self.lease.renew().await? { end } else { End::Lost };
        let is_old = Timestamp::now().duration_since(self.task.created).unsigned_abs() > MAX_AGE;
        match end {
            End::Lost => {
                tracing::info!(task = self.id, "lost the lease of a task: another process continues it");
                Ok(())
            }
            End::Stopped => self.pause(TaskState::Queued, Duration::ZERO, None).await,
            End::NoToken if !is_old => {
                let has_newer = self.tasks.token(&self.task).is_some();
                let pause = if has_newer { Duration::ZERO } else { self.tasks.timing().first_pause * TOKEN_PAUSES };
                self.pause(TaskState::Waiting, pause, Some(no_token())).await
            }
            End::Failed(reason, true) if !is_old && !self.is_given_up() => {
                let pause = self.next_pause();
                self.pause(TaskState::Waiting, pause, Some(reason)).await
            }
            End::NoToken => self.end(TaskState::Failed, Some(no_token()), pair).await,
            End::Failed(reason, _) => self.end(TaskState::Failed, Some(reason), pair).await,
            End::Cancelled => self.end(TaskState::Cancelled, None, pair).await,
            End::Completed => self.end(TaskState::Completed, None, pair).await,
        }
    }

    fn is_given_up(&self) -> bool {
        Timestamp::now().duration_since(self.task.progressed).unsigned_abs() > self.tasks.timing().give_up
    }

    fn next_pause(&mut self) -> Duration {
        let timing = self.tasks.timing();
        let pause = timing.first_pause.saturating_mul(2_u32.saturating_pow(self.task.failures)).min(timing.max_pause);
        self.task.failures += 1;
        pause
    }

    /// Leaves the task to whoever takes it next, after a pause.
    async fn pause(&mut self, state: TaskState, pause: Duration, reason: Option<TaskFailure>) -> Result<(), StoreError> {
        if let Some(reason) = &reason {
            tracing::info!(task = self.id, reason = reason.message, "a task waits");
        }
        (self.task.state, self.task.failure) = (state, reason);
        self.task.progress.rate = 0;
        self.write(Some(pause)).await
    }

    /// Removes what a task that is not completed left, leaves its audit line, and writes its end. The right to one of the ends may be gone;
    /// what is at the target is removed if the right to that is not.
    async fn end(&mut self, state: TaskState, reason: Option<TaskFailure>, pair: Option<Pair>) -> Result<(), StoreError> {
        let target = match pair {
            Some(pair) => Ok(pair.target),
            None => self.admit_to(Relation::Write, &self.task.target).await,
        };
        let object = format!("{} to {}", self.task.source, self.task.target);
        if let Ok(Reached { access, path, .. }) = target {
            if state != TaskState::Completed {
                let _is_in_time = timeout(CLEANUP_TIMEOUT, remove_parts(self.id, &access, &path)).await.is_ok();
            }
            let change = Change::begin(&access, Action::TransfersCopyTo, object);
            match &reason {
                Some(reason) => drop(change.end(Err::<(), _>(reason.clone()))),
                None if state == TaskState::Completed => drop(change.end(Ok::<(), TaskFailure>(()))),
                // Dropped before its end, which says that it was cancelled.
                None => drop(change),
            }
        } else {
            let outcome = if state == TaskState::Cancelled { ChangeOutcome::Cancelled } else { ChangeOutcome::Failed };
            let system = &self.task.target.system;
            let counts = (self.gate)().state().counts(system);
            audit::ended(&self.task.requester(None), system, &counts, (Action::TransfersCopyTo, outcome), &object);
        }
        tracing::info!(
            task = self.id,
            state = state.name(),
            reason = reason.as_ref().map(|reason| reason.message.as_str()),
            "a task has ended"
        );
        (self.task.state, self.task.failure, self.task.ended) = (state, reason, Some(Timestamp::now()));
        self.task.progress.rate = 0;
        self.write(None).await
    }

    async fn write(&mut self, due_in: Option<Duration>) -> Result<(), StoreError> {
        self.task.updated = Timestamp::now();
        let due_in = if self.task.state.is_final() { None } else { Some(due_in.unwrap_or(self.tasks.timing().lease)) };
        self.tasks.put(self.id, &self.task, due_in).await
    }
}
