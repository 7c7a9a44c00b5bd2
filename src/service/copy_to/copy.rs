//! A whole copy: one file, or a directory with all below it, several files at a time.

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use super::file::{CopyError, Ends, FileCopy, check_size, exists, on, part_of};
use super::tree::{Step, Tree, at};
use super::{check_space, real_place};
use crate::domain::{FileStat, FileType, RemotePath, bytes_to_text, text_to_bytes};
use crate::error::Classify;
use crate::filesystem::{FileSystem, FilesystemError, ListOptions, WalkOptions};
use crate::service::ServiceError;

/// The maximum number of files of one task that are copied at a time.
const FILES_AT_A_TIME: usize = 4;

/// Entries under way, in the order of the walk; each gives its path below the source, and the size of a file that was copied.
type InFlight<'a> = FuturesOrdered<BoxFuture<'a, Result<(Vec<u8>, Option<u64>), CopyError>>>;

/// Looks at what is to be copied, counts it, and checks that there is space for it. Nothing is made yet.
///
/// Links on the path of the source are followed once: all is read below the path without links that the first attempt found. Another user could lay a link
/// on the way to a file of the user's at any time since.
///
/// # Errors
/// If it cannot be copied, or there is no space for it.
pub(super) async fn look(ends: &Ends<'_>, from: &RemotePath, to: &RemotePath) -> Result<(FileStat, RemotePath), CopyError> {
    let source = ends.source;
    let (files, principal) = (source.files().await.map_err(on(source))?, source.principal());
    let real = files.real_path(principal, from).await.map_err(on(source))?;
    if !ends.progress.is_source(&real) {
        return Err(on(source)(FilesystemError::Changed(from.clone())));
    }
    let from = &real;
    let found = files.stat(principal, from, false).await.map_err(on(source))?;
    match FileType::from_mode(found.mode) {
        FileType::Regular => ends.progress.counted(1, found.size),
        FileType::Directory if ends.progress.is_counted() => {}
        FileType::Directory => {
            let (number, bytes) = count(ends, from).await?;
            ends.progress.counted(number, bytes);
            // What takes the place of something else may need less.
            if !ends.overwrite {
                check_space(ends.target, to, bytes).await.map_err(on(ends.target))?;
            }
        }
        _ => return Err(on(source)(FilesystemError::WrongType { path: from.clone(), reason: "neither a file nor a directory" })),
    }
    Ok((found, real))
}

/// Copies what is at `from`, a path without links where `found` is, to `to`.
///
/// # Errors
/// The first failure. What is complete at the target stays; the next attempt goes on from there.
pub(super) async fn copy(ends: &Ends<'_>, found: FileStat, from: &RemotePath, to: &RemotePath) -> Result<(), CopyError> {
    if FileType::from_mode(found.mode) != FileType::Directory {
        return FileCopy { ends, from: from.clone(), to: to.clone(), size: found.size }.run().await.map(drop);
    }
    let files = ends.source.files().await.map_err(on(ends.source))?;
    let real = real_place(ends.target, to).await.map_err(on(ends.target))?;
    TreeCopy { ends, from, to, name: real.file_name() }.run(files, found).await
}

/// The number of files below a directory, and their size in bytes. A directory that cannot be read, or a file that is too large, is an error before
/// anything is copied.
async fn count(ends: &Ends<'_>, from: &RemotePath) -> Result<(u64, u64), CopyError> {
    let source = ends.source;
    let list = ListOptions { hidden: true, numeric_ids: true, recursive: true, ..ListOptions::default() };
    let options = WalkOptions { list, ..WalkOptions::default() };
    let files = source.files().await.map_err(on(source))?;
    let mut entries = files.walk(source.principal(), from, options).await.map_err(on(source))?;
    let (mut number, mut bytes) = (0, 0_u64);
    while let Some(some) = entries.next().await {
        for entry in some.map_err(on(source))?.iter().filter(|entry| entry.file_type == FileType::Regular) {
            check_size(ends, &from.join(&entry.name), entry.size)?;
            number += 1;
            bytes = bytes.saturating_add(entry.size);
        }
    }
    Ok((number, bytes))
}

/// A directory that is copied.
struct TreeCopy<'a> {
    ends: &'a Ends<'a>,
    from: &'a RemotePath,
    to: &'a RemotePath,
    /// The name of the target, where it is a link that of what it leads to.
    name: &'a [u8],
}

impl<'a> TreeCopy<'a> {
    async fn run(&'a self, files: &dyn FileSystem, root: FileStat) -> Result<(), CopyError> {
        let Ends { source, progress, .. } = self.ends;
        let cursor = progress.cursor().map(|cursor| text_to_bytes(&cursor));
        let tree = Tree::new(files, source.principal(), self.from, root.mode, cursor.as_deref()).await;
        let mut tree = tree.map_err(on(source))?;
        let mut in_flight = InFlight::new();
        while let Some(step) = self.beside(&mut in_flight, async { tree.next().await.map_err(on(source)) }).await? {
            if in_flight.len() >= FILES_AT_A_TIME {
                self.end_one(&mut in_flight).await?;
            }
            match step {
                Step::Enter(path, _) if self.beside(&mut in_flight, self.is_target(&path)).await? => {
                    tree.skip();
                    in_flight.push_back(async move { Ok((path, None)) }.boxed());
                }
                Step::Enter(path, mode) => self.beside(&mut in_flight, self.enter(&path, mode)).await?,
                Step::File(path, entry) => {
                    let (from, to) = (self.from.join(&path), self.to.join(&path));
                    let file = FileCopy { ends: self.ends, from, to, size: entry.size };
                    in_flight.push_back(async move { file.run().await.map(|size| (path, Some(size))) }.boxed());
                }
                Step::Other(path) => in_flight.push_back(async move { Ok((path, None)) }.boxed()),
                Step::Leave(path, mode) => {
                    while mode & 0o700 != 0o700 && !in_flight.is_empty() {
                        self.end_one(&mut in_flight).await?;
                    }
                    self.leave(&path, mode).await?;
                }
            }
        }
        while !in_flight.is_empty() {
            self.end_one(&mut in_flight).await?;
        }
        Ok(())
    }

