//! One file at a time takes a name: the state that a conditional write expects is not compared by two writes at once.
//!
//! The locks are those of this process. Two replicas that replace one file in the same instant still depend on the cluster, whose rename
//! compares nothing.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::domain::RemotePath;

/// The number of names above which those that nobody uses are removed.
const MAX_UNUSED: usize = 256;

/// The locks of the names on one cluster.
#[derive(Default)]
pub struct PlacingLocks(Mutex<HashMap<RemotePath, Weak<AsyncMutex<()>>>>);

impl PlacingLocks {
    /// Waits until no other file is being given the name `path`; that holds until the guard is dropped.
    pub async fn lock(&self, path: &RemotePath) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock();
            if locks.len() > MAX_UNUSED {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            let known = locks.get(path).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(AsyncMutex::new(()));
                locks.insert(path.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}
