//! sbatch(1): submits a batch job.

use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::sbatch_options;
use crate::domain::{JobDescription, JobId, JobScript, bytes_to_text, is_variable_name};
use crate::scheduler::directives::{option, sbatch_lines};
use crate::scheduler::submission_record::{self, NextAttempt, WithRecord};
use crate::scheduler::{SchedulerError, SubmissionKey};
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

/// Runs sbatch, as one line for `sh -c`.
///
/// The job gets the environment of the login, with the functions that a `sh` between would drop, and the requested variables.
/// The variables go by standard input into a file that sbatch reads (`--export-file`): no other user sees their values, and they do not affect
/// sbatch. Nor do the login's own `SBATCH_*` variables, but for `SBATCH_EXPORT`; the job gets them. An id is answered when it is printed: sbatch is ended where it waits for the job.
static SUBMIT: LazyLock<String> = LazyLock::new(|| submission_record::with_record(include_str!("submit.sh")));

/// Submits a job, once.
pub(super) struct Sbatch<'a> {
    job: &'a JobDescription,
    options: Vec<(&'static str, Option<String>)>,
    record: Option<NextAttempt<'a>>,
    /// The tag, and how many seconds sbatch may take, where no record is kept on the cluster.
    tag: Option<(String, u64)>,
    /// The mark by which the line of the submission is found in accounting.
    mark: Option<String>,
}

impl<'a> Sbatch<'a> {
    /// The submission of a job.
    ///
    /// # Errors
    /// [`SchedulerError::Members`] if Slurm lacks the option, [`SchedulerError::Rejected`] if sbatch would submit nothing.
    pub(super) fn new(job: &'a JobDescription) -> Result<Self, SchedulerError> {
        if let JobScript::Inline(script) = &job.script
            && let Some(directive) = without_submission(script)
        {
            return Err(SchedulerError::Rejected(format!("the script has the directive {directive}, with which sbatch submits nothing")));
        }
        Ok(Self { job, options: sbatch_options::options(&job.options)?, record: None, tag: None, mark: None })
    }

    /// The same as the next attempt of a submission.
    pub(super) fn recorded(self, record: NextAttempt<'a>) -> WithRecord<Self> {
        WithRecord(Self { record: Some(record), ..self })
    }

    /// The same with the tag of the key, ended after this time.
    pub(super) fn tagged(self, key: &SubmissionKey, limit: Duration) -> Self {
        Self { tag: Some((key.tag(), limit.as_secs().max(1))), ..self }
    }

    /// The same with a mark that accounting keeps with the line of the submission (`SubmitLine`), and that changes nothing of the job: it is the
    /// value of an option that is given once more, and only the last one counts.
    pub(super) fn marked(self, mark: &str) -> Self {
        Self { mark: Some(format!("/{mark}")), ..self }
    }

    /// The command behind the `sh -c` that `line` ends with, with further flags for sbatch.
    pub(super) fn line(&self, line: CommandLine, flags: &[&'static str]) -> CommandLine {
        let job = self.job;
        let path = match &job.script {
            JobScript::Inline(_) => &[],
            JobScript::Path(path) => path.as_bytes(),
        };
        let mut line = line.arg(&*SUBMIT).flag("sbatch");
        line = line.arg(self.exported()).arg(self.heterogeneous()).arg(path).arg(job.working_directory.as_bytes());
        line = submission_record::with_arguments(line, self.record.as_ref(), self.tag.as_ref().map(|(_, limit)| *limit));
        line = flags.iter().fold(line.flag("--parsable"), |line, flag| line.flag(flag));
        if !job.environment.is_empty() {
            line = line.flag("--export=ALL");
        }
        if let Some(mark) = &self.mark {
            line = line.option("--chdir", mark);
        }
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
        for (name, value) in options.into_iter().chain([("--comment", &self.comment())]) {
            if let Some(value) = value {
                line = line.option(name, value);
            }
        }
        line = sbatch_options::add(line, &self.options);
        match &job.script {
            JobScript::Inline(_) => line,
            JobScript::Path(path) => line.flag("--").arg(path.as_bytes()),
        }
    }

    /// The environment of the job, for [`SUBMIT`].
    fn exported(&self) -> &'static str {
        let own = |script: &str| sbatch_lines(script).flatten().any(|word| word.starts_with("--export"));
        match &self.job.script {
            _ if !self.job.environment.is_empty() => "whole",
            JobScript::Inline(script) if own(script) => "own",
            _ => "",
        }
    }

    /// Whether the job is known to have several components, for [`SUBMIT`].
    fn heterogeneous(&self) -> &'static str {
        let separates = |words: Vec<String>| words.first().is_some_and(|word| word == "hetjob" || word == "packjob");
        match &self.job.script {
            JobScript::Inline(script) if sbatch_lines(script).any(separates) => "het",
            _ => "",
        }
    }

    /// The job's name, where it is known. Releases before 23.02 do not tell the job its name where its environment comes from a file.
    fn name(&self) -> Option<String> {
        match (&self.job.name, &self.job.script) {
            (Some(name), _) => Some(name.clone()),
            (None, JobScript::Inline(script)) => Some(value_in(script, &["job-name", "J"]).unwrap_or_else(|| "sbatch".to_owned())),
            (None, JobScript::Path(_)) => None,
        }
    }

    /// The tag, behind the comment that an inline script has.
    fn comment(&self) -> Option<String> {
        let tag = self.record.map(|record| record.key.tag()).or_else(|| self.tag.as_ref().map(|(tag, _)| tag.clone()))?;
        let own = match &self.job.script {
            JobScript::Inline(script) => value_in(script, &["comment"]),
            JobScript::Path(_) => None,
        };
        Some(own.map_or_else(|| tag.clone(), |own| format!("{own} {tag}")))
    }
}

