//! Submitting a job exactly once, with the record of the submission in the user's own directory on the cluster.
//!
//! A client names a submission by its `Idempotency-Key`. The command that submits keeps a record of that name in `~/.goldcrest/submit`
//! (`record.sh`), so that any replica that is sent the same request finds out what became of it, although each process on the way may have been
//! killed. The job carries the name too, as its tag, by which the scheduler is queried if the record has no id. This module must not know how a
//! scheduler is accessed. To give one this ability: call the functions of `record.sh` around its submitting program, and implement
//! [`RecordedSubmission`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::SchedulerError;
use crate::domain::{JobId, bytes_to_text, hex};
use crate::error::ErrorChain;
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

pub use stored::StoredRecords;
pub(super) use stored::{TaggedSubmission, Trace};

mod stored;

#[cfg(test)]
mod model;
#[cfg(test)]
mod stored_model;

/// A program behind the shell functions that keep a record, as one line. Each line of it ends where a blank may follow.
pub(super) fn with_record(program: &str) -> String {
    let lines = include_str!("record.sh").lines().chain(program.lines()).filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join(" ")
}

/// The prefix of each submission's tag.
pub(super) const TAG_PREFIX: &str = "goldcrest-submission=";
/// The time after which a client repeats a request while an attempt is under way.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// The maximum number of attempts of one request: the first, and one after each that ended without a job. A caller that loses these to others waits.
const MAX_ROUNDS: usize = 3;

/// The name of a submission, and the digest of its request.
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

    /// The tag of the job, by which it is found.
    pub fn tag(&self) -> String {
        format!("{TAG_PREFIX}{}", self.name)
    }
}

/// The settings of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// After how many days a record is removed.
    pub days: u32,
    /// The time after the end of an attempt in which the scheduler may still accept what it sent.
    pub late_acceptance: Duration,
    /// The time limit of an attempt with its record in the store.
    pub attempt: Duration,
    /// The time after its beginning in which an attempt whose end was not seen may still lead to a job. What authenticates it has expired by then: a
    /// token of ours for slurmrestd holds for 5 minutes, as does a credential of munge.
    pub certain: Duration,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self { days: 7, late_acceptance: Duration::from_secs(10), attempt: Duration::from_secs(60), certain: Duration::from_secs(600) }
    }
}

/// The next attempt of a submission.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextAttempt<'a> {
    pub(super) key: &'a SubmissionKey,
    /// The attempt that ended and whose job was looked for and not found; 0 for none.
    pub(super) after: u32,
    pub(super) settings: RecordSettings,
}

impl NextAttempt<'_> {
    /// Adds the arguments of `begin_record`.
    pub(super) fn arguments(&self, line: CommandLine) -> CommandLine {
        let line = line.arg(&self.key.name).arg(&self.key.digest).number(u64::from(self.after));
        line.number(self.settings.late_acceptance.as_secs()).number(u64::from(self.settings.days))
    }
}

/// Adds the arguments of `begin_record`: those of the attempt, or without a record a time limit for the submitting program, if any.
pub(super) fn with_arguments(line: CommandLine, attempt: Option<&NextAttempt<'_>>, limit: Option<u64>) -> CommandLine {
    if let Some(attempt) = attempt {
        return attempt.arguments(line);
    }
    let line = line.arg("");
    let line = if let Some(limit) = limit { line.number(limit) } else { line.arg("") };
    line.arg("").arg("").arg("")
}

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The job was submitted now.
    Submitted(JobId),
    /// The job was submitted before: the output of the submitting program then, or the id that was found.
    Recorded(String),
    /// The key was used for another request.
    OtherRequest,
    /// An attempt is under way on this host.
    Running(String),
    /// The last attempt ended without an id.
    Ended {
        /// Its number.
        attempt: u32,
        /// When it began, in Unix seconds.
        began: i64,
        /// The remaining seconds in which the scheduler may accept what it sent.
        settles_in: u64,
    },
    /// There is no record, and none can be created.
    Unwritable {
        /// The directory of the records.
        directory: String,
        /// Whether an earlier attempt may have a record that is not to be seen now.
        earlier: Earlier,
    },
    /// There is a record in this directory, and it cannot be written.
    Unusable(String),
}

/// Whether an attempt may have been made before one that is not recorded with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// The records were read, and have none.
    No,
    /// The records are not there, as where a home directory is not mounted.
    Perhaps,
}

/// The content of the record, if the submitting command prints it instead of submitting.
pub(super) fn recorded(raw: &RawOutput) -> Option<Attempt> {
    let output = bytes_to_text(&raw.stdout);
    let line = output.lines().find_map(|line| line.strip_prefix("goldcrest-submission "))?;
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Some(match word {
        "hit" => Attempt::Recorded(rest.to_owned()),
        "other" => Attempt::OtherRequest,
        "running" => Attempt::Running(rest.to_owned()),
        "dead" => {
            let mut numbers = rest.split(' ');
            let attempt = numbers.next()?.parse().ok()?;
            Attempt::Ended { attempt, began: numbers.next()?.parse().ok()?, settles_in: numbers.next()?.parse().ok()? }
        }
        "unwritable" => Attempt::Unwritable { directory: rest.to_owned(), earlier: Earlier::Perhaps },
        "empty" => Attempt::Unwritable { directory: rest.to_owned(), earlier: Earlier::No },
        "unusable" => Attempt::Unusable(rest.to_owned()),
        _ => return None,
    })
}

