//! sbatch(1): submits a batch job.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::domain::{JobDescription, JobId, JobScript, bytes_to_text, is_variable_name};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Sets variables and then becomes sbatch. sbatch's own `--export=NAME=VALUE` breaks values at commas, so the variables go
/// into its environment, which the job inherits. sbatch is looked up first, so that a `PATH` among them does not hide it.
/// `LC_ALL` is left alone here, because the job would inherit it.
const WITH_ENVIRONMENT: &str = "program=$(command -v sbatch) || { echo 'sbatch: not found' >&2; exit 127; }
while [ \"$1\" != -- ]; do export \"$1\"; shift; done
shift
exec \"$program\" \"$@\"";

/// Submits a job, once.
pub(super) struct Sbatch<'a>(pub(super) &'a JobDescription);

impl RemoteCommand for Sbatch<'_> {
    type Output = JobId;

    fn command_line(&self) -> CommandLine {
        let job = self.0;
        let mut line = if job.environment.is_empty() {
            CommandLine::new("sbatch").flag("--parsable")
        } else {
            with_environment(&job.environment).flag("--parsable").flag("--export=ALL")
        };
        line = line.option("--chdir", job.working_directory.as_bytes());
        let options = [
            ("--job-name", &job.name),
            ("--account", &job.account),
            ("--reservation", &job.reservation),
            ("--partition", &job.partition),
            ("--input", &job.standard_input),
            ("--output", &job.standard_output),
            ("--error", &job.standard_error),
            ("--constraint", &job.constraints),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                line = line.option(name, value);
            }
        }
        match &job.script {
            JobScript::Inline(_) => line,
            JobScript::Path(path) => line.flag("--").arg(path.as_bytes()),
        }
    }

    fn stdin(&self) -> Bytes {
        match &self.0.script {
            JobScript::Inline(script) => Bytes::from(script.clone()),
            JobScript::Path(_) => Bytes::new(),
        }
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<JobId, CommandError> {
        // `--parsable` prints `id` or `id;cluster`, and other lines may stand around it: a greeting, a site's notes. A printed id is a
        // job, whatever the exit status: with `--wait`, that one is the job's own.
        let output = bytes_to_text(&raw.stdout);
        if let Some(id) = output.lines().rev().find_map(printed_id) {
            return Ok(id);
        }
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        Err(not_understood(output.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()))
    }
}

/// The job id that a line of `--parsable` consists of.
fn printed_id(line: &str) -> Option<JobId> {
    let (id, cluster) = line.trim().split_once(';').map_or((line.trim(), None), |(id, cluster)| (id, Some(cluster)));
    let is_number = !id.is_empty() && id.len() <= 10 && id.bytes().all(|byte| byte.is_ascii_digit());
    let is_cluster = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    (is_number && cluster.is_none_or(is_cluster)).then(|| JobId::new(id).ok()).flatten()
}

fn with_environment(environment: &BTreeMap<String, String>) -> CommandLine {
    let mut line = CommandLine::new("sh").flag("-c").arg(WITH_ENVIRONMENT).flag("sbatch");
    // A name that is none would be refused by the shell, or be read as something else: it was to be checked long before.
    for (name, value) in environment.iter().filter(|(name, _)| is_variable_name(name)) {
        line = line.arg(format!("{name}={value}"));
    }
    line.flag("--")
}

