//! The entries of a directory and of all below it, in an order that is the same each time, in bounded memory. No link is followed: a directory whose
//! name is that of a link by the time that it is read is an error.

use std::collections::VecDeque;

use crate::domain::{DirectoryEntry, FileType, Principal, RemotePath};
use crate::filesystem::{FileSystem, FilesystemError, PageRequest, Position, Sort};

/// The number of entries, of all levels together, up to which a directory is read whole: each further page reads all of it again.
const MAX_ENTRIES_HELD: usize = 50_000;
/// The number of entries that are read of a directory however many are held.
const MIN_PAGE: usize = 500;

/// A step of the walk. Paths are relative to the root.
pub(super) enum Step {
    /// A directory begins.
    Enter(Vec<u8>, u32),
    /// A file.
    File(Vec<u8>, DirectoryEntry),
    /// Neither.
    Other(Vec<u8>),
    /// All of a directory was walked.
    Leave(Vec<u8>, u32),
}

/// A walk.
pub(super) struct Tree<'a> {
    files: &'a dyn FileSystem,
    principal: &'a Principal,
    root: &'a RemotePath,
    levels: Vec<Level>,
    /// The mode of the root, until it was entered.
    begins: Option<u32>,
}

/// A directory that is being walked.
struct Level {
    /// Its path below the root; empty for the root.
    path: Vec<u8>,
    mode: u32,
    entries: VecDeque<DirectoryEntry>,
    after: Option<Position>,
    is_last_page: bool,
}

impl<'a> Tree<'a> {
    /// The walk below `root`, or the rest of it after the entry `after`.
    pub(super) async fn new(
        files: &'a dyn FileSystem,
        principal: &'a Principal,
        root: &'a RemotePath,
        mode: u32,
        after: Option<&[u8]>,
    ) -> Result<Self, FilesystemError> {
        let mut tree = Self { files, principal, root, levels: Vec::new(), begins: Some(mode) };
        let Some(after) = after else { return Ok(tree) };
        tree.begins = None;
        let mut path = Vec::new();
        let mut mode = mode;
        for name in after.split(|byte| *byte == b'/') {
            let position = Position { value: 0, name: name.to_vec() };
            tree.levels.push(Level { path: path.clone(), mode, entries: VecDeque::new(), after: Some(position), is_last_page: false });
            path = below(&path, name);
            if path.len() < after.len() {
                mode = match files.stat(principal, &at(root, &path), false).await {
                    Ok(found) if FileType::from_mode(found.mode) == FileType::Directory => found.mode,
                    // Something else has taken its place, such as a link.
                    Ok(_) => return Err(FilesystemError::Changed(at(root, &path))),
                    // What was in it is gone: the walk goes on behind it.
                    Err(FilesystemError::NotFound(_)) => break,
                    Err(error) => return Err(error),
                };
            }
        }
        Ok(tree)
    }

    /// The next step; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Step>, FilesystemError> {
        if let Some(mode) = self.begins.take() {
            self.enter(Vec::new(), mode);
            return Ok(Some(Step::Enter(Vec::new(), mode)));
        }
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(entry) = level.entries.pop_front() else {
                if level.is_last_page {
                    return Ok(self.levels.pop().map(|level| Step::Leave(level.path, level.mode)));
                }
                self.read_page().await?;
                continue;
            };
            let path = below(&level.path, &entry.name);
            return Ok(Some(match entry.file_type {
                FileType::Directory => {
                    let mode = entry.permissions;
                    self.enter(path.clone(), mode);
                    Step::Enter(path, mode)
                }
                FileType::Regular => Step::File(path, entry),
                _ => Step::Other(path),
            }));
        }
    }

    /// Leaves out the directory that began last.
    pub(super) fn skip(&mut self) {
        self.levels.pop();
    }

    fn enter(&mut self, path: Vec<u8>, mode: u32) {
        self.levels.push(Level { path, mode, entries: VecDeque::new(), after: None, is_last_page: false });
    }

    async fn read_page(&mut self) -> Result<(), FilesystemError> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let path = at(self.root, &level.path);
        let mode = level.mode;
        let held: usize = self.levels.iter().map(|level| level.entries.len()).sum();
        let size = MAX_ENTRIES_HELD.saturating_sub(held).max(MIN_PAGE);
        let request = PageRequest { size, sort: Sort::Name, descending: false, after: level.after.clone() };
        let page = self.files.page_real(self.principal, &path, mode, &request).await?;
        if let Some(level) = self.levels.last_mut() {
            level.is_last_page = page.next.is_none();
            level.after = page.next;
            level.entries = page.entries.into();
        }
        Ok(())
    }
}

/// The place of an entry of a tree, which is the root itself for an empty path.
pub(super) fn at(root: &RemotePath, path: &[u8]) -> RemotePath {
    if path.is_empty() { root.clone() } else { root.join(path) }
}

/// The path of an entry of a directory, both relative.
fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
