//! scancel(1): cancels a job.

use super::slurm_command;
use crate::domain::bytes_to_text;
use crate::scheduler::slurm::job_ref::{JobRef, shown_id};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Cancels the job of `$1` and looks at what came of it, without being steered by variables of the user's start-up files. What is printed
/// is a part of the job that goes on, if there is one: Slurm ends jobs before it answers, but may take a moment for large arrays.
const CANCEL_AND_LOOK: &str = "unset SLURM_CLUSTERS $(env | sed -n \"s/^\\(S[A-Z]*_[A-Z0-9_]*\\)=.*/\\1/p\" | grep -e ^SCANCEL_ -e ^SQUEUE_); \
scancel --verbose -- \"$1\"; status=$?; \
look() { squeue --noheader --array --all --states=all --format=\"%i %T\" --jobs=\"$1\" 2>/dev/null | \
awk \"\\$2 ~ /^(PENDING|RUNNING|SUSPENDED|CONFIGURING|STOPPED|RESIZING|SIGNALING)\\$/ { print; exit }\"; }; \
for wait in 0 1 2; do left=$(look \"$1\"); if [ \"$status\" != 0 ] || [ -z \"$left\" ] || [ $wait = 2 ]; then break; fi; sleep 1; done; \
printf %s \"$left\"; exit $status";

/// Cancels a job with all its parts, and makes sure of it. Cancelling twice does what cancelling once does.
pub(super) struct Scancel<'a>(pub(super) JobRef<'a>);

/// The outcome of the cancellation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// The controller ends it.
    Done,
    /// It had ended already. The controller says so to whoever asks.
    Over,
    /// The controller knows no such job: it never was, or ended long ago.
    NotKnown,
    /// scancel succeeded, and the job, or a part of it, is still in this state.
    GoesOn(String),
}

impl RemoteCommand for Scancel<'_> {
    type Output = Cancelled;

    fn command_line(&self) -> CommandLine {
        // Without `--verbose` a job that is not there makes no difference to the output or the status.
        slurm_command("sh").flag("-c").arg(CANCEL_AND_LOOK).flag("scancel").arg(self.0.as_str())
    }

    fn idempotent(&self) -> bool {
        true
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
        match bytes_to_text(&raw.stdout).lines().find_map(|line| self.still(line)) {
            Some(state) => Ok(Cancelled::GoesOn(state)),
            None if already_over => Ok(Cancelled::Over),
            None => Ok(Cancelled::Done),
        }
    }
}

impl Scancel<'_> {
    /// The state in a line of ours, where it is of this job or of a part of it.
    fn still(&self, line: &str) -> Option<String> {
        let (id, state) = line.trim().split_once(' ')?;
        self.0.covers(&shown_id(id).ok()?).then(|| state.to_owned())
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
            assert_eq!(parse(release, "over").unwrap(), Cancelled::Over, "{release}");
        }
    }

    #[test]
    fn a_job_that_is_not_there_is_noticed_although_scancel_succeeds() {
        for release in RELEASES {
            assert_eq!(recorded(release, "unknown.scancel").exit, 0, "{release}");
            assert_eq!(parse(release, "unknown").unwrap(), Cancelled::NotKnown, "{release}");
        }
    }

    /// What a real shell makes of the command line, with these programs as Slurm's.
    fn cancelled(scancel: &str, squeue: &str, login: &[(&str, &str)]) -> Result<Cancelled, CommandError> {
        use std::os::unix::ffi::OsStringExt;
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("scancel", scancel), ("squeue", squeue)] {
            let program = folder.path().join(name);
            std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let id = JobId::new("7").unwrap();
        let scancel = Scancel(JobRef::new(&id).unwrap());
        let line = std::ffi::OsString::from_vec(scancel.command_line().as_bytes().to_vec());
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let output = std::process::Command::new("sh").arg("-c").arg(line).env("PATH", path).envs(login.iter().copied()).output().unwrap();
        let exit = output.status.code().unwrap().unsigned_abs();
        scancel.parse(RawOutput { stdout: output.stdout, stderr: output.stderr, exit })
    }

    #[test]
    fn variables_of_the_login_do_not_steer_a_cancellation() {
        let scancel = "[ -z \"$SCANCEL_STATE$SQUEUE_USERS$SLURM_CLUSTERS\" ] || exit 3";
        let login = [("SCANCEL_STATE", "PENDING"), ("SQUEUE_USERS", "nobody"), ("SLURM_CLUSTERS", "x"), ("SLURM_CONF", "/c")];
        assert_eq!(cancelled(scancel, "[ \"$SLURM_CONF\" = /c ]", &login).unwrap(), Cancelled::Done);
    }

    #[test]
    fn a_job_that_runs_on_although_scancel_succeeded_is_noticed() {
        assert_eq!(cancelled("exit 0", "echo '7 RUNNING'", &[]).unwrap(), Cancelled::GoesOn("RUNNING".to_owned()));
        assert_eq!(cancelled("exit 0", "printf '7_1 COMPLETING\\n7_2 PENDING\\n'", &[]).unwrap(), Cancelled::GoesOn("PENDING".to_owned()));
        assert_eq!(cancelled("exit 0", "echo '7 COMPLETING'", &[]).unwrap(), Cancelled::Done);
        assert!(matches!(
            cancelled("echo 'scancel: error: no' >&2; exit 60", "echo '7 RUNNING'", &[]),
            Err(CommandError::Exit { exit: 60, .. })
        ));
    }

    #[test]
    fn a_component_that_cannot_be_cancelled_alone_is_refused_in_slurms_words() {
        let id = JobId::new("42+1").unwrap();
        let stderr = "scancel: Terminating job 42+1\nscancel: error: Kill job error on job id 42+1: Operation not permitted on individual component of heterogeneous job\n";
        let raw = RawOutput { stderr: stderr.into(), exit: 60, ..RawOutput::default() };
        let error = explain("cancel the job")(Scancel(JobRef::new(&id).unwrap()).parse(raw).unwrap_err());
        assert!(matches!(&error, SchedulerError::Rejected(words) if words.contains("individual component")), "{error:?}");
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
