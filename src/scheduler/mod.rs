//! Batch schedulers behind one trait.
//!
//! A scheduler's commands, parsers, wire types and tests stay in one folder here. To add one: a folder, a variant of
//! [`Config`] and of [`SchedulerType`], and an arm in `app/build.rs`. This module must not know HTTP, tokens or file operations.

mod cached;
mod config;
mod directives;
mod freshness;
mod job_mirror;
pub mod kubernetes;
pub mod local;
mod native_jobs;
mod outputs;
pub mod pbs;
mod schedules;
pub mod slurm;
mod submission_record;

#[cfg(test)]
mod golden;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    Account, AccountingQuery, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobProfile, JobQuery, JobUsage,
    Node, Partition, Principal, Reported, Reservation, Username, bytes_to_text,
};
use crate::error::{Classify, Kind};
use crate::ssh::CommandError;

pub use cached::{CachedScheduler, ReadCounts, SeenChanges};
pub use config::{CommandsOnly, Common, Config, SchedulerType};
pub use freshness::MAX_FRESHNESS;
pub use job_mirror::{JobMirror, MirrorAccount, PushListener};
pub use native_jobs::{NativeJobs, NativeTask};
pub use outputs::{JobOutputs, OutputPart, OutputStream};
pub use schedules::Schedules;
pub use slurm::ConnectionMode;
pub use submission_record::{RecordPlace, RecordSettings, StoredRecords, SubmissionKey, Submitted};

