//! One file of a copy: read from the source, written beside its target, compared, and put in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::EXISTS;
use super::progress::{FileBytes, Progress};
use crate::domain::{Alternative, ByteRange, FileType, RemotePath, SystemName, hex, sha256};
use crate::filesystem::{ContentStream, Digested, Download, Expected, FilesystemError, PartOptions, PlaceOptions, part_beside};
use crate::service::contents::TransferForm;
use crate::service::uploads::until;
use crate::service::{Access, ServiceError, counts};

/// How often a file is tried whose copy differs from it.
const MAX_TRIES: u32 = 3;
/// How often a growing file is looked at again because more of it has arrived than was known, and the pause before.
const MAX_LOOKS: u32 = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// The two ends of a copy, and what its files share.
pub(super) struct Ends<'a> {
    pub(super) id: &'a str,
    pub(super) source: &'a Access,
    pub(super) target: &'a Access,
    pub(super) overwrite: bool,
    /// Whether an earlier attempt may have made something at the target.
    pub(super) is_resumed: bool,
    pub(super) progress: Arc<Progress>,
    /// Cancelled when the work is to end in order.
    pub(super) halt: CancellationToken,
}

/// Why a copy does not go on, and on which system.
#[derive(Debug)]
pub(super) struct CopyError {
    pub(super) system: SystemName,
    pub(super) error: ServiceError,
}

/// Adds the system to an error.
pub(super) fn on<E: Into<ServiceError>>(access: &Access) -> impl FnOnce(E) -> CopyError {
    let system = access.cluster().name().clone();
    move |error| CopyError { system, error: error.into() }
}

/// The error that something is at a path of the target already.
pub(super) fn exists(target: &Access, path: &RemotePath) -> CopyError {
    on(target)(ServiceError::Conflict(format!("{path}: {EXISTS}").into()))
}

/// Checks a file of this size, which is at `from`, against the limits of both systems.
///
/// # Errors
/// If it is over one of them.
pub(super) fn check_size(ends: &Ends<'_>, from: &RemotePath, size: u64) -> Result<(), CopyError> {
    [ends.source, ends.target].into_iter().try_for_each(|access| {
        TransferForm::Stream
            .check(access, size, Alternative::TransferJob)
            .map_err(|error| on(access)(ServiceError::TooMuch(format!("{from}: {error}").into())))
    })
}

/// A file to copy.
pub(super) struct FileCopy<'a> {
    pub(super) ends: &'a Ends<'a>,
    /// A path without links: none is followed.
    pub(super) from: RemotePath,
    pub(super) to: RemotePath,
    pub(super) size: u64,
}

/// A source of which all has arrived, as it was while it was open.
struct Whole {
    size: u64,
    /// The digest of its content.
    sum: String,
    /// Its permissions. Those of a listing can be another file's.
    mode: u32,
}

/// The content of a file on its way, and what is known of it at its end.
struct Content {
    digest: Arc<Mutex<Context>>,
    /// Whether the source failed, not the target.
    has_failed: Arc<AtomicBool>,
}

/// The outcome of one try.
enum Written {
    /// The file, which has this size, is in its place.
    Whole(u64),
    /// It was not equal to its source, and was removed.
    Unequal,
    /// More of it has arrived than was known when the try began.
    Longer,
}

