//! Batch schedulers behind one trait.
//!
//! A scheduler's commands, parsers, wire types and tests stay in one folder here. To add one: a folder, a variant of
//! [`Config`] and of [`SchedulerType`], and an arm in `app/build.rs`. This module must not know HTTP, tokens or file operations.

mod cached;
mod config;
mod directives;
mod freshness;
pub mod kubernetes;
pub mod local;
pub mod pbs;
pub mod slurm;
mod submission_record;

#[cfg(test)]
mod golden;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    Account, AccountingQuery, Job, JobChange, JobDescription, JobEstimate, JobId, JobMetadata, JobQuery, JobUsage, Limits, Node, Partition,
    Principal, Reported, Reservation, bytes_to_text,
};
use crate::error::{Classify, Kind};
use crate::ssh::CommandError;

pub use cached::{CachedScheduler, ReadCounts};
pub use config::{CommandsOnly, Common, Config, SchedulerType};
pub use freshness::MAX_FRESHNESS;
pub use slurm::ConnectionMode;
pub use submission_record::{RecordSettings, SubmissionKey, Submitted};

/// What a batch scheduler does for a caller. Every method acts as `principal`, who sees and changes what the scheduler lets
/// them. A scheduler with more than one backend reports which of them answered.
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Submits a job, once: it is never sent a second time after it may have been accepted.
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError>;

    /// Submits a job unless that was done before under this key, however often it is asked and whatever is killed meanwhile.
    /// [`SchedulerError::KeyReused`] where the key stands for another request, [`SchedulerError::UnderWay`] where it cannot be told yet.
    async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError>;

    /// The jobs that match: all pending and running ones, and the finished ones of the window.
    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError>;

    /// One job; all its tasks where the id names an array. [`SchedulerError::JobNotFound`] when there is none.
    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError>;

    /// The jobs that accounting has, without their steps.
    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError>;

    /// A job's script and files.
    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError>;

    /// Cancels a job.
    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError>;

    /// Changes a job that has not ended. [`SchedulerError::Rejected`] with the scheduler's reason where it cannot be changed so.
    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError>;

    /// Asks what would become of a job, and submits nothing. A job that would be refused is refused as by a submission.
    async fn validate(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError>;

    /// Runs a shell command inside a running job's allocation and answers with what it printed.
    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError>;

    /// The nodes.
    async fn nodes(&self, principal: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError>;

    /// The partitions or queues; `hidden` adds those that are not shown to everyone.
    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Reported<Vec<Partition>>, SchedulerError>;

    /// The reservations.
    async fn reservations(&self, principal: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError>;

    /// The accounts that the caller may charge; `None` where the scheduler has no such notion.
    async fn accounts(&self, principal: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError>;

    /// What jobs have used, each run of a requeued job by itself, as far as the scheduler knows.
    async fn usage(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError>;

    /// What jobs of the caller may ask for.
    async fn limits(&self, principal: &Principal) -> Result<Reported<Limits>, SchedulerError>;

    /// What cannot be done through it, wherever it runs, each with the reason: [`SchedulerError::Unsupported`] says so too.
    fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        &[]
    }

    /// Whether the scheduler answers.
    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError>;
}

/// An operation that a scheduler may be unable to do while it does the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsupportedOperation {
    /// Looking at the jobs that accounting has.
    Accounting,
    /// Submitting a script that lies on the cluster.
    ScriptPath,
    /// Looking at the script and files of a job.
    Metadata,
    /// Running a command inside a job.
    Attach,
    /// Keeping a job from starting.
    Hold,
    /// Letting a held job start.
    Release,
    /// Putting a job back into the queue.
    Requeue,
    /// Changing the time limit of a job.
    TimeLimit,
    /// Sending a signal to a job.
    Signal,
    /// Asking what would become of a job.
    Validate,
    /// Looking at what jobs have used.
    Usage,
    /// Looking at what jobs may ask for.
    Limits,
}

/// What an attached command printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit status.
    pub exit: u32,
}

impl AttachOutput {
    /// Takes the exit status as the outcome.
    ///
    /// # Errors
    /// When the command failed by itself, which is the caller's to change, or ran out of its time.
    pub fn success(self) -> Result<(), SchedulerError> {
        let failure = CommandError::Exit { exit: self.exit, stderr: bytes_to_text(self.stderr.trim_ascii()) };
        match self.exit {
            0 => Ok(()),
            _ if failure.kind() == Kind::RemoteTimeout => Err(SchedulerError::Command { operation: "attach", source: failure }),
            _ => Err(SchedulerError::Rejected(failure.to_string())),
        }
    }
}

/// Why the scheduler did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SchedulerError {
    /// There is no such job, or the caller may not see it. The text is contract: clients look for `Job not found`.
    #[error("Job not found")]
    JobNotFound,
    /// The scheduler refused the request for what it asks: the scheduler's own words.
    #[error("{0}")]
    Rejected(String),
    /// The job asks for something that this scheduler does not have, by this member of its description.
    #[error("`{member}` cannot be given on this system: {reason}")]
    Member {
        /// The member's name in documents.
        member: &'static str,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// The scheduler forbids it to the caller: the scheduler's own words.
    #[error("{0}")]
    Denied(String),
    /// The scheduler was not reached, as its own client says: provably nothing happened.
    #[error("the scheduler does not answer: {0}")]
    Down(String),
    /// The scheduler was asked, and no answer came that could be read: what was asked may have happened.
    #[error("the scheduler gave no usable answer: {0}")]
    Unanswered(String),
    /// The command could not be carried, or failed in a way that is not classified.
    #[error("{operation} failed")]
    Command {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: CommandError,
    },
    /// The scheduler, or its connection mode, cannot do this.
    #[error("this system's scheduler cannot do that: {0}")]
    Unsupported(&'static str),
    /// The key of a submission stands for another request.
    #[error("the Idempotency-Key was used for another request: send a new key with a new request")]
    KeyReused,
    /// An attempt of the same submission is under way, or ended so recently that its job may still appear; worth asking again after this time.
    #[error("an earlier attempt of this submission is under way, or ended a moment ago: send the same request again in {} s", .0.as_secs())]
    UnderWay(Duration),
    /// The submission cannot be recorded, and so nothing was submitted.
    #[error(
        "nothing was submitted, because it cannot be recorded below your home directory ({0}): make that writable, or submit without Idempotency-Key"
    )]
    NoRecord(String),
}

