//! Decides, over SFTP, that a file that was written is whole.
//!
//! Everything that puts content under a name (uploads, parts of uploads, copies) ends here before the rename: a file is whole when the
//! server has answered every request well, CLOSE included, and reports the size that was sent.

use super::errors::{attributes, bytes, filesystem_error};
use super::protocol::{Attributes, FileSystemSpace, Request, Response, Status};
use super::session::{Failure, Handle, Session};
use crate::domain::RemotePath;
use crate::filesystem::FilesystemError;

/// Sets `wanted` on a file that was written, has the server put it on disk, compares its size with the `size` bytes that were sent, and
/// closes it.
///
/// # Errors
/// When the server refuses any of it, or the file has another size. It is not whole then.
pub async fn finish(
    session: &Session,
    handle: Handle,
    path: &RemotePath,
    size: u64,
    wanted: Attributes,
) -> Result<Attributes, FilesystemError> {
    if wanted != Attributes::default() {
        let request = Request::Fsetstat { handle: handle.bytes(), attributes: wanted };
        session.command(&request).await.map_err(|failure| filesystem_error(path, failure))?;
    }
    if session.capabilities().fsync
        && let Err(failure) = session.command(&Request::Fsync { handle: handle.bytes() }).await
    {
        return Err(not_written(session, path, failure).await);
    }
    let found = attributes(session, path, &Request::Fstat { handle: handle.bytes() }).await?;
    if let Err(failure) = handle.close().await {
        return Err(not_written(session, path, failure).await);
    }
    match found.size {
        Some(found) if found != size => Err(FilesystemError::NotWritten {
            path: path.clone(),
            reason: format!("it has {found} of {size} bytes there; the file system may be full, or a quota reached"),
        }),
        _ => Ok(found),
    }
}

/// The error for content that the server did not take. The protocol has no status for a full file system and OpenSSH says no more than
/// `Failure`, so that the server is asked how much room there is.
pub async fn not_written(session: &Session, path: &RemotePath, failure: Failure) -> FilesystemError {
    let is_failure = matches!(failure, Failure::Status(Status::Failure, _));
    match filesystem_error(path, failure) {
        FilesystemError::Sftp { path, .. } if is_failure && is_full(session, &path).await => FilesystemError::NoSpace(path),
        FilesystemError::Sftp { path, message } if is_failure => {
            let reason = format!("the server answered `{message}`; the file system may be full, or a quota reached");
            FilesystemError::NotWritten { path, reason }
        }
        error => error,
    }
}

/// True when the server says that the file system that holds `path` has no room for one more block, or file.
pub async fn is_full(session: &Session, path: &RemotePath) -> bool {
    if !session.capabilities().statvfs {
        return false;
    }
    let directory = path.parent().unwrap_or_else(|| path.clone());
    let Ok(Response::ExtendedReply { data }) = session.request(&Request::Statvfs { path: bytes(&directory) }).await else { return false };
    let needed = u64::from(session.capabilities().write_block());
    FileSystemSpace::decode(data)
        .is_ok_and(|space| space.available.saturating_mul(space.block) < needed || space.files > 0 && space.files_free == 0)
}
