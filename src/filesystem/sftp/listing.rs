//! Listings: directories read with several requests outstanding, and trees walked several directories at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, FuturesOrdered, FuturesUnordered};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::errors::{attributes, bytes, filesystem_error};
use super::names::Names;
use super::protocol::{Attributes, NameEntry, Request, Response, Status};
use super::session::{Failure, Handle, Session};
use crate::domain::{DirectoryEntry, FileType, RemotePath, Username};
use crate::filesystem::{FilesystemError, ListOptions, MAX_ENTRIES};

/// The number of outstanding READDIR requests on one directory.
const READDIRS: usize = 4;

/// The number of requests at first: most directories fit into one reply, and the next reply is the end.
const FIRST_READDIRS: usize = 2;

/// The number of directories of a tree that are read concurrently.
pub const DIRECTORIES: usize = 8;

/// The number of links of a directory that are resolved concurrently.
pub const LINKS: usize = 32;

/// The parts that a listing needs.
pub struct Lister<'a> {
    /// The session.
    pub session: &'a Arc<Session>,
    /// Names of owners.
    pub names: &'a Names,
    /// The caller.
    pub caller: &'a Username,
    /// The options of the listing.
    pub options: ListOptions,
}

/// A directory that is still to be read.
pub struct Directory {
    /// The path of the directory.
    pub path: RemotePath,
    /// The prefix of its names: empty, or a relative path with a slash.
    pub prefix: Vec<u8>,
    /// Its canonical path below those that lead to it; kept only where links are followed into directories.
    trail: Option<Arc<Trail>>,
}

struct Trail {
    canonical: Vec<u8>,
    above: Option<Arc<Self>>,
}

impl Trail {
    fn holds(&self, canonical: &[u8]) -> bool {
        let mut trail = Some(self);
        while let Some(here) = trail {
            if here.canonical == canonical {
                return true;
            }
            trail = here.above.as_deref();
        }
        false
    }
}

