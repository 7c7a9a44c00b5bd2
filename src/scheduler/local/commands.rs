//! The operations as values: each is a constant program with quoted arguments, sent to `sh -s` on its standard input.
//!
//! Not as an argument: a command line is visible to every user of the host while job environments hold secrets, some login
//! shells mangle newlines in arguments, and arguments are limited to 128 KiB. The whole program is one brace group, which a
//! shell runs only once it has read the closing brace: input that was cut off does nothing at all.

use bytes::Bytes;

use super::record;
use crate::domain::{Job, JobId, RemotePath, Signal, bytes_to_text};
use crate::scheduler::submission_record::{self, Attempt, NextAttempt};
use crate::scheduler::{AttachOutput, SchedulerError, SubmissionKey};
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

const PRELUDE: &str = include_str!("shell/prelude.sh");

/// The file of each job's runner. It is in the job's directory, so that an update of the proxy does not affect running jobs.
pub const RUNNER: &str = concat!(include_str!("shell/prelude.sh"), include_str!("shell/runner.sh"));

/// The key of the limit that a full queue has reached.
const QUEUE_LIMIT: &str = "scheduler.local.queue_limit";

/// The failure of a program of this module: the inner result of each command's output.
type ProgramResult<T> = Result<T, SchedulerError>;

fn program(arguments: &CommandLine, operation: &'static str) -> Bytes {
    [b"{\n", arguments.as_bytes(), b"\n", PRELUDE.as_bytes(), operation.as_bytes(), b"\nexit $?\n}\n"].concat().into()
}

fn arguments() -> CommandLine {
    CommandLine::new("set").flag("--")
}

fn shell() -> CommandLine {
    CommandLine::new("sh").flag("-s")
}

/// The output of the program after its mark, or the reason of its refusal. The output of login shells before is skipped.
fn answer(raw: &RawOutput) -> Result<ProgramResult<&[u8]>, CommandError> {
    if let Some(output) = after_mark(&raw.stdout)
        && raw.exit == 0
    {
        return Ok(Ok(output));
    }
    let stderr = bytes_to_text(&raw.stderr);
    let words = stderr.rsplit_once("goldcrest: ").map_or("", |(_, words)| words.trim_end());
    match raw.exit {
        64 | 66 => Ok(Err(SchedulerError::Rejected(words.to_owned()))),
        65 => Ok(Err(SchedulerError::JobNotFound)),
        67 => Ok(Err(SchedulerError::Down(words.to_owned()))),
        68 => Ok(Err(SchedulerError::QueueFull(format!("{words} for one user ({QUEUE_LIMIT}): wait until one ends, or cancel one")))),
        0 => Err(misunderstood("it has no beginning")),
        _ => Err(CommandError::exit(raw)),
    }
}

fn after_mark(stdout: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = b"\ngoldcrest begin\n";
    let start = stdout.windows(MARK.len()).position(|window| window == MARK)?;
    Some(&stdout[start + MARK.len()..])
}

fn misunderstood(reason: impl Into<String>) -> CommandError {
    CommandError::Output { program: "the local scheduler", reason: reason.into() }
}

/// The submitting program, with the record of a submission.
const SUBMIT: &str =
    concat!(include_str!("../submission_record/record.sh"), include_str!("shell/check.sh"), include_str!("shell/submit.sh"));

/// The program that checks a job.
const VALIDATE: &str = concat!(include_str!("shell/check.sh"), include_str!("shell/validate.sh"));

/// Submits a job. Every text was checked for NUL bytes, which no argument can carry.
pub(super) struct Submit<'a> {
    /// The batch script.
    pub script: Vec<u8>,
    /// The parameters of the runner, as a `set --` line.
    pub parameters: CommandLine,
    /// The status line's part that does not change.
    pub record: String,
    /// One `export` a line.
    pub environment: Vec<u8>,
    /// The maximum number of jobs that may be pending or running.
    pub queue_limit: u32,
    /// The attempt, if a record of the submission is kept.
    pub(in crate::scheduler) attempt: Option<NextAttempt<'a>>,
}

