//! Start, stop and the time between: signals, cancellation, tracked tasks.
//!
//! Whoever runs something in the background spawns it here, gives it a clone of the token, and ends it when the token is
//! cancelled. This module must not know what the tasks do.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The exit status of a program that SIGINT ended, as shells report it.
const INTERRUPTED: i32 = 130;

/// The life of the process: one token to stop it, and the tasks that must end before it does. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
    running: Arc<Mutex<Running>>,
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task has ended.
    Completed,
    /// These tasks, by name, were still at work when the time was over.
    TimedOut(Vec<&'static str>),
}

impl Lifecycle {
    /// A life that has just begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when the process is to stop.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that [`Lifecycle::drain`] waits for. The name is for the log, should the task not end in time.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = Entry::new(&self.running, name);
        self.tasks.spawn(async move {
            task.await;
            drop(entry);
        });
    }

    /// Stops at SIGTERM or SIGINT. A second SIGINT ends the process at once: whoever presses Ctrl-C twice means it.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
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

    /// Stops, and waits until every task has ended or the deadline is over.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.stop.cancel();
        self.tasks.close();
        match tokio::time::timeout(deadline, self.tasks.wait()).await {
            Ok(()) => Drained::Completed,
            Err(_) => Drained::TimedOut(self.running.lock().unwrap_or_else(PoisonError::into_inner).names.values().copied().collect()),
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
        tracing::warn!(%error, most = allowed.current, "the number of open files stays limited");
    }
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    names: BTreeMap<u64, &'static str>,
}

/// A task's place among the running ones. It is given back on every way out, a panic included.
struct Entry {
    running: Arc<Mutex<Running>>,
    id: u64,
}

impl Entry {
    fn new(running: &Arc<Mutex<Running>>, name: &'static str) -> Self {
        let mut state = running.lock().unwrap_or_else(PoisonError::into_inner);
        let id = state.next;
        state.next += 1;
        state.names.insert(id, name);
        drop(state);
        Self { running: running.clone(), id }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).names.remove(&self.id);
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
        assert_eq!(lifecycle.drain(Duration::from_millis(200)).await, Drained::TimedOut(vec!["never ends"]));
    }

    #[tokio::test]
    async fn a_task_that_panics_does_not_hold_up_the_drain() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("panics", async { panic!("on purpose") });
        assert_eq!(lifecycle.drain(Duration::from_secs(20)).await, Drained::Completed);
    }
}
