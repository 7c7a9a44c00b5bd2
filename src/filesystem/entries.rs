//! Directories and their entries.
//!
//! A new operation is a method here, and one of each implementation in its file of the same name.

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{FilesystemError, Filter, Page, PageRequest};
use crate::domain::{DirectoryEntry, FileStat, Principal, RemotePath};

/// Directories and their entries. Every method acts as `principal`; the cluster's permissions decide.
#[async_trait]
pub trait Entries: Send + Sync {
    /// Lists a directory, or the one entry that a file is; that one has its whole path for a name, as with `ls`.
    async fn list(&self, principal: &Principal, path: &RemotePath, options: ListOptions) -> Result<Vec<DirectoryEntry>, FilesystemError>;

    /// The entry for a path itself, as `ls -ld` shows it, without following a link. Its name is the whole path.
    async fn entry(&self, principal: &Principal, path: &RemotePath) -> Result<DirectoryEntry, FilesystemError>;

    /// `stat`; follows a symbolic link when `dereference` is set.
    async fn stat(&self, principal: &Principal, path: &RemotePath, dereference: bool) -> Result<FileStat, FilesystemError>;

    /// The entry that a path resolves to, without links, `.` and `..`. Here, and nowhere else, `path` may contain `..` and end with `.`
    /// (see [`WrittenPath`](crate::domain::WrittenPath)), which the cluster resolves, and behind which it is a directory.
    async fn resolve(&self, principal: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError>;

    /// The path of what a path leads to, without links.
    async fn real_path(&self, principal: &Principal, path: &RemotePath) -> Result<RemotePath, FilesystemError>;

    /// Walks a directory, and with [`ListOptions::recursive`] all below it, in no particular order and in constant memory: the
    /// cluster sends more as the stream is read. If `path` itself cannot be read, that is an error here; below it,
    /// the rest is walked and the stream ends with [`FilesystemError::Incomplete`]. Dropping the stream ends the walk.
    async fn walk(&self, principal: &Principal, path: &RemotePath, options: WalkOptions) -> Result<EntryStream, FilesystemError>;

    /// A page of a directory in a stable order, in memory for one page. It reads the whole directory each time.
    async fn page(
        &self,
        principal: &Principal,
        path: &RemotePath,
        options: ListOptions,
        request: &PageRequest,
    ) -> Result<Page, FilesystemError>;

    /// As [`Entries::page`], of a directory at a path without symbolic links, with hidden names, and owners and groups as numbers. What was opened is
    /// proven to be the directory at the path, as far as the protocol shows it, and to give nobody less than the permission bits `mode`, with
    /// which it was looked at before.
    ///
    /// # Errors
    /// As [`Entries::page`], and [`FilesystemError::Changed`] if there is a link on the path, no directory at it, or one that is less open.
    async fn page_real(&self, principal: &Principal, path: &RemotePath, mode: u32, request: &PageRequest) -> Result<Page, FilesystemError>;
}

/// The options of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ListOptions {
    /// Names that start with a dot too (never `.` and `..`).
    pub hidden: bool,
    /// Owners and groups as numbers.
    pub numeric_ids: bool,
    /// All levels below; names carry the path relative to the listed directory.
    pub recursive: bool,
    /// Show the entries that links point to instead of the links.
    pub dereference: bool,
}

/// Entries on their way, some at a time. After an error nothing follows.
pub type EntryStream = BoxStream<'static, Result<Vec<DirectoryEntry>, FilesystemError>>;

/// The options of a walk, including the filter.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WalkOptions {
    /// The presentation of entries, and whether to descend below the first level.
    pub list: ListOptions,
    /// The deepest level; entries of the directory itself are on level 1. None: no limit but [`ListOptions::recursive`].
    pub max_depth: Option<u32>,
    /// The filter of entries. Directories that do not match are walked nevertheless.
    pub filter: Filter,
}

impl WalkOptions {
    /// Whether the directories on this level are entered.
    pub(super) fn descends_from(&self, level: u32) -> bool {
        self.list.recursive && self.max_depth.is_none_or(|deepest| level < deepest)
    }
}
