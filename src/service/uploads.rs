//! Resumable uploads, whose state is only on the cluster: a hidden file beside the target that grows.
//!
//! An [`ResumableUpload`] contains its target and its length, and the size of its file is the number of bytes that have arrived; so any
//! replica can continue it, also after a restart. It is not a secret and grants nothing: path policy and the caller's own
//! permissions on the cluster are checked at each request.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::domain::{Alternative, RemotePath};
use crate::error::{Classify, Kind};
use crate::filesystem::{ContentStream, Expected, FilesystemError, PartOptions, PlaceOptions, part_beside};
use crate::ssh::TransportError;

use super::audit::Change;
use super::contents::{NAMES_THE_FILE, TransferForm, directory_in_place};
use super::counts::{self, Action};
use super::limits::TransferPermit;
use super::upload_files::UploadFiles;
use super::{Access, Gate, InvalidRequest, ServiceError};

/// Seconds until an idle upload expires.
pub const EXPIRES: i64 = 7 * 24 * 3600;

/// The longest metadata of an upload, in bytes; limited because it is part of a file name.
const MAX_METADATA: usize = 2048;

/// A resumable upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumableUpload {
    #[serde(rename = "p")]
    path: String,
    /// The length of the complete file, in bytes.
    #[serde(rename = "l")]
    pub length: u64,
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "t")]
    begun: i64,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    only_new: bool,
    /// The client's metadata, unchanged.
    #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

impl ResumableUpload {
    /// Its name in URLs.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("texts, numbers and booleans serialise"))
    }

    /// The upload of this id.
    ///
    /// # Errors
    /// If it is not the id of an upload.
    pub fn from_id(id: &str) -> Result<Self, ServiceError> {
        let upload = URL_SAFE_NO_PAD.decode(id).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        // The nonce becomes part of a file's name.
        let valid = |upload: &Self| upload.nonce.len() == 32 && upload.nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        upload.filter(valid).ok_or_else(|| InvalidRequest::new("upload_id", "it is not the id of an upload").into())
    }

    /// The target, and the growing file in its directory.
    fn paths(&self, access: &Access) -> Result<(RemotePath, RemotePath), ServiceError> {
        let target = access.cluster().path(&self.path)?;
        if access.cluster().holds_file_system(&target) {
            return Err(FilesystemError::WrongType { path: target, reason: NAMES_THE_FILE }.into());
        }
        let part = part_beside(&target, &self.nonce);
        Ok((target, access.cluster().path(&part.to_text())?))
    }

    fn expected(&self) -> Expected {
        if self.only_new { Expected::Nothing } else { Expected::Anything }
    }
}

/// The parameters of a new upload.
pub struct NewUpload {
    /// The path of the file.
    pub path: String,
    /// The length of the complete file, in bytes.
    pub length: u64,
    /// Whether the file must not exist.
    pub only_new: bool,
    /// The client's metadata.
    pub metadata: String,
}

/// Begins an upload. If that fails after the part was made, it is removed.
///
/// # Errors
/// If the path breaks the policy, the length is over the limit, or the cluster does not allow it.
pub async fn begin(access: &Access, new: NewUpload) -> Result<ResumableUpload, ServiceError> {
    let NewUpload { path, length, only_new, metadata } = new;
    TransferForm::Stream.check(access, length, Alternative::TransferJob)?;
    if metadata.len() > MAX_METADATA {
        return Err(InvalidRequest::new("metadata", format!("it is longer than {MAX_METADATA} bytes")).into());
    }
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let path = access.path(&path).await?.to_text();
    let upload = ResumableUpload { path, length, nonce, begun: Timestamp::now().as_second(), only_new, metadata };
    let (target, part) = upload.paths(access)?;
    let files = access.files().await?;
    // A link is something, wherever it leads.
    if only_new && files.stat(access.principal(), &target, false).await.is_ok() {
        return Err(ServiceError::unless(FilesystemError::Exists(target), upload.expected()));
    }
    let change = Change::begin(access, Action::FilesUploadBegin, target.to_text());
    change
        .end(files.begin_part(access.principal(), &part, &target, false).await)
        .map_err(|error| directory_in_place(error.with_shown_path(&part, &target)))?;
    if length == 0
        && let Err(error) = place(access, &upload, &target, &part).await
    {
        // Its name is unknown to clients. If it cannot be removed now, the search for abandoned files finds it later.
        let _ = files.remove(access.principal(), &part).await;
        return Err(with_shown_path(error, &part, &target));
    }
    Ok(upload)
}

