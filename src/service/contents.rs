//! Contents of files: transfers of any size.
//!
//! Every path of a request passes `Access::path` or one of its variants.

use futures::{StreamExt, TryFutureExt};

use super::audit::Change;
use super::counts::Action;
use super::grep::Pattern;
use super::limits::TransferPermit;
use super::{Access, InvalidRequest, Ready, ReadyPermit, ServiceError, counts};
use crate::domain::{
    Alternative, ByteRange, Checksum, Content, ContentUnit, FileStat, FileType, FileVersion, RemotePath, is_file_name, text_to_bytes,
};
use crate::filesystem::{
    ArchiveFormat, ContentStream, Download, Expected, FilesystemError, ListOptions, Part, Placed, UploadOptions, WalkOptions, regular,
};

/// The default number of lines of `head` and `tail`, as in the tools of that name.
const DEFAULT_LINES: u64 = 10;

/// The reason of the refusal if a directory has the path of a file to write.
pub(super) const NAMES_THE_FILE: &str = "Is a directory: the path must name the file to write";

/// The assumed size of a line for which memory is reserved before it is read, in bytes.
const LIKELY_LINE_BYTES: u64 = 1024;

/// The default size of `view`, in bytes.
const DEFAULT_VIEW: u64 = 5 * 1024 * 1024;

/// The form of a transfer, which determines its size limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferForm {
    /// The form of FirecREST's uploads (`max_ops_file_size`).
    FirecrestForm,
    /// Any other (`max_stream_size`).
    Stream,
}

impl TransferForm {
    /// The maximum size in bytes; none if the site sets no limit.
    pub fn cap(self, access: &Access) -> Option<u64> {
        let limits = &access.cluster().config().data_operation;
        match self {
            Self::FirecrestForm => limits.max_at_once(),
            Self::Stream => limits.max_streamed(),
        }
    }

    /// Rejects a length over the limit; `larger` names the alternative for larger files.
    ///
    /// # Errors
    /// If the length is over the limit.
    pub fn check(self, access: &Access, length: u64, larger: Alternative) -> Result<(), ServiceError> {
        let cap = self.cap(access).filter(|cap| length > *cap);
        cap.map_or(Ok(()), |cap| Err(ServiceError::TooLarge(cap, larger)))
    }
}

/// The current state of a regular file; links are followed.
///
/// # Errors
/// If the path breaks the policy, does not lead to a regular file within the limit on streams, or the cluster does not answer.
pub async fn version(access: &Access, path: &str) -> Result<(RemotePath, FileVersion), ServiceError> {
    let path = access.path(path).await?;
    let stat = access.files().await?.stat(access.principal(), &path, true).await?;
    regular(&path, stat.mode)?;
    TransferForm::Stream.check(access, stat.size, Alternative::TransferJob)?;
    Ok((path, FileVersion::from(&stat)))
}

/// Checks that a file can be downloaded, without a download: whether the user may read it shows only when it is opened.
///
/// # Errors
/// If it cannot be opened, or its size differs from the length of its content.
pub async fn downloadable(access: &Access, path: &RemotePath, version: &FileVersion) -> Result<(), ServiceError> {
    let first = access.files().await?.view(access.principal(), path, 0, 1).await?;
    if version.size == 0 && !first.is_empty() { Err(FilesystemError::Sizeless(path.clone()).into()) } else { Ok(()) }
}

/// Opens a file or a range of it for reading.
///
/// # Errors
/// If the path breaks the policy, the file is over the limit on streams, the range is outside it, or the cluster does not deliver it.
pub async fn download(access: &Access, path: &str, range: Option<ByteRange>) -> Result<(RemotePath, Download), ServiceError> {
    let path = access.path(path).await?;
    let download = open(access, &path, range, TransferForm::Stream.cap(access), Alternative::TransferJob).await?;
    Ok((path, download))
}

/// Opens the file at a path without symbolic links to which a checked path leads. No link is followed.
///
/// # Errors
/// If the file is over the limit on streams, the cluster does not deliver it, or there is a link on the path.
pub(super) async fn download_real(access: &Access, path: &RemotePath) -> Result<Download, ServiceError> {
    let opening = access.files().await?.download_real(access.principal(), path, None, TransferForm::Stream.cap(access));
    carried(access, opening.map_err(|error| ServiceError::or_by(error, Alternative::TransferJob))).await
}

