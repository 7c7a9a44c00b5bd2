//! srun(1): runs a command inside a job that runs.

use crate::domain::bytes_to_text;
use crate::scheduler::AttachOutput;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Runs a shell command once, on the first node of a job, beside what runs there.
pub(super) struct Srun<'a> {
    /// The job's number: srun reads the id of an array's task as that of the array.
    pub(super) number: &'a str,
    /// What the shell is to run.
    pub(super) command: &'a str,
}

impl RemoteCommand for Srun<'_> {
    type Output = AttachOutput;

    fn command_line(&self) -> CommandLine {
        // No locale is set here: the command would inherit it.
        CommandLine::new("srun")
            .flag("--overlap")
            .flag("--nodes=1")
            .flag("--ntasks=1")
            .flag("--input=none")
            .option("--jobid", self.number)
            .flag("sh")
            .flag("-c")
            .arg(self.command)
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
