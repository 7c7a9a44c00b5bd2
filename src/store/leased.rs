//! A lease that is given back when its holder has ended, however that comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Store, StoreError};
use crate::error::ErrorChain;

/// The interval between attempts to take a lease that another holder has.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);

/// A held lease; it expires after `time` unless it is renewed. Dropped, it is given back in the background.
pub struct Leased {
    store: Arc<dyn Store>,
    name: String,
    holder: String,
    time: Duration,
    /// Whether it may have been taken, and not been given back.
    is_taken: bool,
    /// So that the end of the process waits for it.
    _token: TaskTrackerToken,
}

impl Leased {
    /// Takes a lease for `time`, for which it waits so long at most; none if another holder has it.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub async fn take(store: &Arc<dyn Store>, name: String, time: Duration, wait: Duration) -> Result<Option<Self>, StoreError> {
        let holder = uuid::Uuid::new_v4().simple().to_string();
        // Built before the request, so that a caller who is dropped while the store answers still gives the lease back.
        let mut lease = Self { store: Arc::clone(store), name, holder, time, is_taken: true, _token: store.leases().token() };
        let last_attempt = Instant::now() + wait;
        while !lease.renew().await? {
            if Instant::now() >= last_attempt {
                lease.is_taken = false;
                return Ok(None);
            }
            sleep(ATTEMPT_INTERVAL).await;
        }
        Ok(Some(lease))
    }

    /// Renews it; whether this holder has it.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub async fn renew(&self) -> Result<bool, StoreError> {
        self.store.lease(&self.name, &self.holder, self.time).await
    }

    /// Gives it back. If the store does not answer, the lease ends by itself: what was done under it is done.
    pub async fn release(mut self) {
        release_quietly(&*self.store, &self.name, &self.holder).await;
        self.is_taken = false;
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if !self.is_taken || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (store, name, holder) = (Arc::clone(&self.store), std::mem::take(&mut self.name), std::mem::take(&mut self.holder));
        self.store.leases().spawn(async move { release_quietly(&*store, &name, &holder).await });
    }
}

async fn release_quietly(store: &dyn Store, name: &str, holder: &str) {
    if let Err(error) = store.release(name, holder).await {
        tracing::debug!(lease = name, error = %ErrorChain(&error), "a lease was not given back: it ends by itself");
    }
}

/// Waits, when the process ends and for so long at most, until every [`Leased`] is given back.
pub async fn wait_for_leases(store: &dyn Store, limit: Duration) {
    let leases = store.leases();
    leases.close();
    if tokio::time::timeout(limit, leases.wait()).await.is_err() {
        tracing::warn!(left = leases.len(), "leases were not given back: other processes wait until they end by themselves");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Sqlite, SqliteConfig};

    const LONG: Duration = Duration::from_secs(600);

    fn store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
        Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.path().to_owned(), ..SqliteConfig::default() }))
    }

    async fn take(store: &Arc<dyn Store>, wait: Duration) -> Option<Leased> {
        Leased::take(store, "work".to_owned(), LONG, wait).await.unwrap()
    }

    #[tokio::test]
    async fn a_lease_has_one_holder_until_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let first = take(&store, Duration::ZERO).await.expect("it is free");
        assert!(take(&store, Duration::ZERO).await.is_none() && first.renew().await.unwrap());
        first.release().await;
        assert!(take(&store, Duration::ZERO).await.is_some());
    }

    #[tokio::test]
    async fn the_end_waits_until_a_lease_that_was_dropped_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        drop(take(&store, Duration::ZERO).await.expect("it is free"));
        wait_for_leases(&*store, LONG).await;
        assert!(take(&store, Duration::ZERO).await.is_some(), "it was forgotten");
    }

    #[tokio::test]
    async fn the_end_waits_for_the_holder_of_a_lease_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let held = take(&store, Duration::ZERO).await.expect("it is free");
        let mut end = std::pin::pin!(wait_for_leases(&*store, LONG));
        assert!(futures::poll!(&mut end).is_pending());
        drop(held);
        end.await;
        assert!(take(&store, Duration::ZERO).await.is_some(), "it was forgotten");
    }
}
