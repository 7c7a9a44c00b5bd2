//! The target of a new file, and the rename to it.
//!
//! Where the target is a symbolic link, the file that it leads to is replaced and the link stays. Where the server does not offer
//! `posix-rename@openssh.com`, the target steps aside before the rename, and for a moment there is no file of that name.

use super::errors::{attributes, bytes, filesystem_error, making};
use super::finish::still_there;
use super::protocol::{Attributes, Request, Response};
use super::read::version;
use super::session::{Failure, Session};
use crate::domain::{FileType, FileVersion, RemotePath};
use crate::filesystem::rights::Rights;
use crate::filesystem::temporary::set_aside;
use crate::filesystem::{Expected, FilesystemError, Placed, regular};

/// The target of a new file.
pub struct Target {
    /// The file to be replaced, links followed.
    pub path: RemotePath,
    /// The rights of the file that is there.
    pub rights: Option<Rights>,
    version: Option<FileVersion>,
    /// The link that leads to the file, where there is none yet, and its owner.
    dangling: Option<(RemotePath, Option<u32>)>,
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
        let missing = |path, dangling| Self { path, rights: None, version: None, dangling };
        let found = match attributes(session, path, &Request::Lstat { path: bytes(path) }).await {
            Err(FilesystemError::NotFound(_)) => return Ok(missing(path.clone(), None)),
            other => other?,
        };
        if FileType::from_mode(found.mode.unwrap_or_default()) != FileType::Symlink {
            return Self::file(path, path.clone(), &found);
        }
        if expected == Expected::Nothing {
            return Err(FilesystemError::Exists(path.clone()));
        }
        let real = match session.request(&Request::Realpath { path: bytes(path) }).await {
            Ok(Response::Name { entries }) if entries.len() == 1 => entries[0].name.clone(),
            Ok(_) => return Err(filesystem_error(path, Failure::unexpected())),
            Err(failure) => return Err(filesystem_error(path, failure)),
        };
        let real = RemotePath::from_bytes(&real).map_err(|_| filesystem_error(path, Failure::unexpected()))?;
        match attributes(session, &real, &Request::Lstat { path: bytes(&real) }).await {
            Ok(end) => Self::file(path, real, &end),
            Err(FilesystemError::NotFound(_)) => Ok(missing(real, Some((path.clone(), found.owner.map(|(user, _)| user))))),
            Err(error) => Err(error),
        }
    }

    fn file(asked: &RemotePath, path: RemotePath, found: &Attributes) -> Result<Self, FilesystemError> {
        regular(asked, found.mode.unwrap_or_default())?;
        let owner = found.owner.unwrap_or((u32::MAX, u32::MAX));
        let rights = found.mode.map(|mode| Rights { mode: mode & 0o7777, owner });
        Ok(Self { path, rights, version: Some(version(found)), dangling: None })
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

    /// Checks that the user, who owns the file that was made, is not led by somebody else's link to where there is none: only a link of the user
    /// or of root is followed there.
    ///
    /// # Errors
    /// If it is somebody else's.
    pub fn may_be_made_by(&self, made: &Attributes) -> Result<(), FilesystemError> {
        match (&self.dangling, made.owner) {
            (Some((link, Some(owner))), Some((user, _))) if *owner != 0 && *owner != user => Err(FilesystemError::Denied(link.clone())),
            _ => Ok(()),
        }
    }

    /// Puts a finished file into the place, if both are as expected.
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
        still_there(session, from, finished).await?;
        self.may_be_made_by(finished)?;
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
        rename(session, from, &self.path).await.map_err(|failure| filesystem_error(&self.path, failure))?;
        Ok(if self.version.is_some() { Placed::Replaced } else { Placed::Created })
    }
}

async fn rename(session: &Session, from: &RemotePath, to: &RemotePath) -> Result<(), Failure> {
    if session.capabilities().posix_rename {
        return session.command(&Request::PosixRename { from: bytes(from), to: bytes(to) }).await;
    }
    let request = Request::Rename { from: bytes(from), to: bytes(to) };
    let refused = match session.command(&request).await {
        Err(refused @ Failure::Status(..)) => refused,
        other => return other,
    };
    // Version 3 does not say why; a target that is there is the reason that can be helped.
    if session.request(&Request::Lstat { path: bytes(to) }).await.is_err() {
        return Err(refused);
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
