//! The primitive values of SSH (RFC 4251, 5) as SFTP uses them: bounded reads, and frames with their length in front.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest packet that OpenSSH's server and client take, and the longest that is read here.
pub const MAX_PACKET: usize = 256 * 1024;

/// Bytes that are not SFTP, or break its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A packet ends before its fields do.
    #[error("a packet is too short")]
    Short,
    /// A packet is longer than [`MAX_PACKET`].
    #[error("a packet of {0} bytes is over the limit")]
    Long(u32),
    /// The packet type is not one of this direction.
    #[error("packet type {0} is unknown")]
    Type(u8),
    /// Bytes are left after the last field.
    #[error("a packet is too long for its fields")]
    Trailing,
    /// A list claims more members than its packet can hold.
    #[error("a packet claims {0} entries")]
    Count(u32),
}

/// The size of the packet that begins here, without its length field; none if that has not arrived yet.
///
/// # Errors
/// If the length says that the packet is empty or over [`MAX_PACKET`].
pub fn packet_size(buffer: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(length) = buffer.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) else { return Ok(None) };
    match length as usize {
        0 => Err(Malformed::Short),
        size if size > MAX_PACKET => Err(Malformed::Long(length)),
        size => Ok(Some(size)),
    }
}

/// Takes the next whole packet, without its length, from what has arrived.
///
/// # Errors
/// As of [`packet_size`].
pub fn split_packet(buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    match packet_size(buffer)? {
        Some(size) if buffer.len() >= 4 + size => {
            buffer.advance(4);
            Ok(Some(buffer.split_to(size).freeze()))
        }
        _ => Ok(None),
    }
}

/// Reads the fields of a packet in order. Strings share the packet's memory.
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed::Short)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Malformed::Short)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64().map_err(|_| Malformed::Short)
    }

    pub(super) fn string(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u32()? as usize;
        if length > self.0.len() {
            return Err(Malformed::Short);
        }
        Ok(self.0.split_to(length))
    }

    /// The number of members of a list, each of which takes at least `smallest` bytes.
    pub(super) fn count(&mut self, smallest: usize) -> Result<usize, Malformed> {
        let count = self.u32()?;
        if (count as usize).saturating_mul(smallest) > self.0.len() {
            return Err(Malformed::Count(count));
        }
        Ok(count as usize)
    }

    pub(super) fn rest(&mut self) -> Bytes {
        self.0.split_off(0)
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Appends one packet: the length is put in front when `fields` has written the rest.
pub(super) fn put_packet(buffer: &mut BytesMut, kind: u8, fields: impl FnOnce(&mut BytesMut)) {
    let start = buffer.len();
    buffer.put_u32(0);
    buffer.put_u8(kind);
    fields(buffer);
    let length = u32::try_from(buffer.len() - start - 4).unwrap_or(u32::MAX);
    buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn put_string(buffer: &mut BytesMut, value: &[u8]) {
    buffer.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    buffer.put_slice(value);
}
