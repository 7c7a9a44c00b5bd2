//! Copies and renames on the cluster: no content crosses the network.

use std::sync::Arc;

use super::change;
use super::errors::{attributes, bytes, filesystem_error, making, not_written};
use super::finish::{Properties, finish, set_group};
use super::proof::{Links, prove};
use super::protocol::{Attributes, OpenFlags, Request, Response, Status};
use super::session::{Failure, Handle, Session};
use super::sessions::Sessions;
use super::target::{Target, rename as replace};
use super::upload::{discard, write};
use crate::domain::{FileType, Principal, RemotePath};
use crate::filesystem::exec::CommandFiles;
use crate::filesystem::rights::{Acl, Rights};
use crate::filesystem::temporary::{Temporary, temporary_beside};
use crate::filesystem::{ContentStream, CopyOptions, Expected, FilesystemError};

/// The number of bytes that the server copies on one request. It does nothing else on the session meanwhile, and cannot be interrupted.
const PIECE: u64 = 16 * 1024 * 1024;

/// The source of a copy.
pub enum Source {
    /// A regular file.
    File {
        /// Its attributes.
        found: Attributes,
        /// Whether what is at the target has the same, so that it can be the same file.
        is_like_target: bool,
    },
    /// A link, with its target.
    Link(bytes::Bytes),
    /// A directory.
    Directory,
}

/// Checks the source of a copy and its target.
///
/// # Errors
/// If there is no source, it is of a kind that cannot be copied, or the target is in the way.
pub async fn look(session: &Session, source: &RemotePath, target: &RemotePath, how: CopyOptions) -> Result<Source, FilesystemError> {
    let request = match how.dereference {
        true => Request::Stat { path: bytes(source) },
        false => Request::Lstat { path: bytes(source) },
    };
    let asked = Request::Lstat { path: bytes(target) };
    let (found, there) = futures::join!(attributes(session, source, &request), attributes(session, target, &asked));
    let found = found?;
    let is_like_target = there.as_ref().is_ok_and(|there| *there == found);
    match there.map(|there| there.file_type()) {
        Err(FilesystemError::NotFound(_)) => {}
        Err(error) => return Err(error),
        Ok(_) if !how.overwrite => return Err(FilesystemError::Exists(target.clone())),
        Ok(FileType::Directory) => return Err(FilesystemError::WrongType { path: target.clone(), reason: "Is a directory" }),
        Ok(_) => {}
    }
    match found.file_type() {
        FileType::Regular => Ok(Source::File { found, is_like_target }),
        FileType::Directory => Ok(Source::Directory),
        FileType::Symlink => match session.request(&Request::Readlink { path: bytes(source) }).await {
            Ok(Response::Name { entries }) if entries.len() == 1 => Ok(Source::Link(entries[0].name.clone())),
            Ok(_) => Err(filesystem_error(source, Failure::unexpected())),
            Err(failure) => Err(filesystem_error(source, failure)),
        },
        _ => Err(FilesystemError::WrongType { path: source.clone(), reason: "neither a file, a link nor a directory" }),
    }
}

/// The connections by which a copy is made, and its user.
#[derive(Clone, Copy)]
pub struct CopyContext<'a> {
    pub sessions: &'a Arc<Sessions>,
    pub exec: &'a CommandFiles,
    pub principal: &'a Principal,
    /// Which links may lead to the source.
    pub links: Links,
}

