//! Files, as `ls`, `stat`, `head` and `sha256sum` tell them.

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name in bytes; below the listed directory, with the relative path in recursive listings.
    pub name: Vec<u8>,
    /// What it is.
    pub file_type: FileType,
    /// Where a symbolic link points.
    pub link_target: Option<Vec<u8>>,
    /// The owner's name, or number where there is no name or numbers were asked for.
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

/// What a directory entry is: the type bits of `st_mode` (POSIX `<sys/stat.h>`).
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

/// What positions and amounts count.
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
    /// What was counted.
    pub unit: ContentUnit,
    /// Where the part starts.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
}

/// A checksum in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm's name, such as `SHA-256`.
    pub algorithm: &'static str,
    /// The digest.
    pub hex: String,
}
