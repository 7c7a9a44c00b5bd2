//! Contents of files: move in and out, of any size.
//!
//! Every path of a request passes `Access::path` or one of its kind.

use futures::{StreamExt, TryFutureExt};

use crate::domain::{ByteRange, FileVersion, RemotePath, text_to_bytes};
use crate::filesystem::{ArchiveFormat, ContentStream, Download, Expected, FilesystemError, Placed, UploadOptions, regular};

use super::audit::Change;
use super::counts::{self, Action};
use super::{Access, InvalidRequest, Place, ServiceError};

/// The form in which content is moved, which decides how much of it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeLimit {
    /// One that FirecREST has too, whose clients count on its limit (`max_ops_file_size`).
    FirecrestOps,
    /// Any other (`max_stream_size`).
    Stream,
}

/// How a file is read that is too large for the form of FirecREST.
const READ_LARGER: &str = "ask for it with `Range`, as `bytes=0-` or in parts; or use `transfer/download` where the system has it";
/// How one is written.
const WRITE_LARGER: &str =
    "send it with PUT to `ops/upload`, or as a resumable upload to `/uploads`; or use `transfer/upload` where the system has it";
/// What is left for a file that is too large for any other form.
const LARGER_STILL: &str = "this system moves no larger ones itself; use `transfer/download` or `transfer/upload` where it has them";

impl SizeLimit {
    fn way_out(self, larger: &'static str) -> &'static str {
        match self {
            Self::FirecrestOps => larger,
            Self::Stream => LARGER_STILL,
        }
    }

    fn cap(self, access: &Access) -> Option<u64> {
        let limits = &access.cluster().config().data_operation;
        match self {
            Self::FirecrestOps => limits.max_at_once(),
            Self::Stream => limits.max_streamed(),
        }
    }
}

/// What a regular file is now, links followed.
///
/// # Errors
/// When the path breaks the policy, leads to no regular file or to one over the limit, or the cluster does not tell.
pub async fn version(access: &Access, path: &str, form: SizeLimit) -> Result<(RemotePath, FileVersion), ServiceError> {
    let path = access.path(path).await?;
    let stat = access.files().await?.stat(access.principal(), &path, true).await?;
    regular(&path, stat.mode)?;
    if let Some(cap) = form.cap(access).filter(|cap| stat.size > *cap) {
        return Err(ServiceError::TooLarge(cap, form.way_out(READ_LARGER)));
    }
    Ok((path, FileVersion::from(&stat)))
}

/// Opens a file to be read, whole or a range of it.
///
/// # Errors
/// When the path breaks the policy, the file is over the limit or has none of the range, or the cluster does not give it.
pub async fn download(
    access: &Access,
    path: &str,
    range: Option<ByteRange>,
    form: SizeLimit,
) -> Result<(RemotePath, Download), ServiceError> {
    let path = access.path(path).await?;
    let opening = access.files().await?.download(access.principal(), &path, range, form.cap(access));
    let (clients, user) = (&access.limits().slow_clients, &access.principal().username);
    let opening = opening.map_err(|error| ServiceError::or_by(error, form.way_out(READ_LARGER)));
    let mut download = clients.admit(user, access.cluster().config().ssh.channels_per_user(), opening).await?;
    download.content = clients.watch(user, counts::downloaded(access, download.content)).boxed();
    Ok((path, download))
}

/// Writes the file `name` in `directory`, whole or not at all.
///
/// # Errors
/// When the name is not one file name, the path breaks the policy, the content is over the limit or ends early, or the cluster
/// does not allow it.
pub async fn upload(access: &Access, directory: &str, name: &str, content: ContentStream) -> Result<(), ServiceError> {
    check_upload_name(name)?;
    let directory = access.path(directory).await?;
    let path = access.cluster().path(&directory.join(&text_to_bytes(name)).to_text())?;
    let options = UploadOptions { cap: SizeLimit::FirecrestOps.cap(access), ..UploadOptions::default() };
    write(access, &path, content, options, WRITE_LARGER).await?;
    Ok(())
}

/// Writes the file `path`, whole or not at all, where what is there is as expected. `length` is that of the content, where it is
/// known.
///
/// # Errors
/// When it is not, the path breaks the policy, the content is over the limit or ends early, or the cluster does not allow it.
pub async fn store(
    access: &Access,
    path: &str,
    content: ContentStream,
    expected: Expected,
    length: Option<u64>,
) -> Result<Placed, ServiceError> {
    let path = access.path(path).await?;
    let cap = SizeLimit::Stream.cap(access);
    if let Some(cap) = cap.filter(|cap| length.is_some_and(|length| length > *cap)) {
        return Err(ServiceError::TooLarge(cap, LARGER_STILL));
    }
    write(access, &path, content, UploadOptions { cap, length, expected }, LARGER_STILL).await
}

/// Packs a directory, or a file, into an archive that comes as it is made.
///
/// # Errors
/// When the path breaks the policy, or the cluster does not begin.
pub async fn pack(access: &Access, path: &str, format: ArchiveFormat) -> Result<(RemotePath, ContentStream), ServiceError> {
    let path = access.path(path).await?;
    let (clients, user) = (&access.limits().slow_clients, &access.principal().username);
    let opening = access.files().await?.pack(access.principal(), &path, format);
    let content = clients.admit(user, access.cluster().config().ssh.channels_per_user(), opening).await?;
    Ok((path, clients.watch(user, counts::downloaded(access, content)).boxed()))
}

/// Looks at what is to be packed, and packs nothing.
///
/// # Errors
/// When the path breaks the policy, nothing is there, or the cluster does not tell.
pub async fn packable(access: &Access, path: &str) -> Result<RemotePath, ServiceError> {
    let path = access.path(path).await?;
    access.files().await?.stat(access.principal(), &path, true).await?;
    Ok(path)
}

/// Unpacks an archive as it comes; with `only_new`, only where nothing is.
///
/// # Errors
/// When the path breaks the policy, the archive is over the limit or ends early; or the cluster
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
    let change = Change::begin(access, Action::FilesUnpack, path.to_text());
    let content = counts::uploaded(access, content);
    let placed = change.end(files.unpack(access.principal(), &path, format, content, SizeLimit::Stream.cap(access)).await);
    placed.map_err(|error| ServiceError::unless(error, expected))
}

async fn write(
    access: &Access,
    path: &RemotePath,
    content: ContentStream,
    options: UploadOptions,
    larger: &'static str,
) -> Result<Placed, ServiceError> {
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesUpload, path.to_text());
    let content = counts::uploaded(access, content);
    let placed = change.end(files.upload(access.principal(), path, content, options).await);
    placed.map_err(|error| match ServiceError::unless(error, options.expected) {
        ServiceError::Filesystem(error) => ServiceError::or_by(error, larger),
        unexpected => unexpected,
    })
}

/// The client names the file, so that the name must not lead out of the directory.
fn check_upload_name(name: &str) -> Result<(), InvalidRequest> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) || name.len() > 255 {
        return Err(InvalidRequest::new(Place::Document, "file", "its file name must be one file name of 1 to 255 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_for_an_upload_cannot_leave_the_directory() {
        assert_eq!(check_upload_name("a b.txt"), Ok(()));
        for name in ["", ".", "..", "a/b", "/etc/passwd", "..\0"] {
            assert!(check_upload_name(name).is_err(), "{name:?}");
        }
    }
}