/// Copies a regular file to a temporary file, which is then renamed to the target, with its mode and times. The server copies the content by
/// `copy-data`, unless it comes through here as `content`.
///
/// # Errors
/// If the server refuses. The target is then unchanged.
pub async fn file(
    session: &Arc<Session>,
    context: CopyContext<'_>,
    source: &RemotePath,
    found: &Attributes,
    target: &RemotePath,
    overwrite: bool,
    content: Option<ContentStream>,
) -> Result<(), FilesystemError> {
    let temporary = UnplacedCopy::new(session, context, target);
    let rights = Rights { mode: found.mode.unwrap_or(0o600) & 0o7777, owner: found.owner.unwrap_or((u32::MAX, u32::MAX)) };
    // The copy must not be readable by more users than the file; the missing permissions are added when it is complete.
    let attributes = Attributes::with_mode(rights.for_any_group() & 0o777);
    let create = Request::Open { path: bytes(&temporary.path), flags: OpenFlags::CREATE_NEW, attributes };
    let mut found = *found;
    let to = match content {
        Some(content) => {
            let to = created(session, target, session.handle(&create).await).await?;
            write(session, &to, target, 0, content, None).await.1?;
            to
        }
        None => {
            let open = Request::Open { path: bytes(source), flags: OpenFlags::READ, attributes: Attributes::default() };
            let prove = async |from: &Handle| match context.links {
                Links::Followed => Ok(found),
                links => prove(session, from, source, links).await,
            };
            let opened = session.two_handles(&open, &create, prove).await;
            let (from, to, proven) = opened.map_err(|failure| filesystem_error(source, failure))?;
            let to = created(session, target, to).await?;
            let proven = proven?;
            if (proven.mode, proven.owner) != (found.mode, found.owner) {
                return Err(FilesystemError::Changed(source.clone()));
            }
            // It may have grown.
            found = proven;
            let size = found.size.unwrap_or_default();
            if let Err(failure) = data(session, &from, &to, size).await {
                return Err(not_written(session, target, failure).await);
            }
            to
        }
    };
    let size = found.size.unwrap_or_default();
    let copied = set_group(session, &to, target, &rights).await?;
    let acl = match rights.mode & 0o077 {
        0 => Acl::Same,
        _ => context.exec.keep_acl(context.principal, source, &temporary.path, &rights, (size, copied.owner)).await,
    };
    let wanted = Properties { rights: Some((rights, acl)), times: found.times, mode: None };
    let finished = finish(session, to, target, Some(&temporary.path), size, wanted).await;
    finished.map_err(|error| error.with_shown_path(&temporary.path, target))?;
    temporary.place(target, overwrite).await
}

/// The temporary file beside the target, or why it cannot be made.
async fn created(session: &Session, target: &RemotePath, opened: Result<Handle, Failure>) -> Result<Handle, FilesystemError> {
    match opened {
        Ok(handle) => Ok(handle),
        Err(failure) => Err(not_written(session, target, failure).await.beside(target)),
    }
}

/// Copies the content of a file; one that has become shorter meanwhile is an error.
async fn data(session: &Session, from: &Handle, to: &Handle, size: u64) -> Result<(), Failure> {
    for offset in (0..size).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX)) {
        let length = PIECE.min(size - offset);
        session.command(&Request::CopyData { from: from.bytes(), to: to.bytes(), offset, length }).await.map_err(
            |failure| match failure {
                Failure::Status(Status::Eof, _) => Failure::Protocol("the file became shorter while it was copied".to_owned()),
                failure => failure,
            },
        )?;
    }
    Ok(())
}

/// Copies a link.
///
/// # Errors
/// If the server refuses. The target is then unchanged.
pub async fn link(
    session: &Arc<Session>,
    context: CopyContext<'_>,
    points_to: &bytes::Bytes,
    target: &RemotePath,
    overwrite: bool,
) -> Result<(), FilesystemError> {
    let temporary = UnplacedCopy::new(session, context, target);
    let request = Request::Symlink { target: points_to.clone(), link: bytes(&temporary.path) };
    if let Err(failure) = session.command(&request).await {
        return Err(not_written(session, target, failure).await.beside(target));
    }
    temporary.place(target, overwrite).await
}

/// A copy that is not in its place yet.
struct UnplacedCopy {
    session: Arc<Session>,
    path: RemotePath,
    temporary: Temporary,
}

impl UnplacedCopy {
    fn new(session: &Arc<Session>, context: CopyContext<'_>, target: &RemotePath) -> Self {
        let path = temporary_beside(target);
        let temporary = context.exec.temporaries.add(discard(context.sessions, context.principal, session, &path));
        Self { session: Arc::clone(session), path, temporary }
    }

