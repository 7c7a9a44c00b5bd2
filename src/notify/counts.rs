//! Counters of the messages to webhooks.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of attempts by outcome, and of messages that became dead letters.
#[derive(Debug, Default)]
pub(super) struct DeliveryCounts {
    pub(super) delivered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) not_reached: AtomicU64,
    pub(super) given_up: AtomicU64,
}

impl DeliveryCounts {
    pub(super) fn outcomes(&self) -> [(&'static str, u64); 4] {
        [("delivered", &self.delivered), ("refused", &self.refused), ("not_reached", &self.not_reached), ("given_up", &self.given_up)]
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }
}
