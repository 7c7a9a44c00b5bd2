//! The requests of a client.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Fields, Malformed, put_packet, put_string};
use super::{Attributes, COPY_DATA, FSYNC, HARDLINK, LIMITS, POSIX_RENAME, STATVFS, USERS_GROUPS_BY_ID};

/// How a file is opened (`SSH_FXF_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// For reading.
    pub const READ: Self = Self(0x01);
    /// For writing.
    pub const WRITE: Self = Self(0x02);
    /// Writes go to the end.
    pub const APPEND: Self = Self(0x04);
    /// Create it if it does not exist.
    pub const CREATE: Self = Self(0x08);
    /// Emptied first.
    pub const TRUNCATE: Self = Self(0x10);
    /// Fail if it exists.
    pub const EXCLUSIVE: Self = Self(0x20);
    /// For writing a file that must not exist yet.
    pub const CREATE_NEW: Self = Self(Self::WRITE.0 | Self::CREATE.0 | Self::EXCLUSIVE.0);

    /// True when all of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the draft's sections 4 and 6, by the same names")]
pub enum Request {
    /// The first packet; it has no id.
    Init { version: u32 },
    /// Opens a file.
    Open { path: Bytes, flags: OpenFlags, attributes: Attributes },
    /// Closes a file or directory.
    Close { handle: Bytes },
    /// Reads from a file.
    Read { handle: Bytes, offset: u64, length: u32 },
    /// Writes to a file.
    Write { handle: Bytes, offset: u64, data: Bytes },
    /// Attributes of a path itself.
    Lstat { path: Bytes },
    /// Attributes of an open file.
    Fstat { handle: Bytes },
    /// Sets attributes; links are followed.
    Setstat { path: Bytes, attributes: Attributes },
    /// Sets attributes of an open file.
    Fsetstat { handle: Bytes, attributes: Attributes },
    /// Opens a directory.
    Opendir { path: Bytes },
    /// Reads the next entries of a directory.
    Readdir { handle: Bytes },
    /// Removes anything except a directory.
    Remove { path: Bytes },
    /// Makes a directory.
    Mkdir { path: Bytes, attributes: Attributes },
    /// Removes an empty directory.
    Rmdir { path: Bytes },
    /// The canonical path.
    Realpath { path: Bytes },
    /// The attributes of the entry that a path resolves to.
    Stat { path: Bytes },
    /// Renames; fails if the target exists.
    Rename { from: Bytes, to: Bytes },
    /// The target of a link.
    Readlink { path: Bytes },
    /// Makes a link. On the wire the target comes first, as OpenSSH has it and every server since; the draft says otherwise.
    Symlink { target: Bytes, link: Bytes },
    /// [`POSIX_RENAME`].
    PosixRename { from: Bytes, to: Bytes },
    /// [`FSYNC`].
    Fsync { handle: Bytes },
    /// [`HARDLINK`].
    Hardlink { from: Bytes, to: Bytes },
    /// [`LIMITS`].
    Limits,
    /// [`USERS_GROUPS_BY_ID`].
    UsersGroupsById { users: Vec<u32>, groups: Vec<u32> },
    /// [`COPY_DATA`]: `length` bytes from `offset` to the same place in the other file.
    CopyData { from: Bytes, to: Bytes, offset: u64, length: u64 },
    /// [`STATVFS`].
    Statvfs { path: Bytes },
    /// Another extension.
    Extended { name: Bytes, data: Bytes },
}

/// Appends a request to `buffer`. The id is left out of [`Request::Init`].
pub fn encode_request(id: u32, request: &Request, buffer: &mut BytesMut) {
    if let Request::Write { handle, data, .. } = request {
        buffer.reserve(data.len() + handle.len() + 32);
    }
    put_packet(buffer, packet_type(request), |buffer| {
        if !matches!(request, Request::Init { .. }) {
            buffer.put_u32(id);
        }
        put_fields(buffer, request);
    });
}

/// The number of a kind of request on the wire (`SSH_FXP_*`).
fn packet_type(request: &Request) -> u8 {
    match request {
        Request::Init { .. } => 1,
        Request::Open { .. } => 3,
        Request::Close { .. } => 4,
        Request::Read { .. } => 5,
        Request::Write { .. } => 6,
        Request::Lstat { .. } => 7,
        Request::Fstat { .. } => 8,
        Request::Setstat { .. } => 9,
        Request::Fsetstat { .. } => 10,
        Request::Opendir { .. } => 11,
        Request::Readdir { .. } => 12,
        Request::Remove { .. } => 13,
        Request::Mkdir { .. } => 14,
        Request::Rmdir { .. } => 15,
        Request::Realpath { .. } => 16,
        Request::Stat { .. } => 17,
        Request::Rename { .. } => 18,
        Request::Readlink { .. } => 19,
        Request::Symlink { .. } => 20,
        Request::PosixRename { .. }
        | Request::Fsync { .. }
        | Request::Hardlink { .. }
        | Request::Limits
        | Request::UsersGroupsById { .. }
        | Request::CopyData { .. }
        | Request::Statvfs { .. }
        | Request::Extended { .. } => 200,
    }
}

