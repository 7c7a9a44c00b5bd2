//! The life of the process: signals, cancellation, and tasks with names.
//!
//! All background work is started here, and ends when the token is cancelled; [`Lifecycle::tasks`] tells how each
//! of them is. [`Lifecycle::drive`] is the whole of a server's life. This module must not know what the tasks do.

pub mod systemd;
mod task;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::FutureExt;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use task::{Closer, Task};

/// The exit status of a program that SIGINT ended, as shells report it.
const INTERRUPTED: i32 = 130;

/// The time between a panic and the next attempt of a task that is restarted.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The life of the process: one token to stop it, and the tasks that must end before it does. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
    running: Arc<Mutex<TaskTable>>,
}

/// The outcome of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task has ended.
    Completed,
    /// These tasks, by name, were still running at the deadline.
    TimedOut(Vec<Cow<'static, str>>),
}

/// A task that is at work, or has panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Whether it is running. If not, it has panicked, and its work is not done any more.
    pub is_running: bool,
    /// The time since its start.
    pub age: Duration,
}

impl Lifecycle {
    /// A lifecycle without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when the process is to stop.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// A part of the lifecycle: it stops when `stop` is cancelled, and has its own tasks.
    pub fn within(stop: &CancellationToken) -> Self {
        Self { stop: stop.child_token(), ..Self::default() }
    }

    /// Runs a task that [`Lifecycle::drain`] waits for. The name is for the log, should the task panic or not end in time.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = Entry::new(&self.running, name.into());
        self.tasks.spawn(async move {
            // Taken whole: of a field alone, the task would only have a copy.
            let mut entry = entry;
            task.await;
            entry.ended = true;
        });
    }

    /// As [`Lifecycle::spawn`], for work that the rest depends on: after a panic, which the log and [`Lifecycle::tasks`] tell, it is begun
    /// anew a second later.
    pub fn spawn_restarting<F>(&self, name: impl Into<Cow<'static, str>>, task: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (name, running) = (name.into(), Arc::clone(&self.running));
        let mut entry = Entry::new(&running, name.clone());
        self.tasks.spawn(async move {
            while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
                entry.has_panicked = true;
                drop(entry);
                tokio::time::sleep(RESTART_PAUSE).await;
                entry = Entry::new(&running, name.clone());
            }
            entry.ended = true;
        });
    }

    /// The life of a server: runs `tasks` beside `serving`; when `serving` has ended, waits for the tasks, and then closes what they and
    /// the requests have used, each in its turn. The token tells the tasks to end.
    pub async fn drive(&self, tasks: Vec<Task>, closers: Vec<Closer>, serving: impl Future<Output = ()>) {
        for Task { name, run } in tasks {
            self.spawn(name, run(self.clone()));
        }
        serving.await;
        self.wait().await;
        for Closer(close) in closers {
            close.await;
        }
    }

    /// As [`Lifecycle::spawn`], for a task that can be stopped by itself: its token is cancelled when the guard is dropped.
    #[must_use]
    pub fn spawn_guarded<F, W>(&self, name: impl Into<Cow<'static, str>>, task: F) -> DropGuard
    where
        F: FnOnce(CancellationToken) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        let own = self.stop.child_token();
        self.spawn(name, task(own.clone()));
        own.drop_guard()
    }

    /// The tasks that are at work or have panicked, the oldest first.
    pub fn tasks(&self) -> Vec<TaskStatus> {
        let running = self.running.lock();
        running.tasks.values().map(Begun::status).collect()
    }

    /// Waits until every task has ended. It does not ask them to end.
    pub async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Notifies whenever SIGHUP comes, which from now on no longer ends the process. Signals that come before the first wait count once.
    ///
    /// # Errors
    /// If the signal cannot be listened to.
    pub fn notify_on_hangup(&self) -> std::io::Result<Arc<Notify>> {
        let mut hangup = signal(SignalKind::hangup())?;
        let notify = Arc::new(Notify::new());
        let hangups = Arc::clone(&notify);
        // Not tracked: it ends with the process.
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                hangups.notify_one();
            }
        });
        Ok(notify)
    }

    /// Stops at SIGTERM or SIGINT. A second SIGINT ends the process at once: a second Ctrl-C is deliberate.
    ///
    /// # Errors
    /// If the signals cannot be listened to.
    pub fn shutdown_on_signal(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = self.stop.clone();
        // Not tracked: it ends with the process.
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!("{name} was received: stopping");
            stop.cancel();
            interrupt.recv().await;
            #[allow(clippy::exit, reason = "the second Ctrl-C asks for an end without any of the orderly steps")]
            std::process::exit(INTERRUPTED);
        });
        Ok(())
    }

    /// Stops, and waits for every task until the deadline.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.stop.cancel();
        self.tasks.close();
        match tokio::time::timeout(deadline, self.tasks.wait()).await {
            Ok(()) => Drained::Completed,
            Err(_) => Drained::TimedOut(self.tasks().into_iter().filter(|task| task.is_running).map(|task| task.name).collect()),
        }
    }
}

/// Lets the process have as many files open as the system allows it. Every connection is one, and most programs are started with leave
/// for 1,024.
pub fn allow_many_files() {
    let allowed = getrlimit(Resource::Nofile);
    if allowed.current != allowed.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, maximum: allowed.maximum })
    {
        tracing::warn!(%error, limit = allowed.current, "the number of open files stays limited");
    }
}

/// The tasks at work, and those that have panicked, by the order of their start.
#[derive(Debug, Default)]
struct TaskTable {
    next: u64,
    tasks: BTreeMap<u64, Begun>,
}

