//! Batch schedulers behind one trait.
//!
//! A scheduler's commands, parsers, wire types and tests stay in one folder here. To add one: a folder, a variant of
//! [`Config`] and of [`SchedulerType`], and an arm in `app/build.rs`. This module must not know HTTP, tokens or file operations.

mod cached;
mod config;
mod directives;
mod freshness;
pub mod local;
pub mod pbs;
pub mod slurm;
mod way_note;

#[cfg(test)]
mod golden;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{Account, AccountingQuery, Job, JobDescription, JobId, JobMetadata, JobQuery, Node, Partition, Principal, Reservation};
use crate::error::{Classify, Kind};
use crate::ssh::{CommandError, TransportError};

pub use cached::{CachedScheduler, ReadCounts};
pub use config::{CommandsOnly, Common, Config, SchedulerType};
pub use freshness::MAX_FRESHNESS;
pub use slurm::ConnectionMode;
pub use way_note::WayNote;

/// What a batch scheduler does for a caller. Every method acts as `principal`, who sees and changes what the scheduler lets
/// them.
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Submits a job, once: it is never sent a second time after it may have been accepted.
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<JobId, SchedulerError>;

    /// The jobs that match: all pending and running ones, and the finished ones of the window.
    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Vec<Job>, SchedulerError>;

    /// One job; all its tasks where the id names an array. [`SchedulerError::JobNotFound`] when there is none.
    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Vec<Job>, SchedulerError>;

    /// The jobs that accounting has, without their steps.
    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Vec<Job>, SchedulerError>;

    /// A job's script and files.
    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Vec<JobMetadata>, SchedulerError>;

    /// Cancels a job.
    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<(), SchedulerError>;

    /// Runs a shell command inside a running job's allocation and answers with what it printed.
    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<AttachOutput, SchedulerError>;

    /// The nodes.
    async fn nodes(&self, principal: &Principal) -> Result<Vec<Node>, SchedulerError>;

    /// The partitions or queues; `hidden` adds those that are not shown to everyone.
    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Vec<Partition>, SchedulerError>;

    /// The reservations.
    async fn reservations(&self, principal: &Principal) -> Result<Vec<Reservation>, SchedulerError>;

    /// The accounts that the caller may charge; `None` where the scheduler has no such notion.
    async fn accounts(&self, principal: &Principal) -> Result<Option<Vec<Account>>, SchedulerError>;

    /// What cannot be done through it, wherever it runs, each with the reason: [`SchedulerError::Unsupported`] says so too.
    fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        &[]
    }

    /// Whether the scheduler answers.
    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError>;

    /// The same scheduler for one call, which is to be noted in `note`: its way, where there is more than one, and what its answer lacks.
    /// `None` where there is never anything to note.
    fn noting(&self, note: &WayNote) -> Option<Arc<dyn Scheduler>> {
        let _ = note;
        None
    }
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

/// Why the scheduler did not do it.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// There is no such job, or the caller may not see it. The text is contract: clients look for `Job not found`.
    #[error("Job not found")]
    JobNotFound,
    /// The scheduler refused the request for what it asks: the scheduler's own words.
    #[error("{0}")]
    Rejected(String),
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
    /// The same, for several who asked for the same at the same time.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl SchedulerError {
    /// Wraps a command's error under the name of the operation; for `map_err`.
    pub fn command(operation: &'static str) -> impl FnOnce(CommandError) -> Self {
        move |source| Self::Command { operation, source }
    }

    /// The transport's error, where that is the cause.
    pub fn transport(&self) -> Option<&TransportError> {
        match self {
            Self::Command { source: CommandError::Transport(source), .. } => Some(source),
            Self::Shared(error) => error.transport(),
            _ => None,
        }
    }
}

impl Classify for SchedulerError {
    fn kind(&self) -> Kind {
        match self {
            Self::JobNotFound => Kind::NotFound,
            Self::Rejected(_) => Kind::Invalid,
            Self::Denied(_) => Kind::Forbidden,
            Self::Down(_) | Self::Unanswered(_) => Kind::Unavailable,
            Self::Command { source, .. } => source.kind(),
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Shared(error) => error.kind(),
        }
    }

    fn public_message(&self) -> Cow<'static, str> {
        match self {
            Self::Command { source, .. } => source.public_message(),
            Self::Shared(error) => error.public_message(),
            other => other.to_string().into(),
        }
    }

    fn maybe_effected(&self) -> Option<bool> {
        match self {
            Self::Command { source, .. } => source.maybe_effected(),
            Self::Down(_) => Some(false),
            Self::Unanswered(_) => Some(true),
            Self::Shared(error) => error.maybe_effected(),
            _ => None,
        }
    }
}
