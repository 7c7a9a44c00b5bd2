//! Listens on an address that may still be in use by the previous task.

use std::io;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Tries `bind` at this interval until it succeeds; `None` if the token is cancelled first. The first failure is passed to `report`.
pub(super) async fn until_bound<T, F: Future<Output = io::Result<T>>>(
    bind: impl Fn() -> F,
    interval: Duration,
    report: impl FnOnce(io::Error),
    stop: &CancellationToken,
) -> Option<T> {
    let mut report = Some(report);
    loop {
        match (bind().await, report.take()) {
            (Ok(bound), _) => return Some(bound),
            (Err(error), Some(report)) => report(error),
            (Err(_), None) => {}
        }
        stop.run_until_cancelled(sleep(interval)).await?;
    }
}
