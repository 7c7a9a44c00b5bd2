//! One SSH connection: its state, and whether it may accept more work. `handshake` opens connections.
//!
//! It must not know lanes or pools: the holder of a [`Connection`] decides what it carries.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use russh::client::{Handle, Msg};
use russh::{Channel, Disconnect};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ssh::config::Config;
use crate::ssh::connect::handshake::{Channels, ConnectAttemptError, Established, Jump, Watcher, attempt};
use crate::ssh::connect::liveness::Liveness;
use crate::ssh::connect::login::Login;
use crate::ssh::connect::target::Target;
use crate::ssh::server_words::ServerWords;
use crate::ssh::stats::{Closed, Counters, Gauge, add};
use crate::ssh::transport::{LaneKind, TransportError};

/// The first pause before a server that dropped a connection is tried again. It doubles, and is jittered so that clients do not
/// retry at the same moment.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The time for a closed connection to send its queued messages.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A place under `max_clients`; dropping it frees the place.
pub(crate) struct ConnectionPermit {
    // Dropped first, so that a request waiting for the freed place is not counted twice.
    _demand: Gauge<Arc<AtomicU64>>,
    _permit: OwnedSemaphorePermit,
}

/// An established and authenticated connection. Dropping it closes it.
pub(crate) struct Connection {
    handle: Handle<Watcher>,
    /// The connection to the jump host that this one runs through.
    _jump: Option<Jump>,
    pub(crate) login: Arc<Login>,
    pub(crate) kind: LaneKind,
    pub(crate) liveness: Arc<Liveness>,
    channels: Arc<Channels>,
    words: Arc<ServerWords>,
    opened: Instant,
    retired: OnceLock<(Closed, Instant)>,
    /// Cancelled with `retired`.
    leaving: CancellationToken,
    is_suspect: AtomicBool,
    idle_since: Mutex<Instant>,
    counters: Arc<Counters>,
    _place: ConnectionPermit,
}

impl ConnectionPermit {
    /// The place of a permit, counted in `demand`.
    pub(crate) fn new(demand: Gauge<Arc<AtomicU64>>, permit: OwnedSemaphorePermit) -> Self {
        Self { _demand: demand, _permit: permit }
    }
}

impl Connection {
    /// Connects and logs in. A server that drops us before the handshake (sshd's `MaxStartups`) is tried again, with growing
    /// pauses, for as long as a connection may take.
    pub(crate) async fn open(target: &Target, login: &Arc<Login>, kind: LaneKind, place: ConnectionPermit) -> Result<Self, TransportError> {
        let give_up = Instant::now() + target.connection_timeout();
        let mut pause = FIRST_PAUSE;
        loop {
            // Held for the attempt alone, not for the pause after it.
            let startup = target.startups.acquire().await.map_err(|_| TransportError::Broken { sent: false })?;
            let attempt = attempt(target, login, kind).await;
            drop(startup);
            match attempt {
                Ok(Established { handle, jump, liveness, channels, words }) => {
                    add(&target.counters.opened);
                    add(&target.counters.open);
                    return Ok(Self {
                        handle,
                        _jump: jump,
                        login: Arc::clone(login),
                        kind,
                        liveness,
                        channels,
                        words,
                        opened: Instant::now(),
                        retired: OnceLock::new(),
                        leaving: CancellationToken::new(),
                        is_suspect: AtomicBool::new(false),
                        idle_since: Mutex::new(Instant::now()),
                        counters: Arc::clone(&target.counters),
                        _place: place,
                    });
                }
                Err(ConnectAttemptError::Dropped(_)) if Instant::now() + pause < give_up => {
                    add(&target.counters.dropped_by_server);
                    tokio::time::sleep(scattered(pause)).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(refusal) => {
                    add(&target.counters.failed);
                    return Err(refusal.into());
                }
            }
        }
    }

    /// Whether it is in service.
    pub(crate) fn alive(&self) -> bool {
        self.retired.get().is_none() && !self.handle.is_closed() && !self.liveness.is_cut()
    }

    /// Whether new work must wait for a sign of life from the peer.
    pub(crate) fn is_suspect(&self) -> bool {
        self.is_suspect.load(Ordering::Acquire)
    }

    /// Takes it out of service; the first reason counts. Channels on it may end by themselves.
    pub(crate) fn retire(&self, reason: Closed) {
        if self.retired.set((reason, Instant::now())).is_ok() {
            self.leaving.cancel();
            tracing::debug!(user = %self.login.user, ?reason, "an SSH connection takes no more work");
        }
    }

    /// Why and when it was taken out of service.
    pub(crate) fn retired(&self) -> Option<(Closed, Instant)> {
        self.retired.get().copied()
    }

    /// Cancelled when it is taken out of service.
    pub(crate) fn when_retired(&self) -> CancellationToken {
        self.leaving.clone()
    }

    /// The failure of a connection that the server closed right after the login, as it does for `/etc/nologin` or a limit on
    /// logins; none for any other.
    pub(crate) fn stillborn(&self, config: &Config) -> Option<TransportError> {
        if self.retired().is_some() || self.max_channels() > 0 {
            return None;
        }
        let (Config { host, port, .. }, user, said) = (config, &self.login.user, self.words.quoted());
        if self.words.closes_account() {
            return Some(TransportError::AccountClosed(format!("{user} may not log in at {host}:{port}{said}")));
        }
        Some(TransportError::Connect(format!(
            "{host}:{port}: the server let {user} in and closed the connection at once. It does so for /etc/nologin, an expired account, or \
             a limit on logins{said}"
        )))
    }

    /// Whether it was opened with another login than this one, which is the current one.
    pub(crate) fn is_superseded(&self, present: &Arc<Login>) -> bool {
        !Arc::ptr_eq(&self.login, present)
    }

    /// The time since it was opened.
    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Opens a session channel. The future must be run to its end: an open that is not awaited would stay on the server.
    pub(crate) async fn channel(&self) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }

