//! sacct(1) once more: the files and the script of a job that the controller has forgotten.

use super::delimiter::Delimiter;
use super::slurm_command;
use crate::domain::{JobMetadata, bytes_to_text};
use crate::scheduler::slurm::job_ref::{JobRef, shown_id};
use crate::scheduler::slurm::values::text;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Asks for the files of a job. Releases before 24.05 do not keep them and refuse the fields.
pub(super) struct AccountedFiles<'a> {
    /// The separator of the fields.
    pub(super) delimiter: Delimiter,
    /// The job.
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
            .option("--jobs", self.job.read_as())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let not_understood = |reason| CommandError::Output { program: "sacct", reason };
        let records = self.delimiter.records(&raw.stdout).map_err(not_understood)?;
        let files = |[id, input, output, error]: &[String; 4]| {
            let id = shown_id(id).map_err(|error| not_understood(format!("{id:?}: {error}")))?;
            // Standard error goes where standard output does, unless the job says otherwise.
            let standard_output = text(output);
            let standard_error = text(error).or_else(|| standard_output.clone());
            Ok(JobMetadata { id, script: None, standard_input: text(input), standard_output, standard_error, is_array: false })
        };
        records.map(|record| files(&record)).collect()
    }
}

/// Asks for the script of a job, which accounting keeps where `AccountingStoreFlags` holds `job_script`.
pub(super) struct AccountedScript<'a>(pub(super) JobRef<'a>);

impl RemoteCommand for AccountedScript<'_> {
    type Output = Option<String>;

    fn command_line(&self) -> CommandLine {
        slurm_command("sacct").flag("--batch-script").option("--jobs", self.0.read_as())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
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

#[cfg(test)]
mod tests {
    use super::super::failure::is_not_known_here;
    use super::super::golden::{RELEASES, delimiter, recorded};
    use super::*;
    use crate::domain::JobId;

    fn files(release: &str) -> Result<Vec<JobMetadata>, CommandError> {
        let id = JobId::new("1").unwrap();
        AccountedFiles { delimiter: delimiter(), job: JobRef::new(&id).unwrap() }.parse(recorded(release, "forgotten.sacct-files"))
    }

    fn script(raw: RawOutput) -> Option<String> {
        let id = JobId::new("1").unwrap();
        AccountedScript(JobRef::new(&id).unwrap()).parse(raw).unwrap()
    }

    #[test]
    fn a_release_that_keeps_no_files_says_so() {
        let error = files("22.05").unwrap_err();
        assert!(is_not_known_here(&error), "{error:?}");
    }

    #[test]
    fn a_release_that_keeps_files_expands_their_patterns() {
        let files = files("24.11").unwrap();
        let job = files[0].id.to_string();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].standard_output.as_deref(), Some(format!("/home/fireuser/slurm-{job}.out").as_str()));
        assert_eq!(files[0].standard_error.as_deref(), Some(format!("/home/fireuser/err-ended-{job}.txt").as_str()));
    }

    #[test]
    fn the_script_is_read_without_its_heading() {
        for release in RELEASES {
            let script = script(recorded(release, "forgotten.sacct-script")).unwrap();
            assert!(script.starts_with("#!/bin/sh\n") && script.trim_end().ends_with("srun true; exit 3"), "{release}: {script:?}");
        }
    }

    #[test]
    fn a_job_without_a_script_has_none() {
        let stdout = format!("Batch Script for 1\n{}\nNONE\n", "-".repeat(80)).into_bytes();
        assert_eq!(script(RawOutput { stdout, ..RawOutput::default() }), None);
    }
}
