//! How a connection is made: TCP, perhaps through a jump host, the key exchange with the check of the host key, the login.
//!
//! One attempt and no more: whether another is worth it, the caller reads from the [`Refusal`].

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::ChannelId;
use russh::client::{self, Handle, Session};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::ssh::connect::algorithms;
use crate::ssh::connect::connection::{Channels, ConnectFailure, KEEPALIVES, Target};
use crate::ssh::connect::host_keys::KnownKeys;
use crate::ssh::connect::liveness::{Liveness, WatchedStream};
use crate::ssh::connect::login::Login;
use crate::ssh::transport::LaneKind;

/// A connection to the jump host. It ends with the one that runs through it.
pub(crate) struct Jump {
    _handle: Handle<Watcher>,
    liveness: Arc<Liveness>,
}

impl Drop for Jump {
    fn drop(&mut self) {
        self.liveness.cut();
    }
}

/// What an attempt leaves behind: the session, the one to the jump host, and what is known of both from outside.
pub(crate) type Established = (Handle<Watcher>, Option<Jump>, Arc<Liveness>, Arc<Channels>);

/// Connects and logs in, once.
///
/// # Errors
/// When any step of it fails; the refusal names it.
pub(crate) async fn attempt(target: &Target, login: &Login, kind: LaneKind) -> Result<Established, Refusal> {
    let config = &target.config;
    let channels = Arc::new(Channels::default());
    let liveness = Liveness::new();
    let (mut handle, jump) = match &config.proxy_host {
        None => {
            let wire = WatchedStream::new(tcp(target, &config.host, config.port).await?, Arc::clone(&liveness));
            (shake_hands(target, &config.host, config.port, wire, kind, &channels).await?, None)
        }
        Some(host) => {
            let port = config.proxy_port.unwrap_or(22);
            let outer = Liveness::new();
            let wire = WatchedStream::new(tcp(target, host, port).await?, Arc::clone(&outer));
            let mut jump = shake_hands(target, host, port, wire, kind, &Arc::default()).await?;
            authenticate(target, login, &mut jump).await?;
            let opening = jump.channel_open_direct_tcpip(&config.host, u32::from(config.port), "127.0.0.1", 0);
            let through = limited(target.connection_timeout(), opening).await?.map_err(|error| Refusal::fatal(JumpError(error)))?;
            let wire = WatchedStream::new(through.into_stream(), Arc::clone(&liveness));
            (shake_hands(target, &config.host, config.port, wire, kind, &channels).await?, Some(Jump { _handle: jump, liveness: outer }))
        }
    };
    authenticate(target, login, &mut handle).await?;
    tracing::debug!(user = %login.user, host = config.host, ?kind, "an SSH connection is open");
    Ok((handle, jump, liveness, channels))
}

async fn tcp(target: &Target, host: &str, port: u16) -> Result<TcpStream, Refusal> {
    let stream = limited(target.connection_timeout(), TcpStream::connect((host, port))).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    target: &Target,
    host: &str,
    port: u16,
    stream: S,
    kind: LaneKind,
    channels: &Arc<Channels>,
) -> Result<Handle<Watcher>, Refusal> {
    let known = target.trust.known(host, port).await.map_err(Refusal::HostKey)?;
    let keep_alive = Duration::from_secs(target.config.timeout.keep_alive);
    let config = Arc::new(algorithms::client_config(kind, &known, keep_alive, KEEPALIVES));
    let (shown, noted) = oneshot::channel();
    let watcher = Watcher { host: host.to_owned(), port, known, shown: Some(shown), channels: Arc::clone(channels) };
    let handle = limited(target.connection_timeout(), client::connect_stream(config, stream, watcher)).await??;
    if let Ok(key) = noted.await {
        target.trust.remember(host, port, &key).map_err(Refusal::HostKey)?;
    }
    Ok(handle)
}

async fn authenticate(target: &Target, login: &Login, handle: &mut Handle<Watcher>) -> Result<(), Refusal> {
    let result = limited(target.login_timeout(), login.authenticate(handle)).await?;
    match result.map_err(Refusal::fatal)? {
        client::AuthResult::Success => Ok(()),
        // russh says the same when the connection ended meanwhile; only an open one was an answer.
        client::AuthResult::Failure { .. } if handle.is_closed() => {
            Err(Refusal::fatal(io::Error::new(io::ErrorKind::ConnectionAborted, "the server closed the connection during the login")))
        }
        client::AuthResult::Failure { .. } => Err(Refusal::Login(login.who())),
    }
}

async fn limited<F: Future>(limit: Duration, future: F) -> Result<F::Output, Refusal> {
    timeout(limit, future).await.map_err(|_| {
        Refusal::Fatal(Arc::new(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs_f32()))))
    })
}

/// What russh tells of the connection while it lives.
pub(crate) struct Watcher {
    host: String,
    port: u16,
    known: KnownKeys,
    shown: Option<oneshot::Sender<PublicKey>>,
    channels: Arc<Channels>,
}

impl client::Handler for Watcher {
    type Error = SessionError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, SessionError> {
        self.known.check(&self.host, self.port, shown).map_err(SessionError::HostKey)?;
        if let Some(note) = self.shown.take() {
            let _ = note.send(shown.public_key());
        }
        Ok(true)
    }

    async fn channel_open_confirmation(&mut self, _: ChannelId, _: u32, _: u32, _: &mut Session) -> Result<(), SessionError> {
        let open = self.channels.open.fetch_add(1, Ordering::AcqRel) + 1;
        self.channels.most.fetch_max(open, Ordering::AcqRel);
        Ok(())
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut Session) -> Result<(), SessionError> {
        let _ = self.channels.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| open.checked_sub(1));
        Ok(())
    }
}

/// The end of a session, from russh or from the host key check.
#[derive(Debug)]
pub(crate) enum SessionError {
    HostKey(String),
    Ssh(russh::Error),
}

impl From<russh::Error> for SessionError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

/// The end of one attempt to connect.
pub(crate) enum Refusal {
    /// The server hung up before the handshake: trying again later may help.
    Dropped(Arc<dyn Error + Send + Sync>),
    Fatal(Arc<dyn Error + Send + Sync>),
    HostKey(String),
    Login(String),
}

impl Refusal {
    fn fatal(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Fatal(Arc::new(error))
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Self::Dropped(Arc::new(error)),
            _ => Self::fatal(error),
        }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::HostKey(reason) => Self::HostKey(reason),
            SessionError::Ssh(russh::Error::IO(error)) => error.into(),
            SessionError::Ssh(error @ (russh::Error::Disconnect | russh::Error::HUP)) => Self::Dropped(Arc::new(error)),
            SessionError::Ssh(error) => Self::fatal(error),
        }
    }
}

impl From<Refusal> for ConnectFailure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Dropped(source) | Refusal::Fatal(source) => Self::Connect(source),
            Refusal::HostKey(reason) => {
                tracing::warn!(reason, "an SSH host key was refused");
                Self::HostKey(reason)
            }
            Refusal::Login(user) => {
                tracing::warn!(user, "an SSH login was refused");
                Self::Login(user)
            }
        }
    }
}

/// The jump host would not connect us onwards.
#[derive(Debug, thiserror::Error)]
#[error("the jump host did not connect to the login node")]
struct JumpError(#[source] russh::Error);