/// A submitting command that keeps a record, so that it may be run again: its answer is an [`Attempt`].
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

    fn idempotent(&self) -> bool {
        true
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
    /// Reads the record, and submits if it is this request's turn. The job carries the tag.
    async fn attempt(&self, after: u32) -> Result<Attempt, SchedulerError>;

    /// The id that a submitting program printed.
    fn printed(&self, text: &str) -> Option<JobId>;

    /// Looks for the job that carries the tag, submitted after `began` (Unix seconds). It fails if a source cannot be queried; where
    /// these may not know the job any more, it is unsure.
    async fn find(&self, began: i64) -> Result<Trace, SchedulerError>;

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
    /// The place of the submission's record; none without a key.
    pub record: Option<RecordPlace>,
}

impl Submitted {
    /// A job that was submitted without a key.
    pub fn once(id: JobId) -> Self {
        Self { id, repeated: false, record: None }
    }
}

/// The place of a submission's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordPlace {
    /// On the cluster: in the user's home directory there, or in the job itself.
    Cluster,
    /// In the store.
    Store,
}

/// Submits the job unless it was submitted before, with the record on the cluster.
async fn submit_on_cluster(submission: &impl RecordedSubmission) -> Result<OnCluster, SchedulerError> {
    let submitted = |id, repeated| Ok(OnCluster::Submitted(Submitted { id, repeated, record: Some(RecordPlace::Cluster) }));
    let mut after = 0;
    for _ in 0..MAX_ROUNDS {
        match submission.attempt(after).await? {
            Attempt::Submitted(id) => return submitted(id, false),
            Attempt::Recorded(text) => {
                let unreadable = || SchedulerError::Unanswered(format!("the record of the submission holds no job id: {text:?}"));
                return submitted(submission.printed(&text).ok_or_else(unreadable)?, true);
            }
            Attempt::OtherRequest => return Err(SchedulerError::KeyReused),
            Attempt::Running(host) => {
                return Err(SchedulerError::UnderWay { wait: RETRY_AFTER, host: Some(host).filter(|host| !host.is_empty()) });
            }
            Attempt::Unwritable { directory, earlier } => return Ok(OnCluster::NoRecord { directory, earlier }),
            Attempt::Unusable(directory) => return Err(SchedulerError::NoRecord(directory)),
            Attempt::Ended { attempt, began, settles_in } => match submission.find(began).await.map_err(unknown)? {
                Trace::Job(id) => {
                    // Where it cannot be written down it is found again.
                    if let Err(error) = submission.adopt(&id).await {
                        tracing::warn!(error = %ErrorChain(&error), "the id of a submitted job could not be written into its record");
                    }
                    return submitted(id, true);
                }
                // It was looked for too early to be sure.
                _ if settles_in > 0 => return Err(SchedulerError::UnderWay { wait: Duration::from_secs(settles_in), host: None }),
                Trace::Unsure(reason) => return Err(SchedulerError::Undecidable { reason }),
                Trace::Nowhere => after = attempt,
            },
        }
    }
    Err(SchedulerError::UnderWay { wait: RETRY_AFTER, host: None })
}

/// The outcome of a submission with its record on the cluster.
enum OnCluster {
    Submitted(Submitted),
    /// There is no record in this directory, and none can be made. Nothing was submitted.
    NoRecord {
        directory: String,
        earlier: Earlier,
    },
}

/// The way of a submission whose record cannot lie on the cluster.
pub(super) struct InStore<'a> {
    pub(super) records: &'a StoredRecords,
    pub(super) key: &'a SubmissionKey,
    /// Makes the submission.
    pub(super) submission: &'a (dyn Fn() -> Arc<dyn TaggedSubmission> + Sync),
}

/// Submits the job unless it was submitted before. The record is on the cluster; if there can be none, it is in the store, if there is one.
///
/// # Errors
/// The errors of the scheduler and of the records.
pub(super) async fn submit_once(submission: &impl RecordedSubmission, fallback: Option<InStore<'_>>) -> Result<Submitted, SchedulerError> {
    let Some(InStore { records, key, submission: tagged }) = fallback else {
        return match submit_on_cluster(submission).await? {
            OnCluster::Submitted(submitted) => Ok(submitted),
            OnCluster::NoRecord { directory, .. } => Err(SchedulerError::NoRecord(directory)),
        };
    };
    // If a home directory can be written again, the record in the store still counts.
    if let Some(earlier) = records.kept(key).await? {
        return records.submit(key, tagged(), Some(earlier)).await;
    }
    match submit_on_cluster(submission).await? {
        OnCluster::Submitted(submitted) => Ok(submitted),
        OnCluster::NoRecord { directory, earlier } => {
            let tagged = tagged();
            // As long as it is not known, the record that is not to be seen now is the one that counts.
            if earlier == Earlier::Perhaps
                && let Trace::Unsure(reason) = records.look(&*tagged).await?
            {
                return Err(undecidable_elsewhere(&directory, &reason));
            }
            tracing::debug!(directory, "the record of a submission is kept in the store");
            records.keep(key, earlier).await?;
            records.submit(key, tagged, Some(earlier)).await
        }
    }
}

/// The error where an attempt may have a record on the cluster that is not to be seen, and its job cannot be looked for.
fn undecidable_elsewhere(directory: &str, reason: &str) -> SchedulerError {
    let reason =
        format!("its record may be in {directory}, which cannot be read, and {reason}; until it can, submit without Idempotency-Key");
    SchedulerError::Undecidable { reason }
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
        let program = with_record("place_record \"$1\" \"$2\"; keep_id \"$3\"; known_id");
        CommandLine::new("sh").flag("-c").arg(program).flag("sh").arg(&self.key.name).arg(&self.key.digest).arg(self.id.as_str())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}
