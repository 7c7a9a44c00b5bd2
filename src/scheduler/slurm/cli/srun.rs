//! srun(1): runs a command inside a job that runs.

use crate::domain::bytes_to_text;
use crate::scheduler::AttachOutput;
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

/// Becomes srun, without the variables of the user's start-up files that steer it. What says where Slurm is stays.
const UNSTEERED: &str = "unset SLURM_EXPORT_ENV $(env | sed -n \"s/^\\(S[A-Z]*_[A-Z0-9_]*\\)=.*/\\1/p\" | \
grep -e ^SRUN_ -e ^SLURM_ | grep -v -e ^SLURM_CONF -e ^SLURM_JWT); exec srun \"$@\"";

/// Runs a shell command once, on the first node of a job, in parallel to the job.
pub(super) struct Srun<'a> {
    /// The job's number: srun reads the id of an array's task as that of the array.
    pub(super) number: &'a str,
    /// The command for the shell.
    pub(super) command: &'a str,
}

impl RemoteCommand for Srun<'_> {
    type Output = AttachOutput;

    fn command_line(&self) -> CommandLine {
        // No locale is set here: the command would inherit it.
        CommandLine::new("sh")
            .flag("-c")
            .arg(UNSTEERED)
            .flag("srun")
            .flag("--overlap")
            .flag("--nodes=1")
            .flag("--ntasks=1")
            .flag("--input=none")
            .option("--jobid", self.number)
            .flag("sh")
            .flag("-c")
            .arg(self.command)
    }

    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit != 0 && srun_itself_failed(&raw) {
            return Err(CommandError::exit(&raw));
        }
        Ok(AttachOutput { stdout: raw.stdout, stderr: raw.stderr, exit: raw.exit })
    }
}

/// Whether the command was never started. srun speaks first then; of a command that failed it speaks last, and names the node.
fn srun_itself_failed(raw: &RawOutput) -> bool {
    let stderr = bytes_to_text(&raw.stderr);
    let first = stderr.lines().next().unwrap_or_default();
    raw.stdout.is_empty() && first.starts_with("srun: error: ") && !first.contains(": task") && !first.contains(": tasks ")
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain_refusal;
    use super::super::golden::{RELEASES, recorded};
    use super::*;
    use crate::scheduler::SchedulerError;

    const COMMAND: Srun<'static> = Srun { number: "12", command: "echo 'a b'" };

    #[test]
    fn the_command_is_one_argument_of_a_shell_beside_the_job() {
        let line = COMMAND.command_line().to_string();
        let arguments = r" srun --overlap --nodes=1 --ntasks=1 --input=none --jobid='12' sh -c 'echo '\''a b'\'''";
        assert!(line.ends_with(arguments) && !line.contains('\n'), "{line}");
        assert!(!COMMAND.idempotent());
    }

    #[test]
    fn variables_of_the_login_do_not_steer_srun() {
        use std::os::unix::ffi::OsStringExt;
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("srun");
        std::fs::write(&program, "#!/bin/sh\necho \"$SLURM_CONF:$SRUN_CONTAINER:$SLURM_PARTITION:$OTHER\"\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let line = std::ffi::OsString::from_vec(COMMAND.command_line().as_bytes().to_vec());
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let login = [("SLURM_CONF", "/c"), ("SRUN_CONTAINER", "x"), ("SLURM_PARTITION", "x"), ("OTHER", "o")];
        let output = std::process::Command::new("sh").arg("-c").arg(line).env("PATH", path).envs(login).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "/c:::o\n");
    }

    #[test]
    fn what_a_command_printed_and_how_it_ended_comes_back() {
        for release in RELEASES {
            let output = COMMAND.parse(recorded(release, "running.srun")).unwrap();
            assert_eq!((output.stdout.as_slice(), output.exit), (b"out\n".as_slice(), 3), "{release}");
            // srun adds a line of its own, before or after.
            assert!(output.stderr.split(|&byte| byte == b'\n').any(|line| line == b"err"), "{release}");
        }
    }

    #[test]
    fn a_step_that_was_never_started_is_no_output() {
        for release in RELEASES {
            let error = explain_refusal("attach")(COMMAND.parse(recorded(release, "denied.srun")).unwrap_err());
            assert!(matches!(error, SchedulerError::Denied(_)), "{release}: {error:?}");
        }
    }

    #[test]
    fn a_command_that_fails_silently_is_an_output() {
        let raw = RawOutput { stderr: b"srun: error: n1: task 0: Exited with exit code 1\n".to_vec(), exit: 1, ..RawOutput::default() };
        assert_eq!(COMMAND.parse(raw).unwrap().exit, 1);
    }
}
