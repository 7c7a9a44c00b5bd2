//! Directories and trees that are read as streams, piece by piece.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::ready;
use futures::stream::{self, FuturesUnordered};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::errors::{attributes, bytes};
use super::listing::{DIRECTORIES, Directory, DirectoryReader, LINKS, Lister};
use super::missing::explained;
use super::names::Names;
use super::proof::prove_directory;
use super::protocol::{Attributes, NameEntry, Request};
use super::waiting::Lease;
use crate::domain::{DirectoryEntry, FileType, RemotePath, Username};
use crate::filesystem::page::Top;
use crate::filesystem::{EntryStream, FilesystemError, Page, PageRequest, WalkOptions};

/// The number of pieces buffered ahead of the reader. Each comes from one reply of the server.
const BUFFERED_PIECES: usize = 4;

/// The memory limit for the paths of directories that are still to be read, in bytes. Deeper ones are read first, so that this
/// is some hundred thousand directories beside each other.
const PENDING_BYTES: usize = 32 * 1024 * 1024;

type Pieces = mpsc::Sender<Result<Vec<DirectoryEntry>, FilesystemError>>;

/// A walk over a tree, or over one directory.
pub struct Walk {
    session: Lease,
    names: Arc<Names>,
    caller: Username,
    root: RemotePath,
    options: WalkOptions,
    /// The memory of the paths of directories that are still to be read.
    waiting: AtomicUsize,
}

/// A directory still to be read, with the level of its entries.
struct Ahead {
    directory: Directory,
    level: u32,
}

impl Ahead {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.directory.path.as_bytes().len() + self.directory.prefix.len()
    }
}

impl Walk {
    /// Nothing is read yet.
    pub fn new(session: Lease, names: &Arc<Names>, caller: &Username, root: &RemotePath, options: WalkOptions) -> Self {
        let (names, caller, root) = (Arc::clone(names), caller.clone(), root.clone());
        Self { session, names, caller, root, options, waiting: AtomicUsize::new(0) }
    }

    /// Opens the root; the rest is done as the stream is read.
    ///
    /// # Errors
    /// If the root cannot be read.
    pub async fn start(self) -> Result<EntryStream, FilesystemError> {
        let lister = self.lister();
        let root = match explained(&self.session, root(&lister, &self.root).await).await? {
            Root::Single(entry) => {
                let filter = &self.options.filter;
                let found = filter.allows_name(self.root.file_name()) && filter.allows(entry.file_type, entry.size, entry.modified);
                let entries = if found { vec![*entry] } else { Vec::new() };
                return Ok(stream::iter([Ok(entries)]).boxed());
            }
            Root::Directory(reader) => (reader, lister.root(&self.root).await?),
        };
        let (sender, mut receiver) = mpsc::channel(BUFFERED_PIECES);
        // Not a separate task: the reader drives the walk, so it ends and fails with the stream.
        let walking = stream::once(self.run(root.0, root.1, sender)).filter_map(|()| ready(None));
        Ok(stream::select(stream::poll_fn(move |context| receiver.poll_recv(context)), walking).boxed())
    }

    fn lister(&self) -> Lister<'_> {
        Lister { session: &self.session, names: &self.names, caller: &self.caller, options: self.options.list }
    }

    async fn run(self, reader: DirectoryReader, root: Directory, pieces: Pieces) {
        if let Err(error) = self.walk(reader, root, &pieces).await {
            // If this fails, the reader is gone.
            let _ = pieces.send(Err(error)).await;
        }
    }

    async fn walk(&self, reader: DirectoryReader, root: Directory, pieces: &Pieces) -> Result<(), FilesystemError> {
        let mut reading = FuturesUnordered::new();
        // The last one found is read first (depth first), so that few directories wait.
        let mut ahead: Vec<Ahead> = Vec::new();
        let mut unreadable: Option<(RemotePath, u64)> = None;
        reading.push(self.read(Some(reader), Ahead { directory: root, level: 1 }, pieces));
        loop {
            while reading.len() < DIRECTORIES
                && let Some(next) = ahead.pop()
            {
                self.waiting.fetch_sub(next.weight(), Ordering::Relaxed);
                reading.push(self.read(None, next, pieces));
            }
            match reading.next().await {
                None => break,
                Some(Ok(below)) => ahead.extend(below),
                Some(Err(FilesystemError::Denied(path))) if path != self.root => unreadable.get_or_insert((path, 0)).1 += 1,
                Some(Err(error)) => return Err(error),
            }
        }
        match unreadable {
            None => Ok(()),
            Some((first, count)) => Err(FilesystemError::Incomplete { first, count }),
        }
    }

    /// Reads one directory, sends its entries, and returns the directories in it that are to be read too.
    async fn read(&self, reader: Option<DirectoryReader>, here: Ahead, pieces: &Pieces) -> Result<Vec<Ahead>, FilesystemError> {
        let mut reader = match reader {
            Some(reader) => reader,
            None => match DirectoryReader::open(&self.session, &here.directory.path).await {
                Ok(reader) => reader,
                // Removed since its parent was read.
                Err(FilesystemError::NotFound(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            },
        };
        let mut below = Vec::new();
        while let Some(names) = reader.next().await? {
            let found = self.choose(&here, names, &mut below).await?;
            if !found.is_empty() && pieces.send(Ok(found)).await.is_err() {
                break;
            }
        }
        Ok(below)
    }

    /// The entries of a reply that are shown, and the directories that are read too.
    async fn choose(&self, here: &Ahead, names: Vec<NameEntry>, below: &mut Vec<Ahead>) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        let (lister, filter, directory) = (self.lister(), &self.options.filter, &here.directory);
        let shown = names.into_iter().filter(|entry| self.options.list.hidden || !entry.name.starts_with(b"."));
        // If the targets of links count, all links are looked up first; otherwise only those that are shown.
        let looked_up = stream::iter(shown).map(|entry| settle(&lister, &directory.path, entry));
        let mut settled = looked_up.buffered(LINKS);
        let mut chosen = Vec::new();
        while let Some((entry, target, is_link)) = settled.try_next().await? {
            if self.options.descends_from(here.level)
                && entry.attributes.file_type() == FileType::Directory
                && let Some(directory) = lister.enter(directory, &entry.name, is_link).await?
            {
                let ahead = Ahead { directory, level: here.level + 1 };
                if self.waiting.fetch_add(ahead.weight(), Ordering::Relaxed) > PENDING_BYTES {
                    return Err(FilesystemError::Invalid(format!("{}: too many directories beside each other", self.root)));
                }
                below.push(ahead);
            }
            let (size, modified) = measures(&entry.attributes);
            if filter.allows_name(&entry.name) && filter.allows(entry.attributes.file_type(), size, modified) {
                chosen.push((entry, target));
            }
        }
        dress(&lister, &directory.path, &directory.prefix, chosen).await
    }
}

