//! How long an answer may be given again.

use std::time::Duration;

/// The longest time that an answer may be given again, in seconds.
pub const MAX_FRESHNESS: f64 = 3600.0;

/// A number of seconds of the configuration as a length of time, [`MAX_FRESHNESS`] at most; what is no such length keeps nothing.
pub(super) fn freshness(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_FRESHNESS)).unwrap_or_default()
}