/// The operations of a batch scheduler. Every method acts as `principal`, who sees and changes what the scheduler allows
/// them to. A scheduler with more than one backend reports which of them answered.
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Submits a job, once: it is never sent a second time after it may have been accepted.
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError>;

    /// Submits a job unless it was submitted before with this key, however often it is called and whatever is killed meanwhile.
    /// [`SchedulerError::KeyReused`] if the key was used for another request, [`SchedulerError::UnderWay`] if an attempt is running, and
    /// [`SchedulerError::Undecided`] if the outcome of an attempt is not known yet, [`SchedulerError::Undecidable`] if it will never be.
    async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError>;

    /// The jobs that match: all pending and running ones, and the finished ones of the window.
    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError>;

    /// One job; all its tasks if the id names an array. [`SchedulerError::JobNotFound`] if there is none.
    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError>;

    /// The jobs that accounting has, without their steps.
    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError>;

    /// A job's script and files.
    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError>;

    /// Cancels a job.
    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError>;

    /// Changes a job that has not ended. [`SchedulerError::Rejected`] with the scheduler's reason if the change is not possible.
    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError>;

    /// Checks and estimates a job, and submits nothing. A job that would be refused is refused as by a submission.
    async fn validate(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError>;

    /// Runs a shell command inside a running job's allocation and returns its output.
    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError>;

    /// The nodes.
    async fn nodes(&self, principal: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError>;

    /// The partitions or queues; `hidden` adds those that are not shown to everyone.
    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Reported<Vec<Partition>>, SchedulerError>;

    /// The reservations.
    async fn reservations(&self, principal: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError>;

    /// The accounts that the caller may charge; `None` if the scheduler has no accounts.
    async fn accounts(&self, principal: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError>;

    /// The resources that jobs have used, separately for each run of a requeued job, as far as the scheduler knows them.
    async fn usage(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError>;

    /// The limits of the caller's jobs.
    async fn limits(&self, principal: &Principal) -> Result<Reported<JobLimits>, SchedulerError>;

    /// The operations that it does not support, each with the reason: they return [`SchedulerError::Unsupported`].
    fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        &[]
    }

    /// Whether a job that it does not know is certainly not there: it knows each from the submission on, and until well after the end. Of others,
    /// it may only be a moment until they show a new job, or accounting knows one that has ended.
    fn knows_every_job(&self) -> bool {
        false
    }

    /// The output of jobs, where the scheduler keeps it itself instead of in files.
    fn outputs(&self) -> Option<&dyn JobOutputs> {
        None
    }

    /// How long after a job's end its last output may be in transit: from the node to the file server, and from there to the reader.
    fn output_transit_time(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// The jobs that the scheduler itself submits again and again, if it has such.
    fn schedules(&self) -> Option<&dyn Schedules> {
        None
    }

    /// The jobs as the objects that the scheduler keeps, where it keeps such. Then it also runs programs of images
    /// ([`ImageProgram`](crate::domain::ImageProgram)).
    fn native_jobs(&self) -> Option<&dyn NativeJobs> {
        None
    }

    /// The sizes and places that it offers for jobs, if it has such.
    fn profiles(&self) -> Option<Vec<JobProfile>> {
        None
    }

    /// Waits until no submission is under way that goes on without its request. A scheduler that has no such does nothing.
    async fn settle(&self) {}

    /// Learns of changes from the scheduler until it is dropped, and calls `changed` with each user whose jobs have changed. A scheduler that
    /// reports none does nothing.
    async fn keep_current(&self, _changed: &ChangeListener<'_>) {
        std::future::pending().await
    }

    /// Whether the scheduler answers.
    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError>;
}

/// Is called with each user whose jobs have changed.
pub type ChangeListener<'a> = dyn Fn(&Username) + Sync + 'a;

/// An operation that a scheduler may be unable to do while it does the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsupportedOperation {
    /// Reading the jobs in accounting.
    Accounting,
    /// Submitting a script on the cluster.
    ScriptPath,
    /// Reading the script and files of a job.
    Metadata,
    /// Running a command inside a job.
    Attach,
    /// Holding a pending job.
    Hold,
    /// Releasing a held job.
    Release,
    /// Putting a job back into the queue.
    Requeue,
    /// Changing the time limit of a job.
    TimeLimit,
    /// Sending a signal to a job.
    Signal,
    /// Checking and estimating a job without submitting it.
    Validate,
    /// Reading the resources that jobs have used.
    Usage,
    /// Reading the limits of jobs.
    Limits,
}

/// The output of an attached command.
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
    /// If the command failed by itself, which is the caller's to change, or ran out of its time.
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
    /// There is no such schedule, or the caller may not see it.
    #[error("Schedule not found")]
    ScheduleNotFound,
    /// The scheduler rejected the request: the scheduler's own words.
    #[error("{0}")]
    Rejected(String),
    /// The caller has as many jobs as one user may, so nothing was submitted: until when, and what to do.
    #[error("{0}")]
    QueueFull(String),
    /// These members of the job's description ask for something that this scheduler does not have; never empty.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Members(Vec<RefusedMember>),
    /// The scheduler forbids it to the caller: the scheduler's own words.
    #[error("{0}")]
    Denied(String),
    /// The scheduler was not reached, as its own client says: provably nothing happened.
    #[error("the scheduler does not answer: {0}")]
    Down(String),
    /// The scheduler was called, and did not send a readable answer: the operation may have taken effect.
    #[error("the scheduler gave no usable answer: {0}")]
    Unanswered(String),
    /// A command in a job printed more bytes than this, and was stopped.
    #[error("the command's output is larger than the limit of {0} bytes: ask for less of it")]
    TooMuchOutput(usize),
    /// The command could not be carried, or failed in a way that is not classified.
    #[error("{operation} failed")]
    Command {
        /// The operation.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: CommandError,
    },
    /// The scheduler, or its connection mode, cannot do this.
    #[error("this system's scheduler cannot do that: {0}")]
    Unsupported(&'static str),
    /// The key of a submission was used for another request.
    #[error("the Idempotency-Key was used for another request: send a new key with a new request")]
    KeyReused,
    /// An attempt of the same submission is under way, or ended so recently that its job may still appear.
    #[error(
        "an earlier attempt of this submission is under way{}, or ended a moment ago: send the same request again in {} s",
        .host.as_ref().map_or_else(String::new, |host| format!(" on {host}")), .wait.as_secs()
    )]
    UnderWay {
        /// The time after which the request should be sent again.
        wait: Duration,
        /// The host on which the attempt began, if known.
        host: Option<String>,
    },
    /// An earlier attempt of the same submission may have submitted the job, and the outcome is not known yet.
    #[error("an earlier attempt of this submission may have submitted the job ({reason}): send the same request again in {} s", .wait.as_secs())]
    Undecided {
        /// The time after which the request should be sent again.
        wait: Duration,
        /// The reason why it is not known.
        reason: String,
    },
    /// An earlier attempt of the same submission may have submitted the job, and nobody who can be asked knows.
    #[error(
        "an earlier attempt of this submission may have submitted the job, and that cannot be found out any more ({reason}): look for it among \
         your jobs of that time, and use a new Idempotency-Key if none of them is it"
    )]
    Undecidable {
        /// The reason why it is not known.
        reason: String,
    },
    /// The store, which was to hold the record of the submission, cannot be used: nothing was submitted.
    #[error("nothing was submitted, because the store that holds the records of submissions cannot be used")]
    RecordStore,
    /// The submission cannot be recorded, and so nothing was submitted.
    #[error(
        "nothing was submitted, because it cannot be recorded below your home directory ({0}): make that writable, or submit without Idempotency-Key"
    )]
    NoRecord(String),
}

