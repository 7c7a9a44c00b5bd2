//! sacct(1) once more: the files and the script of a job that the controller has forgotten.

use super::delimiter::Delimiter;
use super::job_ref::{JobRef, shown_id};
use super::slurm_command;
use super::values::text;
use crate::domain::{JobMetadata, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Asks for the files of a job. Releases before 24.05 do not keep them and refuse the fields.
pub(super) struct AccountedFiles<'a> {
    /// What separates the fields.
    pub(super) delimiter: Delimiter,
    /// Which job.
    pub(super) job: JobRef<'a>,
}

impl RemoteCommand for AccountedFiles<'_> {
    type Output = Vec<JobMetadata>;

    fn command_line(&self) -> CommandLine {
        slurm_command("sacct")
            .flag("--noheader")
            .flag("--parsable")
            .option("--delimiter", self.delimiter.as_str())
            .flag("--allocations")
            .flag("--expand-patterns")
            .flag("--format=JobID,StdIn,StdOut,StdErr")
            .option("--jobs", self.job.as_str())
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let not_understood = |reason| CommandError::Output { program: "sacct", reason };
        let records = self.delimiter.records(&raw.stdout).map_err(not_understood)?;
        let files = |[id, input, output, error]: &[String; 4]| {
            let id = shown_id(id).map_err(|error| not_understood(format!("{id:?}: {error}")))?;
            // Standard error goes where standard output does, unless the job says otherwise.
            let standard_output = text(output);
            let standard_error = text(error).or_else(|| standard_output.clone());
            Ok(JobMetadata { id, script: None, standard_input: text(input), standard_output, standard_error })
        };
        records.iter().map(files).collect()
    }
}

/// Asks for the script of a job, which accounting keeps where `AccountingStoreFlags` holds `job_script`.
pub(super) struct AccountedScript<'a>(pub(super) JobRef<'a>);

impl RemoteCommand for AccountedScript<'_> {
    type Output = Option<String>;

    fn command_line(&self) -> CommandLine {
        slurm_command("sacct").flag("--batch-script").option("--jobs", self.0.as_str())
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let output = bytes_to_text(&raw.stdout);
        // `Batch Script for N`, a line of dashes, the script; the tasks of an array repeat all of it.
        let Some((_, after)) = output.split_once(&heading_end()) else { return Ok(None) };
        let script = after.split("\nBatch Script for ").next().unwrap_or_default();
        Ok(Some(script.to_owned()).filter(|script| !matches!(script.trim(), "" | "NONE")))
    }
}

fn heading_end() -> String {
    format!("\n{}\n", "-".repeat(80))
}
