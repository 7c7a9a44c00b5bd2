//! Alternatives for refused operations.

/// Another way to do what was refused because of its size or its time. It names no operation of an interface: the module that has those
/// writes the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// Read fewer bytes or lines.
    ReadLess,
    /// Read the content of a file whose size is not known.
    ReadFromOffset,
    /// List a directory by the page, or in no order.
    ListInPages,
    /// Write a file in a request that has only its content.
    WriteStream,
    /// Unpack several archives instead of one.
    UnpackSeveral,
    /// Begin another upload, of the length that the file has.
    NewUpload,
    /// Have a job move the file.
    TransferJob,
    /// Transfer the file by another method.
    OtherMethod,
    /// Have a job pack the files.
    CompressJob,
    /// Have a job unpack the archive.
    ExtractJob,
    /// Make the checksum in a job of one's own.
    ChecksumJob,
    /// Make the checksum of a copy of the file.
    ChecksumOfCopy,
}
