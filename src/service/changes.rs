//! Changes of entries: create, move, copy, remove, change permissions.
//!
//! Every path of a request passes `Access::path` or one of its variants, including targets.

use super::audit::Change;
use super::counts::Action;
use super::text::{Findings, check_line};
use super::{Access, InvalidRequest, ServiceError};
use crate::domain::{CompressOptions, Compression, DirectoryEntry, FileMode, FileType, RemotePath};
use crate::filesystem::{ARCHIVE_IS_SOURCE, CopyOptions, FileSystem, FilesystemError};

/// Sets permission bits, given in octal or as a symbolic mode, and returns the changed entry.
///
/// # Errors
/// If the mode is neither, the path breaks the policy, or the cluster does not allow it.
pub async fn chmod(access: &Access, path: &str, mode: &str) -> Result<DirectoryEntry, ServiceError> {
    let mode = FileMode::parse(mode);
    let wrong = || InvalidRequest::new("mode", "it must be octal, from 0 to 7777, or symbolic, such as `u+x,go-w`");
    let mode = mode.ok_or_else(wrong)?;
    let path = access.path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesChmod, format!("{path} to {mode}"));
    change.end(files.chmod(access.principal(), &path, &mode).await)?;
    changed_entry(access, files, &path).await
}

/// Sets owner and group, if given, and returns the changed entry.
///
/// # Errors
/// If neither is given, a name cannot be one, the path breaks the policy, or the cluster does not allow it.
pub async fn chown(access: &Access, path: &str, owner: &str, group: &str) -> Result<DirectoryEntry, ServiceError> {
    let owner = posix_name("owner", owner)?;
    let group = posix_name("group", group)?;
    if owner.is_none() && group.is_none() {
        return Err(InvalidRequest::new("owner", "give `owner`, `group` or both").into());
    }
    let path = access.path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesChown, format!("{path} to {}:{}", owner.unwrap_or(""), group.unwrap_or("")));
    change.end(files.chown(access.principal(), &path, owner, group).await)?;
    changed_entry(access, files, &path).await
}

/// Creates a directory, with `parents` also the missing ones above it, and returns its entry.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not allow it.
pub async fn mkdir(access: &Access, path: &str, parents: bool) -> Result<DirectoryEntry, ServiceError> {
    let path = access.new_path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesMkdir, path.to_text());
    change.end(files.mkdir(access.principal(), &path, parents).await)?;
    changed_entry(access, files, &path).await
}

/// Creates the symbolic link `link` to `target` and returns its entry.
///
/// # Errors
/// If a path breaks the policy, or the cluster does not allow it.
pub async fn symlink(access: &Access, target: &str, link: &str) -> Result<DirectoryEntry, ServiceError> {
    let target = access.new_path(target).await?;
    let link = access.path(link).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesSymlink, format!("{link} to {target}"));
    change.end(files.symlink(access.principal(), &target, &link).await)?;
    changed_entry(access, files, &link).await
}

/// Removes a file or a directory with all that is in it.
///
/// # Errors
/// If the path breaks the policy, is a configured file system itself, or the cluster does not allow it.
pub async fn remove(access: &Access, path: &str) -> Result<(), ServiceError> {
    let path = access.entry_path(path, "path").await?;
    refuse_file_system(access, &path, "path")?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesRemove, path.to_text());
    Ok(change.end(files.remove(access.principal(), &path).await)?)
}

/// Packs `source` into the archive `target`.
///
/// # Errors
/// If a path or the pattern breaks a rule, or the cluster does not do it.
pub async fn compress(access: &Access, source: &str, target: &str, options: CompressOptions) -> Result<(), ServiceError> {
    check_pattern(&options)?;
    let source = access.path(source).await?;
    let target = access.path(target).await?;
    refuse_source_as_archive(&source, &target)?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesCompress, format!("{source} to {target}"));
    Ok(change.end(files.compress(access.principal(), &source, &target, &options).await)?)
}

/// Unpacks the archive `source` into the directory `target`.
///
/// # Errors
/// If a path breaks the policy, or the cluster does not do it.
pub async fn extract(access: &Access, source: &str, target: &str, compression: Compression) -> Result<(), ServiceError> {
    let source = access.path(source).await?;
    let target = access.path(target).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesExtract, format!("{source} to {target}"));
    Ok(change.end(files.extract(access.principal(), &source, &target, compression).await)?)
}

/// Copies a file, a link or a tree to `target`, its new name, and returns the new entry.
///
/// # Errors
/// If a path breaks the policy, the target lies in the source or is one of the file systems, or the cluster does not do it.
pub async fn copy(access: &Access, source: &str, target: &str, options: CopyOptions) -> Result<DirectoryEntry, ServiceError> {
    let source = access.path(source).await?;
    let target = target_of(access, &source, target, options.dereference).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesCopy, format!("{source} to {target}"));
    let copied = change.end(files.copy(access.principal(), &source, &target, options).await);
    if let Err(error) = copied {
        return Err(into_a_directory(access, &source, &target, error).await);
    }
    changed_entry(access, files, &target).await
}