/// A cancellation that comes after the job's end: it changes nothing, and succeeds for the job's owner, however long ago that was.
///
/// # Errors
/// [`SchedulerError::Denied`] where the job is another user's, as for one that runs.
fn cancel_ended(jobs: &[Job], principal: &Principal) -> Result<(), SchedulerError> {
    let owner = jobs.iter().filter_map(|job| job.user.as_deref()).find(|owner| *owner != principal.username.as_str());
    match owner {
        Some(_) => Err(SchedulerError::Denied("the job has ended, and is another user's: Access/permission denied".to_owned())),
        None => Ok(()),
    }
}

/// A member of a job's description that asks for something that the scheduler does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be given on this system: {reason}")]
pub struct RefusedMember {
    /// The member's name in documents.
    pub name: &'static str,
    /// Why, and what to do.
    pub reason: &'static str,
}

impl SchedulerError {
    /// The refusal of one member, with the reason and what to do.
    pub fn member(name: &'static str, reason: &'static str) -> Self {
        Self::Members(vec![RefusedMember { name, reason }])
    }

    /// Refuses the members that are marked, each with its reason, all at once.
    ///
    /// # Errors
    /// [`SchedulerError::Members`] if there is one.
    pub fn refuse_members(members: impl IntoIterator<Item = (&'static str, bool, &'static str)>) -> Result<(), Self> {
        let refused: Vec<RefusedMember> =
            members.into_iter().filter(|(_, is_refused, _)| *is_refused).map(|(name, _, reason)| RefusedMember { name, reason }).collect();
        if refused.is_empty() { Ok(()) } else { Err(Self::Members(refused)) }
    }

    /// Wraps a command's error under the name of the operation; for `map_err`.
    pub fn command(operation: &'static str) -> impl FnOnce(CommandError) -> Self {
        move |source| Self::Command { operation, source }
    }
}

impl Classify for SchedulerError {
    fn kind(&self) -> Kind {
        match self {
            Self::JobNotFound | Self::ScheduleNotFound => Kind::NotFound,
            Self::TooMuchOutput(_) => Kind::TooLarge,
            Self::Rejected(_) | Self::Members(_) | Self::KeyReused => Kind::Invalid,
            Self::QueueFull(_) => Kind::TooManyRequests,
            Self::UnderWay { .. } | Self::Undecided { .. } | Self::Undecidable { .. } => Kind::Conflict,
            Self::NoRecord(_) => Kind::DependencyFailed,
            Self::Denied(_) => Kind::Forbidden,
            Self::Down(_) | Self::Unanswered(_) | Self::RecordStore => Kind::Unavailable,
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
        matches!(self, Self::NoRecord(_)) || self.wrapped().is_some_and(Classify::is_final)
    }

    fn maybe_effected(&self) -> Option<bool> {
        match self {
            Self::Down(_) | Self::QueueFull(_) | Self::NoRecord(_) | Self::RecordStore => Some(false),
            Self::Unanswered(_) | Self::Undecided { .. } | Self::Undecidable { .. } => Some(true),
            other => other.wrapped().and_then(Classify::maybe_effected),
        }
    }
}
