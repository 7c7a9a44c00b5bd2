//! Opens a connection: TCP, perhaps through a jump host, the key exchange with the check of the host key, the login.
//!
//! It makes one attempt: the [`ConnectAttemptError`] tells the caller whether another one makes sense.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use russh::ChannelId;
use russh::client::{self, DisconnectReason, Handle, Session};
use russh::keys::ssh_encoding::Error as EncodingError;
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::domain::{Username, excerpt};
use crate::ssh::connect::algorithms;
use crate::ssh::connect::host_keys::KnownKeys;
use crate::ssh::connect::liveness::{Liveness, WatchedStream};
use crate::ssh::connect::login::Login;
use crate::ssh::connect::target::{KEEPALIVES, Target};
use crate::ssh::server_words::ServerWords;
use crate::ssh::transport::{LaneKind, TransportError};

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

/// The result of an attempt: the session, the one to the jump host, and the observed state of the session.
pub(crate) struct Established {
    pub(crate) handle: Handle<Watcher>,
    pub(crate) jump: Option<Jump>,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) words: Arc<ServerWords>,
}

/// The server's view of the channels, kept in the order of its messages.
#[derive(Default)]
pub(crate) struct Channels {
    open: AtomicUsize,
    /// The maximum number open at the same time, which the server certainly allows.
    pub(crate) max_open: AtomicUsize,
}

/// A server as messages name it: `login.example.org:22`, and the jump host on the way to it.
struct Peer<'a> {
    host: &'a str,
    port: u16,
    through: Option<(&'a str, u16)>,
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        match self.through {
            Some((host, port)) => write!(f, " (through the jump host {host}:{port})"),
            None => Ok(()),
        }
    }
}

/// Connects and logs in, once.
///
/// # Errors
/// If any step of it fails; the refusal names it.
pub(crate) async fn attempt(target: &Target, login: &Login, kind: LaneKind) -> Result<Established, ConnectAttemptError> {
    let config = &target.config;
    let (channels, words) = (Arc::<Channels>::default(), Arc::<ServerWords>::default());
    let liveness = Liveness::new();
    let jump_at = config.jump_host();
    let peer = Peer { host: &config.host, port: config.port, through: jump_at };
    let (mut handle, jump) = match jump_at {
        None => {
            let wire = WatchedStream::new(tcp(target, &peer).await?, Arc::clone(&liveness));
            (shake_hands(target, &peer, wire, kind, (&channels, &words)).await?, None)
        }
        Some((host, port)) => {
            let (outer, at) = (Liveness::new(), Peer { host, port, through: None });
            let wire = WatchedStream::new(tcp(target, &at).await?, Arc::clone(&outer));
            let said = Arc::default();
            let mut jump = shake_hands(target, &at, wire, kind, (&Arc::default(), &said)).await?;
            authenticate(target, &at, login, &mut jump, &said).await?;
            let opening = jump.channel_open_direct_tcpip(&config.host, u32::from(config.port), "127.0.0.1", 0);
            let opened = limited(target.connection_timeout(), &peer, "the connection onwards", opening).await?;
            let through =
                opened.map_err(|error| ConnectAttemptError::Fatal(format!("{peer}: the jump host did not connect onwards: {error}")))?;
            let wire = WatchedStream::new(through.into_stream(), Arc::clone(&liveness));
            (shake_hands(target, &peer, wire, kind, (&channels, &words)).await?, Some(Jump { _handle: jump, liveness: outer }))
        }
    };
    authenticate(target, &peer, login, &mut handle, &words).await?;
    tracing::debug!(user = %login.user, host = config.host, ?kind, "an SSH connection is open");
    Ok(Established { handle, jump, liveness, channels, words })
}