/// Begins an upload with its first content, and returns the number of bytes that have arrived. If that fails, the part is removed.
///
/// # Errors
/// As [`begin`] and [`extend`].
pub async fn begin_with(access: &Access, new: NewUpload, first: Addition) -> Result<(ResumableUpload, Option<u64>), ServiceError> {
    first.check(new.length)?;
    let upload = begin(access, new).await?;
    match extend(access, &upload, first).await {
        Ok(offset) => Ok((upload, Some(offset))),
        Err(error) => {
            // Its name is unknown to clients. If it cannot be removed now, the search for abandoned files finds it later.
            let _ = remove(access, &upload).await;
            Err(error)
        }
    }
}

/// The number of bytes of an upload that have arrived. A complete upload is put in its place if it is not yet.
///
/// # Errors
/// If there is none, it is too old, or is still being added to, or the cluster does not answer.
pub async fn offset(access: &Access, upload: &ResumableUpload) -> Result<u64, ServiceError> {
    let (target, part) = upload.paths(access)?;
    offset_of(access, upload, &target, &part).await.map_err(|error| with_shown_path(error, &part, &target))
}

async fn offset_of(access: &Access, upload: &ResumableUpload, target: &RemotePath, part: &RemotePath) -> Result<u64, ServiceError> {
    let _lock = access.lock_upload(part).await?;
    let parts = UploadFiles::of(access).await?;
    match parts.find(part).await? {
        Some((at, found)) if found.mtime.saturating_add(EXPIRES) < Timestamp::now().as_second() => {
            parts.files.remove(access.principal(), &at).await?;
            Err(FilesystemError::NotFound(target.clone()).into())
        }
        Some((_, found)) => {
            if found.size >= upload.length {
                let held = parts.hold(part).await?;
                restore_name(&parts, part, &held, place(access, upload, target, &held).await).await?;
            }
            Ok(found.size)
        }
        // It may have been put in its place by a request whose answer was lost.
        None if is_placed(access, upload, target).await? => Ok(upload.length),
        None => Err(FilesystemError::NotFound(target.clone()).into()),
    }
}