/// Checks that such a file can be downloaded, without a download; its size.
///
/// # Errors
/// As [`download_real`].
pub(super) async fn downloadable_real(access: &Access, path: &RemotePath) -> Result<u64, ServiceError> {
    let (first, cap) = (ByteRange::From(0, Some(0)), TransferForm::Stream.cap(access));
    let opened = access.files().await?.download_real(access.principal(), path, Some(first), cap).await;
    Ok(opened.map_err(|error| ServiceError::or_by(error, Alternative::TransferJob))?.version.size)
}

/// Packs the directory at a path without symbolic links to which a checked path leads. No link is followed.
///
/// # Errors
/// If the cluster cannot start, or there is a link on the path.
pub(super) async fn pack_real(access: &Access, path: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, ServiceError> {
    let files = access.files().await?;
    let (content, transfer) = access.transfer(files.pack_real(access.principal(), path, format)).await?;
    Ok(transfer.carry(counts::downloaded(access.counts(), content)))
}

/// Opens a file whose path was checked, or a range of it, with the limit `cap`.
///
/// # Errors
/// If the file is over the cap (`larger` names the alternative), the range is outside it, or the cluster does not deliver it.
pub(super) async fn open(
    access: &Access,
    path: &RemotePath,
    range: Option<ByteRange>,
    cap: Option<u64>,
    larger: Alternative,
) -> Result<Download, ServiceError> {
    let opening = access.files().await?.download(access.principal(), path, range, cap);
    carried(access, opening.map_err(|error| ServiceError::or_by(error, larger))).await
}

/// The content that is opened, as a transfer of the user.
async fn carried(access: &Access, opening: impl Future<Output = Result<Download, ServiceError>>) -> Result<Download, ServiceError> {
    let (mut download, transfer) = access.transfer(opening).await?;
    download.content = transfer.carry(counts::downloaded(access.counts(), download.content));
    Ok(download)
}

/// Writes the file `name` in `directory` atomically.
///
/// # Errors
/// If the name is not one file name, the path breaks the policy, the content is over the limit or ends early, or the cluster
/// does not allow it.
pub async fn upload(access: &Access, directory: &str, name: &str, content: ContentStream) -> Result<(), ServiceError> {
    // The client names the file, so that the name must not lead out of the directory.
    if !is_file_name(name) {
        return Err(InvalidRequest::new("file", "its file name must be one file name of 1 to 255 bytes").into());
    }
    let directory = access.path(directory).await?;
    let path = access.cluster().path(&directory.join(&text_to_bytes(name)).to_text())?;
    let options = UploadOptions { cap: TransferForm::FirecrestForm.cap(access), ..UploadOptions::default() };
    write(access, &path, content, options, Alternative::WriteStream).await?;
    Ok(())
}

/// Writes the file `path` atomically if its current state is the expected one. `length` is that of the content, if
/// known.
///
/// # Errors
/// If the state differs, the path breaks the policy, the content is over the limit (see [`TransferForm::check`]) or ends early, or the cluster
/// does not allow it.
pub async fn store(
    access: &Access,
    path: &str,
    content: ContentStream,
    expected: Expected,
    length: Option<u64>,
) -> Result<Placed, ServiceError> {
    let path = access.path(path).await?;
    let cap = TransferForm::Stream.cap(access);
    let written = write(access, &path, content, UploadOptions { cap, length, expected }, Alternative::TransferJob).await;
    written.map_err(directory_in_place)
}

/// The error of a write whose path, which is that of the file itself, is a directory.
pub(super) fn directory_in_place(error: impl Into<ServiceError>) -> ServiceError {
    match error.into() {
        ServiceError::Filesystem(FilesystemError::WrongType { path, reason: "Is a directory" }) => {
            FilesystemError::WrongType { path, reason: NAMES_THE_FILE }.into()
        }
        error => error,
    }
}

/// What has the path of a file that a transfer service is to put in place, if anything has it. Refused before a job is submitted: a directory, and
/// a file whose directory does not exist.
pub(super) async fn find_target(access: &Access, target: &RemotePath) -> Result<Option<FileStat>, ServiceError> {
    let is_directory = |found: &FileStat| FileType::from_mode(found.mode) == FileType::Directory;
    let a_directory = || FilesystemError::WrongType { path: target.clone(), reason: NAMES_THE_FILE };
    if access.cluster().holds_file_system(target) {
        return Err(a_directory().into());
    }
    let (files, principal) = (access.files().await?, access.principal());
    let found = match files.stat(principal, target, false).await {
        Ok(found) => Some(found),
        Err(FilesystemError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let leads_on = found.as_ref().is_some_and(|found| FileType::from_mode(found.mode) == FileType::Symlink);
    let reached = if leads_on { files.stat(principal, target, true).await.ok() } else { found };
    if reached.as_ref().is_some_and(is_directory) {
        return Err(a_directory().into());
    }
    if found.is_none()
        && let Some(directory) = target.parent()
        && !is_directory(&files.stat(principal, &directory, true).await?)
    {
        return Err(FilesystemError::WrongType { path: directory, reason: "Not a directory" }.into());
    }
    Ok(found)
}

/// Packs a directory, or a file, into an archive that is sent while it is created.
///
/// # Errors
/// If the path breaks the policy, or the cluster cannot start.
pub async fn pack(access: &Access, path: &str, format: ArchiveFormat) -> Result<(RemotePath, ContentStream), ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let (content, transfer) = access.transfer(files.pack(access.principal(), &path, format)).await?;
    Ok((path, transfer.carry(counts::downloaded(access.counts(), content))))
}

/// Checks that a path can be packed, without packing it, and says of which type it is. What is below a directory is not looked at.
///
/// # Errors
/// If the path breaks the policy, does not exist, cannot be read, or the cluster does not answer.
pub async fn packable(access: &Access, path: &str) -> Result<(RemotePath, FileType), ServiceError> {
    let path = access.path(path).await?;
    let (files, user) = (access.files().await?, access.principal());
    let file_type = FileType::from_mode(files.stat(user, &path, true).await?.mode);
    match file_type {
        FileType::Directory => {
            let list = ListOptions { hidden: true, ..ListOptions::default() };
            files.walk(user, &path, WalkOptions { list, ..WalkOptions::default() }).await?.next().await.transpose()?;
        }
        FileType::Regular => drop(files.view(user, &path, 0, 1).await?),
        _ => {}
    }
    Ok((path, file_type))
}

/// Unpacks an archive while it arrives; with `only_new`, only if the target does not exist.
///
/// # Errors
/// If the path breaks the policy, the archive is over the limit or ends early; or the cluster
/// does not allow it.
pub async fn unpack(
    access: &Access,
    path: &str,
    format: ArchiveFormat,
    content: ContentStream,
    only_new: bool,
) -> Result<Placed, ServiceError> {
    let path = access.new_path(path).await?;
    let files = access.files().await?;
    let expected = if only_new { Expected::Nothing } else { Expected::Anything };
    if only_new && files.stat(access.principal(), &path, false).await.is_ok() {
        return Err(ServiceError::unless(FilesystemError::Exists(path), expected));
    }
    let _permit = TransferPermit::take(access)?;
    let change = Change::begin(access, Action::FilesUnpack, path.to_text());
    let content = counts::uploaded(access.counts(), content);
    let placed = change.end(files.unpack(access.principal(), &path, format, content, TransferForm::Stream.cap(access)).await);
    placed.map_err(|error| match error {
        FilesystemError::TooLarge(_) => ServiceError::or_by(error, Alternative::UnpackSeveral),
        error => ServiceError::unless(error, expected),
    })
}

/// Writes the file at a checked path atomically.
///
/// # Errors
/// If the state of the target is not the expected one, the content is over the cap (`larger` names the alternative) or ends early, or
/// the cluster does not allow it.
pub(super) async fn write(
    access: &Access,
    path: &RemotePath,
    content: ContentStream,
    options: UploadOptions,
    larger: Alternative,
) -> Result<Placed, ServiceError> {
    let files = access.files().await?;
    let _permit = TransferPermit::take(access)?;
    let change = Change::begin(access, Action::FilesUpload, path.to_text());
    let content = counts::uploaded(access.counts(), content);
    let placed = change.end(files.upload(access.principal(), path, content, options).await);
    placed.map_err(|error| match ServiceError::unless(error, options.expected) {
        ServiceError::Filesystem(error) => ServiceError::or_by(error, larger),
        unexpected => unexpected,
    })
}

/// The type of a file's content.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not answer.
pub async fn file_type(access: &Access, path: &str) -> Result<String, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.file_type(access.principal(), &path).await?)
}

