//! Which shells a lane keeps for its next commands.
//!
//! A kept shell holds a slot, and makes room whenever one is wanted for something else. It is left when its connection is
//! retired, when it was not used for a while, and as soon as it says anything unasked.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use russh::client::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};

use crate::ssh::channel::exec::Open;
use crate::ssh::channel::lifecycle::stop;
use crate::ssh::connect::login::Login;
use crate::ssh::lease::connection_manager::is_usable;
use crate::ssh::lease::permit::ChannelPermit;
use crate::ssh::pool::lane::Lane;

/// How long a shell waits for its next command. Clients that wait for a job ask about that often.
const SHELL_IDLE_TTL: Duration = Duration::from_secs(15);

/// How many shells of one user wait at most. More commands than that at once are rare, and each is a process on the cluster.
const MAX_SHELLS: usize = 4;

/// How long a lane whose cluster lets its user have no shell does without.
const NO_SHELL_TTL: Duration = Duration::from_secs(600);

/// The shells that wait for a command, the one used last at the end.
#[derive(Default)]
pub(crate) struct Shells {
    waiting: Vec<Shell>,
    refused: Option<Instant>,
}

/// A shell on an open channel. Dropping it ends it.
pub(crate) struct Shell {
    /// Taken by `drop` and `into_channel`; there until then.
    channel: Option<Open>,
    since: Instant,
}

impl Shell {
    /// A shell that has done its last command.
    pub(crate) fn new(permit: ChannelPermit, read: ChannelReadHalf, write: ChannelWriteHalf<Msg>) -> Self {
        Self { channel: Some((permit, read, write)), since: Instant::now() }
    }

    /// Lets its lane keep it for the next command.
    pub(crate) fn keep(self) {
        if let Some((permit, ..)) = &self.channel {
            Arc::clone(&permit.lane).keep_shell(self);
        }
    }

    /// Its channel; none where it has said something unasked, or its connection takes no more work of this login.
    fn into_channel(mut self, login: &Arc<Login>) -> Option<Open> {
        let (permit, read, _) = self.channel.as_mut()?;
        let connection = permit.connection();
        let serves = is_usable(connection, login) && !connection.is_superseded(login) && !connection.is_suspect();
        if serves && read.wait().now_or_never().is_none() { self.channel.take() } else { None }
    }

    fn is_retired(&self) -> bool {
        self.channel.as_ref().is_none_or(|(permit, ..)| !permit.connection().alive())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let (Some((permit, read, write)), Ok(runtime)) = (self.channel.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(stop(permit, read, write));
        }
    }
}

impl Lane {
    /// Whether a command may be given to a shell.
    pub(crate) fn has_shells(&self) -> bool {
        self.shells().refused.is_none_or(|at| at.elapsed() > NO_SHELL_TTL)
    }

    /// Remembers that the cluster lets this user have no shell.
    pub(crate) fn do_without_shells(&self) {
        self.shells().refused = Some(Instant::now());
    }

    /// The channel of the shell that was used last and is still good.
    pub(crate) fn take_shell(&self, login: &Arc<Login>) -> Option<Open> {
        loop {
            // A shell that is of no use gives its slot back, which must not happen under the lock.
            let shell = self.shells().waiting.pop()?;
            if let Some(channel) = shell.into_channel(login) {
                return Some(channel);
            }
        }
    }

    /// Keeps a shell for the next command.
    fn keep_shell(&self, shell: Shell) {
        let mut shells = self.shells();
        if shells.waiting.len() < MAX_SHELLS && !shell.is_retired() && !self.is_closed() {
            shells.waiting.push(shell);
            drop(shells);
            self.recheck();
        }
    }

    /// Ends the shell that has waited longest, whose slot is wanted.
    pub(crate) fn shed_shell(&self) {
        let mut shells = self.shells();
        let shed = (!shells.waiting.is_empty()).then(|| shells.waiting.remove(0));
        drop(shells);
        drop(shed);
    }

    /// Ends the shells that nobody came for, and those whose connection is to go.
    pub(crate) fn tidy_shells(&self) {
        self.end_shells(|shell| shell.since.elapsed() > SHELL_IDLE_TTL || shell.is_retired());
    }

    /// Ends every shell.
    pub(crate) fn close_shells(&self) {
        self.end_shells(|_| true);
    }

    fn end_shells(&self, mut ends: impl FnMut(&mut Shell) -> bool) {
        let ended: Vec<Shell> = self.shells().waiting.extract_if(.., |shell| ends(shell)).collect();
        drop(ended);
    }

    fn shells(&self) -> MutexGuard<'_, Shells> {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
