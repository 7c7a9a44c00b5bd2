//! The API versions of a server: queried once by the first user, and again when the server turns out to be another one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::version::{ApiVersion, Offer};
use crate::scheduler::SchedulerError;

/// The known versions of a server.
pub(super) enum Discovery {
    /// The configuration says it.
    Fixed(Offer),
    /// The query of the server. The cell is replaced when its answer is no longer valid.
    Discovered(Mutex<Arc<OnceCell<Offer>>>),
}

impl Discovery {
    /// The version of the configuration, or whatever the server says.
    pub(super) fn new(fixed: Option<ApiVersion>) -> Self {
        match fixed {
            Some(version) => Self::Fixed(Offer { slurm: version, slurmdb: Some(version) }),
            None => Self::Discovered(Mutex::default()),
        }
    }

    /// The versions: known, or the result of `ask`. All callers meanwhile wait for the same query; an error is not kept.
    pub(super) async fn offer<F>(&self, ask: impl FnOnce() -> F) -> Result<Offer, SchedulerError>
    where
        F: Future<Output = Result<Offer, SchedulerError>>,
    {
        match self {
            Self::Fixed(offer) => Ok(*offer),
            Self::Discovered(cell) => {
                let cell = Arc::clone(&cell.lock());
                cell.get_or_try_init(ask).await.copied()
            }
        }
    }

    /// Forgets the versions if they are still `stale`. Returns whether to query the server again.
    pub(super) fn forget(&self, stale: Offer) -> bool {
        let Self::Discovered(cell) = self else { return false };
        let mut cell = cell.lock();
        if cell.get() == Some(&stale) {
            *cell = Arc::default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn offer(version: &str) -> Offer {
        Offer { slurm: ApiVersion::parse(version).unwrap(), slurmdb: None }
    }

    #[tokio::test]
    async fn all_who_come_at_once_ask_once() {
        let discovery = Discovery::new(None);
        let asked = AtomicUsize::new(0);
        let ask = || async {
            asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(offer("0.0.40"))
        };
        let (one, other) = tokio::join!(discovery.offer(ask), discovery.offer(ask));
        assert_eq!((one.unwrap(), other.unwrap()), (offer("0.0.40"), offer("0.0.40")));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_error_is_not_kept_and_only_what_is_stale_is_forgotten() {
        let discovery = Discovery::new(None);
        assert!(discovery.offer(|| async { Err(SchedulerError::Down("x".to_owned())) }).await.is_err());
        discovery.offer(|| async { Ok(offer("0.0.40")) }).await.unwrap();
        assert!(discovery.forget(offer("0.0.38")));
        assert_eq!(discovery.offer(|| async { Ok(offer("0.0.42")) }).await.unwrap(), offer("0.0.40"));
        assert!(discovery.forget(offer("0.0.40")));
        assert_eq!(discovery.offer(|| async { Ok(offer("0.0.42")) }).await.unwrap(), offer("0.0.42"));
    }

    #[tokio::test]
    async fn a_version_of_the_configuration_is_not_questioned() {
        let discovery = Discovery::new(ApiVersion::parse("0.0.38"));
        let fixed = discovery.offer(|| async { Err(SchedulerError::Down("it was asked".to_owned())) }).await.unwrap();
        assert_eq!(fixed.slurm, ApiVersion::parse("0.0.38").unwrap());
        assert!(!discovery.forget(fixed));
    }
}
