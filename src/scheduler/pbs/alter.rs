//! qhold(1), qrls(1), qrerun(1), qsig(1) and qalter(1): changes of an unfinished job.

use super::job_ref::JobRef;
use super::pbs_command;
use crate::domain::{JobChange, bytes_to_text, clock};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Changes a job, an array or a subjob.
pub(super) struct Alter<'a> {
    pub(super) job: JobRef<'a>,
    pub(super) change: JobChange,
}

impl RemoteCommand for Alter<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = match self.change {
            JobChange::Hold => pbs_command("qhold"),
            JobChange::Release => pbs_command("qrls"),
            JobChange::Requeue => pbs_command("qrerun"),
            JobChange::Signal(signal) => pbs_command("qsig").flag("-s").arg(format!("SIG{signal}")),
            JobChange::TimeLimit(seconds) => pbs_command("qalter").flag("-l").arg(format!("walltime={}", clock(seconds))),
        };
        line.flag("--").arg(self.job.as_str())
    }

    fn idempotent(&self) -> bool {
        !matches!(self.change, JobChange::Requeue | JobChange::Signal(_))
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        let complains =
            bytes_to_text(&raw.stderr).lines().any(|line| line.split_once(": ").is_some_and(|(name, _)| PROGRAMS.contains(&name)));
        if raw.exit == 0 && !complains { Ok(()) } else { Err(CommandError::exit(&raw)) }
    }
}

const PROGRAMS: [&str; 5] = ["qhold", "qrls", "qrerun", "qsig", "qalter"];

#[cfg(test)]
mod tests {
    use super::super::failure::explain_refusal;
    use super::*;
    use crate::domain::{JobId, Signal};
    use crate::scheduler::SchedulerError;

    #[test]
    fn each_change_is_a_command_of_its_own() {
        let id = JobId::new("5[3]").unwrap();
        let line = |change| Alter { job: JobRef::new(&id).unwrap(), change }.command_line().to_string();
        let start = "env LC_ALL=C TZ=UTC";
        assert_eq!(line(JobChange::Hold), format!("{start} qhold -- '5[3]'"));
        assert_eq!(line(JobChange::Release), format!("{start} qrls -- '5[3]'"));
        assert_eq!(line(JobChange::Requeue), format!("{start} qrerun -- '5[3]'"));
        assert_eq!(line(JobChange::Signal(Signal::new("usr1").unwrap())), format!("{start} qsig -s 'SIGUSR1' -- '5[3]'"));
        assert_eq!(line(JobChange::TimeLimit(3600)), format!("{start} qalter -l 'walltime=1:00:00' -- '5[3]'"));
    }

    #[test]
    fn a_refusal_is_noticed_whatever_the_exit_status_is() {
        let id = JobId::new("5").unwrap();
        let parse = |exit, stderr: &str| {
            let raw = RawOutput { exit, stderr: stderr.into(), ..RawOutput::default() };
            let outcome = Alter { job: JobRef::new(&id).unwrap(), change: JobChange::Hold }.parse(raw);
            outcome.map_err(explain_refusal("change the job"))
        };
        assert!(parse(0, "Warning: noise\n").is_ok());
        let refused = parse(0, "qhold: Request invalid for state of job 5.srv\n").unwrap_err();
        assert!(matches!(&refused, SchedulerError::Rejected(words) if words.contains("Request invalid for state of job")), "{refused:?}");
        assert!(matches!(parse(159, "qhold: Unauthorized Request  5.srv\n"), Err(SchedulerError::Denied(_))));
        assert!(matches!(parse(153, "qhold: Unknown Job Id 5.srv\n"), Err(SchedulerError::JobNotFound)));
    }
}