impl RemoteCommand for Submit<'_> {
    type Output = ProgramResult<Attempt>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        let arguments = arguments()
            .arg(self.parameters.as_bytes())
            .arg(&self.record)
            .arg(&self.environment)
            .arg(&self.script)
            .arg(self.script.len().to_string())
            .arg(RUNNER)
            .arg(self.queue_limit.to_string());
        let arguments = match &self.attempt {
            Some(attempt) => attempt.arguments(arguments),
            None => arguments.arg(""),
        };
        program(&arguments, SUBMIT)
    }

    fn idempotent(&self) -> bool {
        self.attempt.is_some()
    }

    /// The environment that the job inherits.
    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        // An id that was printed names a job that is there, whatever came after it.
        if let Some(id) = after_mark(&raw.stdout).and_then(submitted) {
            return Ok(Ok(Attempt::Submitted(id)));
        }
        if let Some(attempt) = submission_record::recorded(&raw).filter(|_| self.attempt.is_some()) {
            return Ok(Ok(attempt));
        }
        match answer(&raw)? {
            Ok(_) => Err(misunderstood("it holds no job id")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

/// Checks whether the host would take a job.
pub(super) struct Validate<'a>(pub(super) Submit<'a>);

impl RemoteCommand for Validate<'_> {
    type Output = ProgramResult<()>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        let Submit { parameters, environment, queue_limit, .. } = &self.0;
        program(&arguments().arg(parameters.as_bytes()).arg(environment).arg(queue_limit.to_string()), VALIDATE)
    }

    /// That of the submission, in which some variables are kept.
    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        Ok(answer(&raw)?.map(|_| ()))
    }
}

/// The id in the line that contains it; none if the line is cut off.
fn submitted(output: &[u8]) -> Option<JobId> {
    let end = output.iter().position(|&byte| byte == b'\n')?;
    let id = std::str::from_utf8(&output[..end]).ok()?.strip_prefix("id ")?;
    let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    JobId::new(id).ok().filter(|_| is_number)
}

/// Finds the job of a submission.
pub(in crate::scheduler) struct Find<'a>(pub(in crate::scheduler) &'a SubmissionKey);

impl RemoteCommand for Find<'_> {
    type Output = ProgramResult<Option<JobId>>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments().arg(self.0.name()), include_str!("shell/find.sh"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        match answer(&raw)? {
            Ok(output) if output.ends_with(b"end\n") => Ok(Ok(submitted(output))),
            Ok(_) => Err(misunderstood("it was cut off")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

/// The jobs to read.
pub enum List<'a> {
    /// The jobs in the queue, and those that finished in this many days.
    Days(u32),
    /// One.
    One(&'a JobId),
}

impl RemoteCommand for List<'_> {
    type Output = ProgramResult<Vec<Job>>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        let arguments = match self {
            Self::Days(days) => arguments().arg(days.to_string()),
            Self::One(id) => arguments().arg("job").arg(id.as_str()),
        };
        program(&arguments, include_str!("shell/list.sh"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        match answer(&raw)? {
            Ok(output) => record::jobs(output).map(Ok).map_err(misunderstood),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

/// Cancels a job. Cancelling it twice, or after its end, changes nothing.
pub struct Cancel<'a>(pub &'a JobId);

impl RemoteCommand for Cancel<'_> {
    type Output = ProgramResult<()>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments().arg(self.0.as_str()), include_str!("shell/cancel.sh"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        Ok(answer(&raw)?.map(|_| ()))
    }
}

/// Sends a signal to the processes of a job.
pub struct SendSignal<'a> {
    /// The job.
    pub id: &'a JobId,
    /// The signal.
    pub signal: Signal,
}

impl RemoteCommand for SendSignal<'_> {
    type Output = ProgramResult<()>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments().arg(self.id.as_str()).arg(self.signal.as_str()), include_str!("shell/signal.sh"))
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        Ok(answer(&raw)?.map(|_| ()))
    }
}

