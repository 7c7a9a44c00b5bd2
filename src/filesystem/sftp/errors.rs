//! SFTP's few status codes as the errors of the trait.

use super::protocol::{Attributes, FileSystemSpace, Request, Response, Status};
use super::session::{Failure, Session, words};
use crate::domain::{FileType, RemotePath};
use crate::filesystem::FilesystemError;
use crate::ssh::TransportError;

type Reason = fn(&RemotePath) -> FilesystemError;

/// The messages of servers that are more specific than `Failure`, in lower case, and their meaning.
const REASONS: [(&str, Reason); 6] = [
    ("no such file", |path| FilesystemError::NotFound(path.clone())),
    ("file exists", |path| FilesystemError::Exists(path.clone())),
    ("no space", |path| FilesystemError::NoSpace(path.clone())),
    ("quota", |path| FilesystemError::NoSpace(path.clone())),
    ("not a directory", |path| FilesystemError::WrongType { path: path.clone(), reason: "Not a directory" }),
    ("is a directory", |path| FilesystemError::WrongType { path: path.clone(), reason: "Is a directory" }),
];

/// The trait's error for a failure with `path`.
pub fn filesystem_error(path: &RemotePath, failure: Failure) -> FilesystemError {
    match failure {
        Failure::Broken { sent } => TransportError::Broken { sent }.into(),
        Failure::Stalled(limit) => TransportError::Execution(limit).into(),
        Failure::Protocol(message) => FilesystemError::Sftp { path: path.clone(), message },
        Failure::Status(Status::NoSuchFile, _) => FilesystemError::NotFound(path.clone()),
        Failure::Status(Status::PermissionDenied, _) => FilesystemError::Denied(path.clone()),
        Failure::Status(Status::BadMessage, _) => FilesystemError::Invalid(format!("{path}: Invalid argument, or file name too long")),
        Failure::Status(_, message) => {
            let message = words(&message);
            let lower = message.to_lowercase();
            match REASONS.iter().find(|(text, _)| lower.contains(text)) {
                Some((_, reason)) => reason(path),
                None => FilesystemError::Sftp { path: path.clone(), message },
            }
        }
    }
}

/// The trait's error for making `path`, which a plain failure most often means exists already.
pub async fn making(session: &Session, path: &RemotePath, failure: Failure) -> FilesystemError {
    let unexplained = filesystem_error(path, failure);
    if !matches!(unexplained, FilesystemError::Sftp { .. }) {
        return unexplained;
    }
    match session.request(&Request::Lstat { path: bytes(path) }).await {
        Ok(_) => FilesystemError::Exists(path.clone()),
        Err(_) if is_full(session, path).await => FilesystemError::NoSpace(path.clone()),
        Err(_) => unexplained,
    }
}

/// The trait's error for putting a file in the place of `path`, which a directory may have taken meanwhile.
pub async fn replacing(session: &Session, path: &RemotePath, failure: Failure) -> FilesystemError {
    let unexplained = filesystem_error(path, failure);
    if !matches!(unexplained, FilesystemError::Sftp { .. }) {
        return unexplained;
    }
    match attributes(session, path, &Request::Lstat { path: bytes(path) }).await {
        Ok(found) if found.file_type() == FileType::Directory => {
            FilesystemError::WrongType { path: path.clone(), reason: "Is a directory" }
        }
        _ => unexplained,
    }
}

/// The error for content that the server did not take. The protocol has no status for a full file system and OpenSSH says no more than
/// `Failure`, so that the free space is queried.
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
async fn is_full(session: &Session, path: &RemotePath) -> bool {
    let needed = u64::from(session.write_block());
    let is_full = |space: FileSystemSpace| space.available.saturating_mul(space.block) < needed || space.files > 0 && space.files_free == 0;
    space_around(session, path).await.is_some_and(is_full)
}

/// The reason of a plain failure, if it is that nothing can be changed on the file system that holds `path`.
pub async fn read_only(session: &Session, path: &RemotePath) -> Option<FilesystemError> {
    let is_read_only = space_around(session, path).await?.is_read_only;
    is_read_only.then(|| FilesystemError::Invalid(format!("{path}: Read-only file system")))
}

/// The file system that holds the directory of `path`, if the server tells of it.
async fn space_around(session: &Session, path: &RemotePath) -> Option<FileSystemSpace> {
    if !session.capabilities().statvfs {
        return None;
    }
    let directory = path.parent().unwrap_or_else(|| path.clone());
    match session.request(&Request::Statvfs { path: bytes(&directory) }).await {
        Ok(Response::ExtendedReply { data }) => FileSystemSpace::decode(data).ok(),
        _ => None,
    }
}

/// The path's bytes as a field of a request.
pub fn bytes(path: &RemotePath) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(path.as_bytes())
}

/// The attributes of a reply to STAT, LSTAT or FSTAT.
pub async fn attributes(session: &Session, path: &RemotePath, request: &Request) -> Result<Attributes, FilesystemError> {
    match session.request(request).await {
        Ok(Response::Attrs { attributes }) => Ok(attributes),
        Ok(_) => Err(filesystem_error(path, Failure::unexpected())),
        Err(failure) => Err(filesystem_error(path, failure)),
    }
}
