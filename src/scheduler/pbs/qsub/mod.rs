//! qsub(1): submits a job.

use bytes::Bytes;

use super::config::AccountOption;
use super::dialect::Dialect;
use super::job_ref::shown_id;
use super::qsub_options;
use super::variables::Variables;
use crate::domain::{JobDescription, JobId, JobScript, RemotePath, bytes_to_text};
use crate::scheduler::SchedulerError;
use crate::scheduler::submission_record::{self, NextAttempt, WithRecord};
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

/// The variable by which a job is found. Like all that begin so, it goes into a directive.
pub(super) const TAG: &str = "PBS_GOLDCREST_SUBMISSION";

/// The submitting program, with the record of a submission.
const SUBMIT: &str = concat!(include_str!("../../submission_record/record.sh"), include_str!("submit.sh"));

/// Submits a job, once. The script and the variables go over standard input: other users of the host see command lines.
pub(super) struct Qsub<'a> {
    job: &'a JobDescription,
    variables: Variables,
    dialect: Dialect,
    account: AccountOption,
    elsewhere: bool,
    asked: Vec<(&'static str, Option<String>)>,
    record: Option<NextAttempt<'a>>,
}

impl<'a> Qsub<'a> {
    /// The submission of a job; `elsewhere` if its queue is on another server than the default one.
    ///
    /// # Errors
    /// [`SchedulerError::Rejected`] if PBS would silently do something else, [`SchedulerError::Members`] if PBS lacks the option.
    pub(super) fn new(job: &'a JobDescription, dialect: Dialect, account: AccountOption, elsewhere: bool) -> Result<Self, SchedulerError> {
        let rejected = |why: &str| Err(SchedulerError::Rejected(why.to_owned()));
        if job.standard_input.as_deref().is_some_and(|file| !matches!(file, "" | "/dev/null")) {
            return rejected("PBS has no standard input for a batch job: let the script read the file");
        }
        let variables = Variables::new(&job.environment)?;
        if let JobScript::Inline(script) = &job.script {
            if has_directive(script, |word, _| word.starts_with("-z")) {
                return rejected("the script has the directive -z, with which qsub tells no job id");
            }
            for option in ["--version", "--help", "--about"] {
                if has_directive(script, |word, _| word == option) {
                    return rejected(&format!("the script has the directive {option}, with which qsub submits nothing"));
                }
            }
            if has_directive(script, |word, value| word == "-W" && value.contains("block=true") || word.starts_with("-Wblock=true")) {
                return rejected("the script has the directive -W block=true, with which qsub waits for the end of the job");
            }
            if !variables.directive.is_empty() && has_directive(script, |word, _| word.starts_with("-v")) {
                return rejected("the script has a directive -v, which leaves no room for variables of the request that PBS itself reads");
            }
        }
        let asked = qsub_options::options(&job.options, job.constraints.as_deref(), dialect)?;
        Ok(Self { job, variables, dialect, account, elsewhere, asked, record: None })
    }

    /// The same as the next attempt of a submission. Its job is to have the variable [`TAG`].
    pub(super) fn recorded(self, record: NextAttempt<'a>) -> WithRecord<Self> {
        WithRecord(Self { record: Some(record), ..self })
    }

    /// The id in the output of qsub, which ended with this status.
    fn id(&self, output: &str, exit: u32) -> Option<JobId> {
        // A greeting of the login shell may stand before the id, and words of a submission filter after it. Where qsub failed after
        // it had printed an id the job is there all the same; a number alone may then be part of a greeting.
        let mut lines = output.lines().rev().map(str::trim).filter(|line| exit == 0 || names_its_server(line));
        let line = lines.find(|line| looks_like_an_id(line))?;
        // A queue may be another server's, where the number alone means another job.
        if self.elsewhere { JobId::new(line).ok() } else { shown_id(line, None).ok() }
    }

    /// Whether output of the job lands in its working directory, as far as the request and an inline script say.
    fn writes_into_its_directory(&self) -> bool {
        let elsewhere = |file: &Option<String>| file.as_deref().is_some_and(|file| file.starts_with('/') || file.contains(':'));
        let says_where = match &self.job.script {
            JobScript::Inline(script) => {
                has_directive(script, |word, _| ["-o", "-e", "-k", "-j"].iter().any(|option| word.starts_with(option)))
            }
            JobScript::Path(_) => false,
        };
        !(says_where || elsewhere(&self.job.standard_output) && elsewhere(&self.job.standard_error))
    }

    /// The directives to insert into the script: the variables, and the job name that qsub would use if it opened the script itself.
    fn directives(&self) -> String {
        let directive = &self.variables.directive;
        match &self.job.script {
            JobScript::Path(path) if !directive.is_empty() && self.job.name.is_none() => match job_name(path) {
                Some(name) => format!("#PBS -N {name}\n{directive}"),
                None => directive.clone(),
            },
            JobScript::Inline(_) | JobScript::Path(_) => directive.clone(),
        }
    }

