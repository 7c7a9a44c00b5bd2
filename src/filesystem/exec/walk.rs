//! Walks by `find`, read as it writes.
//!
//! Its errors come after the entries, so that one stream carries both and the exit status.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::{StreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::errors::{classify, line_error};
use super::listing::{FIELDS, PRINT_NAMES, PRINT_NUMBERS, entry, is_harmless};
use crate::domain::{DirectoryEntry, FileType, RemotePath, bytes_to_text};
use crate::filesystem::{EntryStream, FilesystemError, WalkOptions};
use crate::ssh::{ByteStream, CommandError, CommandLine, TransportError};

/// The maximum number of bytes read from the stream at once.
const PIECE: usize = 64 * 1024;

/// The longest that one field may be: a path of Linux, and then some.
const MAX_FIELD: usize = 16 * 1024;

/// The number of bytes of the messages that are kept: the 8192 of [`SCRIPT`].
const MESSAGE_BYTES: usize = 8192;

/// Runs its parameters, then prints the end of what they wrote to standard error, with the exit status as its last line.
const SCRIPT: &str = r#"'{ e=$({ "$@" 2>&1 >&3 3>&-; echo "exit=$?"; } | tail -c 8192); } 3>&1; printf %s "$e"' sh"#;

/// The command that walks `path`, the path itself coming first with an empty name.
pub fn command(path: &RemotePath, options: &WalkOptions) -> CommandLine {
    let list = options.list;
    let line = CommandLine::new("env LC_ALL=C sh -c").flag(SCRIPT);
    let line = line.flag("find").flag(if list.dereference { "-L" } else { "-P" }).arg(path.as_bytes());
    let line = match (list.recursive, options.max_depth) {
        (false, _) => line.flag("-maxdepth 1"),
        (true, Some(deepest)) => line.flag("-maxdepth").number(deepest.into()),
        (true, None) => line,
    };
    // Hidden directories are not entered; but the test is for the listed directory too, whose own name must not count.
    let prunes = !list.hidden && !path.file_name().starts_with(b".");
    let line = if prunes { line.flag("-name '.*' -prune -o") } else { line };
    line.flag(if list.numeric_ids { PRINT_NUMBERS } else { PRINT_NAMES })
}

/// Parameters: directory, permission bits, and the rest of find's arguments. Whatever keeps it from being entered is left to find to say.
const REAL: &str = concat!(
    r#"c() { echo "find: $1: it changed meanwhile" >&2; exit 1; }; cd -- "$1" 2>/dev/null || { find -P "$1" -maxdepth 1 -printf "" && c "$1"; exit 1; }; "#,
    r#"p=$(pwd -P && echo .) && [ "${p%??}" = "$1" ] && m=$(stat --format=%a .) && [ $((0$2 & ~0$m)) = 0 ] || c "$1"; shift 2; exec find -P . "$@""#
);

/// The command that lists the directory at `path`, in which no link is followed, with hidden names and numbers of owners, if it gives nobody less than `mode`.
pub fn command_real(path: &RemotePath, mode: u32) -> CommandLine {
    let line = CommandLine::new("env LC_ALL=C sh -c").flag(SCRIPT).flag("sh -c").arg(REAL).flag("sh");
    line.arg(path.as_bytes()).arg(format!("{:o}", mode & 0o777)).flag("-maxdepth 1").flag(PRINT_NUMBERS)
}

/// A walk under way.
struct Walk {
    stream: ByteStream,
    path: RemotePath,
    options: WalkOptions,
    stall: Duration,
    buffer: BytesMut,
    /// The position up to which the buffer was searched for the end of a field.
    searched: usize,
    fields: Vec<Vec<u8>>,
    ended: bool,
}

