//! scancel(1): cancels a job.

use super::job_ref::JobRef;
use super::slurm_command;
use crate::domain::bytes_to_text;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Cancels a job with all its parts. Cancelling twice does what cancelling once does.
pub(super) struct Scancel<'a>(pub(super) JobRef<'a>);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// The controller ends it, or had already.
    Done,
    /// The controller knows no such job: it never was, or ended long ago.
    NotKnown,
}

impl RemoteCommand for Scancel<'_> {
    type Output = Cancelled;

    fn command_line(&self) -> CommandLine {
        // Without `--verbose` a job that is not there makes no difference to the output or the status.
        slurm_command("scancel").flag("--verbose").flag("--").arg(self.0.as_str())
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        let stderr = bytes_to_text(&raw.stderr);
        if stderr.contains("Invalid job id specified") {
            return Ok(Cancelled::NotKnown);
        }
        let already_over = stderr.contains("already completing or completed");
        if raw.exit != 0 && !already_over {
            return Err(CommandError::exit(&raw));
        }
        Ok(Cancelled::Done)
    }
}
