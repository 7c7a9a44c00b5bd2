//! Resumable uploads, whose state is on the cluster alone: a hidden file beside the target that grows.
//!
//! An [`Upload`] says of itself where it goes and how long it will be, and what has arrived is the size of its file; so any replica
//! goes on with it, also after a restart. It is no secret and gives no right: path policy and the caller's own permissions on the
//! cluster decide anew each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::domain::{RemotePath, SystemName};
use crate::filesystem::{ContentStream, Expected, FilesystemError, PartOptions};

use super::audit::Change;
use super::counts::{self, Action};
use super::{Access, InvalidRequest, Place, ServiceError};

/// For how many seconds an upload to which nothing is added can be gone on with.
pub const EXPIRES: i64 = 7 * 24 * 3600;

/// How long a request waits for the one before it on the same upload, which is told to end.
const TURN: Duration = Duration::from_secs(5);

/// The longest metadata of an upload, in bytes, since it stands in its name.
const MAX_METADATA: usize = 2048;

/// An upload that can be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    #[serde(rename = "p")]
    path: String,
    /// How long the file will be, in bytes.
    #[serde(rename = "l")]
    pub length: u64,
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "t")]
    begun: i64,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    only_new: bool,
    /// What the client wants to be told again, as it said it.
    #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

impl Upload {
    /// Its name in URLs.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("texts, numbers and booleans serialise"))
    }

    /// The upload of this name.
    ///
    /// # Errors
    /// When it is the name of none.
    pub fn from_id(id: &str) -> Result<Self, ServiceError> {
        let upload = URL_SAFE_NO_PAD.decode(id).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        // The nonce becomes part of a file's name.
        let valid = |upload: &Self| upload.nonce.len() == 32 && upload.nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        upload.filter(valid).ok_or_else(|| InvalidRequest::new(Place::Name, "upload_id", "it is the name of no upload").into())
    }

    /// The target, and the file that grows beside it.
    fn paths(&self, access: &Access) -> Result<(RemotePath, RemotePath), ServiceError> {
        let target = access.cluster().path(&self.path)?;
        let name = target.file_name();
        // The longest name of POSIX systems is 255 bytes; what is added takes 51.
        let name = [b".", &name[..name.len().min(200)], b".goldcrest-upload-", self.nonce.as_bytes()].concat();
        let part = target.parent().unwrap_or_else(|| target.clone()).join(&name);
        Ok((target, access.cluster().path(&part.to_text())?))
    }

    fn expected(&self) -> Expected {
        if self.only_new { Expected::Nothing } else { Expected::Anything }
    }
}

/// Begins an upload of `length` bytes to `path`; with `only_new`, only where nothing is.
///
/// # Errors
/// When the path breaks the policy, the length is over the limit, or the cluster does not allow it.
pub async fn begin(access: &Access, path: &str, length: u64, only_new: bool, metadata: String) -> Result<Upload, ServiceError> {
    if let Some(cap) = access.cluster().config().data_operation.max_streamed().filter(|cap| length > *cap) {
        return Err(FilesystemError::TooLarge(cap).into());
    }
    if metadata.len() > MAX_METADATA {
        return Err(InvalidRequest::new(Place::Parameter, "Upload-Metadata", format!("it is longer than {MAX_METADATA} bytes")).into());
    }
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let path = access.path(path).await?.to_text();
    let upload = Upload { path, length, nonce, begun: Timestamp::now().as_second(), only_new, metadata };
    let (target, part) = upload.paths(access)?;
    let files = access.cluster().files()?;
    if only_new && files.stat(access.principal(), &target, true).await.is_ok() {
        return Err(FilesystemError::Exists(target).into());
    }
    let change = Change::begin(access, Action::FilesUploadBegin, target.to_text());
    change.end(files.begin_part(access.principal(), &part, &target).await)?;
    if length == 0 {
        place(access, &upload, &target, &part).await?;
    }
    Ok(upload)
}