/// The entry at the root of a walk.
enum Root {
    Directory(DirectoryReader),
    /// Something else, which is its own only entry.
    Single(Box<DirectoryEntry>),
}

async fn root(lister: &Lister<'_>, path: &RemotePath) -> Result<Root, FilesystemError> {
    let request = match lister.options.dereference {
        true => Request::Stat { path: bytes(path) },
        false => Request::Lstat { path: bytes(path) },
    };
    let found = attributes(lister.session, path, &request).await?;
    if found.file_type() != FileType::Directory {
        return Ok(Root::Single(Box::new(lister.single(path, found).await?)));
    }
    Ok(Root::Directory(DirectoryReader::open(lister.session, path).await?))
}

/// Makes an entry's attributes those that count, with where it points if that came with them, and whether it is a link.
async fn settle(
    lister: &Lister<'_>,
    directory: &RemotePath,
    entry: NameEntry,
) -> Result<(NameEntry, Option<Vec<u8>>, bool), FilesystemError> {
    let is_link = entry.attributes.file_type() == FileType::Symlink;
    if entry.attributes.mode.is_none() || is_link && lister.options.dereference {
        let ((entry, target), is_link) = lister.look_up(directory, entry).await?;
        return Ok((entry, target, is_link));
    }
    Ok((entry, None, is_link))
}

/// Adds to entries the members that are only shown: the targets of links, and the names of owners.
async fn dress(
    lister: &Lister<'_>,
    path: &RemotePath,
    prefix: &[u8],
    entries: Vec<(NameEntry, Option<Vec<u8>>)>,
) -> Result<Vec<DirectoryEntry>, FilesystemError> {
    let with_target = async |(entry, target): (NameEntry, Option<Vec<u8>>)| {
        let target = match target {
            None if entry.attributes.file_type() == FileType::Symlink => lister.link_target(&path.join(&entry.name)).await?,
            target => target,
        };
        Ok::<_, FilesystemError>((entry, target))
    };
    let entries: Vec<_> = stream::iter(entries).map(with_target).buffered(LINKS).try_collect().await?;
    lister.named(path, prefix, entries).await
}

/// A page of a directory. Details are only looked up for its entries.
///
/// # Errors
/// If the directory cannot be read.
pub async fn page(lister: &Lister<'_>, path: &RemotePath, request: &PageRequest) -> Result<Page, FilesystemError> {
    match root(lister, path).await? {
        Root::Single(entry) => Ok(Page { entries: vec![*entry], next: None }),
        Root::Directory(reader) => first_of(lister, path, reader, request).await,
    }
}

/// The same of a directory without links on its path, which has these permission bits at least.
///
/// # Errors
/// And if it is not one.
pub async fn page_real(lister: &Lister<'_>, path: &RemotePath, mode: u32, request: &PageRequest) -> Result<Page, FilesystemError> {
    let opened = DirectoryReader::open(lister.session, path).await;
    let proven = prove_directory(lister.session, path, mode).await;
    let reader = match opened {
        Err(error @ FilesystemError::Transport(_)) => return Err(error),
        // What is not a directory is not opened.
        Err(error) => return Err(proven.err().unwrap_or(error)),
        Ok(reader) => reader,
    };
    proven?;
    first_of(lister, path, reader, request).await
}

async fn first_of(
    lister: &Lister<'_>,
    path: &RemotePath,
    mut reader: DirectoryReader,
    request: &PageRequest,
) -> Result<Page, FilesystemError> {
    let mut top = Top::new(request);
    while let Some(names) = reader.next().await? {
        let shown = names.into_iter().filter(|entry| lister.options.hidden || !entry.name.starts_with(b"."));
        let mut settled = stream::iter(shown).map(|entry| settle(lister, path, entry)).buffered(LINKS);
        while let Some((entry, target, _)) = settled.try_next().await? {
            let (size, modified) = measures(&entry.attributes);
            // The line shares the packet's memory, which would live on with the entry.
            let keep = || (NameEntry { long_name: Bytes::copy_from_slice(&entry.long_name), ..entry.clone() }, target);
            top.offer(&entry.name, size, modified, keep);
        }
    }
    let (entries, next) = top.finish();
    Ok(Page { entries: dress(lister, path, &[], entries).await?, next })
}

/// Size, and time of the last change.
fn measures(attributes: &Attributes) -> (u64, i64) {
    (attributes.size.unwrap_or_default(), attributes.times.map_or(0, |(_, modified)| modified.into()))
}