    fn options(&self, mut line: CommandLine) -> CommandLine {
        let job = self.job;
        let account = match (self.dialect, self.account) {
            (Dialect::Pbs { .. }, AccountOption::Project) => "-P",
            (Dialect::Pbs { .. }, AccountOption::AccountName) | (Dialect::Torque, _) => "-A",
        };
        line = match self.dialect {
            // Without this, qsub leaves a process behind that holds the channel open.
            Dialect::Pbs { .. } => line.flag("-f"),
            Dialect::Torque => line.flag("-d").arg(job.working_directory.as_bytes()),
        };
        let options = [
            ("-N", &job.name),
            (account, &job.account),
            // A reservation is a queue.
            ("-q", if job.reservation.is_some() { &job.reservation } else { &job.partition }),
            ("-o", &job.standard_output),
            ("-e", &job.standard_error),
            ("-l", &job.constraints),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                line = line.flag(name).arg(value);
            }
        }
        for (name, value) in &self.asked {
            line = line.flag(name);
            if let Some(value) = value {
                line = line.arg(value);
            }
        }
        // Without variables of the request a job gets what PBS gives it, as from a qsub that was typed in.
        if self.variables.exports.is_empty() { line } else { line.flag("-V") }
    }
}

/// Whether an option in the directives of a script is kept: by its word, and the one after it.
fn has_directive(script: &str, wanted: impl Fn(&str, &str) -> bool) -> bool {
    let head = script.lines().map(str::trim_start).take_while(|line| line.is_empty() || line.starts_with(['#', ':']));
    head.filter_map(|line| line.strip_prefix("#PBS")).any(|options| {
        let words: Vec<&str> = options.split_whitespace().collect();
        words.iter().enumerate().any(|(index, word)| wanted(word, words.get(index + 1).copied().unwrap_or_default()))
    })
}

/// The name that qsub gives the job of this file, if it needs no quoting.
fn job_name(path: &RemotePath) -> Option<String> {
    let name = bytes_to_text(path.as_bytes().rsplit(|&byte| byte == b'/').next()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    (!name.is_empty() && name.len() <= 230 && !name.starts_with('-') && name.chars().all(plain)).then_some(name)
}

/// The script with directives below the line that names its interpreter.
fn with_directives(script: &str, directives: &str) -> String {
    if directives.is_empty() {
        return script.to_owned();
    }
    match script.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => format!("{first}\n{directives}\n{rest}"),
        None if script.starts_with("#!") => format!("{script}\n{directives}\n"),
        _ => format!("{directives}\n{script}"),
    }
}

impl RemoteCommand for Qsub<'_> {
    type Output = JobId;

    fn command_line(&self) -> CommandLine {
        CommandLine::new("sh").flag("-s")
    }

    fn stdin(&self) -> Bytes {
        let directives = self.directives();
        let mut line = CommandLine::new("set").flag("--").arg(self.job.working_directory.as_bytes());
        line = line.flag(if self.writes_into_its_directory() { "writable" } else { "any" });
        line = line.arg(&self.variables.exports);
        line = match &self.job.script {
            JobScript::Inline(script) => line.flag("text").arg(with_directives(script, &directives)),
            JobScript::Path(path) => line.flag("path").arg(path.as_bytes()),
        };
        line = line.arg(&directives);
        line = submission_record::with_arguments(line, self.record.as_ref(), None);
        line = self.options(line);
        // One brace group: a shell runs it only once it has read the closing brace, so input that was cut off submits nothing.
        [b"{\n", line.as_bytes(), b"\n", SUBMIT.as_bytes(), b"\nexit $?\n}\n"].concat().into()
    }

    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<JobId, CommandError> {
        let output = bytes_to_text(&raw.stdout);
        match self.id(&output, raw.exit) {
            Some(id) => Ok(id),
            None if raw.exit != 0 => Err(CommandError::exit(&raw)),
            None => {
                let printed: String = output.trim().chars().take(80).collect();
                Err(CommandError::Output { program: "qsub", reason: format!("{printed:?} holds no job id") })
            }
        }
    }
}

/// The id in a record: the output of qsub, or the id that was found.
pub(super) fn recorded_id(text: &str) -> Option<JobId> {
    shown_id(text, None).ok()
}

fn names_its_server(line: &str) -> bool {
    line.split_once('.').is_some_and(|(_, server)| server.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn looks_like_an_id(line: &str) -> bool {
    let sequence = line.split('.').next().unwrap_or_default();
    let number = sequence.strip_suffix("[]").unwrap_or(sequence);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && JobId::new(line).is_ok()
}

#[cfg(test)]
mod tests;