/// How much of an upload has arrived, in bytes. One that is whole is put in its place if it is not yet.
///
/// # Errors
/// When there is none, it is too old, or is still being added to, or the cluster does not tell.
pub async fn offset(access: &Access, upload: &Upload) -> Result<u64, ServiceError> {
    let (target, part) = upload.paths(access)?;
    let _turn = access.uploads().turn(access.cluster().name(), &part).await?;
    let files = access.cluster().files()?;
    match files.stat(access.principal(), &part, false).await {
        Ok(found) if found.mtime.saturating_add(EXPIRES) < Timestamp::now().as_second() => {
            files.remove(access.principal(), &part).await?;
            Err(FilesystemError::NotFound(target).into())
        }
        Ok(found) => {
            if found.size >= upload.length {
                place(access, upload, &target, &part).await?;
            }
            Ok(found.size)
        }
        // It may have been put in its place by a request whose answer was lost.
        Err(FilesystemError::NotFound(_)) => match files.stat(access.principal(), &target, true).await {
            Ok(found) if found.size == upload.length && found.mtime >= upload.begun.saturating_sub(5) => Ok(upload.length),
            _ => Err(FilesystemError::NotFound(target).into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Adds to an upload, which has to be at `offset`, and tells where it is then. It is put in its place when it is whole. Content
/// that fails is kept as far as it came, unless it is `checked`.
///
/// The work goes on to its end without the caller, so that what arrived is written in any case and the next request finds it.
///
/// # Errors
/// When it is elsewhere, would become too long, or the content or the cluster fails.
pub async fn extend(access: &Access, upload: &Upload, offset: u64, content: ContentStream, checked: bool) -> Result<u64, ServiceError> {
    let (access, upload) = (access.clone(), upload.clone());
    let work = async move {
        let (target, part) = upload.paths(&access)?;
        let turn = access.uploads().turn(access.cluster().name(), &part).await?;
        let content = counts::uploaded(&access, until(content, turn.token.clone()));
        let options = PartOptions { offset, length: upload.length, all_or_nothing: checked };
        let offset = access.cluster().files()?.extend_part(access.principal(), &part, content, options).await?;
        if offset == upload.length {
            place(&access, &upload, &target, &part).await?;
        }
        Ok(offset)
    };
    tokio::spawn(work).await.unwrap_or_else(|error| Err(FilesystemError::Interrupted(std::io::Error::other(error)).into()))
}

/// Gives an upload up, and removes what has arrived.
///
/// # Errors
/// When there is none, or the cluster does not allow it.
pub async fn remove(access: &Access, upload: &Upload) -> Result<(), ServiceError> {
    let (target, part) = upload.paths(access)?;
    let _turn = access.uploads().turn(access.cluster().name(), &part).await?;
    let change = Change::begin(access, Action::FilesUploadRemove, target.to_text());
    Ok(change.end(access.cluster().files()?.remove(access.principal(), &part).await)?)
}

async fn place(access: &Access, upload: &Upload, target: &RemotePath, part: &RemotePath) -> Result<(), ServiceError> {
    let change = Change::begin(access, Action::FilesUpload, target.to_text());
    change.end(access.cluster().files()?.place_part(access.principal(), part, target, upload.expected()).await)?;
    Ok(())
}

/// The content until it ends, or is no longer wanted: then it has failed.
fn until(content: ContentStream, over: CancellationToken) -> ContentStream {
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

/// Who works on which upload in this process. Between processes the size of the file decides.
#[derive(Default)]
pub struct UploadLocks(Mutex<HashMap<(SystemName, RemotePath), Arc<LockEntry>>>);

#[derive(Default)]
struct LockEntry {
    turn: Arc<tokio::sync::Mutex<()>>,
    holder: Mutex<CancellationToken>,
}

/// A turn at an upload; the next one begins when it is dropped.
struct UploadLock<'a> {
    upload_locks: &'a UploadLocks,
    key: (SystemName, RemotePath),
    slot: Arc<LockEntry>,
    /// Set when another request wants its turn.
    token: CancellationToken,
    guard: Option<OwnedMutexGuard<()>>,
}

impl UploadLocks {
    /// Waits for a turn. Whoever has it is told to end: most often that is a request whose client has gone without a word, and has
    /// come back with this one.
    async fn turn(&self, system: &SystemName, part: &RemotePath) -> Result<UploadLock<'_>, ServiceError> {
        let key = (system.clone(), part.clone());
        let slot = Arc::clone(self.slots().entry(key.clone()).or_default());
        let mut turn = UploadLock { upload_locks: self, key, slot, token: CancellationToken::new(), guard: None };
        turn.slot.holder().cancel();
        let guard = tokio::time::timeout(TURN, Arc::clone(&turn.slot.turn).lock_owned()).await;
        turn.guard = Some(guard.map_err(|_| ServiceError::Busy)?);
        *turn.slot.holder() = turn.token.clone();
        Ok(turn)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<(SystemName, RemotePath), Arc<LockEntry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockEntry {
    fn holder(&self) -> MutexGuard<'_, CancellationToken> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UploadLock<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut slots = self.upload_locks.slots();
        // Its own reference and that of the map.
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_read_back_from_its_name_and_nothing_else_is_one() {
        let upload = Upload {
            path: "/home/ada/Gr\u{fc}\u{df}e \u{efff}".to_owned(),
            length: 1 << 40,
            nonce: "0123456789abcdef0123456789abcdef".to_owned(),
            begun: 1_795_248_000,
            only_new: true,
            metadata: "filename Zg==".to_owned(),
        };
        assert_eq!(Upload::from_id(&upload.id()).unwrap(), upload);
        let climbing = Upload { nonce: "../../../../../../../etc/passwd0".to_owned(), ..upload };
        for id in [climbing.id().as_str(), "", "!", "e30", "AAAA", &"A".repeat(100_000)] {
            assert!(Upload::from_id(id).is_err(), "{id:.40}");
        }
    }

    #[tokio::test]
    async fn a_second_turn_ends_the_first_and_a_slot_that_nobody_needs_is_forgotten() {
        let upload_locks = UploadLocks::default();
        let (system, part) = (SystemName::new("daint").unwrap(), RemotePath::from_text("/home/.f").unwrap());
        let first = upload_locks.turn(&system, &part).await.unwrap();
        let token = first.token.clone();
        let second = upload_locks.turn(&system, &part);
        let end = async {
            token.cancelled().await;
            drop(first);
        };
        let (second, ()) = tokio::join!(second, end);
        assert!(!second.as_ref().unwrap().token.is_cancelled());
        drop(second);
        assert!(upload_locks.slots().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_end_is_waited_for_only_so_long() {
        let upload_locks = UploadLocks::default();
        let (system, part) = (SystemName::new("daint").unwrap(), RemotePath::from_text("/home/.f").unwrap());
        let _first = upload_locks.turn(&system, &part).await.unwrap();
        assert!(matches!(upload_locks.turn(&system, &part).await.err(), Some(ServiceError::Busy)));
    }
}
