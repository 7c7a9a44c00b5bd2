//! File operations behind one trait.
//!
//! `sftp/` is the fast path over a kept-open channel; `exec/` does the same with coreutils commands, for sites without SFTP
//! and for what SFTP cannot do. Paths that arrive here were already checked against the path policy. This module must not
//! know HTTP, tokens or schedulers.

mod auto;
mod changes;
mod contents;
mod entries;
mod exec;
mod filter;
mod page;
mod placing;
mod rights;
pub mod sftp;
mod storage;
mod temporary;

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Alternative, FileType, RemotePath};
use crate::error::{Classify, Kind};
use crate::ssh::{CommandError, TransportError};

pub use crate::domain::{CompressOptions, Compression};
pub use auto::ClusterFiles;
pub use changes::{Changes, CopyOptions};
pub use contents::{
    ArchiveFormat, ContentStream, Contents, Digested, Download, Expected, FollowFrom, FollowStream, Followed, Part, PartOptions,
    PlaceOptions, Placed, UploadOptions,
};
pub use entries::{Entries, EntryStream, ListOptions, WalkOptions};
pub use exec::CommandFiles;
pub use filter::{Filter, Glob};
pub use page::{Page, PageRequest, Position, Sort};
pub use sftp::Sftp;
pub use storage::Storage;
pub use temporary::{held_part, part_beside, parts_with_nonces};

/// The maximum number of entries that a listing collects. A larger directory is read as a stream, by [`Entries::walk`].
const MAX_ENTRIES: usize = 20_000;

/// The reason why nothing is moved or copied to another name of the same file or directory.
const SAME_FILE: &str = "source and target are the same file (a hard link, or another path to it): nothing was changed";

/// The reason why a link does not take the place of the file that it leads to.
const LINK_TO_IT: &str = "the source is a symbolic link to the target: replacing the target would lose its content";

/// The reason why an archive does not take the place of what it contains.
pub const ARCHIVE_IS_SOURCE: &str = "the archive would replace its own source";

/// Limits of file operations.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The time limit for one command, or one SFTP request.
    pub command_timeout: Duration,
    /// The maximum size of the answers of `head`, `tail` and `view`, in bytes.
    pub max_ops_file_size: u64,
    /// The idle time after which a user's SFTP session is closed.
    pub session_idle: Duration,
    /// The time for which a transfer's session is kept for the next transfer of the same user.
    pub transfer_session_idle: Duration,
    /// The time limit for a copy, or a move between two file systems.
    pub copy_timeout: Duration,
    /// The time for which a transfer of file contents may stall.
    pub stall: Duration,
    /// The maximum number of SFTP sessions kept open on a cluster; beyond it, the least recently used one is closed.
    pub max_sessions: usize,
    /// The time for which commands are used for a cluster whose server refused SFTP, before SFTP is tried again.
    pub probe_again: Duration,
    /// The time without a change after which a temporary file counts as abandoned; for a part of an upload, or a directory, it is seven times that.
    pub abandoned: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            command_timeout: Duration::from_secs(5),
            max_ops_file_size: 5 * 1024 * 1024,
            session_idle: Duration::from_secs(60),
            transfer_session_idle: Duration::from_secs(5),
            copy_timeout: Duration::from_secs(600),
            stall: Duration::from_secs(30),
            max_sessions: 256,
            probe_again: Duration::from_secs(600),
            abandoned: Duration::from_secs(24 * 3600),
        }
    }
}

/// How files are accessed: the `file_access` key of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileAccess {
    /// SFTP where the server offers it, commands where it does not. Found out at the first use.
    #[default]
    Auto,
    /// SFTP, and commands only for what SFTP cannot do.
    Sftp,
    /// Commands only.
    Exec,
}

/// What an archive that could not be unpacked whole has done.
const SOME_PLACED: &str = "other members may be in their places already";

/// What a removal of a tree that could not be removed whole has done.
const SOME_REMOVED: &str = "it could not be removed whole, and the rest of it may be gone";

/// The file operations on a cluster through one backend.
#[async_trait]
pub trait FileSystem: Entries + Contents + Changes + Storage {
    /// Waits until the temporary files of requests that were cut are removed.
    async fn settle(&self) {}
}

