//! Contents of files: read, write, pack and follow.
//!
//! A new operation is a method here, and one of each implementation in its file of the same name.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::FilesystemError;
use crate::domain::{ByteRange, Checksum, Content, ContentUnit, FileVersion, Principal, RemotePath};

/// Contents of files: read, write, pack and follow. Every method acts as `principal`; the cluster's permissions decide.
///
/// Dropping a future, or the content that it returned, ends the work on the cluster. Only the part of a file in transit is kept in memory.
#[async_trait]
pub trait Contents: Send + Sync {
    /// The type of the content, as `file -b` prints it.
    async fn file_type(&self, principal: &Principal, path: &RemotePath) -> Result<String, FilesystemError>;

    /// The first part of a file; with [`Part::skip`], all but the last part.
    async fn head(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError>;

    /// The last part of a file; with [`Part::skip`], all but the first part.
    async fn tail(&self, principal: &Principal, path: &RemotePath, part: Part) -> Result<Content, FilesystemError>;

    /// `size` bytes from `offset`, fewer at the end of the file.
    async fn view(&self, principal: &Principal, path: &RemotePath, offset: u64, size: u64) -> Result<Vec<u8>, FilesystemError>;

    /// The SHA-256 of a file's content.
    async fn checksum(&self, principal: &Principal, path: &RemotePath) -> Result<Checksum, FilesystemError>;

    /// Opens a regular file, or a range of it, for reading.
    ///
    /// # Errors
    /// [`FilesystemError::TooLarge`] if the file is over `cap` bytes, [`FilesystemError::Range`] if the range is outside it.
    async fn download(
        &self,
        principal: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError>;

    /// As [`Contents::download`], of a path without symbolic links: what was opened is proven to be the file at the path before any of it is passed on.
    /// Where others may write to a directory, a link can take the place of what was looked at before.
    ///
    /// # Errors
    /// As [`Contents::download`], and [`FilesystemError::Changed`] if there is a link on the path, or the open file is another one.
    async fn download_real(
        &self,
        principal: &Principal,
        path: &RemotePath,
        range: Option<ByteRange>,
        cap: Option<u64>,
    ) -> Result<Download, FilesystemError>;

    /// The SHA-256 of the file at a path without symbolic links, with the mode and the size of the same open file.
    ///
    /// # Errors
    /// As [`Contents::checksum`], and [`FilesystemError::Changed`] as for [`Contents::download_real`].
    async fn checksum_real(&self, principal: &Principal, path: &RemotePath) -> Result<Digested, FilesystemError>;

    /// Writes a file atomically: it appears under its name only when `content` has ended without an error.
    ///
    /// # Errors
    /// The errors of `content`, and those of the cluster. [`FilesystemError::Exists`], [`FilesystemError::NotFound`] or
    /// [`FilesystemError::Changed`] if the state of the target is not the expected one. The target is then unchanged.
    async fn upload(
        &self,
        principal: &Principal,
        path: &RemotePath,
        content: ContentStream,
        options: UploadOptions,
    ) -> Result<Placed, FilesystemError>;

    /// Creates an empty file in the directory of `target`, which grows into its new content. One that `is_private` is open to its owner alone; others
    /// to no more users than the file that is there.
    ///
    /// # Errors
    /// If it exists, the target is not a regular file, or the cluster does not allow it.
    async fn begin_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        target: &RemotePath,
        is_private: bool,
    ) -> Result<(), FilesystemError>;

    /// Adds content to such a file, which must have `offset` bytes, up to `length` bytes in total. Returns its new size.
    ///
    /// # Errors
    /// [`FilesystemError::Offset`] when it ends elsewhere; those of `content`, and those of the cluster. What had arrived before an
    /// error stays, unless it is `all_or_nothing`.
    async fn extend_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        content: ContentStream,
        options: PartOptions,
    ) -> Result<u64, FilesystemError>;

