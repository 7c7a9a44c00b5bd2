//! The target of a new file, and the rename to it.
//!
//! Where the target is a symbolic link, the file that it leads to is replaced and the link stays. Where the server does not offer
//! `posix-rename@openssh.com`, the target steps aside before the rename, and for a moment there is no file of that name.

use super::errors::{attributes, bytes, filesystem_error, making, replacing};
use super::missing::{MAX_LINKS, directory, led_to};
use super::protocol::{Attributes, Request, Response};
use super::read::version;
use super::session::{Failure, Handle, Session};
use crate::domain::{FileType, FileVersion, RemotePath};
use crate::filesystem::rights::Rights;
use crate::filesystem::temporary::set_aside;
use crate::filesystem::{Expected, FilesystemError, Placed, regular};

/// The mode of a directory in which all users may create files, and only remove their own.
const STICKY_AND_WRITABLE: u32 = 0o1002;

/// The target of a new file.
pub struct Target {
    /// The file to be replaced, links followed.
    pub path: RemotePath,
    /// The rights of the file that is there.
    pub rights: Option<Rights>,
    version: Option<FileVersion>,
    /// The links that lead to it, but for those of root.
    links: Vec<Link>,
}

/// A symbolic link.
struct Link {
    path: Vec<u8>,
    owner: u32,
}

impl Target {
    /// Reads the current state of the target, and checks that it is the expected one. Where nothing is expected, a link is something, wherever it
    /// leads.
    ///
    /// # Errors
    /// If it is not, is not a regular file, or its status cannot be read.
    pub async fn find(session: &Session, path: &RemotePath, expected: Expected) -> Result<Self, FilesystemError> {
        let target = Self::read(session, path, expected).await?;
        target.check(expected)?;
        Ok(target)
    }

    async fn read(session: &Session, path: &RemotePath, expected: Expected) -> Result<Self, FilesystemError> {
        let missing = |path, links| Self { path, rights: None, version: None, links };
        let found = match attributes(session, path, &Request::Lstat { path: bytes(path) }).await {
            Err(FilesystemError::NotFound(_)) => return Ok(missing(path.clone(), Vec::new())),
            other => other?,
        };
        if found.file_type() != FileType::Symlink {
            return Self::file(path, path.clone(), &found, Vec::new());
        }
        if expected == Expected::Nothing {
            return Err(FilesystemError::Exists(path.clone()));
        }
        let resolve = Request::Realpath { path: bytes(path) };
        let (real, links) = futures::join!(session.request(&resolve), followed(session, path, found));
        let real = match real {
            Ok(Response::Name { entries }) if entries.len() == 1 => entries[0].name.clone(),
            Ok(_) => return Err(filesystem_error(path, Failure::unexpected())),
            Err(failure) => return Err(filesystem_error(path, failure)),
        };
        let real = RemotePath::from_bytes(&real).map_err(|_| filesystem_error(path, Failure::unexpected()))?;
        match attributes(session, &real, &Request::Lstat { path: bytes(&real) }).await {
            Ok(end) => Self::file(path, real, &end, links),
            Err(FilesystemError::NotFound(_)) => Ok(missing(real, links)),
            Err(error) => Err(error),
        }
    }

    fn file(asked: &RemotePath, path: RemotePath, found: &Attributes, links: Vec<Link>) -> Result<Self, FilesystemError> {
        regular(asked, found.mode.unwrap_or_default())?;
        let owner = found.owner.unwrap_or((u32::MAX, u32::MAX));
        let rights = found.mode.map(|mode| Rights { mode: mode & 0o7777, owner });
        Ok(Self { path, rights, version: Some(version(found)), links })
    }

    fn check(&self, expected: Expected) -> Result<(), FilesystemError> {
        match (expected, &self.version) {
            (Expected::Nothing, Some(_)) => Err(FilesystemError::Exists(self.path.clone())),
            (Expected::Version(_), None) => Err(FilesystemError::NotFound(self.path.clone())),
            (Expected::Version(expected), Some(found)) if expected != *found => Err(FilesystemError::Changed(self.path.clone())),
            _ => Ok(()),
        }
    }

    /// The attributes for creating the replacement: open to nobody for whom the existing file is not, whatever group it
    /// gets.
    pub fn creation(&self, needed: u32) -> Attributes {
        self.rights.map_or_else(Attributes::default, |rights| Attributes::with_mode(rights.for_any_group() & 0o777 | needed))
    }