fn not_understood(line: &str) -> CommandError {
    CommandError::Output { program: "sbatch", reason: format!("{:?} is no job id", line.chars().take(80).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain_refusal;
    use super::super::golden::{RELEASES, recorded};
    use super::*;
    use crate::domain::RemotePath;
    use crate::scheduler::SchedulerError;

    fn job() -> JobDescription {
        JobDescription {
            name: None,
            account: None,
            reservation: None,
            partition: None,
            working_directory: RemotePath::from_text("/home/u").unwrap(),
            standard_input: None,
            standard_output: None,
            standard_error: None,
            environment: BTreeMap::new(),
            constraints: None,
            script: JobScript::Inline("#!/bin/sh\n".to_owned()),
        }
    }

    #[test]
    fn every_field_becomes_an_option_and_is_quoted() {
        let some = |text: &str| Some(text.to_owned());
        let job = JobDescription {
            name: some("it's"),
            account: some("a"),
            reservation: some("r"),
            partition: some("p"),
            standard_input: some("in"),
            standard_output: some("out %j"),
            standard_error: some("err"),
            constraints: some("fast&gpu"),
            script: JobScript::Path(RemotePath::from_text("/home/u/-run me.sh").unwrap()),
            ..job()
        };
        let line = Sbatch(&job).command_line().to_string();
        assert_eq!(
            line,
            r"sbatch --parsable --chdir='/home/u' --job-name='it'\''s' --account='a' --reservation='r' --partition='p' --input='in' --output='out %j' --error='err' --constraint='fast&gpu' -- '/home/u/-run me.sh'"
        );
        assert!(Sbatch(&job).stdin().is_empty());
    }

    #[test]
    fn an_inline_script_goes_through_standard_input_and_is_never_sent_twice() {
        let job = job();
        let sbatch = Sbatch(&job);
        assert_eq!(sbatch.command_line().to_string(), "sbatch --parsable --chdir='/home/u'");
        assert_eq!(sbatch.stdin(), "#!/bin/sh\n");
        assert!(!sbatch.idempotent());
    }

    /// Runs the command line with a real shell and a program named sbatch that prints one of its variables.
    fn variable_of_sbatch(environment: &[(&str, &str)], wanted: &str) -> Vec<u8> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sbatch");
        std::fs::write(&program, format!("#!/bin/sh\nprintf '%s' \"${wanted}\"\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let line = Sbatch(&JobDescription { environment, ..job() }).command_line();
        let line: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(line.as_bytes().to_vec());
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        std::process::Command::new("sh").arg("-c").arg(line).env("PATH", path).output().unwrap().stdout
    }

    #[test]
    fn variables_arrive_whatever_they_hold() {
        let value = "1,2\n3 '\"$(id)`\\ -- ü";
        assert_eq!(variable_of_sbatch(&[("A", "x"), ("GIVEN", value)], "GIVEN"), value.as_bytes());
    }

    #[test]
    fn a_path_among_the_variables_does_not_hide_sbatch() {
        assert_eq!(variable_of_sbatch(&[("PATH", "/nowhere")], "PATH"), b"/nowhere");
    }

    #[test]
    fn a_name_that_is_no_variable_is_not_sent() {
        let environment = [("A B".to_owned(), "x".to_owned()), ("--".to_owned(), "y".to_owned())].into();
        let line = Sbatch(&JobDescription { environment, ..job() }).command_line().to_string();
        assert!(line.ends_with("sbatch -- --parsable --export=ALL --chdir='/home/u'"), "{line}");
    }

    #[test]
    fn the_id_is_read_with_and_without_a_cluster_and_after_a_greeting() {
        let job = job();
        let parse = |stdout: &str| Sbatch(&job).parse(RawOutput { stdout: stdout.into(), ..RawOutput::default() });
        assert_eq!(parse("123\n").unwrap().as_str(), "123");
        assert_eq!(parse("123;alps\n").unwrap().as_str(), "123");
        assert_eq!(parse("Welcome\n\n123\n").unwrap().as_str(), "123");
        assert_eq!(parse("note: queue is long\n123;alps\nsee https://status.example\n").unwrap().as_str(), "123");
        assert!(matches!(parse("Submitted batch job 123\n"), Err(CommandError::Output { .. })));
        assert!(matches!(parse(""), Err(CommandError::Output { .. })));
    }

    #[test]
    fn a_printed_id_is_never_lost_whatever_the_exit_status() {
        let job = job();
        for (stdout, stderr, exit) in [("123\n", "", 3), ("123;alps\n", "sbatch: error: Batch job 123 was killed\n", 1), ("123\n", "", 143)]
        {
            let raw = RawOutput { stdout: stdout.into(), stderr: stderr.into(), exit };
            assert_eq!(Sbatch(&job).parse(raw).unwrap().as_str(), "123", "{stdout:?} {exit}");
        }
        let refused = RawOutput { stdout: b"Welcome\n".to_vec(), stderr: b"sbatch: error: no\n".to_vec(), exit: 1 };
        assert!(matches!(Sbatch(&job).parse(refused), Err(CommandError::Exit { exit: 1, .. })));
    }

    fn refusal(release: &str, case: &str) -> SchedulerError {
        let job = job();
        explain_refusal("submit the job")(Sbatch(&job).parse(recorded(release, &format!("{case}.sbatch"))).unwrap_err())
    }

    #[test]
    fn recorded_submissions_are_read() {
        for release in RELEASES {
            let job = job();
            let id = Sbatch(&job).parse(recorded(release, "accepted.sbatch")).unwrap();
            assert!(id.as_str().parse::<u32>().is_ok(), "{release}: {id}");
        }
    }

    #[test]
    fn recorded_refusals_keep_slurms_words() {
        for release in RELEASES {
            for (case, words) in [
                ("account", "Batch job submission failed: Invalid account or account/partition combination specified"),
                ("partition", "invalid partition specified: nope\nBatch job submission failed: Invalid partition name specified"),
                ("reservation", "Batch job submission failed: Requested reservation is invalid"),
                ("constraint", "Batch job submission failed: Invalid feature specification"),
                ("missing", "Unable to open file /home/fireuser/missing.sh"),
            ] {
                let error = refusal(release, case);
                assert!(matches!(&error, SchedulerError::Rejected(text) if text == words), "{release} {case}: {error:?}");
            }
            assert!(matches!(refusal(release, "noscript"), SchedulerError::Rejected(text) if text.contains("batch script")), "{release}");
        }
    }

    #[test]
    fn a_reservation_of_others_is_denied() {
        for release in RELEASES {
            let error = refusal(release, "reservation-denied");
            assert!(matches!(&error, SchedulerError::Denied(_)), "{release}: {error:?}");
        }
    }

    #[test]
    fn a_controller_that_is_down_is_no_refusal() {
        for release in RELEASES {
            assert!(matches!(refusal(release, "no-controller"), SchedulerError::Down(_)), "{release}");
        }
    }
}