/// Whether the file under the target's name can be the uploaded one.
async fn is_placed(access: &Access, upload: &ResumableUpload, target: &RemotePath) -> Result<bool, ServiceError> {
    match access.files().await?.stat(access.principal(), target, true).await {
        Ok(found) => Ok(found.size == upload.length && found.mtime >= upload.begun.saturating_sub(5)),
        Err(FilesystemError::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Content to add to an upload.
pub struct Addition {
    /// Its offset: the number of bytes of the upload that have arrived.
    pub offset: u64,
    /// Its length in bytes, if known.
    pub length: Option<u64>,
    /// Whether it is checked against an announced digest. If the check fails, the content is not kept.
    pub checked: bool,
    /// The content.
    pub content: ContentStream,
}

impl Addition {
    /// Rejects content that goes beyond the announced length of its file.
    fn check(&self, file: u64) -> Result<(), ServiceError> {
        let is_over = self.length.is_some_and(|length| self.offset.saturating_add(length) > file);
        if is_over { Err(ServiceError::TooLarge(file, Alternative::NewUpload)) } else { Ok(()) }
    }
}

/// Adds to an upload, whose offset must be that of the addition, and returns the new offset. A complete upload is put in its place.
/// If the content breaks off, the bytes that arrived are kept, unless it is checked.
///
/// The work continues to its end without the caller, so that the bytes that arrived are written in any case and the next request finds them.
///
/// # Errors
/// If the offset differs, the upload is or would become too long, or the content or the cluster fails.
pub async fn extend(access: &Access, upload: &ResumableUpload, addition: Addition) -> Result<u64, ServiceError> {
    addition.check(upload.length)?;
    TransferForm::Stream.check(access, upload.length, Alternative::TransferJob)?;
    let Addition { offset, length: _, checked, content } = addition;
    let permit = TransferPermit::take(access)?;
    let (state, access, upload) = (access.state().clone(), access.clone(), upload.clone());
    let work = async move {
        let _permit = permit;
        let (target, part) = upload.paths(&access)?;
        let lock = access.lock_upload(&part).await?;
        let parts = UploadFiles::of(&access).await?;
        let held = match parts.hold(&part).await {
            // It may have been put in its place by a request whose answer was lost.
            Err(ServiceError::Filesystem(FilesystemError::NotFound(_))) if is_placed(&access, &upload, &target).await? => {
                return beyond_the_end(upload.length, offset, content).await;
            }
            held => held.map_err(|error| with_shown_path(error, &part, &target))?,
        };
        let content = counts::uploaded(access.counts(), until(content, lock.token.clone()));
        let options = PartOptions { offset, length: upload.length, all_or_nothing: checked };
        let added = parts.files.extend_part(access.principal(), &held, content, options).await;
        let outcome = match added {
            Ok(end) if end == upload.length => place(&access, &upload, &target, &held).await.map(|()| end).map_err(after_effect),
            Err(error @ FilesystemError::Digest(_)) => Err(ServiceError::Checksum(error)),
            added => added.map_err(Into::into),
        };
        let is_placed = outcome.as_ref().is_ok_and(|end| *end == upload.length);
        let outcome = if is_placed { outcome } else { restore_name(&parts, &part, &held, outcome).await };
        outcome.map_err(|error| with_shown_path(error, &part, &target))
    };
    state.additions.spawn(work).await.unwrap_or_else(|error| Err(FilesystemError::Interrupted(std::io::Error::other(error)).into()))
}

/// Waits, when the process ends and for so long at most, until every part that is being added to has its name back.
pub async fn settle(gate: &Gate, limit: Duration) {
    let additions = gate.state().additions;
    additions.close();
    if tokio::time::timeout(limit, additions.wait()).await.is_err() {
        tracing::warn!(
            left = additions.len(),
            "resumable uploads were cut while they were added to: the next request continues with a copy"
        );
    }
}

/// The answer to an addition to an upload that is complete: nothing can be added to it, and nothing is.
async fn beyond_the_end(length: u64, offset: u64, mut content: ContentStream) -> Result<u64, ServiceError> {
    if offset != length {
        return Err(FilesystemError::Offset(length).into());
    }
    while let Some(piece) = content.next().await {
        if !piece?.is_empty() {
            return Err(ServiceError::TooLarge(length, Alternative::NewUpload));
        }
    }
    Ok(length)
}

/// Renames a part back after a request that did not put it in its place. It is not renamed if the cluster did not answer: what was
/// sent may still be written, and the next request takes a copy.
async fn restore_name<T>(
    parts: &UploadFiles<'_>,
    part: &RemotePath,
    held: &RemotePath,
    outcome: Result<T, ServiceError>,
) -> Result<T, ServiceError> {
    match outcome {
        Err(error @ ServiceError::Filesystem(FilesystemError::Transport(_))) => Err(error),
        // Its name is gone: another request has taken it over.
        Err(ServiceError::Filesystem(FilesystemError::NotFound(path))) if path == *held => Err(ServiceError::Busy),
        Err(error) => match parts.put_back(part, held).await {
            // A part that cannot be cut is removed; the error that there was no room is the reason.
            Ok(()) => Err(error),
            Err(ServiceError::Busy) if error.kind() == Kind::Conflict => Err(error),
            Err(failure) => Err(failure),
        },
        // It is in its place.
        Ok(done) if parts.put_back(part, held).await.is_ok() => Ok(done),
        Ok(_) => Err(ServiceError::Busy),
    }
}

/// The error of a step before which content was added already.
fn after_effect(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Filesystem(FilesystemError::Transport(TransportError::Broken { .. })) => {
            FilesystemError::Transport(TransportError::Broken { sent: true }).into()
        }
        error => error,
    }
}

/// Removes an upload with the bytes that have arrived. A complete one consists only of its file, which stays.
///
/// # Errors
/// If there is none, or the cluster does not allow it.
pub async fn remove(access: &Access, upload: &ResumableUpload) -> Result<(), ServiceError> {
    let (target, part) = upload.paths(access)?;
    let _lock = access.lock_upload(&part).await?;
    let parts = UploadFiles::of(access).await?;
    let shown = |error: FilesystemError| error.with_shown_path(&part, &target);
    let Some((at, _)) = parts.find(&part).await.map_err(shown)? else {
        return if is_placed(access, upload, &target).await? { Ok(()) } else { Err(FilesystemError::NotFound(target).into()) };
    };
    let change = Change::begin(access, Action::FilesUploadRemove, target.to_text());
    Ok(change.end(parts.files.remove(access.principal(), &at).await).map_err(shown)?)
}

async fn place(access: &Access, upload: &ResumableUpload, target: &RemotePath, part: &RemotePath) -> Result<(), ServiceError> {
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesUpload, target.to_text());
    let placed = files.place_part(access.principal(), part, target, PlaceOptions::new(upload.length, upload.expected())).await;
    change.end(placed).map(drop).map_err(|error| ServiceError::unless(error, upload.expected()))
}

/// The same error, with the file of the upload where it names the hidden one.
fn with_shown_path(error: ServiceError, part: &RemotePath, target: &RemotePath) -> ServiceError {
    match error {
        ServiceError::Filesystem(error) => ServiceError::Filesystem(error.with_shown_path(part, target)),
        ServiceError::Precondition(error) => ServiceError::Precondition(error.with_shown_path(part, target)),
        ServiceError::Checksum(error) => ServiceError::Checksum(error.with_shown_path(part, target)),
        error => error,
    }
}

/// The content until it ends, or `over` is cancelled: then it fails.
pub(super) fn until(content: ContentStream, over: CancellationToken) -> ContentStream {
    let pieces = stream::unfold(Some((content, over)), |state| async move {
        let (mut content, over) = state?;
        tokio::select! {
            biased;
            () = over.cancelled() => Some((Err(FilesystemError::Interrupted(std::io::ErrorKind::Interrupted.into())), None)),
            piece = content.next() => piece.map(|piece| (piece, Some((content, over)))),
        }
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_read_back_from_its_name_and_nothing_else_is_one() {
        let upload = ResumableUpload {
            path: "/home/ada/Gr\u{fc}\u{df}e \u{efff}".to_owned(),
            length: 1 << 40,
            nonce: "0123456789abcdef0123456789abcdef".to_owned(),
            begun: 1_795_248_000,
            only_new: true,
            metadata: "filename Zg==".to_owned(),
        };
        assert_eq!(ResumableUpload::from_id(&upload.id()).unwrap(), upload);
        let climbing = ResumableUpload { nonce: "../../../../../../../etc/passwd0".to_owned(), ..upload };
        for id in [climbing.id().as_str(), "", "!", "e30", "AAAA", &"A".repeat(100_000)] {
            assert!(ResumableUpload::from_id(id).is_err(), "{id:.40}");
        }
    }
}