    /// The maximum number of channels that the server had open at the same time.
    pub(crate) fn max_channels(&self) -> usize {
        self.channels.max_open.load(Ordering::Acquire)
    }

    /// Requests a sign of life from the peer, and accepts no new work until there is one.
    ///
    /// Returns whether it came within `answer_timeout`.
    pub(crate) async fn probe(&self, answer_timeout: Duration) -> bool {
        self.is_suspect.store(true, Ordering::Release);
        let alive = self.answers(answer_timeout).await;
        if alive {
            self.is_suspect.store(false, Ordering::Release);
        }
        alive
    }

    /// Whether the peer answers within `answer_timeout`. It has then dealt with everything that was sent before.
    pub(crate) async fn answers(&self, answer_timeout: Duration) -> bool {
        let asked = Instant::now();
        let answered = timeout(answer_timeout, self.handle.send_ping()).await.is_ok();
        answered && self.liveness.heard_since(asked) && !self.handle.is_closed()
    }

    /// Restarts the idle time.
    pub(crate) fn touch(&self) {
        *self.idle_since.lock() = Instant::now();
    }

    /// The time since its last channel was closed.
    pub(crate) fn idle_for(&self) -> Duration {
        self.idle_since.lock().elapsed()
    }

    /// Says goodbye and closes.
    pub(crate) async fn disconnect(&self) {
        self.retire(Closed::Shutdown);
        let _ = timeout(CLOSE_TIMEOUT, self.handle.disconnect(Disconnect::ByApplication, "shutting down", "")).await;
        // The message leaves from the session's own task; a moment later the stream may go.
        let _ = timeout(Duration::from_millis(200), async {
            while !self.handle.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.liveness.cut();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The session's own task may have a last message to send; or it is stuck in a write, and must not be for ever.
        let liveness = Arc::clone(&self.liveness);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(CLOSE_TIMEOUT).await;
                liveness.cut();
            })),
            Err(_) => liveness.cut(),
        }
        let lost = self.handle.is_closed();
        let reason = self.retired.get().map_or(if lost { Closed::Lost } else { Closed::Idle }, |(reason, _)| *reason);
        self.counters.open.fetch_sub(1, Ordering::Relaxed);
        self.counters.closed(reason);
        tracing::debug!(user = %self.login.user, ?reason, "an SSH connection is closed");
    }
}

/// A pause of half to one and a half times `pause`.
fn scattered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(Instant::now()) % 1024;
    pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 1024
}
