//! Copies from one system to another, streamed through this process: tasks that go on after the request.
//!
//! A request is checked and becomes a task in the store ([`begin`]); [`run`] works on the tasks that are due, under a lease each. The user needs
//! `read` on the source and `write` on the target, when the task begins and for as long as it runs. Files are read and written by the
//! same operations as downloads and resumable uploads: a file appears under its name when it is whole, and its digest was compared.
//!
//! The token of the request is never stored. Where the credentials of a system are made without a token, the task goes on after the token has
//! ended; where they need one, it waits until its user sends a request with a newer one.

mod cleanup;
mod copy;
mod file;
mod progress;
mod tree;
mod worker;

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};

use super::audit::Change;
use super::contents::TransferForm;
use super::counts::Action;
use super::limits::{FollowPermit, LimitedUser};
use super::paths::{SLASH_OF_A_FILE, ends_with_slash};
use super::tasks::{Place, StoredTask, Task, Tasks};
use super::updates::expiry;
use super::{Access, Caller, Gate, InvalidRequest, ServiceError};
use crate::domain::{Alternative, FileStat, FileType, RemotePath};
use crate::filesystem::FilesystemError;

pub use worker::run;

const NO_TASKS: &str = "this service keeps no tasks: its configuration has no section `store`, where they would be kept";
const NO_SUCH_TASK: &str = "there is no such task: GET /tasks lists yours";
const EXISTS: &str = "the target exists: name another one, or set `overwrite` to replace the files that are there";
const OTHER_TYPE: &str = "the target exists, and is not of the type of the source: a file does not replace a directory, nor the reverse";

/// The interval at which a followed task is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A request to copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyRequest<'a> {
    /// The file or directory on the source system.
    pub source: &'a str,
    /// The name of the copy on the target system.
    pub target: &'a str,
    /// Whether files that are there are replaced.
    pub overwrite: bool,
}

/// Begins a copy from one system to another.
///
/// # Errors
/// If a path breaks the policy, the source cannot be copied, the target exists or cannot be made, there is no space for a file, or the user has
/// too many tasks.
pub async fn begin(source: &Access, target: &Access, request: CopyRequest<'_>) -> Result<Task, ServiceError> {
    let tasks = source.state().tasks.as_ref().ok_or(ServiceError::Unsupported(NO_TASKS))?;
    if source.cluster().name() == target.cluster().name() {
        let message = "it is the system of the source: `ops/cp` and `transfer/cp` copy within a system";
        return Err(InvalidRequest::new("target_system", message).into());
    }
    let from = source.path(request.source).await?;
    let to = target.new_path(request.target).await?;
    let found = source.files().await?.stat(source.principal(), &from, true).await?;
    let file_type = FileType::from_mode(found.mode);
    match file_type {
        FileType::Regular => check_file(source, target, &to, request.target, found.size).await?,
        FileType::Directory => {}
        _ => return Err(FilesystemError::WrongType { path: from, reason: "neither a file nor a directory" }.into()),
    }
    refuse_itself(source, found, target, &from, &to).await?;
    check_target(target, &to, file_type, request.overwrite).await?;

    let place = |access: &Access, path: &RemotePath| Place { system: access.cluster().name().clone(), path: path.to_text() };
    let (from, to) = (place(source, &from), place(target, &to));
    let change = Change::begin(target, Action::TransfersCopyToBegin, format!("{from} to {to}"));
    let stored = StoredTask::new(&target.requester(), from, to, request.overwrite);
    let max = target.state().limits.max_tasks;
    let added = tasks.add(stored, &target.requester().principal, max).await.map_err(ServiceError::from);
    change.end(added.and_then(|task| task.ok_or_else(|| too_many(max))))
}

fn too_many(max: u64) -> ServiceError {
    let message = format!(
        "you have {max} tasks that have not ended, the limit of one user (server.max_tasks_per_user): wait for one of them, or cancel it, \
         before another one"
    );
    ServiceError::TooMany(message.into())
}

/// Checks that a file may become the target: its size is allowed on both systems, and there is space for it.
async fn check_file(source: &Access, target: &Access, to: &RemotePath, text: &str, size: u64) -> Result<(), ServiceError> {
    for access in [source, target] {
        TransferForm::Stream.check(access, size, Alternative::TransferJob)?;
    }
    if ends_with_slash(text)? {
        return Err(InvalidRequest::new("target", SLASH_OF_A_FILE).into());
    }
    check_space(target, to, size).await
}

/// Checks that there is space for so many bytes. Where it is unknown how much is free, the copy finds out.
async fn check_space(target: &Access, to: &RemotePath, size: u64) -> Result<(), ServiceError> {
    let files = target.files().await?;
    match files.space(target.principal(), &to.parent().unwrap_or_else(|| to.clone())).await {
        Ok(space) if space.available < size => Err(FilesystemError::NoSpace(to.clone()).into()),
        _ => Ok(()),
    }
}

