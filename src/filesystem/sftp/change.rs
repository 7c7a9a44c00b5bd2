//! Creates, changes and removes entries.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::errors::{attributes, bytes, filesystem_error, making};
use super::listing::read_directory;
use super::protocol::{Attributes, NameEntry, Request, Status};
use super::session::{Failure, Session};
use crate::domain::{FileType, RemotePath};
use crate::filesystem::{FilesystemError, SOME_REMOVED};

/// The number of entries that are removed concurrently, on each level of a tree.
const CONCURRENT_REMOVALS: usize = 16;

/// The maximum depth of a tree that is removed.
const MAX_DEPTH: usize = 128;

/// Sets permission bits.
pub async fn chmod(session: &Session, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
    set_attributes(session, path, Attributes::with_mode(mode & 0o7777)).await
}

/// Sets attributes; links are followed.
pub async fn set_attributes(session: &Session, path: &RemotePath, attributes: Attributes) -> Result<(), FilesystemError> {
    match session.command(&Request::Setstat { path: bytes(path), attributes }).await {
        // SFTP has one code for both reasons. A user who can stat the entry lacks ownership, not access.
        Err(Failure::Status(Status::PermissionDenied, _)) => match session.request(&Request::Stat { path: bytes(path) }).await {
            Ok(_) => Err(FilesystemError::NotPermitted(path.clone())),
            Err(_) => Err(FilesystemError::Denied(path.clone())),
        },
        result => result.map_err(|failure| filesystem_error(path, failure)),
    }
}

/// Makes a directory, and with `parents` those above it.
pub async fn mkdir(session: &Session, path: &RemotePath, parents: bool) -> Result<(), FilesystemError> {
    if !parents {
        return make_directory(session, path, Attributes::default()).await.map_err(|error| error.in_making(path));
    }
    // Upwards to the first that can be made or exists, then down again.
    let mut missing = Vec::new();
    let mut at = path.clone();
    loop {
        match make_directory(session, &at, Attributes::default()).await {
            Ok(()) => break,
            Err(FilesystemError::Exists(_)) => {
                let found = attributes(session, &at, &Request::Stat { path: bytes(&at) }).await?;
                if found.file_type() == FileType::Directory {
                    break;
                }
                return Err(match missing.is_empty() {
                    true => FilesystemError::Exists(at),
                    false => FilesystemError::WrongType { path: at, reason: "Not a directory" },
                });
            }
            Err(FilesystemError::NotFound(path)) => {
                let Some(parent) = at.parent() else { return Err(FilesystemError::NotFound(path)) };
                missing.push(std::mem::replace(&mut at, parent));
            }
            Err(error) => return Err(error),
        }
    }
    for path in missing.iter().rev() {
        match make_directory(session, path, Attributes::default()).await {
            // Another process made it in the meantime.
            Ok(()) | Err(FilesystemError::Exists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a directory with these attributes.
pub async fn make_directory(session: &Session, path: &RemotePath, attributes: Attributes) -> Result<(), FilesystemError> {
    let request = Request::Mkdir { path: bytes(path), attributes };
    match session.command(&request).await {
        Ok(()) => Ok(()),
        Err(failure) => Err(making(session, path, failure).await),
    }
}

/// Makes a symbolic link.
pub async fn symlink(session: &Session, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError> {
    match session.command(&Request::Symlink { target: bytes(target), link: bytes(link) }).await {
        Ok(()) => Ok(()),
        Err(failure) => Err(making(session, link, failure).await.in_making(link)),
    }
}

/// The result of removing one path.
pub enum Removed {
    /// It was removed.
    Yes,
    /// It is a directory that is not empty.
    NotEmpty,
}

/// Removes anything except a directory that is not empty.
pub async fn remove_one(session: &Session, path: &RemotePath) -> Result<Removed, FilesystemError> {
    let found = attributes(session, path, &Request::Lstat { path: bytes(path) }).await?;
    if found.file_type() != FileType::Directory {
        let removed = session.command(&Request::Remove { path: bytes(path) }).await;
        return removed.map(|()| Removed::Yes).map_err(|failure| filesystem_error(path, failure));
    }
    match session.command(&Request::Rmdir { path: bytes(path) }).await {
        Ok(()) => Ok(Removed::Yes),
        Err(failure) => match filesystem_error(path, failure) {
            FilesystemError::Sftp { .. } => Ok(Removed::NotEmpty),
            error => Err(error),
        },
    }
}

/// Removes a directory with its content, only by requests, for sites where no command can be run.
///
/// It removes links and never follows one that it saw. Paths being all that the protocol has, it cannot prove that a directory
/// is not replaced by a link between two requests, as `rm -r` can; so that command is used wherever there is one.
pub fn remove_tree<'a>(session: &'a Arc<Session>, path: RemotePath, depth: usize) -> BoxFuture<'a, Result<(), FilesystemError>> {
    async move {
        if depth > MAX_DEPTH {
            return Err(FilesystemError::Invalid(format!("{path}: the tree is too deep to be removed")));
        }
        let entries = read_directory(session, &path).await?;
        let removed = remove_entries(session, &path, entries, depth).await;
        // The error of the whole tree, once.
        if depth == 0 { removed.map_err(|error| error.partly(SOME_REMOVED)) } else { removed }
    }
    .boxed()
}

/// Removes what is in a directory, then the directory.
async fn remove_entries(session: &Arc<Session>, path: &RemotePath, entries: Vec<NameEntry>, depth: usize) -> Result<(), FilesystemError> {
    stream::iter(entries)
        .map(|entry| {
            let path = path.join(&entry.name);
            async move {
                let is_directory = entry.attributes.file_type() == FileType::Directory;
                let removed = match is_directory {
                    true => return remove_tree(session, path, depth + 1).await,
                    false => session.command(&Request::Remove { path: bytes(&path) }).await,
                };
                removed.map_err(|failure| filesystem_error(&path, failure))
            }
        })
        .buffer_unordered(CONCURRENT_REMOVALS)
        .try_collect::<()>()
        .await?;
    session.command(&Request::Rmdir { path: bytes(path) }).await.map_err(|failure| filesystem_error(path, failure))
}