/// Entries from the output of [`command`]. Waits for the first, so that a path that cannot be walked is an error at once.
pub async fn entries(stream: ByteStream, path: &RemotePath, options: WalkOptions, stall: Duration) -> Result<EntryStream, FilesystemError> {
    let mut walk = Walk {
        stream,
        path: path.clone(),
        options,
        stall,
        buffer: BytesMut::with_capacity(PIECE),
        searched: 0,
        fields: Vec::with_capacity(FIELDS),
        ended: false,
    };
    let mut first = VecDeque::new();
    // The path itself is found before it is known whether it can be read.
    while first.is_empty() {
        match walk.next().await {
            Some(Ok(found)) => first.push_back(Ok(found)),
            Some(Err(FilesystemError::Incomplete { first: denied, .. })) if denied == *path => return Err(FilesystemError::Denied(denied)),
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    let rest = stream::unfold(walk, |mut walk| async move { walk.next().await.map(|item| (item, walk)) });
    Ok(stream::iter(first).chain(rest).boxed())
}

impl Walk {
    async fn next(&mut self) -> Option<Result<Vec<DirectoryEntry>, FilesystemError>> {
        while !self.ended {
            let found = match self.take_entries() {
                Ok(found) => found,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            if !found.is_empty() {
                return Some(Ok(found));
            }
            self.buffer.reserve(PIECE);
            let read = timeout(self.stall, self.stream.read_buf(&mut self.buffer)).await;
            let failure: FilesystemError = match read {
                Ok(Ok(0)) => {
                    self.ended = true;
                    return self.end().err().map(Err);
                }
                Ok(Ok(_)) => continue,
                Ok(Err(_)) => TransportError::Broken { sent: true }.into(),
                Err(_) => TransportError::Execution(self.stall).into(),
            };
            self.ended = true;
            return Some(Err(failure));
        }
        None
    }

    /// The entries that have arrived completely and match.
    fn take_entries(&mut self) -> Result<Vec<DirectoryEntry>, FilesystemError> {
        let mut found = Vec::new();
        while let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == 0) {
            let field = self.buffer.split_to(self.searched + end);
            self.buffer.advance(1);
            self.searched = 0;
            self.fields.push(field.to_vec());
            if self.fields.len() == FIELDS {
                let fields: Vec<&[u8]> = self.fields.iter().map(Vec::as_slice).collect();
                let entry = entry(&fields)?;
                self.fields.clear();
                found.extend(self.wanted(entry));
            }
        }
        self.searched = self.buffer.len();
        match self.searched > MAX_FIELD {
            true => Err(super::listing::not_understood("find", "a field has no end").into()),
            false => Ok(found),
        }
    }

    fn wanted(&self, mut entry: DirectoryEntry) -> Option<DirectoryEntry> {
        let is_root = entry.name.is_empty();
        if is_root && entry.file_type == FileType::Directory {
            return None;
        }
        let name = match is_root {
            true => self.path.file_name(),
            false => entry.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
        };
        let hidden = !is_root && entry.name.split(|byte| *byte == b'/').any(|part| part.starts_with(b"."));
        let filter = &self.options.filter;
        let matches = filter.allows_name(name) && filter.allows(entry.file_type, entry.size, entry.modified);
        if !matches || hidden && !self.options.list.hidden {
            return None;
        }
        if is_root {
            entry.name = self.path.as_bytes().to_vec();
        }
        Some(entry)
    }

    /// Reads what comes after the entries.
    fn end(&self) -> Result<(), FilesystemError> {
        let text = bytes_to_text(&self.buffer);
        let (messages, status) = text.rsplit_once("exit=").unwrap_or((&text, ""));
        let status = status.trim().parse::<u32>().ok().filter(|_| self.fields.is_empty());
        let Some(status) = status else {
            return Err(super::listing::not_understood("find", "it was cut short").into());
        };
        let mut unreadable: Option<(RemotePath, u64)> = None;
        // Where there are too many messages for their place, the first of those left may have lost its start.
        let cut = usize::from(self.buffer.len() >= MESSAGE_BYTES);
        for line in messages.lines().skip(cut).filter(|line| !line.is_empty()) {
            match line_error(line, &[&self.path]) {
                Some(FilesystemError::Denied(_)) => {
                    unreadable.get_or_insert_with(|| (denied_path(line).unwrap_or_else(|| self.path.clone()), 0)).1 += 1;
                }
                // The path itself is gone when nothing was found.
                Some(FilesystemError::NotFound(_)) if named(line) == Some(&self.path.to_text()) => {
                    return Err(FilesystemError::NotFound(self.path.clone()));
                }
                _ if is_harmless(line, &self.path) => {}
                _ => return Err(classify(CommandError::Exit { exit: status, stderr: messages.trim().to_owned() }, &[&self.path])),
            }
        }
        match unreadable {
            Some((first, count)) => Err(FilesystemError::Incomplete { first, count }),
            None if status > 1 => Err(CommandError::Exit { exit: status, stderr: messages.trim().to_owned() }.into()),
            None => Ok(()),
        }
    }
}

/// The path in a message such as `find: '/a/b': Permission denied`, without the quotes of either locale.
fn named(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("find: ")?;
    let (name, _) = rest.rsplit_once(": ")?;
    let quotes = ['\'', '\u{2018}', '\u{2019}', '`', '"'];
    Some(name.trim_matches(quotes))
}

fn denied_path(line: &str) -> Option<RemotePath> {
    RemotePath::from_text(named(line)?).ok()
}
