//! Changes of entries: create, move, copy, remove, change permissions.
//!
//! A new operation is a method here, and one of each implementation in its file of the same name.

use async_trait::async_trait;

use super::{CompressOptions, Compression, FilesystemError};
use crate::domain::{FileMode, Principal, RemotePath};

/// Changes of entries: create, move, copy, remove, change permissions. Every method acts as `principal`; the cluster's permissions decide.
#[async_trait]
pub trait Changes: Send + Sync {
    /// Sets permission bits.
    async fn chmod(&self, principal: &Principal, path: &RemotePath, mode: &FileMode) -> Result<(), FilesystemError>;

    /// Sets owner and group, each by name or number, where given.
    async fn chown(
        &self,
        principal: &Principal,
        path: &RemotePath,
        owner: Option<&str>,
        group: Option<&str>,
    ) -> Result<(), FilesystemError>;

    /// Makes a directory; with `parents`, those above it too, and it is no error when it exists.
    async fn mkdir(&self, principal: &Principal, path: &RemotePath, parents: bool) -> Result<(), FilesystemError>;

    /// Makes a directory with these permissions (`0777`), and with more at no moment. That it gives its group to what is made in it stays.
    async fn mkdir_with_mode(&self, principal: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError>;

    /// Sets the permissions (`0777`) of a directory, never through a link; its special bits stay. Where no command can be run, one that is open to
    /// no more users than these permissions say is left as it is.
    ///
    /// # Errors
    /// [`FilesystemError::Changed`] if the name is not that of a directory.
    async fn set_directory_mode(&self, principal: &Principal, path: &RemotePath, mode: u32) -> Result<(), FilesystemError>;

    /// Makes the symbolic link `link` that points to `target`.
    async fn symlink(&self, principal: &Principal, target: &RemotePath, link: &RemotePath) -> Result<(), FilesystemError>;

    /// Removes a file, a link, or a directory with all that is in it. It never follows a link.
    async fn remove(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError>;

    /// Packs `source` into the archive `target`.
    async fn compress(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError>;

    /// Checks that the archive `target` would not replace `source`, and, if `source` is packed whole, that it would not lie inside it,
    /// whatever links the paths pass. Where no command can be run this is unknown, and not an error.
    async fn check_archive_target(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: &CompressOptions,
    ) -> Result<(), FilesystemError>;

    /// Unpacks the archive `source` into the directory `target`.
    async fn extract(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        compression: Compression,
    ) -> Result<(), FilesystemError>;

    /// Copies a file, a link, or a directory with its content. The copy appears under its name only when it is complete.
    /// `target` is the name of the copy, never a directory to place it in; links there are replaced, not followed. Modes and times are kept.
    async fn copy(
        &self,
        principal: &Principal,
        source: &RemotePath,
        target: &RemotePath,
        options: CopyOptions,
    ) -> Result<(), FilesystemError>;

    /// Gives a file, a link or a directory the name `target`, also between two file systems. What is there already is replaced
    /// when `overwrite` is set, directories with something in them excepted.
    async fn rename(&self, principal: &Principal, source: &RemotePath, target: &RemotePath, overwrite: bool)
    -> Result<(), FilesystemError>;

    /// Sets a file's times to now; creates an empty file if there is none.
    async fn touch(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError>;
}

/// The options of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// Copy the files that links point to instead of the links.
    pub dereference: bool,
    /// A file or link that is there already is replaced.
    pub overwrite: bool,
}
