//! Request and response documents of tasks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::enumeration::enum_schema;
use crate::http::extract::parameters::lenient;
use crate::http::problem;
use crate::service::tasks::{Place, Task, TaskFailure, TaskProgress, TaskState};

/// A copy to another system. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir", "targetSystem": "other", "targetPath": "/home/user/copy"}))]
pub(in crate::http) struct CopyToRequest {
    /// The absolute path of a file or directory, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The system to copy to.
    #[serde(alias = "target_system")]
    pub(in crate::http) target_system: String,
    /// The absolute path of the copy on that system, inside a configured file system. It is the name of the copy, never a directory to place it in.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// Replace the files that are there; what else is in a directory stays. Otherwise the target must not exist.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) overwrite: bool,
}

enum_schema! {
    /// The state of a task: `queued`, `running`, or `waiting` for the reason in `reason`; `completed`, `failed` for the reason in `reason`, or
    /// `cancelled` when it has ended.
    TaskStateModel of [
        TaskState::Queued, TaskState::Running, TaskState::Waiting, TaskState::Completed, TaskState::Failed, TaskState::Cancelled,
    ]
}

/// A file or directory on a system.
#[derive(Serialize, ToSchema)]
struct TaskPlace {
    /// The system.
    #[schema(example = "daint")]
    system: String,
    /// The path.
    #[schema(example = "/home/user/dir")]
    path: String,
}

impl From<Place> for TaskPlace {
    fn from(Place { system, path }: Place) -> Self {
        Self { system: system.to_string(), path }
    }
}

/// How far a task has come.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TaskProgress)]
struct TaskProgressModel {
    /// Files that are complete at the target.
    files: u64,
    /// Bytes that have arrived at the target.
    bytes: u64,
    /// The number of files; absent until they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_files: Option<u64>,
    /// Their size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    /// Bytes per second, over the last seconds.
    bytes_per_second: u64,
    /// The number of entries that are not copied: symbolic links, and what is neither a file nor a directory.
    skipped: u64,
    /// The path of the first of them, relative to the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_skipped: Option<String>,
}

impl From<TaskProgress> for TaskProgressModel {
    fn from(progress: TaskProgress) -> Self {
        let TaskProgress { files, bytes, total_files, total_bytes, skipped, first_skipped, rate } = progress;
        Self { files, bytes, total_files, total_bytes, bytes_per_second: rate, skipped, first_skipped }
    }
}

/// Why a task waits or was given up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TaskReason {
    /// The status that a request has that fails for this reason.
    #[schema(example = 409)]
    status: u16,
    /// The reason.
    message: String,
    /// When it happened (RFC 3339).
    time: String,
}

impl From<TaskFailure> for TaskReason {
    fn from(TaskFailure { kind, message, at }: TaskFailure) -> Self {
        Self { status: problem::status(kind).as_u16(), message, time: at.to_string() }
    }
}

/// A task.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Task)]
pub(in crate::http) struct TaskModel {
    /// Its id.
    #[schema(example = "task-0123456789abcdef0123456789abcdef")]
    id: String,
    /// What is copied.
    source: TaskPlace,
    /// Where it is copied to.
    target: TaskPlace,
    /// Whether files that are there are replaced.
    overwrite: bool,
    /// Its state.
    #[schema(value_type = TaskStateModel)]
    state: TaskState,
    /// Whether it has ended.
    is_final: bool,
    /// Whether it is being cancelled: it ends within seconds.
    cancel_requested: bool,
    /// Why it waits or was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<TaskReason>,
    /// How far it has come.
    progress: TaskProgressModel,
    /// When it was created (RFC 3339).
    created: String,
    /// When this was last written.
    updated: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
}

impl From<Task> for TaskModel {
    fn from(task: Task) -> Self {
        let Task { id, source, target, overwrite, state, cancel_requested, created, updated, ended, progress, failure } = task;
        Self {
            id,
            source: source.into(),
            target: target.into(),
            overwrite,
            state,
            is_final: state.is_final(),
            cancel_requested,
            reason: failure.map(TaskReason::from),
            progress: progress.into(),
            created: created.to_string(),
            updated: updated.to_string(),
            ended: ended.map(|ended| ended.to_string()),
        }
    }
}

/// A task that was created.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CopyToResponse {
    pub(in crate::http) task: TaskModel,
}

/// The tasks of the caller, the newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetTasksResponse {
    pub(in crate::http) tasks: Vec<TaskModel>,
}
