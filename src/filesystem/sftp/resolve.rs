//! Resolves paths.

use super::errors::{attributes, bytes, filesystem_error};
use super::protocol::{Request, Response};
use super::session::{Failure, Session};
use crate::domain::{FileType, RemotePath};
use crate::filesystem::FilesystemError;

/// The path of what a path leads to, without links, as [`real_path`]; an error where nothing is there.
///
/// # Errors
/// If it leads nowhere, or the server does not tell.
pub async fn existing(session: &Session, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
    let stat = Request::Stat { path: bytes(path) };
    let (found, real) = tokio::join!(attributes(session, path, &stat), real_path(session, path));
    found.and(real)
}

/// Resolves a path to one without links.
///
/// # Errors
/// If it leads nowhere, or the server does not tell.
pub async fn real_path(session: &Session, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
    let real = match session.request(&Request::Realpath { path: bytes(path) }).await {
        Ok(Response::Name { entries }) if entries.len() == 1 => entries[0].name.clone(),
        Ok(_) => return Err(filesystem_error(path, Failure::unexpected())),
        Err(failure) => return Err(filesystem_error(path, failure)),
    };
    RemotePath::from_bytes(&real).map_err(|_| filesystem_error(path, Failure::unexpected()))
}

/// What a path leads to, without links. Servers take `..` away in REALPATH without a look at what is before it, so that STAT, where the kernel
/// does look, is asked too.
///
/// # Errors
/// If it leads nowhere, ends with `.` or `..` and leads to no directory, or the server does not tell.
pub async fn resolve(session: &Session, path: &RemotePath) -> Result<RemotePath, FilesystemError> {
    let stat = Request::Stat { path: bytes(path) };
    let (found, real) = tokio::join!(attributes(session, path, &stat), real_path(session, path));
    if found?.file_type() != FileType::Directory && matches!(path.file_name(), b"." | b"..") {
        return Err(FilesystemError::WrongType { path: path.clone(), reason: "Not a directory" });
    }
    real
}
