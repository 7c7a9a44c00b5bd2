//! Resolves the paths of requests.
//!
//! The meaning of `..` and of a slash at the end of a path depends on the symbolic links on the cluster. Only such paths are resolved
//! there; all others cost nothing. The policy checks the resolved path, and that path is opened, without any `..`.

use futures::future::join_all;

use crate::cluster::GateError;
use crate::domain::{Climb, FileType, RemotePath, WrittenPath};
use crate::filesystem::FilesystemError;

use super::{Access, InvalidRequest, ServiceError};

/// The kinds of entry that a path with a slash at its end may name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    /// A directory, or a link to one, which is followed.
    Directory,
    /// The same, or nothing: a directory is to be made there.
    New,
    /// A directory itself: removing and moving never follow a link.
    Entry,
}

/// The reason of the refusal if a name that ends with a slash is for a file.
pub(super) const SLASH_OF_A_FILE: &str = "a slash is at its end, and the source is not a directory";

/// Whether a path as it was written must be that of a directory.
pub(super) fn ends_with_slash(text: &str) -> Result<bool, GateError> {
    Ok(WrittenPath::from_text(text)?.is_directory)
}

impl Access {
    /// Reads a path from a request and applies the path policy: absolute, inside a configured file system, and that file system
    /// not known to be unhealthy.
    ///
    /// # Errors
    /// If the path breaks the policy, or a `..` or a slash at its end does not follow a directory.
    pub(super) async fn path(&self, text: &str) -> Result<RemotePath, ServiceError> {
        self.resolved(text, Slash::Directory).await
    }

    /// The same of a path at which a directory may be made.
    ///
    /// # Errors
    /// As [`Access::path`].
    pub(super) async fn new_path(&self, text: &str) -> Result<RemotePath, ServiceError> {
        self.resolved(text, Slash::New).await
    }

    /// As [`Access::path`], for the new name of `source`. A name that ends with a slash must be for a directory. `follows`: if `source` is a
    /// link, its target counts.
    ///
    /// # Errors
    /// As [`Access::path`], and if a name that ends with a slash would be for anything but a directory.
    pub(super) async fn new_name(&self, text: &str, source: &RemotePath, follows: bool) -> Result<RemotePath, ServiceError> {
        let path = self.new_path(text).await?;
        if ends_with_slash(text)? {
            let (files, user) = (self.files().await?, self.principal());
            let is_new = matches!(files.stat(user, &path, false).await, Err(FilesystemError::NotFound(_)));
            if is_new && FileType::from_mode(files.stat(user, source, follows).await?.mode) != FileType::Directory {
                return Err(InvalidRequest::new("target", SLASH_OF_A_FILE).into());
            }
        }
        Ok(path)
    }

    /// The same for an entry that is removed or moved, without following a link. `field` is the name of the path in the request.
    ///
    /// # Errors
    /// As [`Access::path`], and if its last name is `.` or `..`, which `rm` refuses too (POSIX, rm): the name before it would not be what is removed.
    pub(super) async fn entry_path(&self, text: &str, field: &'static str) -> Result<RemotePath, ServiceError> {
        if matches!(text.trim_end_matches('/').rsplit('/').next(), Some("." | "..")) {
            return Err(InvalidRequest::new(field, "its last name is `.` or `..`: name the entry itself").into());
        }
        self.resolved(text, Slash::Entry).await
    }

    /// Reads the path of a directory that no file operation opens, so that the policy does not apply.
    ///
    /// # Errors
    /// If it is no path, or a `..` does not follow a directory.
    pub(super) async fn unchecked_directory(&self, text: &str) -> Result<RemotePath, ServiceError> {
        let written = WrittenPath::from_text(text).map_err(GateError::from)?;
        match written.climb {
            Some(climb) => self.above(&climb).await,
            None => Ok(written.normal),
        }
    }

    async fn resolved(&self, text: &str, slash: Slash) -> Result<RemotePath, ServiceError> {
        let written = WrittenPath::from_text(text).map_err(GateError::from)?;
        let normal = self.cluster().check(written.normal)?;
        let path = match written.climb {
            Some(climb) => self.climb(&climb).await?,
            None => normal,
        };
        if written.is_directory { self.at_slash(path, slash).await } else { Ok(path) }
    }

    /// Resolves `..`. The policy checks the result as well as the name, so that a link gives no access to a path that cannot be named.
    async fn climb(&self, climb: &Climb) -> Result<RemotePath, ServiceError> {
        let path = self.above(climb).await?;
        match self.cluster().check(path) {
            Err(GateError::Outside { path, system, file_systems }) => match self.under_its_name(&path).await? {
                Some(path) => Ok(self.cluster().check(path)?),
                None => Err(GateError::Outside { path, system, file_systems }.into()),
            },
            checked => Ok(checked?),
        }
    }

    async fn above(&self, climb: &Climb) -> Result<RemotePath, ServiceError> {
        let directory = self.files().await?.resolve(self.principal(), &climb.directory).await?;
        Ok(climb.below.rebase(&RemotePath::root(), &directory).unwrap_or(directory))
    }

    /// The same path below a configured file system that is itself reached by a link, or nothing if it is below none.
    async fn under_its_name(&self, path: &RemotePath) -> Result<Option<RemotePath>, ServiceError> {
        let files = self.files().await?;
        let configured = &self.cluster().config().file_systems;
        let real = join_all(configured.iter().map(|fs| files.resolve(self.principal(), &fs.path))).await;
        // A file system that cannot be read cannot contain the path.
        let found = configured.iter().zip(real).filter_map(|(fs, real)| path.rebase(&real.ok()?, &fs.path));
        Ok(found.min_by_key(|path| path.as_bytes().len()))
    }

    /// Resolves a path that ends with a slash. Its name was checked already, and the links that it passes are left to the cluster,
    /// as those in its middle are.
    async fn at_slash(&self, path: RemotePath, slash: Slash) -> Result<RemotePath, ServiceError> {
        let files = self.files().await?;
        let found = match files.stat(self.principal(), &path, false).await {
            Err(FilesystemError::NotFound(_)) if slash == Slash::New => return Ok(path),
            found => found?,
        };
        match FileType::from_mode(found.mode) {
            FileType::Directory => Ok(path),
            FileType::Symlink if slash != Slash::Entry => {
                Ok(files.resolve(self.principal(), &WrittenPath::directory_at(&path)).await.map_err(|error| match error {
                    FilesystemError::NotFound(_) => FilesystemError::NotFound(path),
                    error => error,
                })?)
            }
            _ => Err(FilesystemError::WrongType { path, reason: "Not a directory" }.into()),
        }
    }
}
