//! Submitting a job exactly once, with the record of the submission in the user's own directory on the cluster.
//!
//! A client names a submission by its `Idempotency-Key`. The command that submits keeps `~/.goldcrest/submit/<name>` (`record.sh`), so that any
//! replica that is sent the same request finds out what became of it, although each process on the way may have been killed. The job
//! carries the name too, as its tag, by which the scheduler is asked where the record holds no id. This module must not know how a scheduler is spoken to. To
//! give one this ability: call the functions of [`SHELL`] around its submitting program, and implement [`RecordedSubmission`].

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::SchedulerError;
use crate::domain::{JobId, bytes_to_text, hex};
use crate::error::ErrorChain;
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

#[cfg(test)]
mod model;

/// The shell functions that keep a record, on lines that may be joined to one.
pub(super) const SHELL: &str = include_str!("record.sh");

/// How long after an attempt under way a client asks again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// The most attempts of one request: the first, and one after each that ended without a job. Whoever loses these to others waits.
const MAX_ROUNDS: usize = 3;

/// The name of a submission, and the digest of the request that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionKey {
    name: String,
    digest: String,
}

impl SubmissionKey {
    /// A name for a request with this digest. Both reach shells and file names, in hexadecimal.
    pub fn new(name: &[u8; 16], digest: &[u8; 32]) -> Self {
        Self { name: hex(name), digest: hex(digest) }
    }

    /// The name, in hexadecimal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest of the request, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the job carries, and is found by.
    pub fn tag(&self) -> String {
        format!("goldcrest-submission={}", self.name)
    }
}

/// How records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// After how many days a record is removed.
    pub days: u32,
    /// How long after the end of an attempt the scheduler may still take what it sent.
    pub settle: Duration,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self { days: 7, settle: Duration::from_secs(10) }
    }
}

/// The next attempt of a submission.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextAttempt<'a> {
    pub(super) key: &'a SubmissionKey,
    /// The attempt that ended and whose job was looked for and not found; 0 where none was.
    pub(super) after: u32,
    pub(super) settings: RecordSettings,
}

impl NextAttempt<'_> {
    /// Adds the arguments of `begin_record`.
    pub(super) fn arguments(&self, line: CommandLine) -> CommandLine {
        let line = line.arg(&self.key.name).arg(&self.key.digest).number(u64::from(self.after));
        line.number(self.settings.settle.as_secs()).number(u64::from(self.settings.days))
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The job was submitted now.
    Submitted(JobId),
    /// It was before: what the submitting program printed then, or the id that was found.
    Recorded(String),
    /// The key stands for another request.
    OtherRequest,
    /// An attempt is under way.
    Running,
    /// The last attempt ended without an id.
    Ended {
        /// Its number.
        attempt: u32,
        /// When it began, in Unix seconds.
        began: i64,
        /// For how many seconds more the scheduler may take what it sent.
        settles_in: u64,
    },
    /// There can be no record, in this directory.
    Unwritable(String),
}

/// What the record says, where the output of the submitting command tells it instead of submitting.
pub(super) fn recorded(raw: &RawOutput) -> Option<Attempt> {
    let output = bytes_to_text(&raw.stdout);
    let line = output.lines().find_map(|line| line.strip_prefix("goldcrest-submission "))?;
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Some(match word {
        "hit" => Attempt::Recorded(rest.to_owned()),
        "other" => Attempt::OtherRequest,
        "running" => Attempt::Running,
        "dead" => {
            let mut numbers = rest.split(' ');
            let attempt = numbers.next()?.parse().ok()?;
            Attempt::Ended { attempt, began: numbers.next()?.parse().ok()?, settles_in: numbers.next()?.parse().ok()? }
        }
        "unwritable" => Attempt::Unwritable(rest.to_owned()),
        _ => return None,
    })
}

/// A submitting command that keeps a record, so that it may be run again: what it tells is an [`Attempt`].
pub(super) struct WithRecord<C>(pub(super) C);

