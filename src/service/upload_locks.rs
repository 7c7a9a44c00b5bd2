//! Locks of resumable uploads: one request of a user works on an upload at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::ServiceError;
use crate::domain::{RemotePath, SystemName, Username};

/// The time that a request waits for the previous one on the same upload, which is asked to end.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(5);

/// The locks on uploads within this process. Between processes the names of the files decide ([`UploadFiles`](super::upload_files::UploadFiles)).
///
/// The user is part of the key: a user who only knows the name of an upload does not disturb its owner.
#[derive(Default)]
pub struct UploadLocks(Mutex<HashMap<Key, Arc<LockState>>>);

type Key = (SystemName, Username, RemotePath);

#[derive(Default)]
struct LockState {
    mutex: Arc<tokio::sync::Mutex<()>>,
    holder: Mutex<CancellationToken>,
}

/// An upload that is locked until this is dropped.
pub struct UploadLock<'a> {
    upload_locks: &'a UploadLocks,
    key: Key,
    state: Arc<LockState>,
    /// Set when another request wants the upload.
    pub token: CancellationToken,
    guard: Option<OwnedMutexGuard<()>>,
}

impl UploadLocks {
    /// Waits for the upload. The request that holds it is asked to end: most often its client has disconnected unnoticed, and has
    /// reconnected with this one.
    ///
    /// # Errors
    /// [`ServiceError::Busy`] when the one before does not end.
    pub async fn lock(&self, system: &SystemName, user: &Username, part: &RemotePath) -> Result<UploadLock<'_>, ServiceError> {
        self.take((system.clone(), user.clone(), part.clone())).await
    }

    async fn take(&self, key: Key) -> Result<UploadLock<'_>, ServiceError> {
        let state = Arc::clone(self.0.lock().entry(key.clone()).or_default());
        let mut lock = UploadLock { upload_locks: self, key, state, token: CancellationToken::new(), guard: None };
        lock.state.holder.lock().cancel();
        let guard = tokio::time::timeout(MAX_LOCK_WAIT, Arc::clone(&lock.state.mutex).lock_owned()).await;
        lock.guard = Some(guard.map_err(|_| ServiceError::Busy)?);
        *lock.state.holder.lock() = lock.token.clone();
        Ok(lock)
    }
}

impl Drop for UploadLock<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.upload_locks.0.lock();
        // Its own reference and that of the map.
        if Arc::strong_count(&self.state) == 2 {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_lock_ends_the_first_and_a_lock_that_nobody_needs_is_forgotten() {
        let upload_locks = UploadLocks::default();
        let key = || (SystemName::new("daint").unwrap(), Username::new("ada").unwrap(), RemotePath::from_text("/home/.f").unwrap());
        let first = upload_locks.take(key()).await.unwrap();
        let token = first.token.clone();
        let second = upload_locks.take(key());
        let end = async {
            token.cancelled().await;
            drop(first);
        };
        let (second, ()) = tokio::join!(second, end);
        assert!(!second.as_ref().unwrap().token.is_cancelled());
        drop(second);
        assert!(upload_locks.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_not_released_is_waited_for_only_so_long() {
        let upload_locks = UploadLocks::default();
        let key = || (SystemName::new("daint").unwrap(), Username::new("ada").unwrap(), RemotePath::from_text("/home/.f").unwrap());
        let _first = upload_locks.take(key()).await.unwrap();
        assert!(matches!(upload_locks.take(key()).await.err(), Some(ServiceError::Busy)));
    }

    #[tokio::test]
    async fn whoever_knows_the_name_of_an_upload_does_not_disturb_its_owner() {
        let upload_locks = UploadLocks::default();
        let key = |user| (SystemName::new("daint").unwrap(), Username::new(user).unwrap(), RemotePath::from_text("/home/.f").unwrap());
        let owner = upload_locks.take(key("ada")).await.unwrap();
        let other = upload_locks.take(key("eve")).await.unwrap();
        assert!(!owner.token.is_cancelled() && !other.token.is_cancelled());
    }
}