/// Refuses to copy what was found at `from` onto itself, or a directory into itself, which has no end: two systems may share their files. Where
/// one of them does not tell inode numbers, this is seen if it has the same place on both.
async fn refuse_itself(source: &Access, found: FileStat, target: &Access, from: &RemotePath, to: &RemotePath) -> Result<(), ServiceError> {
    let files = target.files().await?;
    // Access times differ where a directory was read meanwhile.
    let identity = |stat: FileStat| (stat.mode, stat.uid, stat.gid, stat.size, stat.mtime);
    let is_directory = FileType::from_mode(found.mode) == FileType::Directory;
    // Without links, which may lead into the source from elsewhere.
    let real = real_place(target, to).await?;
    for path in std::iter::successors(Some(real), RemotePath::parent).take(if is_directory { usize::MAX } else { 1 }) {
        let Ok(other) = files.stat(target.principal(), &path, true).await else { continue };
        let is_same = identity(found) == identity(other)
            && match (found.ino, other.ino) {
                (0, _) | (_, 0) => real_place(source, from).await? == path,
                (one, other) => one == other,
            };
        if is_same {
            let message = "it is the source, or lies within it: the two systems seem to share their files: copy it within one system";
            return Err(InvalidRequest::new("target", message).into());
        }
    }
    Ok(())
}

/// The path without links, as far as it exists.
async fn real_place(access: &Access, path: &RemotePath) -> Result<RemotePath, ServiceError> {
    let (files, user) = (access.files().await?, access.principal());
    if let Ok(real) = files.resolve(user, path).await {
        return Ok(real);
    }
    let Some(parent) = path.parent() else { return Ok(path.clone()) };
    Ok(files.resolve(user, &parent).await.map_or_else(|_| path.clone(), |parent| parent.join(path.file_name())))
}

/// Checks that the target may be made: nothing is there, or what is there may be overwritten; and there is a directory for it.
async fn check_target(access: &Access, to: &RemotePath, file_type: FileType, overwrite: bool) -> Result<(), ServiceError> {
    let (files, principal) = (access.files().await?, access.principal());
    match files.stat(principal, to, false).await {
        Ok(_) if !overwrite => Err(ServiceError::Conflict(EXISTS.into())),
        Ok(_) => match files.stat(principal, to, true).await {
            Ok(found) if FileType::from_mode(found.mode) == file_type => Ok(()),
            _ => Err(ServiceError::Conflict(OTHER_TYPE.into())),
        },
        Err(FilesystemError::NotFound(_)) => {
            let Some(directory) = to.parent() else { return Ok(()) };
            match files.stat(principal, &directory, true).await {
                Ok(found) if FileType::from_mode(found.mode) == FileType::Directory => Ok(()),
                Ok(_) => Err(FilesystemError::WrongType { path: directory, reason: "Not a directory" }.into()),
                Err(FilesystemError::NotFound(_)) => Err(FilesystemError::NoDirectory(directory).into()),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// The tasks of the caller, the newest first.
///
/// # Errors
/// If there are no tasks here, or the store does not answer.
pub async fn list(gate: &Gate, caller: &Caller) -> Result<Vec<Task>, ServiceError> {
    Ok(tasks(gate)?.of_user(&caller.principal().username).await?)
}

/// A task of the caller.
///
/// # Errors
/// If there is none, or the store does not answer.
pub async fn get(gate: &Gate, caller: &Caller, id: &str) -> Result<Task, ServiceError> {
    find(&tasks(gate)?, caller, id).await
}

/// Cancels a task of the caller; one that has ended is no longer shown.
///
/// # Errors
/// If there is none, or the store does not answer.
pub async fn cancel(gate: &Gate, caller: &Caller, id: &str) -> Result<(), ServiceError> {
    let tasks = tasks(gate)?;
    if find(&tasks, caller, id).await?.state.is_final() {
        return Ok(tasks.remove(id).await?);
    }
    tasks.cancel(id, &caller.principal().username).await?;
    Ok(tasks.hasten(id).await?)
}

/// The state of a task of the caller whenever it changes, until it has ended, or the caller's token has.
///
/// # Errors
/// If there is none, the caller follows too much already, or the store does not answer.
pub async fn follow(gate: &Gate, caller: &Caller, id: &str) -> Result<BoxStream<'static, Result<Task, ServiceError>>, ServiceError> {
    let tasks = tasks(gate)?;
    let first = find(&tasks, caller, id).await?;
    let permit = FollowPermit::of_task(LimitedUser { limits: &gate.state().limits, username: &caller.principal().username })?;
    let end = expiry(caller.principal());
    let (caller, id) = (caller.clone(), id.to_owned());
    let changes = stream::unfold(Some(first.clone()), move |last| {
        let (tasks, caller, id) = (tasks.clone(), caller.clone(), id.clone());
        async move {
            let last = last.filter(|task| !task.state.is_final())?;
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                match find(&tasks, &caller, &id).await {
                    Ok(task) if task == last => {}
                    Ok(task) => return Some((Ok(task.clone()), Some(task))),
                    Err(error) => return Some((Err(error), None)),
                }
            }
        }
    });
    Ok(stream::iter([Ok(first)]).chain(changes).take_until(end).inspect(move |_| _ = &permit).boxed())
}

async fn find(tasks: &Tasks, caller: &Caller, id: &str) -> Result<Task, ServiceError> {
    let found = tasks.get(id).await?.filter(|task| *task.username() == caller.principal().username);
    let mut task = found.ok_or(ServiceError::NotFound(NO_SUCH_TASK))?.into_task(id.to_owned());
    task.cancel_requested = !task.state.is_final() && tasks.is_cancelled(id).await?;
    Ok(task)
}

fn tasks(gate: &Gate) -> Result<Tasks, ServiceError> {
    gate.state().tasks.ok_or(ServiceError::Unsupported(NO_TASKS))
}
