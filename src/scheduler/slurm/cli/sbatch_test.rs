//! `sbatch --test-only`: what would become of a job.

use bytes::Bytes;

use super::sbatch::Sbatch;
use crate::domain::{JobEstimate, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

/// Asks for a job what its submission would come to, and submits nothing.
pub(super) struct TestOnly<'a>(pub(super) Sbatch<'a>);

impl RemoteCommand for TestOnly<'_> {
    type Output = JobEstimate;

    fn command_line(&self) -> CommandLine {
        self.0.line(CommandLine::new("env LC_ALL=C SLURM_TIME_FORMAT=%s sh").flag("-c"), &["--test-only"])
    }

    /// sbatch drops its own environment for that of the job, where that comes from a file: the form of times is a variable of both.
    fn stdin(&self) -> Bytes {
        [b"SLURM_TIME_FORMAT=\\0045s\\0000", &*self.0.stdin()].concat().into()
    }

    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn parse(&self, raw: RawOutput) -> Result<JobEstimate, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let stderr = bytes_to_text(&raw.stderr);
        // `sbatch: Job 7 to start at 1796000460 using 2 processors on nodes n[1-2] in partition normal`; 26.05 has a word behind the time.
        let line = stderr.lines().find(|line| line.contains(" to start at ")).unwrap_or_default();
        let behind = |words: &str| line.split_once(words).and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(JobEstimate {
            start: behind(" to start at ").and_then(|time| time.parse().ok()),
            cpus: behind(" using ").and_then(|count| count.parse().ok()),
            nodes: behind(" on nodes ").map(str::to_owned),
            partition: behind(" in partition ").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain_refusal;
    use super::super::golden::recorded;
    use super::*;
    use crate::domain::{JobDescription, JobOptions, JobScript, RemotePath};
    use crate::scheduler::SchedulerError;

    const RELEASES: [&str; 3] = ["22.05", "24.11", "26.05"];

    fn job() -> JobDescription {
        JobDescription {
            name: None,
            account: None,
            reservation: None,
            partition: None,
            working_directory: RemotePath::from_text("/").unwrap(),
            standard_input: None,
            standard_output: None,
            standard_error: None,
            environment: [].into(),
            constraints: None,
            script: JobScript::Inline("#!/bin/sh\n".to_owned()),
            options: JobOptions::default(),
        }
    }

    fn parse(release: &str, case: &str) -> Result<JobEstimate, CommandError> {
        let job = job();
        TestOnly(Sbatch::new(&job).unwrap()).parse(recorded(release, &format!("{case}.sbatch-test")))
    }

    #[test]
    fn the_start_and_the_place_of_a_job_are_read_from_every_release() {
        for release in RELEASES {
            let estimate = parse(release, "several").unwrap();
            assert!(estimate.start.is_some_and(|start| (1_796_000_000..1_796_100_000).contains(&start)), "{release}: {estimate:?}");
            assert_eq!((estimate.cpus, estimate.nodes.as_deref()), (Some(2), Some("n[1-2]")), "{release}");
            assert_eq!(estimate.partition.as_deref(), Some("normal"), "{release}");
        }
    }

    #[test]
    fn a_job_that_would_be_refused_is_refused_in_slurms_words() {
        for release in RELEASES {
            let error = explain_refusal("test the job")(parse(release, "impossible").unwrap_err());
            let expected = "allocation failure: Requested node configuration is not available";
            assert!(matches!(&error, SchedulerError::Rejected(words) if words == expected), "{release}: {error:?}");
        }
    }

    #[test]
    fn nothing_is_submitted() {
        let job = job();
        let test = TestOnly(Sbatch::new(&job).unwrap());
        assert!(test.stdin().starts_with(b"SLURM_TIME_FORMAT=\\0045s\\0000SLURM_JOB_NAME="));
        let line = test.command_line().to_string();
        assert!(
            line.starts_with("env LC_ALL=C SLURM_TIME_FORMAT=%s sh -c ") && line.ends_with("--parsable --test-only --chdir='/'"),
            "{line}"
        );
    }
}