/// The SHA-256 of a file.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not answer.
pub async fn checksum(access: &Access, path: &str) -> Result<Checksum, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.checksum(access.principal(), &path).await?)
}

/// The requested amount at one end of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// The number of bytes.
    pub bytes: Option<u64>,
    /// The number of lines.
    pub lines: Option<u64>,
    /// Everything but that.
    pub skip: bool,
}

impl Amount {
    fn part(self) -> Result<Part, InvalidRequest> {
        let (unit, count) = match (self.bytes, self.lines) {
            (Some(_), Some(_)) => {
                return Err(InvalidRequest::new("bytes", "Only one of `bytes` or `lines` can be specified."));
            }
            (Some(bytes), None) => (ContentUnit::Bytes, bytes),
            (None, lines) => (ContentUnit::Lines, lines.unwrap_or(DEFAULT_LINES)),
        };
        Ok(Part { unit, count, skip: self.skip })
    }
}

/// The requested excerpt at one end of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The amount.
    pub amount: Amount,
    /// Of that, only the lines that match this regular expression.
    pub grep: Option<String>,
}

impl Excerpt {
    fn check(&self) -> Result<(Part, Option<Pattern>), InvalidRequest> {
        let pattern = self.grep.as_deref().map(Pattern::new).transpose()?;
        Ok((self.amount.part()?, pattern))
    }
}