/// Appends the fields of a request that follow its id.
fn put_fields(buffer: &mut BytesMut, request: &Request) {
    match request {
        Request::Init { version } => buffer.put_u32(*version),
        Request::Open { path, flags, attributes } => {
            put_string(buffer, path);
            buffer.put_u32(flags.0);
            attributes.put(buffer);
        }
        Request::Read { handle, offset, length } => {
            put_string(buffer, handle);
            buffer.put_u64(*offset);
            buffer.put_u32(*length);
        }
        Request::Write { handle, offset, data } => {
            put_string(buffer, handle);
            buffer.put_u64(*offset);
            put_string(buffer, data);
        }
        Request::Setstat { path: name, attributes }
        | Request::Fsetstat { handle: name, attributes }
        | Request::Mkdir { path: name, attributes } => {
            put_string(buffer, name);
            attributes.put(buffer);
        }
        Request::Close { handle: name } | Request::Fstat { handle: name } | Request::Readdir { handle: name } => put_string(buffer, name),
        Request::Lstat { path }
        | Request::Stat { path }
        | Request::Opendir { path }
        | Request::Remove { path }
        | Request::Rmdir { path }
        | Request::Realpath { path }
        | Request::Readlink { path } => put_string(buffer, path),
        Request::Rename { from, to } => put_strings(buffer, &[from, to]),
        Request::Symlink { target, link } => put_strings(buffer, &[target, link]),
        Request::PosixRename { from, to } => put_strings(buffer, &[POSIX_RENAME, from, to]),
        Request::Fsync { handle } => put_strings(buffer, &[FSYNC, handle]),
        Request::Hardlink { from, to } => put_strings(buffer, &[HARDLINK, from, to]),
        Request::Limits => put_string(buffer, LIMITS),
        Request::UsersGroupsById { users, groups } => put_strings(buffer, &[USERS_GROUPS_BY_ID, &packed(users), &packed(groups)]),
        Request::CopyData { from, to, offset, length } => {
            put_strings(buffer, &[COPY_DATA, from]);
            buffer.put_u64(*offset);
            buffer.put_u64(*length);
            put_string(buffer, to);
            buffer.put_u64(*offset);
        }
        Request::Statvfs { path } => put_strings(buffer, &[STATVFS, path]),
        Request::Extended { name, data } => {
            put_string(buffer, name);
            buffer.put_slice(data);
        }
    }
}

fn put_strings(buffer: &mut BytesMut, values: &[&[u8]]) {
    values.iter().for_each(|value| put_string(buffer, value));
}

fn packed(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_be_bytes()).collect()
}

/// Reads one packet of a client. The id of [`Request::Init`] is 0.
///
/// # Errors
/// If the packet is not a request of version 3.
pub fn decode_request(packet: Bytes) -> Result<(u32, Request), Malformed> {
    let mut fields = Fields(packet);
    let kind = fields.u8()?;
    if kind == 1 {
        // Whatever follows the version are extensions of the client, of which none is known.
        return Ok((0, Request::Init { version: fields.u32()? }));
    }
    let id = fields.u32()?;
    let request = match kind {
        3 => Request::Open { path: fields.string()?, flags: OpenFlags(fields.u32()?), attributes: Attributes::take(&mut fields)? },
        4 => Request::Close { handle: fields.string()? },
        5 => Request::Read { handle: fields.string()?, offset: fields.u64()?, length: fields.u32()? },
        6 => Request::Write { handle: fields.string()?, offset: fields.u64()?, data: fields.string()? },
        7 => Request::Lstat { path: fields.string()? },
        8 => Request::Fstat { handle: fields.string()? },
        9 => Request::Setstat { path: fields.string()?, attributes: Attributes::take(&mut fields)? },
        10 => Request::Fsetstat { handle: fields.string()?, attributes: Attributes::take(&mut fields)? },
        11 => Request::Opendir { path: fields.string()? },
        12 => Request::Readdir { handle: fields.string()? },
        13 => Request::Remove { path: fields.string()? },
        14 => Request::Mkdir { path: fields.string()?, attributes: Attributes::take(&mut fields)? },
        15 => Request::Rmdir { path: fields.string()? },
        16 => Request::Realpath { path: fields.string()? },
        17 => Request::Stat { path: fields.string()? },
        18 => Request::Rename { from: fields.string()?, to: fields.string()? },
        19 => Request::Readlink { path: fields.string()? },
        20 => Request::Symlink { target: fields.string()?, link: fields.string()? },
        200 => extended(&mut fields)?,
        other => return Err(Malformed::Type(other)),
    };
    fields.end()?;
    Ok((id, request))
}

fn extended(fields: &mut Fields) -> Result<Request, Malformed> {
    let name = fields.string()?;
    Ok(match name.as_ref() {
        POSIX_RENAME => Request::PosixRename { from: fields.string()?, to: fields.string()? },
        FSYNC => Request::Fsync { handle: fields.string()? },
        HARDLINK => Request::Hardlink { from: fields.string()?, to: fields.string()? },
        LIMITS => Request::Limits,
        STATVFS => Request::Statvfs { path: fields.string()? },
        COPY_DATA => {
            let (from, offset, length) = (fields.string()?, fields.u64()?, fields.u64()?);
            let (to, target) = (fields.string()?, fields.u64()?);
            match target == offset {
                true => Request::CopyData { from, to, offset, length },
                // Nothing of ours moves contents within a file.
                false => return Err(Malformed::Type(200)),
            }
        }
        USERS_GROUPS_BY_ID => Request::UsersGroupsById { users: ids(&fields.string()?)?, groups: ids(&fields.string()?)? },
        _ => Request::Extended { name, data: fields.rest() },
    })
}

fn ids(packed: &[u8]) -> Result<Vec<u32>, Malformed> {
    let (ids, rest) = packed.as_chunks::<4>();
    if rest.is_empty() { Ok(ids.iter().map(|id| u32::from_be_bytes(*id)).collect()) } else { Err(Malformed::Short) }
}
