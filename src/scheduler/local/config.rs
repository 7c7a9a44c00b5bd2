//! The `local` section of a scheduler.

use schemars::JsonSchema;
use serde::Deserialize;

/// How jobs are run on a host without a scheduler. Every user has a queue of their own, so the limits hold for each user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Config {
    /// Maximum number of running jobs of one user; 0 for one per CPU. Further jobs wait in the order of their ids.
    pub slots: u32,
    /// Maximum number of pending and running jobs of one user. Further submissions are refused with 429.
    pub queue_limit: u32,
    /// Time limit in seconds of a job that names none, by `timeLimit` or `#SBATCH --time`; 0 for `max_time_limit`.
    pub default_time_limit: u64,
    /// Maximum time limit of a job in seconds, which a job that names none has too, unless `default_time_limit` is shorter; 0 for none.
    pub max_time_limit: u64,
    /// Seconds between SIGTERM and SIGKILL when a job is cancelled or reaches its time limit.
    pub kill_wait: u32,
    /// Days for which finished jobs are kept; at least 7, the longest window of a job list.
    pub retention_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { slots: 0, queue_limit: 1000, default_time_limit: 0, max_time_limit: 0, kill_wait: 30, retention_days: 7 }
    }
}