impl FileCopy<'_> {
    /// Copies the file; its size.
    ///
    /// # Errors
    /// If it cannot be read or written, something is there that is not to be replaced, or its copies differ from it each time.
    pub(super) async fn run(&self) -> Result<u64, CopyError> {
        check_size(self.ends, &self.from, self.size)?;
        let bytes = Arc::new(self.ends.progress.file());
        if self.ends.is_resumed && self.is_there().await? {
            bytes.complete(self.size);
            return Ok(self.size);
        }
        let (mut tries, mut looks) = (0, 0);
        while tries < MAX_TRIES && looks < MAX_LOOKS {
            match self.write_in_parts(&bytes).await? {
                Written::Whole(size) => return Ok(size),
                Written::Unequal => {
                    tries += 1;
                    tracing::warn!(task = self.ends.id, from = %self.from, "a copied file was not equal to its source");
                }
                Written::Longer => {
                    looks += 1;
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
            }
        }
        Err(on(self.ends.source)(FilesystemError::Changed(self.from.clone())))
    }

    fn expected(&self) -> Expected {
        if self.ends.overwrite { Expected::Anything } else { Expected::Nothing }
    }

    /// Whether an earlier attempt has put the file in its place.
    async fn is_there(&self) -> Result<bool, CopyError> {
        let target = self.ends.target;
        let files = target.files().await.map_err(on(target))?;
        match files.stat(target.principal(), &self.to, false).await {
            Ok(found) if FileType::from_mode(found.mode) == FileType::Regular && found.size == self.size => {
                Ok(self.source_sum().await?.sum == sum(target, &self.to).await?)
            }
            Ok(_) | Err(FilesystemError::NotFound(_)) => Ok(false),
            Err(error) => Err(on(target)(error)),
        }
    }

    /// Adds what is missing to the growing file, and puts it in its place if it is equal to the source. Else it is removed.
    async fn write_in_parts(&self, bytes: &Arc<FileBytes>) -> Result<Written, CopyError> {
        let target = self.ends.target;
        let (files, principal) = (target.files().await.map_err(on(target))?, target.principal());
        let part = part_of(self.ends.id, &self.to);
        let failed = |error: FilesystemError| self.refused(error.with_shown_path(&part, &self.to));
        let offset = match files.stat(principal, &part, false).await {
            Ok(found) => found.size,
            Err(FilesystemError::NotFound(_)) => {
                files.begin_part(principal, &part, &self.to, true).await.map_err(failed)?;
                0
            }
            Err(error) => return Err(failed(error)),
        };
        bytes.resume_at(offset);
        let whole = match self.extend(&part, offset, bytes).await {
            // What was sent before a line was cut has arrived meanwhile.
            Err(CopyError { error: ServiceError::Filesystem(FilesystemError::Offset(_)), .. }) => return Ok(Written::Longer),
            whole => whole?,
        };
        let is_equal = match &whole {
            Some(whole) => sum(target, &part).await? == whole.sum,
            None => false,
        };
        let Some(Whole { size, mode, .. }) = whole.filter(|_| is_equal) else {
            files.remove(principal, &part).await.map_err(failed)?;
            return Ok(Written::Unequal);
        };
        // What its owner could not read would be in the way of the next attempt.
        let options = PlaceOptions { size, expected: self.expected(), mode: Some(mode & 0o777 | 0o400) };
        files.place_part(principal, &part, &self.to, options).await.map_err(failed)?;
        bytes.complete(size);
        Ok(Written::Whole(size))
    }

    /// Adds the rest of the source to a part that has `offset` bytes; what the source then was. None if it is longer than the source.
    async fn extend(&self, part: &RemotePath, offset: u64, bytes: &Arc<FileBytes>) -> Result<Option<Whole>, CopyError> {
        let (source, target) = (self.ends.source, self.ends.target);
        let files = target.files().await.map_err(on(target))?;
        if offset > 0 {
            let found = source.files().await.map_err(on(source))?.stat(source.principal(), &self.from, false).await.map_err(on(source))?;
            if found.size <= offset {
                let is_whole = found.size == offset;
                return if is_whole { Ok(Some(self.source_sum().await?)) } else { Ok(None) };
            }
        }
        let (download, content) = self.read((offset > 0).then_some(offset), bytes).await?;
        let (size, mode) = (download.version.size, download.mode);
        let options = PartOptions { offset, length: size, all_or_nothing: false };
        let end = files.extend_part(target.principal(), part, download.content, options).await;
        let end = end.map_err(|error| self.failed(&content, error.with_shown_path(part, &self.to)))?;
        if end != size {
            return Ok(None);
        }
        // Of what was written before, only the source knows the digest.
        if offset == 0 { Ok(Some(Whole { size, sum: content.sum(), mode })) } else { self.source_sum().await.map(Some) }
    }

    /// Opens the source, whose bytes are counted and digested on their way.
    async fn read(&self, offset: Option<u64>, bytes: &Arc<FileBytes>) -> Result<(Download, Content), CopyError> {
        let (source, target) = (self.ends.source, self.ends.target);
        let files = source.files().await.map_err(on(source))?;
        let range = offset.map(|offset| ByteRange::From(offset, None));
        let cap = TransferForm::Stream.cap(source);
        let mut download = files.download_real(source.principal(), &self.from, range, cap).await.map_err(on(source))?;
        let content = Content { digest: Arc::new(Mutex::new(Context::new(&SHA256))), has_failed: Arc::default() };
        let (digest, has_failed, bytes) = (Arc::clone(&content.digest), Arc::clone(&content.has_failed), Arc::clone(bytes));
        let counted = until(download.content, self.ends.halt.clone()).inspect(move |piece| match piece {
            Ok(piece) => {
                digest.lock().update(piece);
                bytes.add(piece.len() as u64);
            }
            Err(_) => has_failed.store(true, Ordering::Relaxed),
        });
        let counted: ContentStream = counts::downloaded(source.counts(), counted.boxed());
        download.content = counts::uploaded(target.counts(), counted);
        Ok((download, content))
    }

    /// What the whole source is, by the cluster itself; where that takes too long there, the file is read.
    async fn source_sum(&self) -> Result<Whole, CopyError> {
        let source = self.ends.source;
        let (files, principal) = (source.files().await.map_err(on(source))?, source.principal());
        match files.checksum_real(principal, &self.from).await {
            Ok(Digested { checksum, mode, size }) => return Ok(Whole { size, sum: checksum.hex, mode }),
            Err(FilesystemError::TooSlow { .. }) => {}
            Err(error) => return Err(on(source)(error)),
        }
        let Download { content, version, mode, .. } = files.download_real(principal, &self.from, None, None).await.map_err(on(source))?;
        Ok(Whole { size: version.size, sum: read_sum(source, content).await?, mode })
    }

    /// The error of a write: of the source if that failed.
    fn failed(&self, content: &Content, error: FilesystemError) -> CopyError {
        if content.has_failed.load(Ordering::Relaxed) { on(self.ends.source)(error) } else { self.refused(error) }
    }

    /// The error of the target.
    fn refused(&self, error: FilesystemError) -> CopyError {
        match error {
            FilesystemError::Exists(_) => exists(self.ends.target, &self.to),
            error => on(self.ends.target)(error),
        }
    }
}