impl SchedulerError {
    /// Wraps a command's error under the name of the operation; for `map_err`.
    pub fn command(operation: &'static str) -> impl FnOnce(CommandError) -> Self {
        move |source| Self::Command { operation, source }
    }
}

impl Classify for SchedulerError {
    fn kind(&self) -> Kind {
        match self {
            Self::JobNotFound => Kind::NotFound,
            Self::Rejected(_) | Self::Member { .. } | Self::KeyReused => Kind::Invalid,
            Self::UnderWay(_) => Kind::Conflict,
            Self::NoRecord(_) => Kind::DependencyFailed,
            Self::Denied(_) => Kind::Forbidden,
            Self::Down(_) | Self::Unanswered(_) => Kind::Unavailable,
            Self::Command { source, .. } => source.kind(),
            Self::Unsupported(_) => Kind::Unsupported,
        }
    }

    fn wrapped(&self) -> Option<&dyn Classify> {
        match self {
            Self::Command { source, .. } => Some(source),
            _ => None,
        }
    }

    fn is_final(&self) -> bool {
        matches!(self, Self::NoRecord(_))
    }

    fn maybe_effected(&self) -> Option<bool> {
        match self {
            Self::Down(_) | Self::NoRecord(_) => Some(false),
            Self::Unanswered(_) => Some(true),
            other => other.wrapped().and_then(Classify::maybe_effected),
        }
    }
}
