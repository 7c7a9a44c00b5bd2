//! A shell that stays open on a channel between two commands.
//!
//! An exec request costs the cluster a process of sshd and a login shell with its start-up files, each time; a command in a shell
//! that is there costs one fork.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;

use crate::ssh::channel::lifecycle::{OpenChannel, stop};
use crate::ssh::connect::login::Login;
use crate::ssh::lease::connection_manager::is_usable;

/// A shell on an open channel that has done its last command. Dropping it ends it.
pub(crate) struct KeptShell {
    /// Taken by `drop` and `into_channel`; there until then.
    channel: Option<OpenChannel>,
    since: Instant,
}

impl KeptShell {
    /// The shell on this channel.
    pub(crate) fn new(channel: OpenChannel) -> Self {
        Self { channel: Some(channel), since: Instant::now() }
    }

    /// The time since its last command.
    pub(crate) fn idle_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Its channel; none if it printed something between two commands, or its connection accepts no more work of this login.
    pub(crate) fn into_channel(mut self, login: &Arc<Login>) -> Option<OpenChannel> {
        let (permit, read, _) = self.channel.as_mut()?;
        let connection = permit.connection();
        let serves = is_usable(connection, login) && !connection.is_superseded(login) && !connection.is_suspect();
        if serves && read.wait().now_or_never().is_none() { self.channel.take() } else { None }
    }

    /// Whether its connection accepts no more work.
    pub(crate) fn is_retired(&self) -> bool {
        self.channel.as_ref().is_none_or(|(permit, ..)| !permit.connection().alive())
    }
}

impl Drop for KeptShell {
    fn drop(&mut self) {
        if let (Some(channel), Ok(runtime)) = (self.channel.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(stop(channel));
        }
    }
}