/// Moves a file, a link or a tree to `target`, its new name, and returns the moved entry.
///
/// # Errors
/// If a path breaks the policy, one of them is one of the file systems, the target lies in the source, or the cluster does not
/// do it.
pub async fn rename(access: &Access, source: &str, target: &str, overwrite: bool) -> Result<DirectoryEntry, ServiceError> {
    let source = access.entry_path(source, "source").await?;
    let target = target_of(access, &source, target, false).await?;
    if access.cluster().holds_file_system(&source) {
        return Err(InvalidRequest::new("source", "a configured file system cannot be moved").into());
    }
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesMove, format!("{source} to {target}"));
    let moved = change.end(files.rename(access.principal(), &source, &target, overwrite).await);
    if let Err(error) = moved {
        return Err(into_a_directory(access, &source, &target, error).await);
    }
    changed_entry(access, files, &target).await
}

/// Sets a file's times to now, creates an empty file if there is none, and returns its entry.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not do it.
pub async fn touch(access: &Access, path: &str) -> Result<DirectoryEntry, ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesTouch, path.to_text());
    change.end(files.touch(access.principal(), &path).await)?;
    changed_entry(access, files, &path).await
}

/// The entry of what was just changed through `files`.
async fn changed_entry(access: &Access, files: &dyn FileSystem, path: &RemotePath) -> Result<DirectoryEntry, ServiceError> {
    let entry = files.entry(access.principal(), path).await;
    Ok(entry.map_err(|error| error.partly("the change itself was made"))?)
}

/// Refuses a path whose disappearance would take a configured file system with it.
pub(super) fn refuse_file_system(access: &Access, path: &RemotePath, field: &'static str) -> Result<(), InvalidRequest> {
    if access.cluster().holds_file_system(path) {
        return Err(InvalidRequest::new(field, "a configured file system cannot be removed"));
    }
    Ok(())
}

/// Checks the expression that chooses files for an archive.
pub(super) fn check_pattern(options: &CompressOptions) -> Result<(), InvalidRequest> {
    match options.match_pattern.as_deref().map(|pattern| check_line(pattern, 4095)) {
        Some(Err(message)) => Err(InvalidRequest::new("match_pattern", message)),
        _ => Ok(()),
    }
}

/// Refuses an archive whose path is that of its source. Other paths to it or into it are detected on the cluster (`refuse_archive_in_source` in `place.sh`).
pub(super) fn refuse_source_as_archive(source: &RemotePath, target: &RemotePath) -> Result<(), InvalidRequest> {
    if source == target {
        return Err(InvalidRequest::new("target", ARCHIVE_IS_SOURCE));
    }
    Ok(())
}

/// Refuses a target that is its source, or lies in it. Other paths to it are detected on the cluster (`refuse_same_file` in `place.sh`).
pub(super) fn refuse_target_in_source(source: &RemotePath, target: &RemotePath) -> Result<(), InvalidRequest> {
    if target.is_within(source) {
        return Err(InvalidRequest::new("target", "it is, or lies in, what is to be copied or moved"));
    }
    Ok(())
}

/// A user's or group's name or number; an empty one is absent.
fn posix_name<'a>(field: &'static str, name: &'a str) -> Result<Option<&'a str>, InvalidRequest> {
    let mut findings = Findings::default();
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/');
    if name.len() > 256 || name.starts_with('-') || name.contains(bad) {
        findings.add(field, "it is not the name or number of a user or group");
    }
    findings.into_result()?;
    Ok(Some(name).filter(|name| !name.is_empty()))
}

/// The error of a copy or a move: where the target is a directory, into which cp(1) and mv(1) would have put the source, with the name to give.
async fn into_a_directory(access: &Access, source: &RemotePath, target: &RemotePath, error: FilesystemError) -> ServiceError {
    let names_target = match &error {
        FilesystemError::Exists(path) | FilesystemError::WrongType { path, reason: "Is a directory" } => path == target,
        _ => false,
    };
    let Ok(files) = access.files().await else { return error.into() };
    if !names_target || source.file_name().is_empty() {
        return error.into();
    }
    match files.stat(access.principal(), target, true).await {
        Ok(found) if FileType::from_mode(found.mode) == FileType::Directory => {
            let name = target.join(source.file_name());
            FilesystemError::Invalid(format!("{error}: it is a directory, and `targetPath` is the new name: write {name}")).into()
        }
        _ => error.into(),
    }
}

/// The target of a copy or a move, which is neither in its source nor a file system.
async fn target_of(access: &Access, source: &RemotePath, target: &str, follows: bool) -> Result<RemotePath, ServiceError> {
    let target = access.new_name(target, source, follows).await?;
    refuse_target_in_source(source, &target)?;
    if access.cluster().holds_file_system(&target) {
        return Err(InvalidRequest::new("target", "a configured file system cannot be replaced").into());
    }
    Ok(target)
}
