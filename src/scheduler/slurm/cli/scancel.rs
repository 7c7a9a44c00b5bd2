//! scancel(1): cancels a job.

use super::slurm_command;
use crate::domain::bytes_to_text;
use crate::scheduler::slurm::job_ref::JobRef;
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

#[cfg(test)]
mod tests {
    use super::super::failure::explain;
    use super::super::golden::{RELEASES, recorded};
    use super::*;
    use crate::domain::JobId;
    use crate::scheduler::SchedulerError;

    fn parse(release: &str, case: &str) -> Result<Cancelled, CommandError> {
        let id = JobId::new("1").unwrap();
        Scancel(JobRef::new(&id).unwrap()).parse(recorded(release, &format!("{case}.scancel")))
    }

    #[test]
    fn a_job_that_ends_or_has_ended_is_cancelled() {
        for release in RELEASES {
            assert_eq!(parse(release, "done").unwrap(), Cancelled::Done, "{release}");
            assert_eq!(parse(release, "over").unwrap(), Cancelled::Done, "{release}");
        }
    }

    #[test]
    fn a_job_that_is_not_there_is_noticed_although_scancel_succeeds() {
        for release in RELEASES {
            assert_eq!(recorded(release, "unknown.scancel").exit, 0, "{release}");
            assert_eq!(parse(release, "unknown").unwrap(), Cancelled::NotKnown, "{release}");
        }
    }

    #[test]
    fn the_job_of_another_is_denied_in_slurms_words() {
        for release in RELEASES {
            let error = explain("cancel the job")(parse(release, "denied").unwrap_err());
            let SchedulerError::Denied(words) = &error else { panic!("{release}: {error:?}") };
            assert!(words.starts_with("Kill job error") && words.ends_with("Access/permission denied"), "{release}: {words}");
        }
    }
}