impl<C: RemoteCommand<Output = JobId>> RemoteCommand for WithRecord<C> {
    type Output = Attempt;

    fn command_line(&self) -> CommandLine {
        self.0.command_line()
    }

    fn stdin(&self) -> Bytes {
        self.0.stdin()
    }

    fn environment(&self) -> Environment {
        self.0.environment()
    }

    fn parse(&self, raw: RawOutput) -> Result<Attempt, CommandError> {
        match recorded(&raw) {
            Some(attempt) => Ok(attempt),
            None => self.0.parse(raw).map(Attempt::Submitted),
        }
    }
}

/// A submission with a record, to one scheduler.
#[async_trait]
pub(super) trait RecordedSubmission: Sync {
    /// Looks at the record and submits where it is this one's turn. A job that it submits carries the tag.
    async fn attempt(&self, after: u32) -> Result<Attempt, SchedulerError>;

    /// The id that a submitting program printed.
    fn printed(&self, text: &str) -> Option<JobId>;

    /// The job that carries the tag, submitted after `began` (Unix seconds), as the scheduler has it. It fails where not all could be asked who may
    /// know the job.
    async fn find(&self, began: i64) -> Result<Option<JobId>, SchedulerError>;

    /// Writes the id into the record.
    async fn adopt(&self, id: &JobId) -> Result<(), SchedulerError>;
}

/// A job that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub id: JobId,
    /// Whether it was submitted by an earlier request with the same key.
    pub repeated: bool,
}

/// Submits the job unless that was done before.
pub(super) async fn submit_once(submission: &impl RecordedSubmission) -> Result<Submitted, SchedulerError> {
    let mut after = 0;
    for _ in 0..MAX_ROUNDS {
        match submission.attempt(after).await? {
            Attempt::Submitted(id) => return Ok(Submitted { id, repeated: false }),
            Attempt::Recorded(text) => {
                let unread = || SchedulerError::Unanswered(format!("the record of the submission holds no job id: {text:?}"));
                return submission.printed(&text).map(|id| Submitted { id, repeated: true }).ok_or_else(unread);
            }
            Attempt::OtherRequest => return Err(SchedulerError::KeyReused),
            Attempt::Running => return Err(SchedulerError::UnderWay(RETRY_AFTER)),
            Attempt::Unwritable(directory) => return Err(SchedulerError::NoRecord(directory)),
            Attempt::Ended { attempt, began, settles_in } => match submission.find(began).await.map_err(unknown)? {
                Some(id) => {
                    // Where it cannot be written down it is found again.
                    if let Err(error) = submission.adopt(&id).await {
                        tracing::warn!(error = %ErrorChain(&error), "the id of a submitted job could not be written into its record");
                    }
                    return Ok(Submitted { id, repeated: true });
                }
                // It was looked for too early to be sure.
                None if settles_in > 0 => return Err(SchedulerError::UnderWay(Duration::from_secs(settles_in))),
                None => after = attempt,
            },
        }
    }
    Err(SchedulerError::UnderWay(RETRY_AFTER))
}

/// An error of looking for a job that may be there.
fn unknown(error: SchedulerError) -> SchedulerError {
    match error {
        SchedulerError::Down(reason) => SchedulerError::Unanswered(reason),
        error => error,
    }
}

/// Writes the id of a job that was found into the record.
pub(super) struct Adopt<'a> {
    pub(super) key: &'a SubmissionKey,
    pub(super) id: &'a JobId,
}

impl RemoteCommand for Adopt<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let program = "ln -s \"$2\" \"$HOME/.goldcrest/submit/$1/id\" 2>/dev/null || [ -h \"$HOME/.goldcrest/submit/$1/id\" ]";
        CommandLine::new("sh").flag("-c").arg(program).flag("sh").arg(&self.key.name).arg(self.id.as_str())
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        if raw.exit == 0 { Ok(()) } else { Err(CommandError::exit(&raw)) }
    }
}
