//! The status of a store, for operators.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::StoreError;
use crate::error::{ErrorChain, Recurring};

/// The counters of a store.
#[derive(Debug, Default)]
pub struct Status {
    is_up: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    full: AtomicU64,
    failure: Recurring,
}

impl Status {
    /// Whether its last operation succeeded.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// The operations so far, by their outcome.
    pub fn operations(&self) -> [(&'static str, u64); 3] {
        [("done", &self.done), ("failed", &self.failed), ("full", &self.full)]
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }

    /// Counts an operation.
    pub(super) fn count<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let counter = match &outcome {
            Ok(_) => &self.done,
            Err(StoreError::Full(_)) => &self.full,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let was_up = self.is_up.swap(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            Ok(_) if self.failure.ends() || !was_up => tracing::info!("the store answers"),
            Err(error) if self.failure.begins(&ErrorChain(error)) => {
                tracing::error!(error = %ErrorChain(error), "the store cannot be used");
            }
            _ => {}
        }
        outcome
    }
}
