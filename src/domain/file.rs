//! Files, as shown by `ls`, `stat`, `head` and `sha256sum`.

use std::fmt;
use std::ops::Range;

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name in bytes; below the listed directory, with the relative path in recursive listings.
    pub name: Vec<u8>,
    /// The type of the entry.
    pub file_type: FileType,
    /// The target of a symbolic link.
    pub link_target: Option<Vec<u8>>,
    /// The owner's name, or number if there is no name or numbers were requested.
    pub user: String,
    /// The group's name, or number.
    pub group: String,
    /// The permission and special bits (`07777`).
    pub permissions: u32,
    /// The time of the last change of content, in Unix seconds.
    pub modified: i64,
    /// The size in bytes.
    pub size: u64,
}

/// Permission bits to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// As they are to be (`07777`).
    Bits(u32),
    /// As a change of those that are there: a symbolic mode of chmod(1), such as `u+x,go-w`.
    Symbolic(String),
}

impl FileMode {
    /// Reads an octal or a symbolic mode; nothing where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            return u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777).map(Self::Bits);
        }
        (text.len() <= 256 && text.split(',').all(is_symbolic_clause)).then(|| Self::Symbolic(text.to_owned()))
    }
}

/// Whose, then actions: an operator, and permissions or whose to copy (POSIX, chmod, extended description).
fn is_symbolic_clause(clause: &str) -> bool {
    let operators = ['+', '-', '='];
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let is_permissions = |text: &str| matches!(text, "u" | "g" | "o") || text.bytes().all(|byte| b"rwxXst".contains(&byte));
    // Nothing stands before the first operator.
    actions.starts_with(operators) && actions.split(operators).skip(1).all(is_permissions)
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits(bits) => write!(f, "{bits:o}"),
            Self::Symbolic(text) => f.write_str(text),
        }
    }
}

/// The type of a directory entry: the type bits of `st_mode` (POSIX `<sys/stat.h>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something else.
    Unknown,
}

impl FileType {
    /// Reads the type bits of a mode.
    pub fn from_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o060_000 => Self::BlockDevice,
            0o020_000 => Self::CharacterDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => Self::Unknown,
        }
    }

    /// The first letter of `ls -l`.
    pub fn letter(self) -> char {
        match self {
            Self::Regular => '-',
            Self::Directory => 'd',
            Self::Symlink => 'l',
            Self::BlockDevice => 'b',
            Self::CharacterDevice => 'c',
            Self::Fifo => 'p',
            Self::Socket => 's',
            Self::Unknown => '?',
        }
    }
}

/// The fields of `stat(2)`; times in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FileStat {
    /// Type and permission bits.
    pub mode: u32,
    /// Inode number; 0 where the protocol does not carry it.
    pub ino: u64,
    /// Device number; 0 where the protocol does not carry it.
    pub dev: u64,
    /// Hard links; 1 where the protocol does not carry it.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Last access.
    pub atime: i64,
    /// Last change of the inode; that of the content where the protocol does not carry it.
    pub ctime: i64,
    /// Last change of the content.
    pub mtime: i64,
}

/// The version of a file's content, as far as the cluster reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FileVersion {
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content, in Unix seconds.
    pub modified: i64,
    /// Inode number; 0 where the protocol does not carry it.
    pub inode: u64,
}

impl FileVersion {
    /// Whether a file of this version, which has the version `later` now, still has its content: it is the same, or has only grown, as a
    /// log does. An overwritten part of a file that has also grown cannot be detected from outside.
    pub fn is_kept_by(&self, later: &Self) -> bool {
        self == later || (self.inode == later.inode && later.size > self.size)
    }
}

impl From<&FileStat> for FileVersion {
    fn from(stat: &FileStat) -> Self {
        Self { size: stat.size, modified: stat.mtime, inode: stat.ino }
    }
}

