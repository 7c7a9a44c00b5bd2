//! `sbatch --test-only`: checks and estimates a job.

use bytes::Bytes;
use jiff::Timestamp;

use super::sbatch::Sbatch;
use crate::domain::{JobEstimate, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

/// Asks for the estimate of a job, and submits nothing.
pub(super) struct TestOnly<'a>(pub(super) Sbatch<'a>);

impl RemoteCommand for TestOnly<'_> {
    type Output = JobEstimate;

    fn command_line(&self) -> CommandLine {
        // Where the job's environment comes from a file, sbatch forgets the form of times, and prints them in the time zone of the login.
        let line = CommandLine::new("env LC_ALL=C SLURM_TIME_FORMAT=%s sh -c").flag(r#"'date +%z; exec sh "$@"' sh -c"#);
        self.0.line(line, &["--test-only"])
    }

    fn stdin(&self) -> Bytes {
        self.0.stdin()
    }

    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<JobEstimate, CommandError> {
        raw.success()?;
        let (stdout, stderr) = (bytes_to_text(&raw.stdout), bytes_to_text(&raw.stderr));
        // `sbatch: Job 7 to start at 1796000460 using 2 processors on nodes n[1-2] in partition normal`; 26.05 has a word behind the time.
        let line = stderr.lines().find(|line| line.contains(" to start at ")).unwrap_or_default();
        let behind = |words: &str| line.split_once(words).and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(JobEstimate {
            start: behind(" to start at ").and_then(|time| seconds(time, stdout.lines().next().unwrap_or_default())),
            cpus: behind(" using ").and_then(|count| count.parse().ok()),
            nodes: behind(" on nodes ").map(str::to_owned),
            partition: behind(" in partition ").map(str::to_owned),
        })
    }
}

/// Unix seconds of a time that is that already, or the time of a clock in a zone such as `+0100`.
fn seconds(time: &str, zone: &str) -> Option<i64> {
    let by_clock = || Timestamp::strptime("%Y-%m-%dT%H:%M:%S%z", format!("{time}{zone}")).ok().map(Timestamp::as_second);
    time.parse().ok().or_else(by_clock)
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain_refusal;
    use super::super::golden::recorded;
    use super::*;
    use crate::domain::{JobDescription, JobScript, RemotePath};
    use crate::scheduler::SchedulerError;

    const RELEASES: [&str; 3] = ["22.05", "24.11", "26.05"];

    fn job() -> JobDescription {
        JobDescription::new(RemotePath::from_text("/").unwrap(), JobScript::Inline("#!/bin/sh\n".to_owned()))
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
    fn the_start_is_understood_in_seconds_and_by_the_clock_of_the_login_node() {
        assert_eq!(seconds("1796006992", "+0100"), Some(1_796_006_992));
        assert_eq!(seconds("2026-11-30T03:49:52", "+0100"), Some(1_796_006_992));
        assert_eq!((seconds("2026-11-30T03:49:52", ""), seconds("Unknown", "+0100")), (None, None));
    }

    #[test]
    fn nothing_is_submitted() {
        let job = job();
        let test = TestOnly(Sbatch::new(&job).unwrap());
        assert!(test.stdin().starts_with(b"SLURM_JOB_NAME="));
        let line = test.command_line().to_string();
        assert!(
            line.starts_with("env LC_ALL=C SLURM_TIME_FORMAT=%s sh -c 'date +%z; exec sh \"$@\"' sh -c ")
                && line.ends_with("--parsable --test-only --chdir='/'"),
            "{line}"
        );
    }
}