impl Content {
    fn sum(&self) -> String {
        hex(self.digest.lock().clone().finish().as_ref())
    }
}

/// The name of a file of a task while it grows: always the same, so that the next attempt finds it.
pub(super) fn part_of(id: &str, to: &RemotePath) -> RemotePath {
    part_beside(to, &format!("{}{}", mark_of(id), &hex(&sha256(to.as_bytes()))[..16]))
}

/// What the names of all growing files of a task have in common.
pub(super) fn mark_of(id: &str) -> String {
    hex(&sha256(id.as_bytes()))[..16].to_owned()
}

/// The SHA-256 of a file, by the cluster itself; where that takes too long there, the file is read.
async fn sum(access: &Access, path: &RemotePath) -> Result<String, CopyError> {
    let (files, principal) = (access.files().await.map_err(on(access))?, access.principal());
    match files.checksum(principal, path).await {
        Ok(checksum) => return Ok(checksum.hex),
        Err(FilesystemError::TooSlow { .. }) => {}
        Err(error) => return Err(on(access)(error)),
    }
    read_sum(access, files.download(principal, path, None, None).await.map_err(on(access))?.content).await
}

async fn read_sum(access: &Access, mut content: ContentStream) -> Result<String, CopyError> {
    let mut digest = Context::new(&SHA256);
    while let Some(piece) = content.next().await {
        digest.update(&piece.map_err(on(access))?);
    }
    Ok(hex(digest.finish().as_ref()))
}