/// A requested part of a file's bytes (RFC 9110, 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From this byte, counted from 0, to that one, both included; without one, to the end.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// The bytes of a file of this size that are meant; `None` where it has none of them. An empty file is whole in each of its
    /// ends.
    pub fn within(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::From(first, _) if first >= size => None,
            Self::From(first, last) => Some(first..last.map_or(size, |last| last.saturating_add(1).min(size))),
            Self::Last(0) => None,
            Self::Last(count) => Some(size.saturating_sub(count)..size),
        }
    }
}

/// The unit of positions and amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentUnit {
    /// Lines, as `head -n`.
    Lines,
    /// Bytes, as `head -c`.
    Bytes,
}

/// A part of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub data: Vec<u8>,
    /// The unit.
    pub unit: ContentUnit,
    /// The start of the part.
    pub start: i64,
    /// The end of the part.
    pub end: i64,
}

/// A checksum in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm's name as FirecREST writes it, such as `SHA256`: clients compare it.
    pub algorithm: &'static str,
    /// The digest.
    pub hex: String,
}

/// The options of packing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CompressOptions {
    /// The compression.
    pub compression: Compression,
    /// Pack the files that links point to.
    pub dereference: bool,
    /// Only the files whose path matches this regular expression, as `find -regex` reads it.
    pub match_pattern: Option<String>,
}

/// The compression of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Plain tar.
    None,
    /// bzip2.
    Bzip2,
    /// gzip.
    #[default]
    Gzip,
    /// xz.
    Xz,
}

impl Compression {
    /// GNU tar's option for it; empty for none.
    pub fn tar_option(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "--gzip",
            Self::Bzip2 => "--bzip2",
            Self::Xz => "--xz",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_at_most_7777_or_symbolic() {
        assert_eq!(FileMode::parse("0755"), Some(FileMode::Bits(0o755)));
        assert_eq!(FileMode::parse("07777"), Some(FileMode::Bits(0o7777)));
        for mode in ["u+x", "a=rX", "go-w,u+s", "+x", "-w", "u=", "g=u", "o+r-w", "+t"] {
            assert_eq!(FileMode::parse(mode), Some(FileMode::Symbolic(mode.to_owned())));
        }
        for mode in
            ["", "8", "-1", "+7", "17777", "777777777777", "0x1ff", "\u{ff17}", "u", "u+x,", "x+u", "u+gr", "--reference=/f", "u+x f"]
        {
            assert_eq!(FileMode::parse(mode), None, "{mode:?}");
        }
    }

    #[test]
    fn a_range_is_cut_to_the_file_and_none_is_left_beyond_it() {
        for (range, size, expected) in [
            (ByteRange::From(0, None), 10, Some(0..10)),
            (ByteRange::From(3, Some(3)), 10, Some(3..4)),
            (ByteRange::From(9, Some(u64::MAX)), 10, Some(9..10)),
            (ByteRange::From(10, None), 10, None),
            (ByteRange::From(0, Some(0)), 0, None),
            (ByteRange::Last(4), 10, Some(6..10)),
            (ByteRange::Last(u64::MAX), 10, Some(0..10)),
            (ByteRange::Last(0), 10, None),
            (ByteRange::Last(1), 0, Some(0..0)),
        ] {
            assert_eq!(range.within(size), expected, "{range:?} of {size}");
        }
    }

    #[test]
    fn a_file_that_grew_has_kept_what_it_had_and_one_that_was_replaced_has_not() {
        let version = FileVersion { size: 10, modified: 100, inode: 7 };
        assert!(version.is_kept_by(&version));
        assert!(version.is_kept_by(&FileVersion { size: 11, modified: 101, ..version }));
        for later in
            [FileVersion { modified: 101, ..version }, FileVersion { size: 9, ..version }, FileVersion { size: 11, inode: 8, ..version }]
        {
            assert!(!version.is_kept_by(&later), "{later:?}");
        }
    }
}
