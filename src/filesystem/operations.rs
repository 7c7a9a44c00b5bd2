//! What can be done with files beyond the contract of FirecREST: whole trees as streams, and directories by the page.
//!
//! A trait of its own, so that a way to reach files shows in one place what it adds. A new operation is a method here, and a file
//! for it beside the others of each implementation.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{FilesystemError, Filter, ListOptions, Page, PageRequest};
use crate::domain::{AclEntry, DirectoryEntry, Principal, Quota, RemotePath, Space};

/// Operations past those of [`FileSystem`](super::FileSystem). Every method acts as `principal`; the cluster's permissions decide.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Walks a directory, and with [`ListOptions::recursive`] all below it, in no particular order and in constant memory: the
    /// cluster is asked for more as the stream is read. What cannot be read is an error here when it is `path` itself; below it,
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

    /// Copies a file, a link, or a directory with all that is in it. The copy appears under its name only when it is whole.
    /// `target` is its own name, never a directory that takes it; links there are replaced, not followed. Modes and times are kept.
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

    /// Sets a file's times to now; makes an empty one where there is none.
    async fn touch(&self, principal: &Principal, path: &RemotePath) -> Result<(), FilesystemError>;

    /// How full the file system of a path is.
    async fn space(&self, principal: &Principal, path: &RemotePath) -> Result<Space, FilesystemError>;

    /// The caller's quotas, by the tool that the site has: on the file system of the path, or on all of them.
    async fn quota(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError>;

    /// The access control list of a path, links followed.
    async fn acl(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError>;

    /// Follows a regular file as it grows, as `tail -F` does. The stream ends only with an error; dropping it ends the work.
    async fn follow(&self, principal: &Principal, path: &RemotePath, from: FollowFrom) -> Result<FollowStream, FilesystemError>;
}

/// Where to begin to follow a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowFrom {
    /// So many bytes after its start.
    Start(u64),
    /// So many bytes before its end.
    End(u64),
}

/// What happens to a file that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It has grown.
    Data {
        /// What is new, a piece at a time.
        data: Bytes,
        /// Where it ends, in bytes from the start of the file.
        end: u64,
    },
    /// It has become shorter; what follows is from its start.
    Truncated,
    /// Another file has its name; what follows is from the start of that.
    Replaced,
    /// Nothing has its name any more. It may come again, as with logs that are rotated.
    Removed,
}

/// What happens to a file, as it happens.
pub type FollowStream = BoxStream<'static, Result<Followed, FilesystemError>>;

/// How to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// What links point to is copied, and not the links.
    pub dereference: bool,
    /// A file or link that is there already is replaced.
    pub overwrite: bool,
}

/// Entries on their way, some at a time. After an error nothing follows.
pub type EntryStream = BoxStream<'static, Result<Vec<DirectoryEntry>, FilesystemError>>;

/// How to walk, and what is wanted of what is found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WalkOptions {
    /// How entries are shown, and whether to go below the first level.
    pub list: ListOptions,
    /// The deepest level; entries of the directory itself are on level 1. None: no limit but [`ListOptions::recursive`].
    pub max_depth: Option<u32>,
    /// What an entry has to be like. What does not match is walked through all the same.
    pub filter: Filter,
}

impl WalkOptions {
    /// Whether the directories on this level are entered.
    pub(super) fn descends_from(&self, level: u32) -> bool {
        self.list.recursive && self.max_depth.is_none_or(|deepest| level < deepest)
    }
}
