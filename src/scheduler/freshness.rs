//! The time for which an answer may be reused.

use std::time::Duration;

/// The longest time that an answer may be given again, in seconds.
pub const MAX_FRESHNESS: f64 = 3600.0;

/// A number of seconds from the configuration as a duration, [`MAX_FRESHNESS`] at most; zero if it is invalid.
pub(super) fn freshness(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_FRESHNESS)).unwrap_or_default()
}
