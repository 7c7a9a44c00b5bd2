//! Removes the growing files of a task that is not continued.

use super::copy::FILES_AT_A_TIME;
use super::file::part_of;
use super::tree::{Step, Tree};
use crate::domain::{FileType, RemotePath, text_to_bytes};
use crate::error::ErrorChain;
use crate::service::{Access, ServiceError};

/// Removes what the task left of files that were under way: those behind the entry `cursor`, of which there are few. What cannot be removed now,
/// the search for abandoned files removes later.
pub(super) async fn remove_parts(id: &str, source: &Access, target: &Access, ends: (&RemotePath, &RemotePath), cursor: Option<&str>) {
    if let Err(error) = remove(id, source, target, ends, cursor).await {
        tracing::warn!(task = id, error = %ErrorChain(&error), "the unfinished files of a task could not be removed: they are removed as abandoned");
    }
}

async fn remove(
    id: &str,
    source: &Access,
    target: &Access,
    (from, to): (&RemotePath, &RemotePath),
    cursor: Option<&str>,
) -> Result<(), ServiceError> {
    discard(id, target, to).await?;
    let sources = source.files().await?;
    let found = sources.stat(source.principal(), from, true).await?;
    if FileType::from_mode(found.mode) != FileType::Directory {
        return Ok(());
    }
    let cursor = cursor.map(text_to_bytes);
    let mut tree = Tree::new(sources, source.principal(), from, found.mode, cursor.as_deref()).await?;
    let mut left = 2 * FILES_AT_A_TIME;
    while let Some(step) = tree.next().await? {
        if let Step::File(path, _) = step {
            discard(id, target, &to.join(&path)).await?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    Ok(())
}

async fn discard(id: &str, target: &Access, to: &RemotePath) -> Result<(), ServiceError> {
    // In general it is not there.
    let _ = target.files().await?.remove(target.principal(), &part_of(id, to)).await;
    Ok(())
}