    async fn place(self, target: &RemotePath, overwrite: bool) -> Result<(), FilesystemError> {
        if overwrite {
            replace(&self.session, &self.path, target).await.map_err(|failure| filesystem_error(target, failure))?;
            self.temporary.placed();
            return Ok(());
        }
        match rename(&self.session, &self.path, target, false).await {
            Ok(()) => {
                self.temporary.placed();
                Ok(())
            }
            Err(FilesystemError::Sftp { .. } | FilesystemError::NotFound(_)) => {
                Err(making(&self.session, target, Failure::Status(Status::Failure, bytes::Bytes::new())).await)
            }
            Err(error) => Err(error.with_shown_path(&self.path, target)),
        }
    }
}

/// Gives a file or directory another name. What is in the way is replaced at once where `overwrite` is set and the server can, and
/// is an error otherwise.
///
/// # Errors
/// If the server does not do it; [`FilesystemError::Sftp`] where it does not say why, such as between two file systems.
pub async fn rename(session: &Session, source: &RemotePath, target: &RemotePath, overwrite: bool) -> Result<(), FilesystemError> {
    let request = match overwrite && session.capabilities().posix_rename {
        true => Request::PosixRename { from: bytes(source), to: bytes(target) },
        false => Request::Rename { from: bytes(source), to: bytes(target) },
    };
    let failure = match session.command(&request).await {
        Ok(()) => return Ok(()),
        Err(failure) => filesystem_error(source, failure),
    };
    if let FilesystemError::WrongType { reason: reason @ "Is a directory", .. } = failure {
        return Err(FilesystemError::WrongType { path: target.clone(), reason });
    }
    if let FilesystemError::NotFound(_) = failure {
        return Err(in_the_way(session, source, target).await.unwrap_or(failure));
    }
    if !matches!(failure, FilesystemError::Sftp { .. } | FilesystemError::Exists(_)) {
        return Err(failure);
    }
    match session.request(&Request::Lstat { path: bytes(target) }).await {
        Ok(_) if !overwrite => Err(FilesystemError::Exists(target.clone())),
        _ => Err(failure),
    }
}

/// Why a name that is there could not be renamed: the status of the protocol is that of a name that is not there, for `ENOTDIR` too.
async fn in_the_way(session: &Session, source: &RemotePath, target: &RemotePath) -> Option<FilesystemError> {
    let lstat = async |path| attributes(session, path, &Request::Lstat { path: bytes(path) }).await.ok().map(|found| found.file_type());
    match futures::join!(lstat(source), lstat(target)) {
        (Some(FileType::Directory), Some(there)) if there != FileType::Directory => {
            Some(FilesystemError::WrongType { path: target.clone(), reason: "Not a directory" })
        }
        // Nor does it say which of the two is not there.
        (Some(_), None) => Some(FilesystemError::NotFound(target.clone()).in_making(target)),
        _ => None,
    }
}

/// Sets a file's times to now, and creates it if there is none.
///
/// # Errors
/// If the server refuses.
pub async fn touch(session: &Arc<Session>, path: &RemotePath) -> Result<(), FilesystemError> {
    let now = u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or(u32::MAX);
    let times = Attributes { times: Some((now, now)), ..Attributes::default() };
    match change::set_attributes(session, path, times).await {
        Err(FilesystemError::NotFound(_)) => {}
        result => return result,
    }
    let found = Target::find(session, path, Expected::Anything).await?;
    let flags = OpenFlags(OpenFlags::WRITE.0 | OpenFlags::CREATE.0);
    let request = Request::Open { path: bytes(path), flags, attributes: Attributes::default() };
    let handle = session.handle(&request).await.map_err(|failure| filesystem_error(path, failure).in_making(path))?;
    let permitted = found.permits(session, &handle, path).await;
    handle.close().await.map_err(|failure| filesystem_error(path, failure))?;
    if permitted.is_err() {
        session.command(&Request::Remove { path: bytes(&found.path) }).await.map_err(|failure| filesystem_error(path, failure))?;
    }
    permitted
}
