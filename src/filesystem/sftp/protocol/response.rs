//! The replies of a server.

use bytes::{BufMut, Bytes, BytesMut};

use super::Attributes;
use super::wire::{Fields, Malformed, put_packet, put_string};

/// The outcome of a request (`SSH_FX_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// The end of a file or directory.
    Eof,
    /// `ENOENT`, and by OpenSSH also `ENOTDIR` and `ELOOP`.
    NoSuchFile,
    /// `EACCES` and `EPERM`.
    PermissionDenied,
    /// Any other failure.
    Failure,
    /// A packet was not understood; by OpenSSH also `EINVAL` and `ENAMETOOLONG`.
    BadMessage,
    /// There is no connection (never sent by a server).
    NoConnection,
    /// The connection was lost (never sent by a server).
    ConnectionLost,
    /// The server cannot do this.
    Unsupported,
    /// Another number.
    Other(u32),
}

impl Status {
    fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::Eof => 1,
            Self::NoSuchFile => 2,
            Self::PermissionDenied => 3,
            Self::Failure => 4,
            Self::BadMessage => 5,
            Self::NoConnection => 6,
            Self::ConnectionLost => 7,
            Self::Unsupported => 8,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Eof,
            2 => Self::NoSuchFile,
            3 => Self::PermissionDenied,
            4 => Self::Failure,
            5 => Self::BadMessage,
            6 => Self::NoConnection,
            7 => Self::ConnectionLost,
            8 => Self::Unsupported,
            other => Self::Other(other),
        }
    }
}

/// One member of [`Response::Name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// The file's name, or a path.
    pub name: Bytes,
    /// A line for people, as `ls -l` prints it.
    pub long_name: Bytes,
    /// Its attributes.
    pub attributes: Attributes,
}

/// An answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the draft's sections 4 and 7, by the same names")]
pub enum Response {
    /// The answer to the first packet; it has no id. Extensions are names and versions.
    Version { version: u32, extensions: Vec<(Bytes, Bytes)> },
    /// The status.
    Status { status: Status, message: Bytes },
    /// An open file or directory.
    Handle { handle: Bytes },
    /// The data that was read.
    Data { data: Bytes },
    /// Names.
    Name { entries: Vec<NameEntry> },
    /// Attributes.
    Attrs { attributes: Attributes },
    /// The answer of an extension.
    ExtendedReply { data: Bytes },
}

/// Appends a response to `buffer`. The id is left out of [`Response::Version`].
pub fn encode_response(id: u32, response: &Response, buffer: &mut BytesMut) {
    let packet = |buffer: &mut BytesMut, kind: u8, fields: &dyn Fn(&mut BytesMut)| {
        put_packet(buffer, kind, |buffer| {
            buffer.put_u32(id);
            fields(buffer);
        });
    };
    match response {
        Response::Version { version, extensions } => put_packet(buffer, 2, |buffer| {
            buffer.put_u32(*version);
            for (name, version) in extensions {
                put_string(buffer, name);
                put_string(buffer, version);
            }
        }),
        Response::Status { status, message } => packet(buffer, 101, &|buffer| {
            buffer.put_u32(status.code());
            put_string(buffer, message);
            put_string(buffer, b"");
        }),
        Response::Handle { handle } => packet(buffer, 102, &|buffer| put_string(buffer, handle)),
        Response::Data { data } => {
            buffer.reserve(data.len() + 16);
            packet(buffer, 103, &|buffer| put_string(buffer, data));
        }
        Response::Name { entries } => packet(buffer, 104, &|buffer| {
            buffer.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            for entry in entries {
                put_string(buffer, &entry.name);
                put_string(buffer, &entry.long_name);
                entry.attributes.put(buffer);
            }
        }),
        Response::Attrs { attributes } => packet(buffer, 105, &|buffer| attributes.put(buffer)),
        Response::ExtendedReply { data } => packet(buffer, 201, &|buffer| buffer.put_slice(data)),
    }
}

/// Reads one packet of a server. The id of [`Response::Version`] is 0.
///
/// # Errors
/// If the packet is not a response of version 3.
pub fn decode_response(packet: Bytes) -> Result<(u32, Response), Malformed> {
    let mut fields = Fields(packet);
    let kind = fields.u8()?;
    if kind == 2 {
        let version = fields.u32()?;
        let mut extensions = Vec::new();
        while fields.end().is_err() {
            extensions.push((fields.string()?, fields.string()?));
        }
        return Ok((0, Response::Version { version, extensions }));
    }
    let id = fields.u32()?;
    let response = match kind {
        101 => {
            let status = Status::from_code(fields.u32()?);
            // Servers older than the draft leave the message and its language out.
            let message = if fields.end().is_ok() { Bytes::new() } else { fields.string()? };
            fields.rest();
            Response::Status { status, message }
        }
        102 => Response::Handle { handle: fields.string()? },
        103 => Response::Data { data: fields.string()? },
        104 => {
            let entries = (0..fields.count(12)?)
                .map(|_| Ok(NameEntry { name: fields.string()?, long_name: fields.string()?, attributes: Attributes::take(&mut fields)? }))
                .collect::<Result<Vec<_>, Malformed>>()?;
            Response::Name { entries }
        }
        105 => Response::Attrs { attributes: Attributes::take(&mut fields)? },
        201 => Response::ExtendedReply { data: fields.rest() },
        other => return Err(Malformed::Type(other)),
    };
    fields.end()?;
    Ok((id, response))
}
