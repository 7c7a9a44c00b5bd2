//! qdel(1): deletes a job.

use super::job_ref::JobRef;
use super::pbs_command;
use crate::domain::bytes_to_text;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The message of qdel for a job that ended or is about to.
const OVER: [&str; 3] = ["Job has finished", "finished array subjob", "Request invalid for state of job"];

/// The message of PBS for a subjob that an array does not have, and only for that.
const NO_SUCH_SUBJOB: &str = "Invalid request";

/// Deletes a job, an array or a subjob. Deleting twice does what deleting once does.
pub(super) struct Qdel<'a>(pub(super) JobRef<'a>);

/// The outcome of the deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// It was there, and its end was begun.
    Now,
    /// It had ended, or was about to. For a subjob of an ended array, PBS reports this even if the subjob never existed.
    Before,
}

impl RemoteCommand for Qdel<'_> {
    type Output = Deleted;

    fn command_line(&self) -> CommandLine {
        pbs_command("qdel").flag("--").arg(self.0.as_str())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Deleted, CommandError> {
        let stderr = bytes_to_text(&raw.stderr);
        // A job that ended is as its owner wants it.
        if OVER.iter().any(|text| stderr.contains(text)) {
            return Ok(Deleted::Before);
        }
        if self.0.is_subjob() && stderr.contains(NO_SUCH_SUBJOB) {
            return Err(CommandError::Exit { exit: raw.exit, stderr: "Unknown Job Id".to_owned() });
        }
        let complains = stderr.lines().any(|line| line.starts_with("qdel: "));
        if raw.exit == 0 && !complains { Ok(Deleted::Now) } else { Err(CommandError::exit(&raw)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain;
    use super::super::golden::recorded;
    use super::*;
    use crate::domain::JobId;
    use crate::scheduler::SchedulerError;

    fn parse(raw: RawOutput) -> Result<Deleted, CommandError> {
        let id = JobId::new("5[].pbs").unwrap();
        let qdel = Qdel(JobRef::new(&id).unwrap());
        assert_eq!(qdel.command_line().to_string(), "env LC_ALL=C TZ=UTC qdel -- '5[].pbs'");
        qdel.parse(raw)
    }

    #[test]
    fn a_job_that_ended_is_as_its_owner_wants_it() {
        assert_eq!(parse(RawOutput::default()).unwrap(), Deleted::Now);
        for name in ["over.qdel", "over-subjob.qdel", "openpbs-23.06.06/over-others.qdel"] {
            assert_eq!(parse(recorded(name)).unwrap(), Deleted::Before, "{name}");
        }
    }

    #[test]
    fn an_unknown_job_and_the_job_of_another_are_told_apart() {
        assert!(matches!(explain("x")(parse(recorded("unknown.qdel")).unwrap_err()), SchedulerError::JobNotFound));
        assert!(matches!(explain("x")(parse(recorded("denied.qdel")).unwrap_err()), SchedulerError::Denied(_)));
        assert!(matches!(explain("x")(parse(recorded("down.qdel")).unwrap_err()), SchedulerError::Down(_)));
    }

    #[test]
    fn a_subjob_that_the_array_does_not_have_is_not_found() {
        let id = JobId::new("47725[99]").unwrap();
        let error = Qdel(JobRef::new(&id).unwrap()).parse(recorded("openpbs-23.06.06/array-unknown-subjob.qdel")).unwrap_err();
        assert!(matches!(explain("x")(error), SchedulerError::JobNotFound));
        let error = parse(recorded("openpbs-23.06.06/array-without-brackets.qdel")).unwrap_err();
        assert!(matches!(explain("x")(error), SchedulerError::JobNotFound));
    }
}
