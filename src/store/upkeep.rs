//! What each implementation does in the background.

use std::future::Future;
use std::time::Duration;

use super::StoreError;

/// How often what has expired is removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Removes what has expired, now and at each interval, without an end.
pub(super) async fn sweep_again_and_again<F>(sweep: impl Fn() -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    loop {
        // A failure was counted and logged; it is tried again.
        let _told = sweep().await;
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}
