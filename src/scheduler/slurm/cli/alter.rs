//! scontrol(1) and scancel(1) for changes of an unfinished job.

use super::slurm_command;
use crate::domain::{JobChange, Signal, bytes_to_text, clock};
use crate::scheduler::slurm::job_ref::JobRef;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Changes a job by scontrol. A signal is sent by [`Kill`].
pub(super) struct Alter<'a> {
    pub(super) job: JobRef<'a>,
    pub(super) change: JobChange,
}

impl RemoteCommand for Alter<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let (line, id) = (slurm_command("scontrol"), self.job.as_str());
        match self.change {
            JobChange::Hold => line.flag("hold").arg(id),
            JobChange::Release => line.flag("release").arg(id),
            JobChange::Requeue => line.flag("requeue").arg(id),
            JobChange::Signal(signal) => Kill { job: self.job, signal }.command_line(),
            JobChange::TimeLimit(seconds) => line.flag("update").arg(format!("JobId={id}")).arg(format!("TimeLimit={}", clock(seconds))),
        }
    }

    /// A job that was put back into the queue may run by the second time.
    fn idempotent(&self) -> bool {
        !matches!(self.change, JobChange::Requeue | JobChange::Signal(_))
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        if raw.exit == 0 {
            return Ok(());
        }
        // scontrol reports the result of a hold twice: its own, and that of the call of the library.
        let stderr = bytes_to_text(&raw.stderr);
        let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("slurm_suspend error")).collect();
        Err(CommandError::Exit { exit: raw.exit, stderr: lines.join("\n").trim().to_owned() })
    }
}

/// Sends a signal to the processes of a job, including the batch shell. Pending parts of it get none.
pub(super) struct Kill<'a> {
    pub(super) job: JobRef<'a>,
    pub(super) signal: Signal,
}

impl RemoteCommand for Kill<'_> {
    /// Whether there was a process to send it to.
    type Output = bool;

    fn command_line(&self) -> CommandLine {
        // Without `--state`, scancel keeps retrying to signal pending jobs. Without `--verbose`, it does not report that no job was signalled.
        let line = slurm_command("scancel").flag("--verbose").flag("--full").flag("--state=RUNNING");
        line.option("--signal", self.signal.as_str()).flag("--").arg(self.job.as_str())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<bool, CommandError> {
        let stderr = bytes_to_text(&raw.stderr);
        raw.success()?;
        Ok(!stderr.contains("No active jobs match"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain_refusal;
    use super::super::golden::recorded;
    use super::*;
    use crate::domain::JobId;
    use crate::scheduler::SchedulerError;

    const RELEASES: [&str; 3] = ["22.05", "24.11", "26.05"];

    fn line(id: &str, change: JobChange) -> String {
        let id = JobId::new(id).unwrap();
        Alter { job: JobRef::new(&id).unwrap(), change }.command_line().to_string()
    }

    fn failure(release: &str, case: &str) -> SchedulerError {
        let id = JobId::new("1").unwrap();
        let raw = recorded(release, &format!("{case}.scontrol-alter"));
        explain_refusal("change the job")(Alter { job: JobRef::new(&id).unwrap(), change: JobChange::Hold }.parse(raw).unwrap_err())
    }

    #[test]
    fn each_change_is_one_command() {
        let start = "env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol";
        assert_eq!(line("12_3", JobChange::Hold), format!("{start} hold '12_3'"));
        assert_eq!(line("12", JobChange::Release), format!("{start} release '12'"));
        assert_eq!(line("12+1", JobChange::Requeue), format!("{start} requeue '12+1'"));
        assert_eq!(line("12", JobChange::TimeLimit(90)), format!("{start} update 'JobId=12' 'TimeLimit=0:01:30'"));
    }

    #[test]
    fn a_change_that_is_refused_is_explained_in_slurms_words() {
        for release in RELEASES {
            assert!(matches!(failure(release, "unknown"), SchedulerError::JobNotFound), "{release}");
            assert!(matches!(failure(release, "denied"), SchedulerError::Denied(_)), "{release}");
            assert!(matches!(failure(release, "requeue-denied"), SchedulerError::Denied(_)), "{release}");
            let over = failure(release, "over");
            assert!(
                matches!(&over, SchedulerError::Rejected(words) if words.starts_with("Job has already finished") && !words.contains('\n')),
                "{release}: {over:?}"
            );
            let waits = failure(release, "requeue-waiting");
            assert!(
                matches!(&waits, SchedulerError::Rejected(words) if words.contains("Job is pending execution")),
                "{release}: {waits:?}"
            );
        }
    }

    #[test]
    fn a_signal_reaches_what_runs_and_tells_where_nothing_does() {
        let id = JobId::new("12").unwrap();
        let kill = || Kill { job: JobRef::new(&id).unwrap(), signal: Signal::new("USR1").unwrap() };
        let line = kill().command_line().to_string();
        assert!(line.ends_with("scancel --verbose --full --state=RUNNING --signal='USR1' -- '12'"), "{line}");
        for release in RELEASES {
            assert!(kill().parse(recorded(release, "signal.scancel")).unwrap(), "{release}");
            assert!(!kill().parse(recorded(release, "signal-waiting.scancel")).unwrap(), "{release}");
        }
    }
}
