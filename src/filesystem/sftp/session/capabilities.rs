//! A server's extensions of version 3 of the protocol, and its limits.

use bytes::Bytes;

use super::super::protocol::{COPY_DATA, FSYNC, LIMITS, POSIX_RENAME, STATVFS, ServerLimits, USERS_GROUPS_BY_ID};

/// The maximum number of files and directories that a session has open, fewer where the server says so. Any number of callers share a
/// session, and servers refuse a session that opens too many.
pub(super) const MAX_HANDLES: usize = 64;

/// The size of reads and writes if the server does not announce its limits (guaranteed by section 3 of the draft).
pub(super) const DEFAULT_BLOCK: u32 = 32 * 1024;

/// The largest block used: with its header it fits into the longest packet of OpenSSH.
const MAX_BLOCK: u32 = 255 * 1024;

/// The server's extensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerCapabilities {
    /// [`POSIX_RENAME`].
    pub posix_rename: bool,
    /// [`FSYNC`].
    pub fsync: bool,
    /// [`USERS_GROUPS_BY_ID`].
    pub names_by_id: bool,
    /// [`COPY_DATA`].
    pub copy_data: bool,
    /// [`STATVFS`].
    pub statvfs: bool,
    /// [`LIMITS`].
    pub(super) limits: bool,
}

/// What a server takes at once.
pub(super) struct Limits {
    /// The maximum number of bytes in one READ.
    pub read: u32,
    /// The maximum number of bytes in one WRITE.
    pub write: u32,
    /// The maximum number of open files and directories.
    pub handles: usize,
}

impl ServerCapabilities {
    /// Reads the extensions in a server's greeting.
    pub(super) fn read_from(extensions: &[(Bytes, Bytes)]) -> Self {
        let offers = |name: &[u8], known: &[u8]| extensions.iter().any(|(offered, version)| offered == name && version == known);
        let has = |name: &[u8]| offers(name, b"1");
        Self {
            posix_rename: has(POSIX_RENAME),
            fsync: has(FSYNC),
            names_by_id: has(USERS_GROUPS_BY_ID),
            copy_data: has(COPY_DATA),
            statvfs: offers(STATVFS, b"2"),
            limits: has(LIMITS),
        }
    }
}

impl Limits {
    /// The limits that a server announces, within our own.
    pub(super) fn of(said: ServerLimits) -> Self {
        let block = |said: u64| match u32::try_from(said).unwrap_or(u32::MAX) {
            0 => DEFAULT_BLOCK,
            said => said.min(MAX_BLOCK),
        };
        let handles = match usize::try_from(said.handles).unwrap_or(MAX_HANDLES) {
            0 => MAX_HANDLES,
            // A copy needs two at once: a server with one fails it itself.
            said => said.clamp(2, MAX_HANDLES),
        };
        Self { read: block(said.read), write: block(said.write), handles }
    }
}
