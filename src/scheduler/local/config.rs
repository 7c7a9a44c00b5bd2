//! The `local` section of a scheduler.

use schemars::JsonSchema;
use serde::Deserialize;

/// How jobs are run on a host without a scheduler. Every user has a queue of their own, so the limits hold for each user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Config {
    /// The most jobs of one user that run at the same time; 0 for one a CPU. Further jobs wait in the order of their ids.
    pub slots: u32,
    /// The most jobs of one user that are pending or running; further submissions are refused.
    pub queue_limit: u32,
    /// Time limit in seconds of a job that does not ask for one with `#SBATCH --time`; 0 for none.
    pub default_time_limit: u64,
    /// The longest time limit in seconds that a job may ask for; 0 for any.
    pub max_time_limit: u64,
    /// Seconds between SIGTERM and SIGKILL when a job is cancelled or its time is up.
    pub kill_wait: u32,
    /// Days that finished jobs are kept; at least 7, the longest window of a job list.
    pub retention_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { slots: 0, queue_limit: 1000, default_time_limit: 0, max_time_limit: 0, kill_wait: 30, retention_days: 7 }
    }
}