/// Reads a job's files.
pub struct Metadata<'a>(pub &'a JobId);

/// A job's files as the host has them.
pub struct LocalJobFiles {
    /// The batch script.
    pub script: Vec<u8>,
    /// The paths of standard input, output and error; empty if the job sets none.
    pub paths: [Vec<u8>; 3],
}

impl RemoteCommand for Metadata<'_> {
    type Output = ProgramResult<LocalJobFiles>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments().arg(self.0.as_str()), include_str!("shell/metadata.sh"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        let output = match answer(&raw)? {
            Ok(output) => output,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut parts = output.splitn(4, |&byte| byte == 0).map(<[u8]>::to_vec);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(input), Some(output), Some(error), Some(script)) => Ok(Ok(LocalJobFiles { script, paths: [input, output, error] })),
            _ => Err(misunderstood("it was cut off")),
        }
    }
}

/// Runs a command inside a running job.
pub struct Attach<'a> {
    /// The job.
    pub id: &'a JobId,
    /// The command, for a shell.
    pub command: &'a str,
}

impl RemoteCommand for Attach<'_> {
    type Output = ProgramResult<AttachOutput>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments().arg(self.id.as_str()).arg(self.command), include_str!("shell/attach.sh"))
    }

    fn idempotent(&self) -> bool {
        false
    }

    /// The environment that the job inherits.
    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn parse(&self, mut raw: RawOutput) -> Result<Self::Output, CommandError> {
        // After the mark everything, the exit status too, is the command's own.
        let Some(output) = after_mark(&raw.stdout).map(<[u8]>::len) else {
            return match answer(&raw)? {
                Ok(_) => Err(misunderstood("it has no beginning")),
                Err(refusal) => Ok(Err(refusal)),
            };
        };
        let stdout = raw.stdout.split_off(raw.stdout.len() - output);
        Ok(Ok(AttachOutput { stdout, stderr: raw.stderr, exit: raw.exit }))
    }
}

/// Describes the host.
pub struct DescribeNode;

/// The host.
#[derive(Debug, Default, PartialEq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// CPUs.
    pub cpus: u32,
    /// Jobs of the caller that run.
    pub running: u32,
    /// Load average over a minute.
    pub load: Option<f64>,
    /// Available memory in KiB.
    pub free: Option<u64>,
}

impl RemoteCommand for DescribeNode {
    type Output = ProgramResult<Host>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments(), include_str!("shell/node.sh"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        let output = match answer(&raw)? {
            Ok(output) => bytes_to_text(output),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut host = Host::default();
        let mut ended = false;
        for line in output.lines() {
            match line.split_once(' ') {
                Some(("host", value)) => host.name = value.to_owned(),
                Some(("cpus", value)) => host.cpus = value.parse().map_err(|_| misunderstood("cpus is no number"))?,
                Some(("running", value)) => host.running = value.parse().map_err(|_| misunderstood("running is no number"))?,
                Some(("load", value)) => host.load = value.parse().ok(),
                Some(("free", value)) => host.free = value.parse().ok(),
                _ => ended = line == "end",
            }
        }
        if ended { Ok(Ok(host)) } else { Err(misunderstood("it was cut off")) }
    }
}

/// Proves that jobs could be submitted.
pub struct Ping;

impl RemoteCommand for Ping {
    type Output = ProgramResult<()>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments(), include_str!("shell/ping.sh"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        Ok(answer(&raw)?.map(|_| ()))
    }
}

/// Reads a script on the host.
pub struct ReadScript<'a>(pub &'a RemotePath);

impl RemoteCommand for ReadScript<'_> {
    type Output = ProgramResult<Vec<u8>>;

    fn command_line(&self) -> CommandLine {
        shell()
    }

    fn stdin(&self) -> Bytes {
        program(&arguments().arg(self.0.as_bytes()).arg((super::MAX_SCRIPT + 1).to_string()), include_str!("shell/script.sh"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        Ok(answer(&raw)?.map(<[u8]>::to_vec))
    }
}
