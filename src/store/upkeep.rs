//! The background work of each implementation.

use std::future::Future;
use std::time::Duration;

use super::StoreError;

/// The interval between removals of expired records.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Removes expired records, now and at each interval. It does not return.
pub(super) async fn sweep_again_and_again<F>(sweep: impl Fn() -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    loop {
        // A failure was counted and logged; it is tried again.
        let _outcome = sweep().await;
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}