async fn tcp(target: &Target, peer: &Peer<'_>) -> Result<TcpStream, ConnectAttemptError> {
    let connecting = TcpStream::connect((peer.host, peer.port));
    let stream = limited(target.connection_timeout(), peer, "the TCP connection", connecting).await?;
    let stream = stream.map_err(|error| ConnectAttemptError::from_io(peer, &error))?;
    stream.set_nodelay(true).map_err(|error| ConnectAttemptError::from_io(peer, &error))?;
    Ok(stream)
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    target: &Target,
    peer: &Peer<'_>,
    stream: WatchedStream<S>,
    kind: LaneKind,
    (channels, words): (&Arc<Channels>, &Arc<ServerWords>),
) -> Result<Handle<Watcher>, ConnectAttemptError> {
    let (host, port) = (peer.host, peer.port);
    let known = target.trust.known(host, port).await.map_err(ConnectAttemptError::HostKey)?;
    let keep_alive = Duration::from_secs(target.config.timeout.keep_alive);
    let config = Arc::new(algorithms::client_config(kind, &known, keep_alive, KEEPALIVES));
    let (shown, noted) = oneshot::channel();
    let (channels, words) = (Arc::clone(channels), Arc::clone(words));
    let watcher = Watcher { host: host.to_owned(), port, known, shown: Some(shown), channels, words: Arc::clone(&words) };
    let liveness = Arc::clone(stream.liveness());
    let shaking = client::connect_stream(config, stream, watcher);
    let shaken = limited(target.connection_timeout(), peer, "the key exchange", shaking).await?;
    let handle = shaken.map_err(|error| ConnectAttemptError::from_session(peer, error, &words, &liveness.beginning()))?;
    if let Ok(key) = noted.await {
        target.trust.remember(host, port, &key).map_err(ConnectAttemptError::HostKey)?;
    }
    Ok(handle)
}

async fn authenticate(
    target: &Target,
    peer: &Peer<'_>,
    login: &Login,
    handle: &mut Handle<Watcher>,
    words: &ServerWords,
) -> Result<(), ConnectAttemptError> {
    let user = &login.user;
    let result = limited(target.login_timeout(), peer, &format!("the login of {user}"), login.authenticate(handle)).await?;
    let hung_up = || {
        ConnectAttemptError::Fatal(match words.is_unreadable() {
            true => format!("{peer}: the login of {user} broke off: {UNREADABLE}"),
            false => format!("{peer}: the server closed the connection during the login of {user}{}", words.quoted()),
        })
    };
    match result {
        Ok(client::AuthResult::Success) => Ok(()),
        // PAM says why in a banner before sshd hangs up.
        _ if words.closes_account() => {
            let reason = format!("{user} may not log in at {peer}{}", words.quoted());
            Err(ConnectAttemptError::AccountClosed { user: user.clone(), reason })
        }
        Err(_) if handle.is_closed() => Err(hung_up()),
        Err(error) => Err(ConnectAttemptError::Fatal(format!("{peer}: the login of {user} failed: {error}{}", words.quoted()))),
        // russh says the same when the connection ended meanwhile; only an open one was an answer.
        Ok(client::AuthResult::Failure { .. }) if handle.is_closed() => Err(hung_up()),
        Ok(client::AuthResult::Failure { partial_success, .. }) => {
            let why = if partial_success { "the key was accepted and a further factor is demanded".to_owned() } else { login.guess() };
            let reason = format!("{} at {peer}: {why}{}", login.who(), words.quoted());
            Err(ConnectAttemptError::Login { user: user.clone(), reason })
        }
    }
}

async fn limited<F: Future>(limit: Duration, peer: &Peer<'_>, step: &str, future: F) -> Result<F::Output, ConnectAttemptError> {
    let late = |_| ConnectAttemptError::Fatal(format!("{peer}: {step} timed out: no answer within {} s", limit.as_secs_f32()));
    timeout(limit, future).await.map_err(late)
}

/// The handler for russh's events of the connection.
pub(crate) struct Watcher {
    host: String,
    port: u16,
    known: KnownKeys,
    shown: Option<oneshot::Sender<PublicKey>>,
    channels: Arc<Channels>,
    words: Arc<ServerWords>,
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

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), SessionError> {
        self.words.add(banner);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<SessionError>) -> Result<(), SessionError> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.words.add(&info.message);
                Ok(())
            }
            DisconnectReason::Error(error) => {
                if matches!(error, SessionError::Ssh(russh::Error::SshEncoding(EncodingError::CharacterEncoding))) {
                    self.words.note_unreadable();
                }
                Err(error)
            }
        }
    }

    async fn channel_open_confirmation(&mut self, _: ChannelId, _: u32, _: u32, _: &mut Session) -> Result<(), SessionError> {
        let open = self.channels.open.fetch_add(1, Ordering::AcqRel) + 1;
        self.channels.max_open.fetch_max(open, Ordering::AcqRel);
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
pub(crate) enum ConnectAttemptError {
    /// The server hung up before the handshake: trying again later may help.
    Dropped(String),
    Fatal(String),
    HostKey(String),
    Login {
        user: Username,
        reason: String,
    },
    AccountClosed {
        user: Username,
        reason: String,
    },
}

/// The advice if the library could not read a text of the login.
const UNREADABLE: &str = "the server's login banner is not UTF-8 text, as RFC 4252 demands: convert the file that Banner in sshd_config names, for \
    example by iconv -f latin1 -t utf-8, or set Banner none for the address of this host (Match Address)";

/// The advice if a server closes the connection before the login.
const DROPPED_HINT: &str = "it does so for MaxStartups, and from OpenSSH 9.8 on for PerSourcePenalties: exempt the address of this host by \
    PerSourcePenaltyExemptList";

/// The maximum number of characters that are shown of the answer of a server that is not one of SSH.
const MAX_SHOWN: usize = 80;

/// What sshd itself says, before its identification, when it drops a connection for `MaxStartups` or `PerSourcePenalties`.
const SAID_BY_SSHD: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];