/// A task that has begun.
#[derive(Debug)]
struct Begun {
    name: Cow<'static, str>,
    since: Instant,
    has_panicked: bool,
}

impl Begun {
    fn status(&self) -> TaskStatus {
        TaskStatus { name: self.name.clone(), is_running: !self.has_panicked, age: self.since.elapsed() }
    }
}

/// A task's place among the running ones. It is given back on every way out but a panic, which is remembered until a task of the same
/// name begins.
struct Entry {
    running: Arc<Mutex<TaskTable>>,
    id: u64,
    /// Whether the task came to its end; else it panicked, or was dropped with the runtime.
    ended: bool,
    /// Whether it panicked and the panic was caught.
    has_panicked: bool,
}

impl Entry {
    fn new(running: &Arc<Mutex<TaskTable>>, name: Cow<'static, str>) -> Self {
        let mut state = running.lock();
        let id = state.next;
        state.next += 1;
        state.tasks.retain(|_, other| !other.has_panicked || other.name != name);
        state.tasks.insert(id, Begun { name, since: Instant::now(), has_panicked: false });
        drop(state);
        Self { running: running.clone(), id, ended: false, has_panicked: false }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        let is_over = !self.has_panicked && !self.ended && std::thread::panicking();
        match running.tasks.get_mut(&self.id) {
            Some(task) if is_over || self.has_panicked => {
                task.has_panicked = true;
                let next = if is_over { "its work is not done any more" } else { "it is started again" };
                tracing::error!(task = %task.name, "a background task panicked: {next}");
            }
            _ => drop(running.tasks.remove(&self.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_tasks_that_heed_the_token() {
        let lifecycle = Lifecycle::new();
        let token = lifecycle.token();
        lifecycle.spawn("heeds", async move { token.cancelled().await });
        assert_eq!(lifecycle.drain(Duration::from_secs(20)).await, Drained::Completed);
    }

    #[tokio::test]
    async fn a_drain_that_runs_out_of_time_names_the_tasks_left() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("ends", async {});
        lifecycle.spawn("never ends", std::future::pending());
        assert_eq!(lifecycle.drain(Duration::from_millis(200)).await, Drained::TimedOut(vec!["never ends".into()]));
    }

    #[tokio::test]
    async fn a_task_is_stopped_with_its_guard_and_with_the_life_that_it_is_a_part_of() {
        let whole = CancellationToken::new();
        let part = Lifecycle::within(&whole);
        let guard = part.spawn_guarded("one", |stop| async move { stop.cancelled().await });
        let _other = part.spawn_guarded("other", |stop| async move { stop.cancelled().await });
        let names = |part: &Lifecycle| part.tasks().into_iter().map(|task| task.name.into_owned()).collect::<Vec<_>>();
        assert_eq!(names(&part), ["one", "other"]);
        drop(guard);
        while part.tasks().len() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(names(&part), ["other"]);
        whole.cancel();
        part.wait().await;
        assert!(part.tasks().is_empty());
    }

    #[tokio::test]
    async fn a_task_that_panics_does_not_hold_up_the_drain() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("panics", async { panic!("on purpose") });
        assert_eq!(lifecycle.drain(Duration::from_secs(20)).await, Drained::Completed);
    }

    #[tokio::test]
    async fn a_task_that_panicked_is_told_until_one_of_its_name_begins() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("panics", async { panic!("on purpose") });
        lifecycle.spawn("ends", async {});
        let told = || lifecycle.tasks().into_iter().map(|task| (task.name.into_owned(), task.is_running)).collect::<Vec<_>>();
        while told() != [("panics".to_owned(), false)] {
            tokio::task::yield_now().await;
        }
        lifecycle.spawn("panics", std::future::pending());
        assert_eq!(told(), [("panics".to_owned(), true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_restarted_goes_on_after_a_panic_which_is_told_meanwhile() {
        let lifecycle = Lifecycle::new();
        let (attempts, stop) = (Arc::new(Mutex::new(0)), lifecycle.token());
        let counted = Arc::clone(&attempts);
        lifecycle.spawn_restarting("goes on", move || {
            let stop = stop.clone();
            *counted.lock() += 1;
            let is_first = *counted.lock() == 1;
            async move {
                assert!(!is_first, "on purpose");
                stop.cancelled().await;
            }
        });
        let is_running = || lifecycle.tasks().into_iter().map(|task| task.is_running).collect::<Vec<_>>();
        tokio::time::sleep(RESTART_PAUSE / 2).await;
        assert_eq!((*attempts.lock(), is_running()), (1, vec![false]));
        tokio::time::sleep(RESTART_PAUSE).await;
        assert_eq!((*attempts.lock(), is_running()), (2, vec![true]));
        assert_eq!(lifecycle.drain(Duration::from_secs(20)).await, Drained::Completed);
        assert!(lifecycle.tasks().is_empty());
    }

    #[tokio::test]
    async fn what_is_closed_is_closed_when_serving_and_the_tasks_have_ended() {
        let lifecycle = Lifecycle::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| {
            let order = Arc::clone(&order);
            move || order.lock().push(what)
        };
        let (served, ended, first, second) = (note("served"), note("a task ended"), note("closed"), note("closed too"));
        let task = Task::new("task", move |lifecycle| async move {
            lifecycle.token().cancelled().await;
            ended();
        });
        let closers = vec![Closer::new(async move { first() }), Closer::new(async move { second() })];
        let token = lifecycle.token();
        let serving = async move {
            served();
            token.cancel();
        };
        lifecycle.drive(vec![task], closers, serving).await;
        assert_eq!(*order.lock(), ["served", "a task ended", "closed", "closed too"]);
    }
}