impl Lister<'_> {
    /// Lists a directory, or the one entry that something else is.
    ///
    /// # Errors
    /// If the path, or a directory below it, cannot be read.
    pub async fn list(&self, path: &RemotePath) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        let request = if self.options.dereference { Request::Stat { path: bytes(path) } } else { Request::Lstat { path: bytes(path) } };
        // Both go out together: opening what is no directory fails, and changes nothing.
        let (root, opened) = futures::join!(attributes(self.session, path, &request), DirectoryReader::open(self.session, path));
        let root = root?;
        if root.file_type() != FileType::Directory {
            return Ok(vec![self.single(path, root).await?]);
        }
        let names = opened?.all().await?;
        let (mut found, below) = self.shown(self.root(path).await?, names).await?;
        let mut waiting = VecDeque::from(below);
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < DIRECTORIES
                && let Some(directory) = waiting.pop_front()
            {
                reading.push(self.read(directory, path));
            }
            let Some(result) = reading.next().await else { break };
            let (entries, below) = result?;
            found.extend(entries);
            waiting.extend(below);
            if found.len() + waiting.len() > MAX_ENTRIES {
                return Err(FilesystemError::too_many_entries(path));
            }
        }
        drop(reading);
        found.sort_unstable_by(|a: &DirectoryEntry, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The entry for a path itself.
    ///
    /// # Errors
    /// If there is none.
    pub async fn entry(&self, path: &RemotePath) -> Result<DirectoryEntry, FilesystemError> {
        let found = attributes(self.session, path, &Request::Lstat { path: bytes(path) }).await?;
        self.single(path, found).await
    }

    /// The directory that a listing starts with.
    ///
    /// # Errors
    /// If its canonical path is needed and not known.
    pub async fn root(&self, path: &RemotePath) -> Result<Directory, FilesystemError> {
        let trail = match self.options.recursive && self.options.dereference {
            true => Some(Arc::new(Trail { canonical: self.canonical(path).await?, above: None })),
            false => None,
        };
        Ok(Directory { path: path.clone(), prefix: Vec::new(), trail })
    }

    /// The entry for a path whose attributes are known; its name is the whole path.
    ///
    /// # Errors
    /// If the session fails.
    pub async fn single(&self, path: &RemotePath, attributes: Attributes) -> Result<DirectoryEntry, FilesystemError> {
        let name = NameEntry { name: bytes(path), long_name: bytes::Bytes::new(), attributes };
        let link = match attributes.file_type() {
            FileType::Symlink => self.link_target(path).await?,
            _ => None,
        };
        let mut entries = self.named(path, &[], vec![(name, link)]).await?;
        entries.pop().ok_or_else(|| FilesystemError::NotFound(path.clone()))
    }

    async fn read(&self, directory: Directory, root: &RemotePath) -> Result<(Vec<DirectoryEntry>, Vec<Directory>), FilesystemError> {
        let names = match read_directory(self.session, &directory.path).await {
            // Removed since its parent was read.
            Err(FilesystemError::NotFound(_)) if directory.path != *root => return Ok((Vec::new(), Vec::new())),
            other => other?,
        };
        self.shown(directory, names).await
    }

    /// The entries of a directory as they are shown, and the directories in it that are to be read too.
    async fn shown(&self, directory: Directory, names: Vec<NameEntry>) -> Result<(Vec<DirectoryEntry>, Vec<Directory>), FilesystemError> {
        let shown = names.into_iter().filter(|entry| self.options.hidden || !entry.name.starts_with(b"."));
        let looked_up: Vec<_> = stream::iter(shown).map(|entry| self.look_up(&directory.path, entry)).buffered(LINKS).try_collect().await?;
        let mut below = Vec::new();
        if self.options.recursive {
            for ((entry, _), is_link) in &looked_up {
                if entry.attributes.file_type() == FileType::Directory {
                    below.extend(self.enter(&directory, &entry.name, *is_link).await?);
                }
            }
        }
        let entries = looked_up.into_iter().map(|(entry, _)| entry).collect();
        Ok((self.named(&directory.path, &directory.prefix, entries).await?, below))
    }

    /// The directory of this name in another, to be read too; none where it is one of those that lead to it.
    ///
    /// # Errors
    /// If the canonical path of a link is not known.
    pub async fn enter(&self, directory: &Directory, name: &[u8], is_link: bool) -> Result<Option<Directory>, FilesystemError> {
        let path = directory.path.join(name);
        let trail = match &directory.trail {
            None => None,
            Some(above) => {
                let canonical = match is_link {
                    true => self.canonical(&path).await?,
                    false => [above.canonical.strip_suffix(b"/").unwrap_or(&above.canonical), b"/", name].concat(),
                };
                if above.holds(&canonical) {
                    return Ok(None);
                }
                Some(Arc::new(Trail { canonical, above: Some(above.clone()) }))
            }
        };
        Ok(Some(Directory { path, prefix: [&directory.prefix, name, b"/"].concat(), trail }))
    }

    /// Looks up what a link points to, or leads to. The second value tells whether the entry is a link.
    ///
    /// # Errors
    /// If the session fails.
    pub async fn look_up(
        &self,
        directory: &RemotePath,
        mut entry: NameEntry,
    ) -> Result<((NameEntry, Option<Vec<u8>>), bool), FilesystemError> {
        let path = directory.join(&entry.name);
        if entry.attributes.mode.is_none() {
            entry.attributes = attributes(self.session, &path, &Request::Lstat { path: bytes(&path) }).await?;
        }
        if entry.attributes.file_type() != FileType::Symlink {
            return Ok(((entry, None), false));
        }
        if self.options.dereference {
            match attributes(self.session, &path, &Request::Stat { path: bytes(&path) }).await {
                Ok(found) => {
                    entry.attributes = found;
                    entry.long_name = bytes::Bytes::new();
                    return Ok(((entry, None), true));
                }
                // It dangles, or leads where the caller may not look: the link itself is shown.
                Err(FilesystemError::NotFound(_) | FilesystemError::Denied(_) | FilesystemError::Sftp { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let target = self.link_target(&path).await?;
        Ok(((entry, target), true))
    }

    /// The target of a link; none if it is no longer a link.
    ///
    /// # Errors
    /// If the session fails.
    pub async fn link_target(&self, path: &RemotePath) -> Result<Option<Vec<u8>>, FilesystemError> {
        match self.session.request(&Request::Readlink { path: bytes(path) }).await {
            Ok(Response::Name { entries }) => Ok(entries.first().map(|entry| entry.name.to_vec())),
            Ok(_) => Err(filesystem_error(path, Failure::unexpected())),
            // Changed since the directory was read.
            Err(Failure::Status(..)) => Ok(None),
            Err(failure) => Err(filesystem_error(path, failure)),
        }
    }

    async fn canonical(&self, path: &RemotePath) -> Result<Vec<u8>, FilesystemError> {
        match self.session.request(&Request::Realpath { path: bytes(path) }).await {
            Ok(Response::Name { entries }) if entries.len() == 1 => Ok(entries[0].name.to_vec()),
            Ok(_) => Err(filesystem_error(path, Failure::unexpected())),
            Err(failure) => Err(filesystem_error(path, failure)),
        }
    }

    /// Entries of the directory with this prefix as they are shown.
    ///
    /// # Errors
    /// If the session fails.
    pub async fn named(
        &self,
        path: &RemotePath,
        prefix: &[u8],
        entries: Vec<(NameEntry, Option<Vec<u8>>)>,
    ) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        let caller = self.caller;
        if !self.options.numeric_ids {
            let owners = entries.iter().filter_map(|(entry, _)| entry.attributes.owner);
            self.names.learn(caller, self.session, owners).await.map_err(|failure| filesystem_error(path, failure))?;
        }
        let mut named = Vec::with_capacity(entries.len());
        for (entry, link_target) in entries {
            let (user, group) = match (self.options.numeric_ids, entry.attributes.owner) {
                (true, Some((user, group))) => (user.to_string(), group.to_string()),
                (true, None) => (String::new(), String::new()),
                (false, _) => self.names.of(caller, &entry.name, &entry.long_name, &entry.attributes).await,
            };
            named.push(DirectoryEntry {
                name: [prefix, &entry.name].concat(),
                file_type: entry.attributes.file_type(),
                link_target,
                user,
                group,
                permissions: entry.attributes.mode.unwrap_or_default() & 0o7777,
                modified: entry.attributes.times.map_or(0, |(_, modified)| modified.into()),
                size: entry.attributes.size.unwrap_or_default(),
            });
        }
        Ok(named)
    }
}

/// Reads a whole directory, without `.` and `..`.
///
/// # Errors
/// If it cannot be read, or the server sends an invalid name.
pub async fn read_directory(session: &Arc<Session>, path: &RemotePath) -> Result<Vec<NameEntry>, FilesystemError> {
    DirectoryReader::open(session, path).await?.all().await
}

/// A directory that is open for reading, with several requests outstanding.
pub struct DirectoryReader {
    session: Arc<Session>,
    handle: Handle,
    path: RemotePath,
    replies: FuturesOrdered<BoxFuture<'static, Result<Response, Failure>>>,
    received: usize,
}

impl DirectoryReader {
    /// Opens a directory.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn open(session: &Arc<Session>, path: &RemotePath) -> Result<Self, FilesystemError> {
        let opened = session.handle(&Request::Opendir { path: bytes(path) }).await;
        let handle = opened.map_err(|failure| filesystem_error(path, failure))?;
        let (session, path) = (Arc::clone(session), path.clone());
        let mut reader = Self { session, handle, path, replies: FuturesOrdered::new(), received: 0 };
        (0..FIRST_READDIRS).for_each(|_| reader.ask());
        Ok(reader)
    }

    /// The names of all replies.
    ///
    /// # Errors
    /// As [`DirectoryReader::next`], and if there are too many.
    async fn all(mut self) -> Result<Vec<NameEntry>, FilesystemError> {
        let mut names = Vec::new();
        while let Some(more) = self.next().await? {
            names.extend(more);
            if names.len() > MAX_ENTRIES {
                return Err(FilesystemError::too_many_entries(&self.path));
            }
        }
        Ok(names)
    }

    /// The names of the next reply, without `.` and `..`; none at the end.
    ///
    /// # Errors
    /// If the directory cannot be read, or the server sends an invalid name.
    pub async fn next(&mut self) -> Result<Option<Vec<NameEntry>>, FilesystemError> {
        let entries = match self.replies.next().await {
            Some(Ok(Response::Name { entries })) if !entries.is_empty() => entries,
            Some(Ok(Response::Name { .. }) | Err(Failure::Status(Status::Eof, _))) | None => {
                if self.received == 0 {
                    check_search(&self.session, &self.path).await?;
                }
                return Ok(None);
            }
            Some(Ok(_)) => return Err(filesystem_error(&self.path, Failure::unexpected())),
            Some(Err(failure)) => return Err(filesystem_error(&self.path, failure)),
        };
        self.received += 1;
        while self.received >= FIRST_READDIRS && self.replies.len() < READDIRS {
            self.ask();
        }
        let mut names = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry.name.as_ref() {
                b"." | b".." => {}
                name if name.is_empty() || name.contains(&b'/') || name.contains(&0) => {
                    let reason = Failure::Protocol("a directory holds a name that cannot be one".to_owned());
                    return Err(filesystem_error(&self.path, reason));
                }
                // Taken out of the packet, whose memory would live on otherwise.
                name => names.push(NameEntry { name: bytes::Bytes::copy_from_slice(name), ..entry }),
            }
        }
        Ok(Some(names))
    }

    fn ask(&mut self) {
        let (session, request) = (Arc::clone(&self.session), Request::Readdir { handle: self.handle.bytes() });
        self.replies.push_back(async move { session.request(&request).await }.boxed());
    }
}

/// Refuses a directory that may be read but not searched (`r--`). It looks empty: OpenSSH leaves out each entry whose attributes it
/// cannot have, be it `.` itself.
async fn check_search(session: &Arc<Session>, path: &RemotePath) -> Result<(), FilesystemError> {
    let itself = Request::Lstat { path: bytes(&path.join(b".")) };
    match attributes(session, path, &itself).await {
        Err(FilesystemError::Denied(path)) => Err(FilesystemError::Denied(path)),
        _ => Ok(()),
    }
}
