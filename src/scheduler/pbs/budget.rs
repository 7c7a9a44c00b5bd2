//! The rate limit of PBS commands on a login node.
//!
//! If PBS authenticates by reserved ports, which is its default, every command takes two of the login node's, and the kernel keeps
//! each for another minute. Without a limit, a few lists per second use them up, and then no user of that node can reach PBS.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

/// The time for which the kernel keeps the ports of a closed connection (`TIME_WAIT` of Linux).
const PORT_TIME_WAIT: Duration = Duration::from_secs(60);

/// The time that a command waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The commands that were started within the last minute. Those that wait are let through in the order of their coming.
pub(super) struct Budget {
    limit: usize,
    started: Mutex<VecDeque<Instant>>,
}

impl Budget {
    /// Allows this many commands a minute; any number with 0.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), started: Mutex::default() }
    }

    /// Waits until one more command may be started; false when that takes too long.
    pub(super) async fn take(&self) -> bool {
        if self.limit == 0 {
            return true;
        }
        let turn = async {
            let mut started = self.started.lock().await;
            while started.len() >= self.limit
                && let Some(&oldest) = started.front()
            {
                sleep_until(oldest + PORT_TIME_WAIT).await;
                started.pop_front();
            }
            started.push_back(Instant::now());
        };
        timeout(MAX_WAIT, turn).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_command_waits_until_a_port_is_free_and_is_refused_when_that_takes_too_long() {
        let budget = Budget::new(3);
        for _ in 0..3 {
            assert!(budget.take().await);
        }
        let before = Instant::now();
        assert!(!budget.take().await);
        assert_eq!(before.elapsed(), MAX_WAIT);
        tokio::time::advance(Duration::from_secs(45)).await;
        assert!(budget.take().await);
        assert_eq!(before.elapsed(), PORT_TIME_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let budget = Budget::new(0);
        for _ in 0..10_000 {
            assert!(budget.take().await);
        }
    }
}