/// Why a file operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum FilesystemError {
    /// The path does not exist. The text is contract, in the words of `stat(1)`: pyfirecrest looks for `No such file or
    /// directory`, aiida-firecrest for `cannot statx`.
    #[error("cannot statx '{0}': No such file or directory")]
    NotFound(RemotePath),
    /// The parent directory of a new file does not exist or is not a directory.
    #[error("there is no directory {0}: No such file or directory")]
    NoDirectory(RemotePath),
    /// The cluster forbids it to the caller.
    #[error("{0}: Permission denied")]
    Denied(RemotePath),
    /// The cluster does not let the caller create a file in the directory, where new content is written before it is renamed.
    #[error("{0}: Permission denied: a file is written beside its target and then renamed, for which the directory has to be writable too")]
    ClosedDirectory(RemotePath),
    /// The cluster forbids it to anyone but the owner or root.
    #[error("{0}: Operation not permitted")]
    NotPermitted(RemotePath),
    /// The target exists already.
    #[error("{0}: File exists")]
    Exists(RemotePath),
    /// A directory was expected, or a file.
    #[error("{path}: {reason}")]
    WrongType {
        /// The path.
        path: RemotePath,
        /// `Not a directory`, `Is a directory`, `not a regular file`, ...
        reason: &'static str,
    },
    /// An operation whose duration grows with the file exceeded its time limit.
    #[error("the operation took more than {seconds} s (exit status:124) and would do so again")]
    TooSlow {
        /// The time limit in seconds.
        seconds: u64,
        /// The alternative with a longer time limit.
        instead: Alternative,
    },
    /// More entries than a listing collects.
    #[error("{path}: a directory of more than {max} entries cannot be sorted in one response")]
    TooManyEntries {
        /// The path.
        path: RemotePath,
        /// The maximum number of entries.
        max: usize,
    },
    /// A file whose reported size is 0 although it has content, such as those of `/proc`: its end is unknown.
    #[error("{0}: its reported size is 0, but it has content")]
    Sizeless(RemotePath),
    /// The request names something the cluster does not know, such as a user.
    #[error("{0}")]
    Invalid(String),
    /// More than the cap.
    #[error("the file is larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// The requested range is outside the file, whose size is given.
    #[error("the file has {0} bytes, and none in the range asked for")]
    Range(u64),
    /// The file is not, or no longer, the one that was expected.
    #[error("{0}: it changed meanwhile")]
    Changed(RemotePath),
    /// The size of a growing file is not the expected one; its actual size is given.
    #[error("the upload has {0} bytes")]
    Offset(u64),
    /// The content does not match the digest that its sender announced.
    #[error("the content does not have the {0} digest that was announced")]
    Digest(&'static str),
    /// No space, or over quota.
    #[error("{0}: no space left, or quota exceeded")]
    NoSpace(RemotePath),
    /// The cluster did not write all of the content, for an unknown reason.
    #[error("{path}: the content was not written: {reason}")]
    NotWritten {
        /// The path.
        path: RemotePath,
        /// The known reason.
        reason: String,
    },
    /// The operation failed after a part of it was done, or may have been.
    #[error("{}; {done}", .error.public_message())]
    Partly {
        /// Why it failed.
        error: Box<Self>,
        /// What was done, in words.
        done: &'static str,
    },
    /// Something uses it, such as a mount, or a server of network files for whom it is open.
    #[error("{0}: Device or resource busy")]
    Busy(RemotePath),
    /// A move to another file system whose source could not be removed whole.
    #[error("{0}: it could not be removed whole; its copy at the new name is complete")]
    SourceRemains(RemotePath),
    /// A walk that is complete except for directories that could not be read.
    #[error("{first}: Permission denied; {count} of the directories could not be read, the rest is complete")]
    Incomplete {
        /// The first of them.
        first: RemotePath,
        /// Their number.
        count: u64,
    },
    /// The cluster, or the way in which its files are reached, does not offer it.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The client's own stream ended early or broke.
    #[error("the upload was cut short")]
    Interrupted(#[source] std::io::Error),
    /// The cluster could not be reached.
    #[error("the file operation could not be carried out")]
    Transport(#[from] TransportError),
    /// A command failed in a way that is not classified.
    #[error("the file operation failed")]
    Command(#[from] CommandError),
    /// The SFTP server, or a script, answered with a failure that is not classified.
    #[error("{path}: the cluster answered: {message}")]
    Sftp {
        /// The path.
        path: RemotePath,
        /// The server's words.
        message: String,
    },
}

impl FilesystemError {
    /// An alternative for the failed operation, if there is one.
    pub fn alternative(&self) -> Option<Alternative> {
        match self {
            Self::TooSlow { instead, .. } => Some(*instead),
            Self::TooManyEntries { .. } => Some(Alternative::ListInPages),
            Self::Sizeless(_) => Some(Alternative::ReadFromOffset),
            Self::Partly { error, .. } => error.alternative(),
            _ => None,
        }
    }

    /// More entries than a listing collects.
    fn too_many_entries(path: &RemotePath) -> Self {
        Self::TooManyEntries { path: path.clone(), max: MAX_ENTRIES }
    }

    /// The same error, where a part was done, or may have been: `done` says which.
    #[must_use]
    pub fn partly(self, done: &'static str) -> Self {
        Self::Partly { error: Box::new(self), done }
    }

    /// The error for creating a file in the directory of `target`.
    fn beside(self, target: &RemotePath) -> Self {
        match self {
            Self::Denied(_) => Self::ClosedDirectory(target.parent().unwrap_or_else(|| target.clone())),
            error => error.in_making(target),
        }
    }

    /// The error for creating `path`: the entry that does not exist is then its directory.
    fn in_making(self, path: &RemotePath) -> Self {
        match self {
            Self::NotFound(_) => Self::NoDirectory(path.parent().unwrap_or_else(|| path.clone())),
            error => error,
        }
    }

    /// The same error, where it names `hidden`, or what is in it: under that name content waits until it takes the place of `shown`, which is
    /// what the caller knows.
    #[must_use]
    pub fn with_shown_path(self, hidden: &RemotePath, shown: &RemotePath) -> Self {
        let path = |path| temporary::shown_path(path, hidden, shown);
        let text = |text| temporary::shown_text(text, hidden, shown);
        match self {
            Self::NotFound(found) => Self::NotFound(path(found)),
            Self::NoDirectory(found) => Self::NoDirectory(path(found)),
            Self::Denied(found) => Self::Denied(path(found)),
            Self::ClosedDirectory(found) => Self::ClosedDirectory(path(found)),
            Self::NotPermitted(found) => Self::NotPermitted(path(found)),
            Self::Exists(found) => Self::Exists(path(found)),
            Self::WrongType { path: found, reason } => Self::WrongType { path: path(found), reason },
            Self::TooManyEntries { path: found, max } => Self::TooManyEntries { path: path(found), max },
            Self::Sizeless(found) => Self::Sizeless(path(found)),
            Self::Invalid(message) => Self::Invalid(text(message)),
            Self::Changed(found) => Self::Changed(path(found)),
            Self::SourceRemains(found) => Self::SourceRemains(path(found)),
            Self::NoSpace(found) => Self::NoSpace(path(found)),
            Self::NotWritten { path: found, reason } => Self::NotWritten { path: path(found), reason: text(reason) },
            Self::Partly { error, done } => error.with_shown_path(hidden, shown).partly(done),
            Self::Busy(found) => Self::Busy(path(found)),
            Self::Incomplete { first, count } => Self::Incomplete { first: path(first), count },
            Self::Command(CommandError::Exit { exit, stderr }) => Self::Command(CommandError::Exit { exit, stderr: text(stderr) }),
            Self::Command(CommandError::Output { program, reason }) => {
                Self::Command(CommandError::Output { program, reason: text(reason) })
            }
            Self::Sftp { path: found, message } => Self::Sftp { path: path(found), message: text(message) },
            error @ (Self::TooSlow { .. }
            | Self::TooLarge(_)
            | Self::Range(_)
            | Self::Offset(_)
            | Self::Digest(_)
            | Self::Unsupported(_)
            | Self::Interrupted(_)
            | Self::Transport(_)
            | Self::Command(CommandError::Transport(_))) => error,
        }
    }

    /// A file that lost content while it was read.
    fn shortened(path: &RemotePath) -> Self {
        Self::Sftp { path: path.clone(), message: "the file became shorter while it was read".to_owned() }
    }
}

/// Rejects everything except regular files.
///
/// # Errors
/// [`FilesystemError::WrongType`], with the actual type.
pub fn regular(path: &RemotePath, mode: u32) -> Result<(), FilesystemError> {
    let reason = match FileType::from_mode(mode) {
        FileType::Regular => return Ok(()),
        FileType::Directory => "Is a directory",
        _ => "not a regular file",
    };
    Err(FilesystemError::WrongType { path: path.clone(), reason })
}

impl Classify for FilesystemError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::NoDirectory(_) => Kind::NotFound,
            Self::Denied(_) | Self::ClosedDirectory(_) | Self::NotPermitted(_) | Self::SourceRemains(_) | Self::Incomplete { .. } => {
                Kind::Forbidden
            }
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Exists(_)
            | Self::WrongType { .. }
            | Self::Sizeless(_)
            | Self::Invalid(_)
            | Self::Interrupted(_)
            | Self::Range(_)
            | Self::Digest(_) => Kind::Invalid,
            Self::TooLarge(_) | Self::TooManyEntries { .. } => Kind::TooLarge,
            Self::TooSlow { .. } => Kind::RemoteTimeout,
            Self::NoSpace(_) | Self::NotWritten { .. } | Self::Changed(_) | Self::Offset(_) | Self::Busy(_) => Kind::Conflict,
            Self::Partly { error, .. } => error.kind(),
            Self::Transport(source) => source.kind(),
            Self::Command(source) => source.kind(),
            Self::Sftp { .. } => Kind::Internal,
        }
    }

    fn wrapped(&self) -> Option<&dyn Classify> {
        match self {
            Self::Transport(source) => Some(source),
            Self::Command(source) => Some(source),
            _ => None,
        }
    }

    fn is_final(&self) -> bool {
        match self {
            Self::TooSlow { .. } => true,
            Self::Partly { error, .. } => error.is_final(),
            _ => self.wrapped().is_some_and(Classify::is_final),
        }
    }

    fn maybe_effected(&self) -> Option<bool> {
        match self {
            Self::Partly { .. } | Self::SourceRemains(_) | Self::TooSlow { .. } => Some(true),
            _ => self.wrapped().and_then(Classify::maybe_effected),
        }
    }
}
