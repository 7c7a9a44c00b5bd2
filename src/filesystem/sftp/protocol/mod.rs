//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), with the extensions of OpenSSH's `PROTOCOL` document.
//!
//! Pure: bytes to values and back, for the client and for the server, without IO. Whatever arrives is bounded by
//! [`MAX_PACKET`] and by its own packet; names are bytes. A new packet is a variant here and a line in both directions.

mod request;
mod response;
mod wire;

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::FileType;

pub use request::{OpenFlags, Request, decode_request, encode_request};
pub use response::{NameEntry, Response, Status, decode_response, encode_response};
pub use wire::{MAX_PACKET, Malformed, packet_size, split_packet};

use wire::{Fields, put_string};

/// The version that both sides speak.
pub const VERSION: u32 = 3;

/// `rename(2)`: the target is replaced at once.
pub const POSIX_RENAME: &[u8] = b"posix-rename@openssh.com";
/// `fsync(2)` on an open file.
pub const FSYNC: &[u8] = b"fsync@openssh.com";
/// `link(2)`.
pub const HARDLINK: &[u8] = b"hardlink@openssh.com";
/// The server's limits of one request.
pub const LIMITS: &[u8] = b"limits@openssh.com";
/// The names of users and groups.
pub const USERS_GROUPS_BY_ID: &[u8] = b"users-groups-by-id@openssh.com";

/// Copies between two open files within the server.
pub const COPY_DATA: &[u8] = b"copy-data";
/// `statvfs(3)`.
pub const STATVFS: &[u8] = b"statvfs@openssh.com";

/// The attributes of a file; each may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Size in bytes.
    pub size: Option<u64>,
    /// Owner and group.
    pub owner: Option<(u32, u32)>,
    /// Type and permission bits, as `st_mode`.
    pub mode: Option<u32>,
    /// Last access and last change of content, in Unix seconds.
    pub times: Option<(u32, u32)>,
}

const HAS_SIZE: u32 = 0x1;
const HAS_OWNER: u32 = 0x2;
const HAS_MODE: u32 = 0x4;
const HAS_TIMES: u32 = 0x8;
const HAS_EXTENDED: u32 = 0x8000_0000;

impl Attributes {
    /// Attributes that hold nothing but a mode.
    pub fn with_mode(mode: u32) -> Self {
        Self { mode: Some(mode), ..Self::default() }
    }

    /// The type of the file, as far as it is given.
    pub fn file_type(&self) -> FileType {
        self.mode.map_or(FileType::Unknown, FileType::from_mode)
    }

    fn put(&self, buffer: &mut BytesMut) {
        let flag = |present: bool, flag: u32| if present { flag } else { 0 };
        let flags = flag(self.size.is_some(), HAS_SIZE)
            | flag(self.owner.is_some(), HAS_OWNER)
            | flag(self.mode.is_some(), HAS_MODE)
            | flag(self.times.is_some(), HAS_TIMES);
        buffer.put_u32(flags);
        if let Some(size) = self.size {
            buffer.put_u64(size);
        }
        if let Some((user, group)) = self.owner {
            buffer.put_u32(user);
            buffer.put_u32(group);
        }
        if let Some(mode) = self.mode {
            buffer.put_u32(mode);
        }
        if let Some((accessed, modified)) = self.times {
            buffer.put_u32(accessed);
            buffer.put_u32(modified);
        }
    }

    fn take(fields: &mut Fields) -> Result<Self, Malformed> {
        let flags = fields.u32()?;
        let mut attributes = Self::default();
        if flags & HAS_SIZE != 0 {
            attributes.size = Some(fields.u64()?);
        }
        if flags & HAS_OWNER != 0 {
            attributes.owner = Some((fields.u32()?, fields.u32()?));
        }
        if flags & HAS_MODE != 0 {
            attributes.mode = Some(fields.u32()?);
        }
        if flags & HAS_TIMES != 0 {
            attributes.times = Some((fields.u32()?, fields.u32()?));
        }
        if flags & HAS_EXTENDED != 0 {
            for _ in 0..fields.count(8)? {
                fields.string()?;
                fields.string()?;
            }
        }
        Ok(attributes)
    }
}

/// The server's limits of one request, from [`LIMITS`]; 0 means "not announced".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLimits {
    /// The longest packet.
    pub packet: u64,
    /// The longest read.
    pub read: u64,
    /// The longest write.
    pub write: u64,
    /// The maximum number of open files and directories.
    pub handles: u64,
}

impl ServerLimits {
    /// Reads the reply's data.
    ///
    /// # Errors
    /// If it is short.
    pub fn decode(data: Bytes) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        Ok(Self { packet: fields.u64()?, read: fields.u64()?, write: fields.u64()?, handles: fields.u64()? })
    }

    /// The reply's data.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(32);
        [self.packet, self.read, self.write, self.handles].into_iter().for_each(|value| buffer.put_u64(value));
        buffer.freeze()
    }
}

/// The result of `statvfs(3)`, from a [`STATVFS`] reply; of its flags, one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// The unit of the blocks below, in bytes.
    pub block: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Blocks that are free to users other than root.
    pub available: u64,
    /// Files that it can hold.
    pub files: u64,
    /// Files that it can still hold.
    pub files_free: u64,
    /// Whether nothing can be changed.
    pub is_read_only: bool,
}

/// The flag `SSH2_FXE_STATVFS_ST_RDONLY` of OpenSSH's PROTOCOL, 4.5.
const STATVFS_READ_ONLY: u64 = 1;

impl FileSystemSpace {
    /// Reads the reply's data.
    ///
    /// # Errors
    /// If it is short.
    pub fn decode(data: Bytes) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        let _preferred_block = fields.u64()?;
        let mut space = Self {
            block: fields.u64()?,
            blocks: fields.u64()?,
            free: fields.u64()?,
            available: fields.u64()?,
            files: fields.u64()?,
            files_free: fields.u64()?,
            is_read_only: false,
        };
        // The files that are free to others than root, an id, flags, and the longest name.
        let (_, _, flags, _) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
        space.is_read_only = flags & STATVFS_READ_ONLY != 0;
        Ok(space)
    }

    /// The reply's data, with nothing but zeros for what is not known here.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BytesMut::with_capacity(88);
        let numbers = [self.block, self.block, self.blocks, self.free, self.available, self.files, self.files_free, self.files_free];
        numbers.into_iter().chain([0, u64::from(self.is_read_only) * STATVFS_READ_ONLY, 255]).for_each(|value| buffer.put_u64(value));
        buffer.freeze()
    }
}

/// Reads the two lists of names of a [`USERS_GROUPS_BY_ID`] reply; a name is empty if there is none.
///
/// # Errors
/// If the lists do not have the requested lengths.
pub fn decode_names(data: Bytes, users: usize, groups: usize) -> Result<(Vec<Bytes>, Vec<Bytes>), Malformed> {
    let mut fields = Fields(data);
    let mut list = |length: usize| {
        let mut inner = Fields(fields.string()?);
        let names = (0..length).map(|_| inner.string()).collect::<Result<Vec<_>, _>>()?;
        inner.end()?;
        Ok(names)
    };
    Ok((list(users)?, list(groups)?))
}

/// The data of a [`USERS_GROUPS_BY_ID`] reply.
pub fn encode_names(users: &[Bytes], groups: &[Bytes]) -> Bytes {
    let mut buffer = BytesMut::new();
    for names in [users, groups] {
        let mut list = BytesMut::new();
        names.iter().for_each(|name| put_string(&mut list, name));
        put_string(&mut buffer, &list);
    }
    buffer.freeze()
}

#[cfg(test)]
mod tests;
