//! Decides, over SFTP, that a written file is complete.
//!
//! Everything that puts content under a name (uploads, parts of uploads, copies) ends here before the rename: a file is whole when the
//! server has answered every request well, CLOSE included, and reports the size that was sent.

use super::errors::{attributes, bytes, filesystem_error, not_written};
use super::protocol::{Attributes, Request, Status};
use super::session::{Failure, Handle, Session};
use crate::domain::RemotePath;
use crate::filesystem::FilesystemError;
use crate::filesystem::rights::{Acl, Rights};

/// The attributes of a complete file.
#[derive(Clone, Copy, Default)]
pub struct Properties {
    /// The rights of another file, and whether it shares that one's access control list.
    pub rights: Option<(Rights, Acl)>,
    /// The permissions where there are no rights of another file.
    pub mode: Option<u32>,
    /// Times of last access and last change.
    pub times: Option<(u32, u32)>,
}

/// Sets the requested properties of a file that was written, has the server put it on disk, compares its size with the `size` bytes that were sent,
/// and closes it; and proves that it still has the name `name`, if one is given, under which it was made. Returns what the server says of it then.
///
/// # Errors
/// If the server refuses any of it, or the file has another size. It is not whole then. [`FilesystemError::Changed`] if the name leads elsewhere.
pub async fn finish(
    session: &Session,
    handle: Handle,
    path: &RemotePath,
    name: Option<&RemotePath>,
    size: u64,
    wanted: Properties,
) -> Result<Attributes, FilesystemError> {
    if let Some((rights, acl)) = wanted.rights {
        set_mode(session, &handle, path, &rights, acl).await?;
    } else if let Some(mode) = wanted.mode {
        let attributes = Attributes::with_mode(mode & 0o777);
        may_be_refused(session.command(&Request::Fsetstat { handle: handle.bytes(), attributes }).await, path)?;
    }
    if let Some(times) = wanted.times {
        let attributes = Attributes { times: Some(times), ..Attributes::default() };
        may_be_refused(session.command(&Request::Fsetstat { handle: handle.bytes(), attributes }).await, path)?;
    }
    let (fsync, fstat) = (Request::Fsync { handle: handle.bytes() }, Request::Fstat { handle: handle.bytes() });
    // All go out together, and the server takes them in this order.
    let (synced, found, closed, there) = futures::join!(
        async { if session.capabilities().fsync { session.command(&fsync).await } else { Ok(()) } },
        attributes(session, path, &fstat),
        handle.close(),
        async {
            match name {
                Some(name) => attributes(session, name, &Request::Lstat { path: bytes(name) }).await.map(Some),
                None => Ok(None),
            }
        },
    );
    if let Err(failure) = synced.and(closed) {
        return Err(not_written(session, path, failure).await);
    }
    let found = found?;
    if let Some(has) = found.size.filter(|has| *has != size) {
        let reason = format!("it has {has} of {size} bytes there; the file system may be full, or a quota reached");
        return Err(FilesystemError::NotWritten { path: path.clone(), reason });
    }
    if let (Some(name), Some(there)) = (name, there?) {
        same(name, &there, &found)?;
    }
    Ok(found)
}

/// Gives an open file the group of another, where the caller may. Returns its attributes then.
///
/// # Errors
/// If the server does not answer.
pub async fn set_group(session: &Session, handle: &Handle, path: &RemotePath, rights: &Rights) -> Result<Attributes, FilesystemError> {
    let fstat = Request::Fstat { handle: handle.bytes() };
    let found = attributes(session, path, &fstat).await?;
    let Some((user, group)) = found.owner.filter(|(_, group)| *group != rights.owner.1) else { return Ok(found) };
    let attributes = Attributes { owner: Some((user, rights.owner.1)), ..Attributes::default() };
    match session.command(&Request::Fsetstat { handle: handle.bytes(), attributes }).await {
        Ok(()) => Ok(Attributes { owner: Some((user, rights.owner.1)), ..found }),
        Err(Failure::Status(..)) => Ok(Attributes { owner: Some((user, group)), ..found }),
        Err(failure) => Err(filesystem_error(path, failure)),
    }
}

/// Sets a mode that permits no more than `rights`. A server that sets none (`sftp-server -P fsetstat`) is no hindrance where the
/// file has no more than that already.
async fn set_mode(session: &Session, handle: &Handle, path: &RemotePath, rights: &Rights, acl: Acl) -> Result<(), FilesystemError> {
    let found = set_group(session, handle, path, rights).await?;
    let mode = rights.mode_for(found.owner.unwrap_or((u32::MAX, u32::MAX)), acl);
    let has = found.mode.unwrap_or(0o7777) & 0o7777;
    if has == mode {
        return Ok(());
    }
    match session.command(&Request::Fsetstat { handle: handle.bytes(), attributes: Attributes::with_mode(mode) }).await {
        Err(Failure::Status(Status::PermissionDenied | Status::Unsupported, _)) if has & !mode == 0 => Ok(()),
        result => result.map_err(|failure| filesystem_error(path, failure)),
    }
}

fn may_be_refused(result: Result<(), Failure>, path: &RemotePath) -> Result<(), FilesystemError> {
    match result {
        Err(Failure::Status(Status::PermissionDenied | Status::Unsupported, _)) | Ok(()) => Ok(()),
        Err(failure) => Err(filesystem_error(path, failure)),
    }
}

/// Proves that `path` still is the file that was finished: in a directory that others may write to, it can be a link by now.
fn same(path: &RemotePath, found: &Attributes, finished: &Attributes) -> Result<(), FilesystemError> {
    let known = |attributes: &Attributes| (attributes.mode, attributes.size, attributes.owner);
    if known(found) == known(finished) { Ok(()) } else { Err(FilesystemError::Changed(path.clone())) }
}
