//! The shells that a lane keeps for its next commands.
//!
//! A kept shell holds a permit, and is closed whenever the permit is needed for something else. It is also closed when its connection is
//! retired, when it was not used for a while, and as soon as it prints anything between two commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ssh::channel::kept_shell::KeptShell;
use crate::ssh::channel::lifecycle::OpenChannel;
use crate::ssh::connect::login::Login;

/// The time for which a shell is kept without a command. Clients that wait for a job query it often.
const SHELL_IDLE_TTL: Duration = Duration::from_secs(15);

/// The maximum number of idle shells of one user. More concurrent commands are rare, and each shell is a process on the cluster.
const MAX_SHELLS: usize = 4;

/// The time for which a lane does not try a shell after the cluster has refused one to its user.
const NO_SHELL_TTL: Duration = Duration::from_secs(30);

/// The shells of a lane that wait for a command.
#[derive(Default)]
pub(crate) struct ShellCache {
    /// The one used last at the end.
    waiting: Mutex<Vec<KeptShell>>,
    refused: Mutex<Option<Instant>>,
}

impl ShellCache {
    /// Whether a command may run in a shell.
    pub(crate) fn is_allowed(&self) -> bool {
        self.refused.lock().is_none_or(|at| at.elapsed() > NO_SHELL_TTL)
    }

    /// Remembers that the cluster lets this user have no shell.
    pub(crate) fn forbid(&self) {
        *self.refused.lock() = Some(Instant::now());
    }

    /// The channel of the shell that was used last and is still good.
    pub(crate) fn take(&self, login: &Arc<Login>) -> Option<OpenChannel> {
        loop {
            // A shell that is of no use gives its permit back, which must not happen under the lock.
            let shell = self.waiting.lock().pop()?;
            if let Some(channel) = shell.into_channel(login) {
                return Some(channel);
            }
        }
    }

    /// Keeps a shell for the next command, if there is room; returns whether it did.
    pub(crate) fn keep(&self, shell: KeptShell) -> bool {
        let mut waiting = self.waiting.lock();
        let keeps = waiting.len() < MAX_SHELLS && !shell.is_retired();
        if keeps {
            waiting.push(shell);
        }
        keeps
    }

    /// Closes the shell that was idle longest, because its permit is needed.
    pub(crate) fn shed(&self) {
        let mut waiting = self.waiting.lock();
        let shed = (!waiting.is_empty()).then(|| waiting.remove(0));
        drop(waiting);
        drop(shed);
    }

    /// Ends the shells that were not used again, and those whose connection accepts no more work.
    pub(crate) fn tidy(&self) {
        self.end(|shell| shell.idle_for() > SHELL_IDLE_TTL || shell.is_retired());
    }

    /// Ends every shell.
    pub(crate) fn clear(&self) {
        self.end(|_| true);
    }

    fn end(&self, mut ends: impl FnMut(&mut KeptShell) -> bool) {
        let ended: Vec<KeptShell> = self.waiting.lock().extract_if(.., |shell| ends(shell)).collect();
        drop(ended);
    }
}
