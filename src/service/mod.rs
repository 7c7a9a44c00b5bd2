//! The use cases, as functions: `jobs::submit(&access, submission)`.
//!
//! Policy lives here: who may reach a cluster ([`Gate`], [`Access`]), which paths a request may name, what a job description
//! may contain, and the audit line of every change. This module must not know HTTP or how a cluster is accessed.
//! To add a use case: a function that takes [`Access`], in the file of its subject.

mod access;
mod accounting;
mod audit;
pub mod batch;
pub mod bulk;
pub mod changes;
pub mod commands;
pub mod contents;
pub mod copy_to;
mod counts;
pub mod entries;
pub mod file_transfer;
pub mod follow;
mod grep;
mod idempotency;
pub mod jobs;
mod limits;
pub mod links;
pub mod logs;
pub mod many;
pub mod native_jobs;
pub mod object_transfer;
mod paths;
mod ready;
pub mod schedules;
mod shared_follow;
pub mod shares;
mod state;
pub mod status;
pub mod storage;
mod stored_requester;
pub mod streaming;
mod streams;
mod submission;
pub mod tasks;
pub mod templates;
mod text;
pub mod transfers;
mod updates;
mod upload_files;
mod upload_locks;
pub mod uploads;
pub mod usage;
pub mod watching;
pub mod webhooks;

use std::borrow::Cow;
use std::sync::Arc;

use crate::cluster::GateError;
use crate::domain::Alternative;
use crate::error::{Classify, Kind};
use crate::filesystem::{Expected, FilesystemError};
use crate::notify::WebhookError;
use crate::scheduler::SchedulerError;
use crate::ssh::TransportError;
use crate::transfer::s3::ObjectStoreError;

pub use access::{Access, AccessError, Caller, Gate};
pub use accounting::AccountingRequest;
pub use counts::{ChangeCount, Decisions, SystemCounts, TokenCounts};
pub use idempotency::IdempotencyKey;
pub use limits::UserBounds;
pub use ready::{Ready, ReadyPermit};
pub use state::State;
pub use submission::Submission;

