//! qdel(1): deletes a job.

use super::job_ref::JobRef;
use super::pbs_command;
use crate::domain::bytes_to_text;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// What qdel says of a job that ended or is about to.
const OVER: [&str; 3] = ["Job has finished", "finished array subjob", "Request invalid for state of job"];

/// Deletes a job, an array or a subjob. Deleting twice does what deleting once does.
pub(super) struct Qdel<'a>(pub(super) JobRef<'a>);

impl RemoteCommand for Qdel<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        pbs_command("qdel").flag("--").arg(self.0.as_str())
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        let stderr = bytes_to_text(&raw.stderr);
        // A job that ended is as its owner wants it.
        let over = OVER.iter().any(|text| stderr.contains(text));
        let complains = stderr.lines().any(|line| line.starts_with("qdel: "));
        if over || (raw.exit == 0 && !complains) { Ok(()) } else { Err(CommandError::exit(&raw)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain;
    use super::super::golden::recorded;
    use super::*;
    use crate::domain::JobId;
    use crate::scheduler::SchedulerError;

    fn parse(raw: RawOutput) -> Result<(), CommandError> {
        let id = JobId::new("5[].pbs").unwrap();
        let qdel = Qdel(JobRef::new(&id).unwrap());
        assert_eq!(qdel.command_line().to_string(), "env LC_ALL=C TZ=UTC qdel -- '5[].pbs'");
        qdel.parse(raw)
    }

    #[test]
    fn a_job_that_ended_is_as_its_owner_wants_it() {
        assert!(parse(RawOutput::default()).is_ok());
        assert!(parse(recorded("over.qdel")).is_ok());
        assert!(parse(recorded("over-subjob.qdel")).is_ok());
    }

    #[test]
    fn an_unknown_job_and_the_job_of_another_are_told_apart() {
        assert!(matches!(explain("x")(parse(recorded("unknown.qdel")).unwrap_err()), SchedulerError::JobNotFound));
        assert!(matches!(explain("x")(parse(recorded("denied.qdel")).unwrap_err()), SchedulerError::Denied(_)));
        assert!(matches!(explain("x")(parse(recorded("down.qdel")).unwrap_err()), SchedulerError::Down(_)));
    }
}