/// The answer of a server that is not one of SSH, for a message; nothing if there was none, or if it can be sshd's, which may send lines of text
/// before its identification (RFC 4253, 4.2).
fn foreign_answer(beginning: &[u8]) -> Option<String> {
    let names_itself =
        beginning.starts_with(b"SSH-") || b"SSH-".starts_with(beginning) || beginning.windows(5).any(|line| line == b"\nSSH-");
    if beginning.is_empty() || names_itself {
        return None;
    }
    let text = match std::str::from_utf8(beginning) {
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&beginning[..error.valid_up_to()]),
        text => text,
    };
    let text = text.ok().filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
    let Some(text) = text else { return Some("with bytes that are no text".to_owned()) };
    if SAID_BY_SSHD.iter().any(|words| text.contains(words)) {
        return None;
    }
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(|line| format!("\"{}\"", excerpt(line, MAX_SHOWN)))
}

impl ConnectAttemptError {
    fn from_io(peer: &Peer<'_>, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Self::Dropped(format!("{peer}: the server hung up before the key exchange was over ({error}); {DROPPED_HINT}"))
            }
            _ => Self::Fatal(format!("{peer}: {error}")),
        }
    }

    /// `beginning` is what the server sent first.
    fn from_session(peer: &Peer<'_>, error: SessionError, words: &ServerWords, beginning: &[u8]) -> Self {
        let foreign = foreign_answer(beginning);
        match (error, foreign) {
            (SessionError::HostKey(reason), _) => Self::HostKey(reason),
            (_, Some(answer)) => Self::Fatal(format!("{peer}: this is no SSH server: it answered {answer}; is the port that of sshd?")),
            (SessionError::Ssh(russh::Error::IO(error)), _) => Self::from_io(peer, &error),
            (SessionError::Ssh(russh::Error::Disconnect | russh::Error::HUP), _) => {
                let said = words.quoted();
                Self::Dropped(format!("{peer}: the server hung up before the key exchange was over{said}; {DROPPED_HINT}"))
            }
            (SessionError::Ssh(error), _) => Self::Fatal(format!("{peer}: the key exchange failed: {error}{}", words.quoted())),
        }
    }
}

impl From<ConnectAttemptError> for TransportError {
    fn from(refusal: ConnectAttemptError) -> Self {
        match refusal {
            ConnectAttemptError::Dropped(reason) | ConnectAttemptError::Fatal(reason) => {
                tracing::warn!(reason, "an SSH connection failed");
                Self::Connect(reason)
            }
            ConnectAttemptError::HostKey(reason) => {
                tracing::warn!(reason, "an SSH host key was refused");
                Self::HostKey(reason)
            }
            ConnectAttemptError::Login { user, reason } => {
                tracing::warn!(%user, reason, "an SSH login was refused");
                Self::Login(reason)
            }
            ConnectAttemptError::AccountClosed { user, reason } => {
                tracing::warn!(%user, reason, "an SSH login was refused");
                Self::AccountClosed(reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_server_that_is_not_one_of_ssh_is_shown() {
        for (beginning, answer) in [
            (&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n"[..], Some("\"HTTP/1.1 400 Bad Request\"")),
            (b"220 mail.example.org ESMTP\r\n", Some("\"220 mail.example.org ESMTP\"")),
            (b"\x15\x03\x03\x00\x02", Some("with bytes that are no text")),
            (b"\xff\xfe", Some("with bytes that are no text")),
            (b"Z\xc3\xbcrich \xc3", Some("\"Zürich\"")),
            (b"", None),
            (b"SSH-2.0-OpenSSH_9.6\r\n", None),
            (b"SS", None),
            (b"Authorized users only\r\nSSH-2.0-OpenSSH_9.6\r\n", None),
            (b"Z\xfcrich\nSSH-2.0-OpenSSH_9.6\r\n", None),
            (b"Exceeded MaxStartups\r\n", None),
            (b"Not allowed at this time\r\n", None),
        ] {
            assert_eq!(foreign_answer(beginning).as_deref(), answer, "{beginning:?}");
        }
    }
}
