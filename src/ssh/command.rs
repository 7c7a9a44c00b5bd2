//! Remote commands as values: what to run, and what its output means.

use bytes::Bytes;

use crate::domain::{Principal, bytes_to_text};
use crate::error::{Classify, Kind};
use crate::ssh::command_line::{CommandLine, Environment};
use crate::ssh::transport::{CommandLimits, Exec, RawOutput, Transport, TransportError};

/// A command with the meaning of its output. Both methods are pure, so that goldens can test them.
pub trait RemoteCommand: Sync {
    /// The meaning of the command's output.
    type Output;

    /// The command line.
    fn command_line(&self) -> CommandLine;

    /// The content of its standard input.
    fn stdin(&self) -> Bytes {
        Bytes::new()
    }

    /// The environment that it gets.
    fn environment(&self) -> Environment {
        Environment::Client
    }

    /// Whether running it twice has the same effect as running it once. Only then may it be retried after a lost connection. There is no default,
    /// so that each command says it.
    fn idempotent(&self) -> bool;

    /// Reads what came back.
    ///
    /// # Errors
    /// If the exit status or the output says that it failed, or the output is not understood.
    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError>;
}

impl Exec {
    /// A command that does nothing, to check that commands can be run; with its own limits, or the cluster's.
    pub fn nothing(limits: Option<CommandLimits>) -> Self {
        Self { line: CommandLine::new("true"), stdin: Bytes::new(), idempotent: true, limits, environment: Environment::Client }
    }

    /// A command with limits of its own, or the cluster's.
    pub fn of<C: RemoteCommand>(command: &C, limits: Option<CommandLimits>) -> Self {
        Self {
            line: command.command_line(),
            stdin: command.stdin(),
            idempotent: command.idempotent(),
            limits,
            environment: command.environment(),
        }
    }
}

/// Runs a command as `principal` on the control lane.
///
/// # Errors
/// If it could not be carried, or failed.
pub async fn run<C: RemoteCommand>(transport: &dyn Transport, principal: &Principal, command: &C) -> Result<C::Output, CommandError> {
    command.parse(transport.exec(principal, Exec::of(command, None)).await?)
}

/// The reason why a remote command has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError {
    /// It was not carried to its end.
    #[error("the command could not be carried out")]
    Transport(#[from] TransportError),
    /// It ran and failed. The text is contract: clients look for `exit status:`.
    #[error("Remote process failed with exit status:{exit} and error message:{stderr}")]
    Exit {
        /// The exit status; 128 + n after signal n.
        exit: u32,
        /// Its standard error, trimmed.
        stderr: String,
    },
    /// It ran, and its output is not what this version of the tool prints.
    #[error("the output of {program} was not understood: {reason}")]
    Output {
        /// The program.
        program: &'static str,
        /// The error in the output.
        reason: String,
    },
}

impl RawOutput {
    /// The outcome of a command whose exit status says all.
    ///
    /// # Errors
    /// [`CommandError::Exit`] if it is not 0.
    pub fn success(&self) -> Result<(), CommandError> {
        if self.exit == 0 { Ok(()) } else { Err(CommandError::exit(self)) }
    }
}

impl CommandError {
    /// The [`CommandError::Exit`] of an output.
    pub fn exit(raw: &RawOutput) -> Self {
        Self::Exit { exit: raw.exit, stderr: bytes_to_text(raw.stderr.trim_ascii()) }
    }

    /// The signal that ended the command, by its exit status. Real-time signals are not among them: programs have exit statuses of their own
    /// from 160 to 255 (sbatch ends with 255 where it does not know an option).
    pub fn signal(&self) -> Option<u32> {
        match self {
            Self::Exit { exit: exit @ 129..=159, .. } => Some(exit - 128),
            _ => None,
        }
    }
}

impl Classify for CommandError {
    fn kind(&self) -> Kind {
        match self {
            Self::Transport(source) => source.kind(),
            Self::Exit { exit: 124, .. } => Kind::RemoteTimeout,
            Self::Exit { .. } | Self::Output { .. } => Kind::Internal,
        }
    }

    fn wrapped(&self) -> Option<&dyn Classify> {
        match self {
            Self::Transport(source) => Some(source),
            Self::Exit { .. } | Self::Output { .. } => None,
        }
    }

    /// A command that `timeout` or a signal ended, or that printed what is not understood, may have done its work.
    fn maybe_effected(&self) -> Option<bool> {
        match self {
            Self::Transport(source) => source.maybe_effected(),
            Self::Exit { exit, .. } => (*exit == 124 || self.signal().is_some()).then_some(true),
            Self::Output { .. } => Some(true),
        }
    }
}