    /// Checks the links that lead to the target, before content is written to the file `made`, which the caller owns. Another user's link is not
    /// followed to create a file. To an existing one it is followed unless it lies in a directory such as `/tmp`: SFTP resolves it before the
    /// kernel could refuse it (`fs.protected_symlinks`, proc_sys_fs(5)).
    ///
    /// # Errors
    /// [`FilesystemError::Denied`] if a link is not followed.
    pub async fn permits(&self, session: &Session, made: &Handle, path: &RemotePath) -> Result<(), FilesystemError> {
        if self.links.is_empty() {
            return Ok(());
        }
        let made = attributes(session, path, &Request::Fstat { handle: made.bytes() }).await?;
        self.permits_owner(session, &made).await
    }

    async fn permits_owner(&self, session: &Session, made: &Attributes) -> Result<(), FilesystemError> {
        let Some((user, _)) = made.owner else { return Ok(()) };
        for link in self.links.iter().filter(|link| link.owner != user) {
            if self.version.is_none() || link.is_in_shared_directory(session).await? {
                return Err(FilesystemError::Denied(RemotePath::from_bytes(&link.path).unwrap_or_else(|_| self.path.clone())));
            }
        }
        Ok(())
    }

    /// Puts a finished file, which has the name `from`, into the place, if both are as expected.
    ///
    /// # Errors
    /// If one is not, or the server refuses.
    pub async fn take(
        &self,
        session: &Session,
        from: &RemotePath,
        finished: &Attributes,
        expected: Expected,
    ) -> Result<Placed, FilesystemError> {
        self.permits_owner(session, finished).await?;
        if expected == Expected::Nothing {
            // This request never replaces: OpenSSH makes a second name for the file, which fails where there is one, and removes
            // the first.
            let renamed = session.command(&Request::Rename { from: bytes(from), to: bytes(&self.path) }).await;
            return match renamed {
                Ok(()) => Ok(Placed::Created),
                Err(failure) => Err(making(session, &self.path, failure).await),
            };
        }
        if let Expected::Version(_) = expected {
            Self::find(session, &self.path, expected).await?;
        }
        if let Err(failure) = rename(session, from, &self.path).await {
            return Err(replacing(session, &self.path, failure).await);
        }
        Ok(if self.version.is_some() { Placed::Replaced } else { Placed::Created })
    }
}

impl Link {
    /// Whether any user may create links in its directory, and only their owners remove them.
    async fn is_in_shared_directory(&self, session: &Session) -> Result<bool, FilesystemError> {
        let directory = RemotePath::from_bytes(directory(&self.path).unwrap_or(b"/")).unwrap_or_else(|_| RemotePath::root());
        let found = attributes(session, &directory, &Request::Stat { path: bytes(&directory) }).await?;
        Ok(found.mode.is_some_and(|mode| mode & STICKY_AND_WRITABLE == STICKY_AND_WRITABLE)
            && found.owner.is_none_or(|(user, _)| user != self.owner))
    }
}

/// The links from `path` on, which is one. What cannot be read ends them: the server then does not resolve the path either.
async fn followed(session: &Session, path: &RemotePath, mut found: Attributes) -> Vec<Link> {
    let (mut at, mut links) = (path.as_bytes().to_vec(), Vec::new());
    for _ in 0..MAX_LINKS {
        if let Some((owner, _)) = found.owner
            && owner != 0
        {
            links.push(Link { path: at.clone(), owner });
        }
        let Some(next) = led_to(session, at.into()).await else { break };
        at = next;
        match session.request(&Request::Lstat { path: at.clone().into() }).await {
            Ok(Response::Attrs { attributes }) if attributes.file_type() == FileType::Symlink => found = attributes,
            _ => break,
        }
    }
    links
}

/// Gives a file the name of another, or of a link, which it replaces.
///
/// # Errors
/// If the server refuses. What was there has its name then.
pub async fn rename(session: &Session, from: &RemotePath, to: &RemotePath) -> Result<(), Failure> {
    if session.capabilities().posix_rename {
        return session.command(&Request::PosixRename { from: bytes(from), to: bytes(to) }).await;
    }
    let request = Request::Rename { from: bytes(from), to: bytes(to) };
    let refused = match session.command(&request).await {
        Err(refused @ Failure::Status(..)) => refused,
        other => return other,
    };
    // Version 3 does not say why; a target that is there is the reason that can be helped. A directory could step aside, and not be removed.
    match session.request(&Request::Lstat { path: bytes(to) }).await {
        Ok(Response::Attrs { attributes }) if attributes.file_type() != FileType::Directory => {}
        _ => return Err(refused),
    }
    // The target steps aside, and comes back if the other file cannot take its place.
    let aside = set_aside(to);
    session.command(&Request::Rename { from: bytes(to), to: bytes(&aside) }).await?;
    if let Err(failure) = session.command(&request).await {
        session.command(&Request::Rename { from: bytes(&aside), to: bytes(to) }).await?;
        return Err(failure);
    }
    session.command(&Request::Remove { path: bytes(&aside) }).await
}
