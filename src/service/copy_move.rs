//! Copying, moving and touching files on a cluster.

use crate::domain::{DirectoryEntry, RemotePath};
use crate::filesystem::CopyOptions;

use super::audit::Change;
use super::counts::Action;
use super::{Access, InvalidRequest, Place, ServiceError};

/// Copies a file, a link or a tree to `target`, its new name, and gives the new entry.
///
/// # Errors
/// When a path breaks the policy, the target lies in the source or is one of the file systems, or the cluster does not do it.
pub async fn copy(access: &Access, source: &str, target: &str, options: CopyOptions) -> Result<DirectoryEntry, ServiceError> {
    let source = access.path(source).await?;
    let target = target_of(access, &source, target).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesCopy, format!("{source} to {target}"));
    change.end(files.copy(access.principal(), &source, &target, options).await)?;
    Ok(files.entry(access.principal(), &target).await?)
}

/// Moves a file, a link or a tree to `target`, its new name, and gives the moved entry.
///
/// # Errors
/// When a path breaks the policy, one of them is one of the file systems, the target lies in the source, or the cluster does not
/// do it.
pub async fn rename(access: &Access, source: &str, target: &str, overwrite: bool) -> Result<DirectoryEntry, ServiceError> {
    let source = access.entry_path(source).await?;
    let target = target_of(access, &source, target).await?;
    if access.cluster().holds_file_system(&source) {
        return Err(InvalidRequest::new(Place::Document, "sourcePath", "a configured file system cannot be moved").into());
    }
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesMove, format!("{source} to {target}"));
    change.end(files.rename(access.principal(), &source, &target, overwrite).await)?;
    Ok(files.entry(access.principal(), &target).await?)
}

/// Sets a file's times to now, makes an empty one where there is none, and gives its entry.
///
/// # Errors
/// When the path breaks the policy, or the cluster does not do it.
pub async fn touch(access: &Access, path: &str) -> Result<DirectoryEntry, ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesTouch, path.to_text());
    change.end(files.touch(access.principal(), &path).await)?;
    Ok(files.entry(access.principal(), &path).await?)
}

/// The target of a copy or a move, which is neither in its source nor a file system.
async fn target_of(access: &Access, source: &RemotePath, target: &str) -> Result<RemotePath, ServiceError> {
    let target = access.new_path(target).await?;
    if target.is_within(source) {
        return Err(InvalidRequest::new(Place::Document, "targetPath", "it is, or lies in, what is to be copied or moved").into());
    }
    if access.cluster().holds_file_system(&target) {
        return Err(InvalidRequest::new(Place::Document, "targetPath", "a configured file system cannot be replaced").into());
    }
    Ok(target)
}