    /// Puts such a file in the place of `target`, with the permissions of the file that it replaces.
    ///
    /// # Errors
    /// As [`Contents::upload`].
    async fn place_part(
        &self,
        principal: &Principal,
        part: &RemotePath,
        target: &RemotePath,
        options: PlaceOptions,
    ) -> Result<Placed, FilesystemError>;

    /// Packs a directory with its content, or a file, into an archive that is streamed while it is created.
    ///
    /// # Errors
    /// If it cannot be started. If something could not be packed, the stream ends with an error.
    async fn pack(&self, principal: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError>;

    /// As [`Contents::pack`], of a directory at a path without symbolic links.
    ///
    /// # Errors
    /// As [`Contents::pack`], and [`FilesystemError::Changed`] if there is a link on the path, or no directory at it.
    async fn pack_real(&self, principal: &Principal, source: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError>;

    /// Unpacks an archive while it arrives. A new directory appears under its name only when it is complete. In an existing directory,
    /// the members are put in their places when all of them have arrived; after a failure before that, nothing has changed. Up to
    /// `cap` bytes of archive are accepted.
    ///
    /// # Errors
    /// The errors of `content`, of the archive, and of the cluster.
    async fn unpack(
        &self,
        principal: &Principal,
        target: &RemotePath,
        format: ArchiveFormat,
        content: ContentStream,
        cap: Option<u64>,
    ) -> Result<Placed, FilesystemError>;

    /// Follows a regular file as it grows, as `tail -F` does. The stream ends only with an error; dropping it ends the work.
    async fn follow(&self, principal: &Principal, path: &RemotePath, from: FollowFrom) -> Result<FollowStream, FilesystemError>;
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The unit.
    pub unit: ContentUnit,
    /// The amount.
    pub count: u64,
    /// Everything but that many at the other end.
    pub skip: bool,
}

impl Part {
    /// The part of `head`: from the start, up to an amount or up to an amount before the end.
    pub(super) fn head_content(self, data: Vec<u8>) -> Content {
        let count = i64::try_from(self.count).unwrap_or(i64::MAX);
        Content { data, unit: self.unit, start: 0, end: if self.skip { -count } else { count } }
    }

    /// The part of `tail`: to the end, from an amount before the end or after an amount.
    pub(super) fn tail_content(self, data: Vec<u8>) -> Content {
        let count = i64::try_from(self.count).unwrap_or(i64::MAX);
        Content { data, unit: self.unit, start: if self.skip { count } else { -count }, end: -1 }
    }
}

/// The format of an archive that is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ArchiveFormat {
    /// Plain tar.
    #[default]
    #[serde(rename = "tar")]
    Tar,
    /// Packed with gzip.
    #[serde(rename = "tar.gz")]
    Gzip,
    /// Compressed with Zstandard, if the cluster has it.
    #[serde(rename = "tar.zst")]
    Zstd,
}

/// The options for adding to a growing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOptions {
    /// The size that the file must have now.
    pub offset: u64,
    /// Its maximum size in bytes.
    pub length: u64,
    /// Whether content that fails is removed again.
    pub all_or_nothing: bool,
}

/// The options for putting a growing file in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceOptions {
    /// The size that it must have.
    pub size: u64,
    /// The expected state of the target.
    pub expected: Expected,
    /// The permissions (`0777`) that it gets where it replaces nothing, and if absent those that it has. A server that sets none leaves it as it is.
    pub mode: Option<u32>,
}

impl PlaceOptions {
    /// For a file of this size, whose permissions stay as they are where it replaces nothing.
    pub fn new(size: u64, expected: Expected) -> Self {
        Self { size, expected, mode: None }
    }
}

/// A file's content on its way out.
pub struct Download {
    /// The file when it was opened.
    pub version: FileVersion,
    /// Its type and permission bits then.
    pub mode: u32,
    /// The bytes that `content` holds.
    pub range: Range<u64>,
    /// The content. The stream fails instead of ending early, also if the file is overwritten meanwhile; of a file that has grown,
    /// it has the size at the time of opening.
    pub content: ContentStream,
}

