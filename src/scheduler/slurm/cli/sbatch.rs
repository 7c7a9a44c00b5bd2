//! sbatch(1): submits a batch job.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::domain::{JobDescription, JobId, JobScript, bytes_to_text};
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
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        // `--parsable` prints `id` or `id;cluster`. A greeting of the login shell may stand before it.
        let output = bytes_to_text(&raw.stdout);
        let last = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        let id = last.split(';').next().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(not_understood(last));
        }
        JobId::new(id).map_err(|_| not_understood(last))
    }
}

fn with_environment(environment: &BTreeMap<String, String>) -> CommandLine {
    let mut line = CommandLine::new("sh").flag("-c").arg(WITH_ENVIRONMENT).flag("sbatch");
    // A name that is none would be refused by the shell, or be read as something else: it was to be checked long before.
    for (name, value) in environment.iter().filter(|(name, _)| is_variable_name(name)) {
        line = line.arg(format!("{name}={value}"));
    }
    line.flag("--")
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn not_understood(line: &str) -> CommandError {
    CommandError::Output { program: "sbatch", reason: format!("{:?} is no job id", line.chars().take(80).collect::<String>()) }
}