/// The first part of a file, or everything except its last part.
///
/// # Errors
/// If both units are given, the pattern is invalid, the path breaks the policy, or the cluster does not deliver the content.
pub async fn head(access: &Access, path: &str, excerpt: &Excerpt) -> Result<Ready<Content>, ServiceError> {
    part_of(access, path, excerpt, End::Head).await
}

/// The last part of a file, or everything except its first part.
///
/// # Errors
/// If both units are given, the pattern is invalid, the path breaks the policy, or the cluster does not deliver the content.
pub async fn tail(access: &Access, path: &str, excerpt: &Excerpt) -> Result<Ready<Content>, ServiceError> {
    part_of(access, path, excerpt, End::Tail).await
}

/// The end of a file at which a part is counted.
enum End {
    Head,
    Tail,
}

async fn part_of(access: &Access, path: &str, excerpt: &Excerpt, end: End) -> Result<Ready<Content>, ServiceError> {
    let (part, pattern) = excerpt.check()?;
    let path = access.path(path).await?;
    let place = ReadyPermit::take(access, max_output(access, part))?;
    let files = access.files().await?;
    let content = match end {
        End::Head => files.head(access.principal(), &path, part).await,
        End::Tail => files.tail(access.principal(), &path, part).await,
    };
    let content = matching(access, content.map_err(smaller)?, pattern).await?;
    let length = content.data.len();
    place.hold(content, length)
}

/// The maximum size of a part of a file, in bytes.
fn max_output(access: &Access, part: Part) -> u64 {
    let limit = access.cluster().config().data_operation.max_shown();
    match part {
        Part { unit: ContentUnit::Bytes, count, skip: false } => count.min(limit),
        // Lines have any length. The requested ones are mostly short, and their size is known once they were read.
        Part { unit: ContentUnit::Lines, count, skip: false } => count.saturating_mul(LIKELY_LINE_BYTES).min(limit),
        _ => limit,
    }
}

fn smaller(error: FilesystemError) -> ServiceError {
    ServiceError::or_by(error, Alternative::ReadLess)
}

/// The same part of the file, without the lines that do not match.
async fn matching(access: &Access, content: Content, pattern: Option<Pattern>) -> Result<Content, ServiceError> {
    let Some(pattern) = pattern else { return Ok(content) };
    let data = access.state().searches.lines(&access.principal().username, content.data, pattern).await?;
    Ok(Content { data, ..content })
}

/// `size` bytes of a file from `offset`.
///
/// # Errors
/// If `size` is over the cluster's limit, the path breaks the policy, or the cluster does not deliver the content.
pub async fn view(access: &Access, path: &str, offset: Option<u64>, size: Option<u64>) -> Result<Ready<Vec<u8>>, ServiceError> {
    let limit = access.cluster().config().data_operation.max_shown();
    let size = size.unwrap_or_else(|| DEFAULT_VIEW.min(limit));
    if size == 0 {
        return Err(InvalidRequest::new("size", "`size` value must be an integer value greater than 0").into());
    }
    if size > limit {
        let message = format!("`size` value must not be greater than {limit} bytes");
        return Err(InvalidRequest::new("size", message).into());
    }
    let path = access.path(path).await?;
    let place = ReadyPermit::take(access, size)?;
    let content = access.files().await?.view(access.principal(), &path, offset.unwrap_or(0), size).await.map_err(smaller)?;
    let length = content.len();
    place.hold(content, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_are_the_default_and_two_units_are_refused() {
        assert_eq!(Amount::default().part(), Ok(Part { unit: ContentUnit::Lines, count: 10, skip: false }));
        assert!(Amount { bytes: Some(1), lines: Some(1), skip: false }.part().is_err());
    }
}
