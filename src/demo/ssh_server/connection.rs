//! One SSH connection: who may log in, and which requests are taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::stream::{Backlog, WINDOW};
use super::{MAX_SESSIONS, ServerState, session};

/// The state of one connection. The requests on a channel are answered here, in their order; the channel's own task sees
/// them too and acts on those that were granted.
pub(super) struct Connection {
    shared: Arc<ServerState>,
    channels: TaskTracker,
    logged_in: Arc<Notify>,
    places: Arc<Semaphore>,
    /// The channels that are open. The channel's task holds the other reference while it lives.
    open: HashMap<ChannelId, Arc<OpenChannel>>,
}

/// The state of an open channel.
#[derive(Default)]
struct OpenChannel {
    /// Whether something was started on it: RFC 4254, 6.5 allows one thing for each.
    started: AtomicBool,
    backlog: Backlog,
}

impl Connection {
    pub(super) fn new(shared: Arc<ServerState>, channels: TaskTracker, logged_in: Arc<Notify>) -> Self {
        Self { shared, channels, logged_in, places: Arc::new(Semaphore::new(MAX_SESSIONS)), open: HashMap::new() }
    }

    fn may_log_in(&self, user: &str, key: &PublicKey) -> Auth {
        if user == self.shared.account.name.as_str() && key.key_data() == self.shared.client_key.key_data() {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    /// True for the first caller on a channel that is open.
    fn start(&self, channel: ChannelId) -> bool {
        self.open.get(&channel).is_some_and(|open| !open.started.swap(true, Ordering::Relaxed))
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.may_log_in(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.may_log_in(user, key.public_key))
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Self::Error> {
        self.logged_in.notify_one();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                reply.accept().await;
                self.open.retain(|_, open| Arc::strong_count(open) > 1);
                let open = Arc::<OpenChannel>::default();
                self.open.insert(channel.id(), open.clone());
                let (connection, shared) = (session.handle(), self.shared.clone());
                self.channels.spawn(async move { session::run(channel, connection, shared, &open.backlog, place).await });
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        if let Some(open) = self.open.get(&channel) {
            open.backlog.arrived(data.len());
            open.backlog.pause(data.len()).await;
        }
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, _: u32) -> u32 {
        self.open.get(&channel).map_or(WINDOW, |open| open.backlog.window())
    }

    async fn exec_request(&mut self, channel: ChannelId, _: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        if self.start(channel) { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        if self.shared.subsystems.contains_key(name) && self.start(channel) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(&mut self, channel: ChannelId, _: &str, _: &str, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
