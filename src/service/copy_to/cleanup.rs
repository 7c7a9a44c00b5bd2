//! Removes the growing files of a task that is not continued.

use futures::StreamExt;

use super::file::{mark_of, part_of};
use crate::domain::{FileType, RemotePath};
use crate::error::ErrorChain;
use crate::filesystem::{FilesystemError, Filter, Glob, ListOptions, WalkOptions, parts_with_nonces};
use crate::service::{Access, ServiceError};

/// Removes what the task left of files that were under way: beside the target, and in it if it is a directory. What cannot be removed now, the
/// search for abandoned files removes later.
pub(super) async fn remove_parts(id: &str, target: &Access, to: &RemotePath) {
    if let Err(error) = remove(id, target, to).await {
        tracing::warn!(task = id, error = %ErrorChain(&error), "the unfinished files of a task could not be removed: they are removed as abandoned");
    }
}

async fn remove(id: &str, target: &Access, to: &RemotePath) -> Result<(), ServiceError> {
    let (files, principal) = (target.files().await?, target.principal());
    let unless_missing = |result| match result {
        Err(FilesystemError::NotFound(_)) => Ok(()),
        result => result,
    };
    unless_missing(files.remove(principal, &part_of(id, to)).await)?;
    match files.stat(principal, to, true).await {
        Ok(found) if FileType::from_mode(found.mode) == FileType::Directory => {}
        Ok(_) | Err(FilesystemError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let list = ListOptions { hidden: true, numeric_ids: true, recursive: true, ..ListOptions::default() };
    let name = Glob::new(&parts_with_nonces(&mark_of(id))).ok();
    let filter = Filter { name, types: vec![FileType::Regular], ..Filter::default() };
    let mut parts = files.walk(principal, to, WalkOptions { list, filter, ..WalkOptions::default() }).await?;
    while let Some(found) = parts.next().await {
        for part in found? {
            unless_missing(files.remove(principal, &to.join(&part.name)).await)?;
        }
    }
    Ok(())
}