/// The digest of an open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// The digest.
    pub checksum: Checksum,
    /// The type and permission bits.
    pub mode: u32,
    /// The size in bytes.
    pub size: u64,
}

/// A file's content, in pieces.
pub type ContentStream = BoxStream<'static, Result<Bytes, FilesystemError>>;

/// The options of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UploadOptions {
    /// The maximum size, in bytes.
    pub cap: Option<u64>,
    /// The announced length of the content, in bytes. It may be wrong.
    pub length: Option<u64>,
    /// The expected state of the target.
    pub expected: Expected,
}

/// The expected state of a name before a new file takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Expected {
    /// Any state.
    #[default]
    Anything,
    /// No entry. Of two concurrent attempts, at most one succeeds.
    Nothing,
    /// A file of this version, checked just before it is replaced.
    Version(FileVersion),
}

/// The effect of a new file, or directory, on its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Nothing was there.
    Created,
    /// It replaced the existing one.
    Replaced,
}

/// The bytes to read of a file of this size.
///
/// # Errors
/// [`FilesystemError::TooLarge`] if the whole file is over `cap` bytes, [`FilesystemError::Range`] if the range is outside it.
pub(super) fn wanted(size: u64, range: Option<ByteRange>, cap: Option<u64>) -> Result<Range<u64>, FilesystemError> {
    if let Some(cap) = cap.filter(|cap| size > *cap) {
        return Err(FilesystemError::TooLarge(cap));
    }
    // An empty file has nothing of any range, and none is left out when the range is ignored (RFC 9110, 14.2).
    let range = range.filter(|_| size > 0);
    range.map_or(Some(0..size), |range| range.within(size)).ok_or(FilesystemError::Range(size))
}

/// The start of following a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowFrom {
    /// This many bytes after its start.
    Start(u64),
    /// This many bytes before its end.
    End(u64),
}

/// An event of a followed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It has grown.
    Data {
        /// A piece of new content.
        data: Bytes,
        /// Its end, in bytes from the start of the file.
        end: u64,
    },
    /// It has become shorter; what follows is from its start.
    Truncated,
    /// Another file has its name; what follows is from the start of that.
    Replaced,
    /// Nothing has its name any more. It may come again, as with logs that are rotated.
    Removed,
}

/// The events of a file.
pub type FollowStream = BoxStream<'static, Result<Followed, FilesystemError>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_wanted_whole_where_no_range_is_asked_for() {
        for size in [0, 1, u64::MAX] {
            assert_eq!(wanted(size, None, None).unwrap(), 0..size);
        }
    }

    #[test]
    fn a_cap_is_reached_by_the_whole_file_and_a_small_range_does_not_help() {
        let first = Some(ByteRange::From(0, Some(0)));
        assert_eq!(wanted(10, None, Some(10)).unwrap(), 0..10);
        assert_eq!(wanted(10, first, Some(10)).unwrap(), 0..1);
        assert_eq!(wanted(0, None, Some(0)).unwrap(), 0..0);
        for range in [None, first, Some(ByteRange::From(11, None))] {
            assert!(matches!(wanted(11, range, Some(10)), Err(FilesystemError::TooLarge(10))), "{range:?}");
        }
    }

    #[test]
    fn a_range_that_the_file_has_none_of_is_told_with_the_size() {
        assert_eq!(wanted(10, Some(ByteRange::From(9, None)), None).unwrap(), 9..10);
        assert_eq!(wanted(10, Some(ByteRange::Last(u64::MAX)), None).unwrap(), 0..10);
        assert!(matches!(wanted(10, Some(ByteRange::From(10, None)), None), Err(FilesystemError::Range(10))));
        assert!(matches!(wanted(10, Some(ByteRange::Last(0)), None), Err(FilesystemError::Range(10))));
        for range in [ByteRange::From(0, None), ByteRange::From(5, Some(9)), ByteRange::Last(3)] {
            assert_eq!(wanted(0, Some(range), None).unwrap(), 0..0, "an empty file is had whole: {range:?}");
        }
    }
}
