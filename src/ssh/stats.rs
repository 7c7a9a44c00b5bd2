//! Counters of a cluster's lanes, for decisions, metrics and tests. Exporting them is the work of `telemetry`.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was closed, or takes no more work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It was not used for the configured time.
    Idle,
    /// It was idle, and another user needed its place under `max_clients`.
    Evicted,
    /// It was in use, and another user has waited for a place under `max_clients`.
    Yielded,
    /// The credential that it was opened with changed or ended.
    Credential,
    /// It has been open so long that the server is to check the credential again.
    Aged,
    /// The peer stopped answering.
    Frozen,
    /// The server did not close a channel that we were done with.
    Lingering,
    /// The peer, or the network, ended it.
    Lost,
    /// The lanes were closed.
    Shutdown,
}

/// The state of a cluster's lanes at one moment. Everything but `open` and `waiting` only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that are open now, retiring ones included.
    pub open: u64,
    /// Requests that wait for a channel now.
    pub waiting: u64,
    /// Connections opened.
    pub opened: u64,
    /// Attempts to open one that failed.
    pub failed: u64,
    /// Attempts that the server dropped before the handshake, and that were made again.
    pub dropped_by_server: u64,
    /// Connections closed after their idle time.
    pub closed_idle: u64,
    /// Idle connections closed in favour of another user.
    pub closed_evicted: u64,
    /// Connections in use that were retired in favour of another user.
    pub closed_yielded: u64,
    /// Connections retired because the credential changed or ended.
    pub closed_credential: u64,
    /// Connections retired because of their age.
    pub closed_aged: u64,
    /// Connections retired because the peer stopped answering.
    pub closed_frozen: u64,
    /// Connections retired because a channel on them would not close.
    pub closed_lingering: u64,
    /// Connections that the peer or the network ended.
    pub closed_lost: u64,
    /// Connections closed by the end of the lanes.
    pub closed_shutdown: u64,
    /// Channels opened.
    pub channels: u64,
    /// Shells started for commands.
    pub shells: u64,
    /// Commands given to a shell that was there.
    pub reused: u64,
    /// Channels that the server refused to open.
    pub refused: u64,
    /// Requests that had to wait for a channel.
    pub waits: u64,
    /// Requests that were given another connection.
    pub retries: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// The same numbers while they are counted.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            /// The numbers now.
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters!(
    open,
    waiting,
    opened,
    failed,
    dropped_by_server,
    closed_idle,
    closed_evicted,
    closed_yielded,
    closed_credential,
    closed_aged,
    closed_frozen,
    closed_lingering,
    closed_lost,
    closed_shutdown,
    channels,
    shells,
    reused,
    refused,
    waits,
    retries
);

impl Counters {
    /// Counts a connection that was closed.
    pub(crate) fn closed(&self, reason: Closed) {
        add(match reason {
            Closed::Idle => &self.closed_idle,
            Closed::Evicted => &self.closed_evicted,
            Closed::Yielded => &self.closed_yielded,
            Closed::Credential => &self.closed_credential,
            Closed::Aged => &self.closed_aged,
            Closed::Frozen => &self.closed_frozen,
            Closed::Lingering => &self.closed_lingering,
            Closed::Lost => &self.closed_lost,
            Closed::Shutdown => &self.closed_shutdown,
        });
    }
}

/// Counts one more.
pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts one more until it is dropped.
pub(crate) struct Gauge<C: Deref<Target = AtomicU64>>(C);

impl<C: Deref<Target = AtomicU64>> Gauge<C> {
    /// One more, from now on.
    pub(crate) fn new(counter: C) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }
}

impl<C: Deref<Target = AtomicU64>> Drop for Gauge<C> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
