//! The interface that carries commands and byte streams to a cluster.

use std::hash::{Hash, Hasher};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::credentials::{Credential, CredentialError};
use crate::domain::{Principal, Username};
use crate::error::{Classify, Kind};
use crate::ssh::command_line::{CommandLine, Environment};

/// Carries commands and byte streams to one cluster, as the caller. Implemented by the lanes, and by scripts in tests.
///
/// Dropping a future of either method cancels the work: the channel is closed and the remote command is stopped.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The credential with which a channel of the caller would be opened now. A user of a kept channel calls this
    /// before each request, and opens another channel if the credential has changed: a kept channel must not outlive its credential,
    /// nor serve a second caller. It is the same for everybody if there are no credentials.
    ///
    /// # Errors
    /// If the caller has no credential now.
    async fn credential_version(&self, _: &Principal) -> Result<CredentialVersion, TransportError> {
        Ok(CredentialVersion::default())
    }

    /// Whether the caller's credential is only made with a token that is still valid.
    fn needs_token(&self) -> bool {
        false
    }

    /// Runs a command to its end on the control lane.
    ///
    /// # Errors
    /// If it could not be started, did not end in time, or printed more than allowed. An exit status other than 0 is no
    /// error here.
    async fn exec(&self, principal: &Principal, exec: Exec) -> Result<RawOutput, TransportError>;

    /// Opens an SSH subsystem (RFC 4254, 6.5), such as `sftp`, as a byte stream. It holds one channel of the lane until dropped.
    ///
    /// # Errors
    /// If no channel could be obtained in time, or the server refuses the subsystem.
    async fn subsystem(&self, principal: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError>;

    /// Starts a command on the bulk lane with its standard input and output as a byte stream. Standard error is discarded;
    /// reading ends when the command ends, and fails then when its exit status is not 0. It holds one channel until dropped.
    ///
    /// # Errors
    /// If no channel could be obtained in time.
    async fn stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError>;

    /// Starts a command without input on the bulk lane, with its standard output as a byte stream that is sent no faster than it
    /// is read: a reader that stops stalls only this command. Everything else is as for [`Transport::stream`].
    ///
    /// # Errors
    /// If no channel could be obtained in time.
    async fn output_stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        self.stream(principal, line).await
    }

    /// Starts a command on the bulk lane and gives what it prints as it comes, up to the limits of `exec`; then its exit status. What has come and was not
    /// read yet is kept, so that a slow reader stalls nothing else. A transport that cannot do so returns all of it when the command has ended.
    ///
    /// # Errors
    /// If it could not be started. The stream fails, and has no exit status, when the command was stopped or the connection broke.
    async fn run_streamed(&self, principal: &Principal, exec: Exec) -> Result<OutputStream, TransportError> {
        let RawOutput { stdout, stderr, exit } = self.exec(principal, exec).await?;
        let pieces = [CommandOutput::Stdout(stdout.into()), CommandOutput::Stderr(stderr.into()), CommandOutput::Exit(exit)];
        Ok(stream::iter(pieces.map(Ok)).boxed())
    }
}

/// A piece of a command's output, or its exit status at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutput {
    /// A part of its standard output.
    Stdout(Bytes),
    /// A part of its standard error.
    Stderr(Bytes),
    /// Its exit status, 128 + n after signal n. Nothing comes after it.
    Exit(u32),
}

/// The output of a command. Dropping it stops the command.
pub type OutputStream = BoxStream<'static, Result<CommandOutput, TransportError>>;

/// The identity of a credential. It can be compared, and not used to log in.
#[derive(Clone, Debug, Default)]
pub struct CredentialVersion(Weak<Credential>);

impl CredentialVersion {
    /// The version of this credential, for as long as it is the same object.
    pub fn of(credential: &Arc<Credential>) -> Self {
        Self(Arc::downgrade(credential))
    }
}

impl PartialEq for CredentialVersion {
    fn eq(&self, other: &Self) -> bool {
        // A weak reference keeps the address from being used again.
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for CredentialVersion {}

impl Hash for CredentialVersion {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
    }
}

/// A duplex byte stream over one channel. Dropping it closes the channel.
pub struct ByteStream {
    stream: Box<dyn Duplex>,
    retired: CancellationToken,
}

impl ByteStream {
    /// A stream that may be kept for as long as it lives.
    pub fn new(stream: impl Duplex + 'static) -> Self {
        Self::retiring(stream, CancellationToken::new())
    }

    /// A stream whose connection takes no more work once `retired` is cancelled.
    pub fn retiring(stream: impl Duplex + 'static, retired: CancellationToken) -> Self {
        Self { stream: Box::new(stream), retired }
    }

