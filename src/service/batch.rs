//! Many file operations of one request.
//!
//! Each is the use case of the same name, with its own path policy, audit line and outcome; a batch is fast because the
//! file system sends many requests of a user over one session at a time. A batch is no transaction: completed operations are not undone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::domain::{Checksum, DirectoryEntry, FileStat};
use crate::filesystem::{CopyOptions, ListOptions};

use super::entries::{Found, PageQuery};
use super::many::{Outcome, in_time};
use super::{Access, InvalidRequest, ServiceError, changes, contents, entries};

/// The maximum number of operations of a batch.
pub const MAX_OPERATIONS: usize = 1_000;

/// The maximum number of concurrent operations. They share one session, whose own limit on outstanding requests is higher.
const MAX_CONCURRENT: usize = 64;

/// The maximum number of concurrent operations that may need a command, or read whole directories or files: a command is a process on the cluster.
const MAX_CONCURRENT_HEAVY: usize = 8;

/// The maximum number of entries of a listing in a batch, and of all of them together.
const MAX_PAGE_ENTRIES: u64 = 1_000;
const MAX_TOTAL_ENTRIES: usize = 20_000;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parameters of the use case of the same name")]
pub enum Operation {
    /// [`entries::stat`].
    Stat { path: String, dereference: bool },
    /// [`entries::page`].
    List { path: String, options: ListOptions, page: PageQuery },
    /// [`contents::checksum`].
    Checksum { path: String },
    /// [`changes::mkdir`].
    MakeDirectory { path: String, parents: bool },
    /// [`changes::remove`].
    Remove { path: String },
    /// [`changes::rename`].
    Move { source: String, target: String, overwrite: bool },
    /// [`changes::copy`].
    Copy { source: String, target: String, options: CopyOptions },
    /// [`changes::chmod`].
    Chmod { path: String, mode: String },
    /// [`changes::chown`].
    Chown { path: String, owner: String, group: String },
    /// [`changes::symlink`].
    Symlink { target: String, link: String },
    /// [`changes::touch`].
    Touch { path: String },
}

/// The result of an operation.
#[derive(Debug)]
pub enum Output {
    /// A status.
    Stat(FileStat),
    /// A page.
    Page(Found),
    /// A checksum.
    Checksum(Checksum),
    /// The entry that was made or changed.
    Entry(DirectoryEntry),
    /// Nothing, because the entry was removed.
    Nothing,
}

impl Operation {
    /// Whether the operation changes files.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Stat { .. } | Self::List { .. } | Self::Checksum { .. })
    }

    fn is_heavy(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Checksum { .. } | Self::Remove { .. } | Self::Copy { .. } | Self::Chown { .. })
    }

    async fn run(&self, access: &Access, entries: &AtomicUsize) -> Result<Output, ServiceError> {
        Ok(match self {
            Self::Stat { path, dereference } => Output::Stat(entries::stat(access, path, *dereference).await?),
            Self::List { path, options, page } => {
                let size = Some(page.size.unwrap_or(MAX_PAGE_ENTRIES));
                if size > Some(MAX_PAGE_ENTRIES) {
                    let message = format!("in a batch it must be from 1 to {MAX_PAGE_ENTRIES}");
                    return Err(InvalidRequest::new("page_size", message).into());
                }
                let found = entries::page(access, path, *options, &PageQuery { size, ..page.clone() }).await?;
                if entries.fetch_add(found.entries.len(), Ordering::Relaxed) + found.entries.len() > MAX_TOTAL_ENTRIES {
                    let message = format!("the listings of a batch have at most {MAX_TOTAL_ENTRIES} entries together");
                    return Err(InvalidRequest::new("operations", message).into());
                }
                Output::Page(found)
            }
            Self::Checksum { path } => Output::Checksum(contents::checksum(access, path).await?),
            Self::MakeDirectory { path, parents } => Output::Entry(changes::mkdir(access, path, *parents).await?),
            Self::Remove { path } => {
                changes::remove(access, path).await?;
                Output::Nothing
            }
            Self::Move { source, target, overwrite } => Output::Entry(changes::rename(access, source, target, *overwrite).await?),
            Self::Copy { source, target, options } => Output::Entry(changes::copy(access, source, target, *options).await?),
            Self::Chmod { path, mode } => Output::Entry(changes::chmod(access, path, mode).await?),
            Self::Chown { path, owner, group } => Output::Entry(changes::chown(access, path, owner, group).await?),
            Self::Symlink { target, link } => Output::Entry(changes::symlink(access, target, link).await?),
            Self::Touch { path } => Output::Entry(changes::touch(access, path).await?),
        })
    }
}

/// Runs the operations and returns their outcomes in the same order: concurrently if `ordered` is not set, so that none may depend on
/// another; one after the other if it is, up to the first that fails. Operations not done by `deadline` are abandoned.
///
/// # Errors
/// If there are too many of them, or the system has no files.
pub async fn run(
    access: &Access,
    operations: Vec<Operation>,
    ordered: bool,
    deadline: Instant,
) -> Result<Vec<Outcome<Output>>, ServiceError> {
    // Otherwise each operation would report it.
    access.cluster().files_without_health_check()?;
    if operations.len() > MAX_OPERATIONS {
        return Err(InvalidRequest::new("operations", format!("there must be at most {MAX_OPERATIONS} of them")).into());
    }
    let entries = AtomicUsize::new(0);
    if !ordered {
        let heavy = Arc::new(Semaphore::new(MAX_CONCURRENT_HEAVY));
        let outcomes = stream::iter(operations).map(|operation| run_one(access, operation, &entries, Some(&heavy), deadline));
        return Ok(outcomes.buffered(MAX_CONCURRENT).collect().await);
    }
    let mut outcomes = Vec::with_capacity(operations.len());
    let mut failed = None;
    for (number, operation) in operations.into_iter().enumerate() {
        outcomes.push(match failed {
            Some(failed) => Outcome::Skipped(failed),
            None => {
                let outcome = run_one(access, operation, &entries, None, deadline).await;
                if !matches!(outcome, Outcome::Done(_)) {
                    failed = Some(number);
                }
                outcome
            }
        });
    }
    Ok(outcomes)
}

async fn run_one(
    access: &Access,
    operation: Operation,
    entries: &AtomicUsize,
    heavy: Option<&Arc<Semaphore>>,
    deadline: Instant,
) -> Outcome<Output> {
    let begun = AtomicBool::new(false);
    let work = async {
        let _turn = match heavy.filter(|_| operation.is_heavy()) {
            // It is never closed.
            Some(heavy) => heavy.acquire().await.ok(),
            None => None,
        };
        begun.store(true, Ordering::Relaxed);
        operation.run(access, entries).await
    };
    in_time(deadline, work, || begun.load(Ordering::Relaxed) && operation.changes()).await
}