/// The short options of sbatch that take no value.
const FLAGS: &str = "HIOQWVhksv";

/// The first of the `#SBATCH` options with which sbatch ends without a submission, by any of its abbreviations.
fn without_submission(script: &str) -> Option<String> {
    let ends_it = |word: &&String| match word.strip_prefix("--") {
        // The shortest forms that mean no other option.
        Some(name) => {
            let long = [("test-only", 2), ("help", 2), ("usage", 3), ("version", 4)];
            long.iter().any(|(option, shortest)| name.len() >= *shortest && option.starts_with(name))
        }
        None => {
            let letters = word.strip_prefix('-').unwrap_or_default();
            let mut flags = letters.chars().take_while(|letter| FLAGS.contains(*letter));
            flags.any(|letter| matches!(letter, 'h' | 'V')) && !letters.contains(' ')
        }
    };
    // The word behind an option without its value is that.
    let takes_next = |word: &String| option(word).is_some_and(|(name, value)| value.is_none() && takes_value(name));
    sbatch_lines(script).find_map(|words| {
        let is_value = |at: usize| at > 0 && takes_next(&words[at - 1]);
        words.iter().enumerate().find(|(at, word)| !is_value(*at) && ends_it(word)).map(|(_, word)| word.clone())
    })
}

/// Whether an option may have its value in the next word: the short ones but for [`FLAGS`], and of the long ones those that texts are given for.
fn takes_value(name: &str) -> bool {
    let texts = ["job-name", "comment", "output", "error", "input", "chdir", "constraint", "dependency", "mail-user", "wckey", "extra"];
    if name.len() == 1 { !FLAGS.contains(name) } else { texts.contains(&name) }
}

/// The value of an option, under any of its names, as the script's `#SBATCH` lines have it.
fn value_in(script: &str, names: &[&str]) -> Option<String> {
    let mut found = None;
    for words in sbatch_lines(script) {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if let Some((_, value)) = option(word).filter(|(name, _)| names.contains(name)) {
                found = value.map(str::to_owned).or_else(|| words.next().cloned());
            }
        }
    }
    found
}

impl RemoteCommand for Sbatch<'_> {
    type Output = JobId;

    fn command_line(&self) -> CommandLine {
        self.line(CommandLine::new("sh").flag("-c"), &[])
    }

    fn stdin(&self) -> Bytes {
        let mut input = BytesMut::new();
        let name = self.name().map(|name| ("SLURM_JOB_NAME".to_owned(), name));
        let given = self.job.environment.iter().map(|(name, value)| (name.clone(), value.clone()));
        // A name that is none was to be refused long before.
        for (name, value) in name.into_iter().chain(given).filter(|(name, _)| is_variable_name(name)) {
            input.put(escaped(&format!("{name}={value}\0")).as_bytes());
        }
        input.put_u8(b'\n');
        if let JobScript::Inline(script) = &self.job.script {
            input.put(script.as_bytes());
        }
        input.freeze()
    }

    /// The environment of the login, which the job gets; [`SUBMIT`] itself clears the variables that change how sbatch behaves.
    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<JobId, CommandError> {
        // `--parsable` prints `id` or `id;cluster`, and other lines may stand around it: a greeting, a site's notes. The first id is the
        // job's, as in the record. It is a job, whatever the exit status: with `--wait`, that one is the job's own.
        let output = bytes_to_text(&raw.stdout);
        if let Some(id) = output.lines().find_map(printed_id) {
            return Ok(id);
        }
        raw.success()?;
        if bytes_to_text(&raw.stderr).contains(" to start at ") {
            let stderr = "the script has the directive --test-only, with which sbatch submits nothing".to_owned();
            return Err(CommandError::Exit { exit: 1, stderr });
        }
        Err(not_understood(output.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()))
    }
}

/// The job id that a line of `--parsable` consists of, as `submit.sh` reads it too.
pub(super) fn printed_id(line: &str) -> Option<JobId> {
    let (id, cluster) = line.split_once(';').map_or((line, None), |(id, cluster)| (id, Some(cluster)));
    let is_number = !id.is_empty() && id.len() <= 10 && id.bytes().all(|byte| byte.is_ascii_digit());
    let is_cluster = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    (is_number && cluster.is_none_or(is_cluster)).then(|| JobId::new(id).ok()).flatten()
}

/// A text as printf's `%b` reads it, on one line and without anything that a shell would read otherwise.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"=/.-_:,".contains(&byte) => escaped.push(char::from(byte)),
            byte => {
                // Writing to a text does not fail.
                let _ = write!(escaped, "\\0{byte:03o}");
            }
        }
        escaped
    })
}

fn not_understood(line: &str) -> CommandError {
    CommandError::Output { program: "sbatch", reason: format!("{:?} is no job id", line.chars().take(80).collect::<String>()) }
}

#[cfg(test)]
mod tests;