    /// Cancelled when the connection takes no more work, because its credential has changed, it is old, or others need its place.
    /// A holder that keeps the stream for later work should release it after the current work.
    pub fn retired(&self) -> CancellationToken {
        self.retired.clone()
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

/// Both directions of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The two classes of traffic of a user on a cluster. They never share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// Commands and metadata: short, latency matters.
    Control,
    /// File contents: long, throughput matters.
    Bulk,
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The command line.
    pub line: CommandLine,
    /// The content of its standard input, which is then closed.
    pub stdin: Bytes,
    /// Whether it may be retried after it was sent.
    pub idempotent: bool,
    /// Its own limits; the cluster's configured ones if absent.
    pub limits: Option<CommandLimits>,
    /// Its environment.
    pub environment: Environment,
}

/// The limits of a command on its time and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// From the start of the command to its exit status.
    pub execution: Duration,
    /// Standard output and error together, in bytes.
    pub output: usize,
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RawOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit status; 128 + n after signal n.
    pub exit: u32,
}

/// Why a command or stream could not be carried. Each variant names the phase.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no credential for the caller.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The caller's key cannot be read.
    #[error("the SSH key of {user} cannot be used: {reason}")]
    Key {
        /// The owner of the key.
        user: Username,
        /// The error, without any part of the key.
        reason: String,
    },
    /// No connection could be made: host and port, the step that failed, and the words of the system or of the server.
    #[error("could not connect to the cluster's SSH server {0}")]
    Connect(String),
    /// The server's host key is not one that the configuration accepts.
    #[error("the cluster's SSH host key is not trusted: {0}")]
    HostKey(String),
    /// The server refused the credential.
    #[error("the cluster refused the login of {0}")]
    Login(String),
    /// The account may not log in there, whatever its key: who, where, and the server's words.
    #[error("the account {0}")]
    AccountClosed(String),
    /// No channel could be obtained within the request's time: the user's lane, or the whole pool, is full.
    #[error("no SSH channel became free within {} s", .0.as_secs_f32())]
    Saturated(Duration),
    /// The server refused the channel, command or subsystem.
    #[error("the cluster's SSH server refused: {0}")]
    Refused(String),
    /// The connection broke. `sent` tells whether the command may have started.
    #[error("the SSH connection to the cluster broke")]
    Broken {
        /// False when provably nothing was sent.
        sent: bool,
    },
    /// A second attempt failed; the first one was sent, and may have had its effect.
    #[error("{0}")]
    SecondAttempt(Box<Self>),
    /// What the commands run in could not be started or reached.
    #[error("the files cannot be reached: {reason}")]
    Unreachable {
        /// The class of the failure.
        kind: Kind,
        /// Why.
        reason: String,
        /// False when provably nothing was begun.
        sent: bool,
    },
    /// The command did not end in time and was stopped. The text is contract: clients look for `exit status:124`.
    #[error("Remote process failed with exit status:124, it did not end within {} s", .0.as_secs_f32())]
    Execution(Duration),
    /// The command printed more than allowed and was stopped.
    #[error("the command's output is larger than the limit of {0} bytes (ssh.max_output): ask for less of it")]
    Output(usize),
}

impl TransportError {
    /// The error of a second attempt, after a first one that was sent.
    #[must_use]
    pub fn of_second_attempt(self) -> Self {
        match self {
            Self::Broken { .. } => Self::Broken { sent: true },
            Self::Unreachable { kind, reason, .. } => Self::Unreachable { kind, reason, sent: true },
            error if error.maybe_effected() == Some(true) => error,
            error => Self::SecondAttempt(Box::new(error)),
        }
    }
}

impl Classify for TransportError {
    fn kind(&self) -> Kind {
        match self {
            Self::SecondAttempt(error) => error.kind(),
            Self::Credential(source) => source.kind(),
            Self::Key { .. } | Self::Connect(_) | Self::HostKey(_) | Self::Login(_) | Self::Refused(_) | Self::Broken { .. } => {
                Kind::DependencyFailed
            }
            Self::Unreachable { kind, .. } => *kind,
            Self::AccountClosed(_) => Kind::Forbidden,
            Self::Saturated(_) => Kind::Unavailable,
            Self::Execution(_) => Kind::RemoteTimeout,
            Self::Output(_) => Kind::TooLarge,
        }
    }

    /// A host key that is not trusted stays so until somebody acts, and so does a user's key that cannot be used.
    fn is_final(&self) -> bool {
        matches!(self, Self::HostKey(_) | Self::Key { .. }) || self.wrapped().is_some_and(Classify::is_final)
    }

    fn wrapped(&self) -> Option<&dyn Classify> {
        match self {
            Self::Credential(source) => Some(source),
            Self::SecondAttempt(error) => Some(&**error),
            _ => None,
        }
    }

    fn maybe_effected(&self) -> Option<bool> {
        match self {
            Self::Broken { sent } | Self::Unreachable { sent, .. } => Some(*sent),
            Self::Execution(_) | Self::Output(_) | Self::SecondAttempt(_) => Some(true),
            Self::Credential(_)
            | Self::Key { .. }
            | Self::Connect(_)
            | Self::HostKey(_)
            | Self::Login(_)
            | Self::AccountClosed(_)
            | Self::Saturated(_)
            | Self::Refused(_) => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_attempt_on_a_broken_connection_is_a_broken_connection_too() {
        let broken = TransportError::Broken { sent: false }.of_second_attempt();
        assert!(matches!(broken, TransportError::Broken { sent: true }), "{broken:?}");
        let reason = || "no pod".to_owned();
        let away = TransportError::Unreachable { kind: Kind::Unavailable, reason: reason(), sent: false }.of_second_attempt();
        assert!(matches!(away, TransportError::Unreachable { sent: true, .. }), "{away:?}");
        let refused = TransportError::Login("ada".to_owned()).of_second_attempt();
        assert!(matches!(&refused, TransportError::SecondAttempt(_)) && refused.maybe_effected() == Some(true), "{refused:?}");
    }
}
