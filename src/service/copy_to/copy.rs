//! A whole copy: one file, or a directory with all below it, several files at a time.

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use super::file::{CopyError, Ends, FileCopy, on};
use super::tree::{Step, Tree, at};
use super::{EXISTS, check_space};
use crate::domain::{FileMode, FileStat, FileType, RemotePath, bytes_to_text, text_to_bytes};
use crate::filesystem::{FileSystem, FilesystemError, ListOptions, WalkOptions};
use crate::service::ServiceError;

/// The maximum number of files of one task that are copied at a time.
const FILES_AT_A_TIME: usize = 4;

/// Entries under way, in the order of the walk; each gives its path below the source, and the size of a file that was copied.
type InFlight<'a> = FuturesOrdered<BoxFuture<'a, Result<(Vec<u8>, Option<u64>), CopyError>>>;

/// Copies what is at `from` to `to`.
///
/// # Errors
/// The first failure. What is complete at the target stays; the next attempt goes on from there.
pub(super) async fn copy(ends: &Ends<'_>, from: &RemotePath, to: &RemotePath) -> Result<(), CopyError> {
    let source = ends.source;
    let files = source.files().await.map_err(on(source))?;
    let found = files.stat(source.principal(), from, true).await.map_err(on(source))?;
    match FileType::from_mode(found.mode) {
        FileType::Regular => {
            ends.progress.counted(1, found.size);
            FileCopy { ends, from: from.clone(), to: to.clone(), size: found.size, mode: found.mode }.run().await.map(drop)
        }
        FileType::Directory => {
            if !ends.progress.is_counted() {
                let (number, bytes) = count(ends, from).await.map_err(on(source))?;
                ends.progress.counted(number, bytes);
                // What takes the place of something else may need less.
                if !ends.overwrite {
                    check_space(ends.target, to, bytes).await.map_err(on(ends.target))?;
                }
            }
            TreeCopy { ends, from, to }.run(files, found).await
        }
        _ => Err(on(source)(FilesystemError::WrongType { path: from.clone(), reason: "neither a file nor a directory" })),
    }
}

/// The number of files below a directory, and their size in bytes. A directory that cannot be read is an error before anything is copied.
async fn count(ends: &Ends<'_>, from: &RemotePath) -> Result<(u64, u64), ServiceError> {
    let list = ListOptions { hidden: true, numeric_ids: true, recursive: true, ..ListOptions::default() };
    let options = WalkOptions { list, ..WalkOptions::default() };
    let mut entries = ends.source.files().await?.walk(ends.source.principal(), from, options).await?;
    let (mut number, mut bytes) = (0, 0_u64);
    while let Some(some) = entries.next().await {
        for entry in some?.iter().filter(|entry| entry.file_type == FileType::Regular) {
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
                Step::Enter(path, mode) => self.beside(&mut in_flight, self.enter(&path, mode)).await?,
                Step::File(path, entry) => {
                    let (from, to) = (self.from.join(&path), self.to.join(&path));
                    let file = FileCopy { ends: self.ends, from, to, size: entry.size, mode: entry.permissions };
                    in_flight.push_back(async move { file.run().await.map(|size| (path, Some(size))) }.boxed());
                }
                Step::Other(path) => in_flight.push_back(async move { Ok((path, None)) }.boxed()),
                Step::Leave(path, mode) if mode & 0o700 != 0o700 => {
                    while !in_flight.is_empty() {
                        self.end_one(&mut in_flight).await?;
                    }
                    self.set_mode(&path, mode & 0o777).await?;
                }
                Step::Leave(..) => {}
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

    /// Makes a directory, which is open to nobody to whom its source is not.
    async fn enter(&self, path: &[u8], mode: u32) -> Result<(), CopyError> {
        let Ends { target, overwrite, is_resumed, .. } = self.ends;
        let (files, to) = (target.files().await.map_err(on(target))?, at(self.to, path));
        if let Err(error) = files.mkdir(target.principal(), &to, false).await {
            match files.stat(target.principal(), &to, true).await {
                Ok(found) if (*overwrite || *is_resumed) && FileType::from_mode(found.mode) == FileType::Directory => {}
                Ok(_) => return Err(on(target)(ServiceError::Conflict(EXISTS))),
                Err(_) => return Err(on(target)(error)),
            }
            if *overwrite {
                return Ok(());
            }
        }
        self.set_mode(path, mode & 0o777 | 0o700).await
    }

    /// Sets the permissions of a directory; that it gives its group to what is made in it stays.
    async fn set_mode(&self, path: &[u8], mode: u32) -> Result<(), CopyError> {
        let (target, to) = (self.ends.target, at(self.to, path));
        let files = target.files().await.map_err(on(target))?;
        let found = files.stat(target.principal(), &to, true).await.map_err(on(target))?.mode & 0o7777;
        let wanted = found & 0o7000 | mode;
        if wanted == found {
            return Ok(());
        }
        files.chmod(target.principal(), &to, &FileMode::Bits(wanted)).await.map_err(on(target))
    }
}