    /// Waits for the first of the entries under way.
    async fn end_one(&self, in_flight: &mut InFlight<'_>) -> Result<(), CopyError> {
        if let Some(ended) = in_flight.next().await {
            self.reached(ended?);
        }
        Ok(())
    }

    fn reached(&self, (path, copied): (Vec<u8>, Option<u64>)) {
        self.ends.progress.reached(bytes_to_text(&path), copied);
    }

    /// Works while the files under way go on.
    async fn beside<T>(&self, in_flight: &mut InFlight<'_>, work: impl Future<Output = Result<T, CopyError>>) -> Result<T, CopyError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(ended) = in_flight.next(), if !in_flight.is_empty() => self.reached(ended?),
            }
        }
    }

    /// Whether a directory below the source is the target itself, by another path of files that the two systems share: what is made in the one
    /// appears in the other. Walked, it would have no end.
    async fn is_target(&self, path: &[u8]) -> Result<bool, CopyError> {
        if path.rsplit(|byte| *byte == b'/').next() != Some(self.name) || path.is_empty() {
            return Ok(false);
        }
        let Ends { id, source, target, .. } = self.ends;
        let files = target.files().await.map_err(on(target))?;
        let probe = part_of(id, &self.to.join(b"probe"));
        match files.begin_part(target.principal(), &probe, &probe, true).await {
            // Left by an attempt that was cut off.
            Ok(()) | Err(FilesystemError::Exists(_)) => {}
            Err(error) => return Err(on(target)(error.with_shown_path(&probe, self.to))),
        }
        let there = at(self.from, path).join(probe.file_name());
        let found = source.files().await.map_err(on(source))?.stat(source.principal(), &there, false).await;
        files.remove(target.principal(), &probe).await.map_err(on(target))?;
        match found {
            Ok(_) => Ok(true),
            // It is not open to this user: the walk says so.
            Err(FilesystemError::NotFound(_) | FilesystemError::Denied(_)) => Ok(false),
            Err(error) => Err(on(source)(error)),
        }
    }

    /// Makes a directory, which at no moment is open to anybody to whom its source is not.
    async fn enter(&self, path: &[u8], mode: u32) -> Result<(), CopyError> {
        let Ends { target, is_resumed, progress, .. } = self.ends;
        let (files, to) = (target.files().await.map_err(on(target))?, at(self.to, path));
        match files.mkdir_with_mode(target.principal(), &to, mode & 0o777 | 0o700).await {
            Ok(()) => {}
            Err(FilesystemError::Exists(_)) => return self.enter_existing(path, mode).await,
            Err(error) => {
                if path.is_empty() && !is_resumed && error.maybe_effected() != Some(true) {
                    progress.has_made_nothing();
                }
                return Err(on(target)(error));
            }
        }
        progress.entered(&bytes_to_text(path));
        Ok(())
    }

    /// Goes into a directory that is there: one that this task has made, or any if it may overwrite.
    async fn enter_existing(&self, path: &[u8], mode: u32) -> Result<(), CopyError> {
        let Ends { target, overwrite, is_resumed, progress, .. } = self.ends;
        let (files, to) = (target.files().await.map_err(on(target))?, at(self.to, path));
        let found = files.stat(target.principal(), &to, false).await.map_err(on(target))?;
        let is_enterable = match FileType::from_mode(found.mode) {
            FileType::Directory => *overwrite || *is_resumed,
            FileType::Symlink if *overwrite => self.permits(path, &to, found).await.map_err(on(target))?,
            _ => false,
        };
        if !is_enterable {
            if path.is_empty() && !is_resumed {
                progress.has_made_nothing();
            }
            return Err(exists(target, &to));
        }
        if self.is_own(path) {
            files.set_directory_mode(target.principal(), &to, mode & 0o777 | 0o700).await.map_err(on(target))?;
            progress.entered(&bytes_to_text(path));
        }
        Ok(())
    }

    /// Whether a link that is there is followed: to a directory, and below the target only if it is the user's or that of root. Another user could
    /// have made it meanwhile.
    async fn permits(&self, path: &[u8], to: &RemotePath, link: FileStat) -> Result<bool, ServiceError> {
        let target = self.ends.target;
        let (files, principal) = (target.files().await?, target.principal());
        if !path.is_empty() && link.uid != 0 && files.identity(principal).await?.user.id != link.uid.to_string() {
            return Ok(false);
        }
        Ok(FileType::from_mode(files.stat(principal, to, true).await?.mode) == FileType::Directory)
    }

    /// Whether the directory there was made by this task.
    fn is_own(&self, path: &[u8]) -> bool {
        !self.ends.overwrite || self.ends.progress.has_made(&bytes_to_text(path))
    }

    /// Gives a directory that was made the permissions of its source, now that all is in it.
    async fn leave(&self, path: &[u8], mode: u32) -> Result<(), CopyError> {
        let target = self.ends.target;
        if mode & 0o700 != 0o700 && self.is_own(path) {
            let (files, to) = (target.files().await.map_err(on(target))?, at(self.to, path));
            files.set_directory_mode(target.principal(), &to, mode & 0o777).await.map_err(on(target))?;
        }
        self.ends.progress.left(&bytes_to_text(path));
        Ok(())
    }
}
