//! Proves that what was opened is what has its name.
//!
//! SFTP opens by a name and follows links, and has no flag against that. Where others may write to a directory, a link can take the place of what was
//! looked at before. So the open file is compared with what a look that follows no link finds at its name afterwards, before any of it is used.

use super::errors::{attributes, bytes};
use super::protocol::{Attributes, Request};
use super::resolve::real_path;
use super::session::{Handle, Session};
use crate::domain::{FileType, RemotePath};
use crate::filesystem::FilesystemError;

/// The number of looks, since a file that grows differs from itself a moment later, and of attempts to open a file, since it may be replaced by another
/// one just then.
const TRIES: usize = 3;

/// Which symbolic links may lead to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// All of them.
    Followed,
    /// Those on the way: the last name of the path must not be one.
    OnTheWay,
    /// None on the whole path.
    None,
}

/// Proves that an open file is the regular file at `path`. Returns its attributes. All requests go out together, and the server takes them in their order.
///
/// # Errors
/// [`FilesystemError::Changed`] if it is another one, or a link leads there that may not.
pub async fn prove(session: &Session, handle: &Handle, path: &RemotePath, links: Links) -> Result<Attributes, FilesystemError> {
    for _ in 0..TRIES {
        let (fstat, lstat) = (Request::Fstat { handle: handle.bytes() }, Request::Lstat { path: bytes(path) });
        let (open, named, is_real) =
            futures::join!(attributes(session, path, &fstat), attributes(session, path, &lstat), is_real(session, path, links));
        let (open, named) = (open?, gone_is_changed(path, named)?);
        if named.file_type() != FileType::Regular || !is_real? {
            break;
        }
        if identity(&open) == identity(&named) {
            return Ok(open);
        }
    }
    Err(FilesystemError::Changed(path.clone()))
}

/// Proves that a directory that was opened at `path` is one there, without links on the path, and gives nobody less than the permission bits `mode`. SFTP
/// does not tell the attributes of an open directory.
///
/// # Errors
/// [`FilesystemError::Changed`] if it is not.
pub async fn prove_directory(session: &Session, path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
    let lstat = Request::Lstat { path: bytes(path) };
    let (named, is_real) = futures::join!(attributes(session, path, &lstat), is_real(session, path, Links::None));
    let named = gone_is_changed(path, named)?;
    let gives = named.mode.unwrap_or_default();
    if named.file_type() == FileType::Directory && mode & 0o777 & !gives == 0 && is_real? {
        return Ok(());
    }
    Err(FilesystemError::Changed(path.clone()))
}

/// Opens a file, and again where another one took its name meanwhile: programs replace files by renaming.
///
/// # Errors
/// Those of the last attempt.
pub async fn again<T, F>(open: impl Fn() -> F) -> Result<T, FilesystemError>
where
    F: Future<Output = Result<T, FilesystemError>>,
{
    for _ in 1..TRIES {
        match open().await {
            Err(FilesystemError::Changed(_)) => {}
            result => return result,
        }
    }
    open().await
}

async fn is_real(session: &Session, path: &RemotePath, links: Links) -> Result<bool, FilesystemError> {
    match links {
        Links::None => Ok(gone_is_changed(path, real_path(session, path).await)? == *path),
        Links::Followed | Links::OnTheWay => Ok(true),
    }
}

fn gone_is_changed<T>(path: &RemotePath, found: Result<T, FilesystemError>) -> Result<T, FilesystemError> {
    found.map_err(|error| match error {
        FilesystemError::NotFound(_) => FilesystemError::Changed(path.clone()),
        error => error,
    })
}

/// What two looks at one file have in common, but for the time of the last access.
fn identity(found: &Attributes) -> impl PartialEq + use<> {
    (found.mode, found.owner, found.size, found.times.map(|(_, modified)| modified))
}