/// Why a use case did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The request has invalid values.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The cluster lacks the capability, or a path breaks the policy.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The scheduler did not do it.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// It is unknown whether the scheduler accepted a job; the second part says how to find out.
    #[error("{0}; {1}")]
    MaybeSubmitted(#[source] SchedulerError, Cow<'static, str>),
    /// The file operation was not done.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// The file, or the requested part, is larger than this limit in bytes; the alternative has no such limit.
    #[error("the file is larger than the limit of {0} bytes")]
    TooLarge(u64, Alternative),
    /// The object store did not do it.
    #[error(transparent)]
    ObjectStore(#[from] ObjectStoreError),
    /// The webhook was not registered, or cannot be read.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The caller has reached a limit of concurrent work.
    #[error("{0}")]
    TooMany(Cow<'static, str>),
    /// The request asks for too much work; the text names the limit.
    #[error("{0}")]
    TooMuch(Cow<'static, str>),
    /// The file's state is not the expected one.
    #[error(transparent)]
    Precondition(FilesystemError),
    /// The content of an upload does not match the announced checksum.
    #[error(transparent)]
    Checksum(FilesystemError),
    /// This service does not do it, for this reason.
    #[error("{0}")]
    Unsupported(&'static str),
    /// There is no such object; the message says where the existing ones are listed.
    #[error("{0}")]
    NotFound(&'static str),
    /// It was there, and is no more, for this reason.
    #[error("{0}")]
    Gone(&'static str),
    /// The caller may not do this on the cluster, for this reason.
    #[error("{0}")]
    Forbidden(String),
    /// The cluster could not be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It would affect more than the named object, for this reason.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// Another request works on the same upload and does not end.
    #[error("another request is still working on this upload")]
    Busy,
    /// Work that several callers wait for failed.
    #[error("{0}")]
    Shared(#[source] Arc<Self>),
}

impl ServiceError {
    /// Whether the scheduler has no such job, or schedule.
    pub fn is_unknown_job(&self) -> bool {
        matches!(self, Self::Scheduler(SchedulerError::JobNotFound | SchedulerError::ScheduleNotFound))
    }

    /// The alternative for the failed operation, if there is one.
    pub fn alternative(&self) -> Option<Alternative> {
        match self {
            Self::TooLarge(_, alternative) => Some(*alternative),
            Self::Filesystem(source) => source.alternative(),
            _ => None,
        }
    }

    /// The error for a write that was to find this.
    fn unless(error: FilesystemError, expected: Expected) -> Self {
        match (&error, expected) {
            (FilesystemError::Exists(_), Expected::Nothing)
            | (FilesystemError::Changed(_) | FilesystemError::NotFound(_), Expected::Version(_)) => Self::Precondition(error),
            _ => error.into(),
        }
    }

    /// The error that this one only passes on, or its own kind.
    fn wrapped_or_kind(&self) -> Result<&dyn Classify, Kind> {
        match self {
            Self::Gate(source) => Ok(source),
            Self::Scheduler(source) | Self::MaybeSubmitted(source, _) => Ok(source),
            Self::Filesystem(source) | Self::Precondition(source) | Self::Checksum(source) => Ok(source),
            Self::ObjectStore(source) => Ok(source),
            Self::Webhook(source) => Ok(source),
            Self::Store(source) => Ok(source),
            Self::Transport(source) => Ok(source),
            Self::Shared(source) => Ok(&**source),
            Self::Invalid(_) => Err(Kind::Invalid),
            Self::TooMany(_) => Err(Kind::TooManyRequests),
            Self::TooLarge(..) | Self::TooMuch(_) => Err(Kind::TooLarge),
            Self::Unsupported(_) => Err(Kind::Unsupported),
            Self::NotFound(_) => Err(Kind::NotFound),
            Self::Gone(_) => Err(Kind::Gone),
            Self::Forbidden(_) => Err(Kind::Forbidden),
            Self::Busy | Self::Conflict(_) => Err(Kind::Conflict),
        }
    }

    /// The same error, with the alternative if something is too large.
    fn or_by(error: FilesystemError, alternative: Alternative) -> Self {
        match error {
            FilesystemError::TooLarge(limit) => Self::TooLarge(limit, alternative),
            error => error.into(),
        }
    }
}

impl Classify for ServiceError {
    fn kind(&self) -> Kind {
        self.wrapped_or_kind().map_or_else(|kind| kind, Classify::kind)
    }

    fn wrapped(&self) -> Option<&dyn Classify> {
        self.wrapped_or_kind().ok()
    }

    fn public_message(&self) -> Cow<'static, str> {
        match self {
            Self::MaybeSubmitted(source, way) => format!("{}; {way}", source.public_message()).into(),
            _ => self.wrapped().map_or_else(|| self.to_string().into(), Classify::public_message),
        }
    }
}

/// A request with invalid values; names every wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequest {
    fields: Vec<InvalidField>,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// The parameter of the use case, or the field of its request type, such as `page_size`. Its place in an HTTP request, and its
    /// name there, are known to `http`.
    pub name: Cow<'static, str>,
    /// The error and how to correct it.
    pub message: String,
}

impl InvalidField {
    /// Creates the error for a field.
    pub fn new(name: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }
}

impl InvalidRequest {
    /// A request with one wrong field.
    pub fn new(name: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { fields: vec![InvalidField::new(name, message)] }
    }

    /// The wrong fields; never empty.
    pub fn fields(&self) -> &[InvalidField] {
        &self.fields
    }
}

impl std::error::Error for InvalidRequest {}

impl std::fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} validation error/s occurred", self.fields.len())?;
        for (index, field) in self.fields.iter().enumerate() {
            write!(f, "{} {}: {}", if index == 0 { ":" } else { ";" }, field.name, field.message)?;
        }
        Ok(())
    }
}

impl FromIterator<InvalidField> for InvalidRequest {
    fn from_iter<I: IntoIterator<Item = InvalidField>>(fields: I) -> Self {
        Self { fields: fields.into_iter().collect() }
    }
}
