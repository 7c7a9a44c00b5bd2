//! A task as it is shown, and as it is kept in the store. No token is kept.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{Principal, SystemName, Username};
use crate::error::{Classify, Kind};
use crate::service::audit::Requester;
use crate::service::stored_requester::StoredRequester;

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// It waits for a process that works on it.
    Queued,
    /// It is worked on.
    Running,
    /// It waits, for the reason that is shown: for a system that does not answer, or for a valid token of its user.
    Waiting,
    /// All of it was done.
    Completed,
    /// It was given up, for the reason that is shown.
    Failed,
    /// Its user cancelled it.
    Cancelled,
}

impl TaskState {
    /// Its name, as clients and operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The system.
    pub system: SystemName,
    /// The path there, as text.
    pub path: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.system, self.path)
    }
}

/// How far a copy has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Files that are complete at the target.
    pub files: u64,
    /// Bytes that have arrived at the target.
    pub bytes: u64,
    /// The number of files, once they are counted.
    pub total_files: Option<u64>,
    /// Their size in bytes.
    pub total_bytes: Option<u64>,
    /// Entries that are not copied: links, and what is neither a file nor a directory.
    pub skipped: u64,
    /// The first of them.
    pub first_skipped: Option<String>,
    /// Bytes per second of late.
    pub rate: u64,
}

/// The entries, in the order of the walk, that are done, and what they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::service) struct Done {
    /// The last of them, as text, relative to the source; none at the start.
    pub(in crate::service) cursor: Option<String>,
    /// The path of the source without symbolic links, as the first attempt found it.
    #[serde(default)]
    pub(in crate::service) real_source: Option<String>,
    /// Whether an attempt was about to make something at the target.
    #[serde(default)]
    pub(in crate::service) has_begun: bool,
    /// The directories, as the entries, that the task has made and is in.
    #[serde(default)]
    pub(in crate::service) made: Vec<String>,
    /// The number of files, and their bytes.
    pub(in crate::service) files: u64,
    pub(in crate::service) bytes: u64,
    /// The number of entries that are not copied, and the first of them.
    pub(in crate::service) skipped: u64,
    pub(in crate::service) first_skipped: Option<String>,
}

/// Why a task waits or was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TaskFailure {
    /// The class of the failure.
    pub kind: Kind,
    /// The message for the user.
    pub message: String,
    /// When it happened.
    pub at: Timestamp,
}

impl Classify for TaskFailure {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// A task of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// What is copied.
    pub source: Place,
    /// Where it is copied to.
    pub target: Place,
    /// Whether files that are there are replaced.
    pub overwrite: bool,
    /// Its state.
    pub state: TaskState,
    /// Whether it has not ended, and its user wants it cancelled.
    pub cancel_requested: bool,
    /// When it was created.
    pub created: Timestamp,
    /// When this was last written.
    pub updated: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How far it has come.
    pub progress: TaskProgress,
    /// Why it waits or was given up.
    pub failure: Option<TaskFailure>,
}

/// A task in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::service) struct StoredTask {
    pub(in crate::service) source: Place,
    pub(in crate::service) target: Place,
    pub(in crate::service) overwrite: bool,
    pub(in crate::service) state: TaskState,
    pub(in crate::service) created: Timestamp,
    pub(in crate::service) updated: Timestamp,
    pub(in crate::service) ended: Option<Timestamp>,
    pub(in crate::service) progress: TaskProgress,
    pub(in crate::service) failure: Option<TaskFailure>,
    /// What the next attempt need not look at.
    pub(in crate::service) done: Done,
    /// The number of times that work on it began.
    pub(in crate::service) attempts: u32,
    /// Failures in a row without progress between them.
    pub(in crate::service) failures: u32,
    /// How far it ever came, as a number that grows.
    pub(in crate::service) furthest: u64,
    /// The time of the last progress.
    pub(in crate::service) progressed: Timestamp,
    requester: StoredRequester,
}

impl StoredTask {
    /// A task that nobody has worked on.
    pub(in crate::service) fn new(requester: &Requester, source: Place, target: Place, overwrite: bool) -> Self {
        let now = Timestamp::now();
        Self {
            source,
            target,
            overwrite,
            state: TaskState::Queued,
            created: now,
            updated: now,
            ended: None,
            progress: TaskProgress::default(),
            failure: None,
            done: Done::default(),
            attempts: 0,
            failures: 0,
            furthest: 0,
            progressed: now,
            requester: StoredRequester::of(requester),
        }
    }

    /// Its user.
    pub(in crate::service) fn username(&self) -> &Username {
        &self.requester.username
    }

    /// The subject of its user's token.
    pub(in crate::service) fn subject(&self) -> &str {
        &self.requester.subject
    }

    /// Its requester, with this token, or without one.
    pub(in crate::service) fn requester(&self, principal: Option<Arc<Principal>>) -> Requester {
        self.requester.requester(principal)
    }

    /// It as it is shown.
    pub(in crate::service) fn into_task(self, id: String) -> Task {
        let Self { source, target, overwrite, state, created, updated, ended, progress, failure, .. } = self;
        Task { id, source, target, overwrite, state, cancel_requested: false, created, updated, ended, progress, failure }
    }
}
