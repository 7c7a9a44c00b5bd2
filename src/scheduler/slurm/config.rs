//! The keys of a `scheduler` section that only Slurm has.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scheduler::freshness::freshness;

/// The keys that only Slurm has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Config {
    /// Interface to the scheduler.
    #[serde(default)]
    pub connection_mode: ConnectionMode,
    /// URL of the REST API, for the modes `rest` and `hybrid`.
    pub api_url: Option<String>,
    /// Version of the REST API, such as `0.0.42`. If absent, the newest version that both sides support.
    pub api_version: Option<String>,
    /// File with the key of Slurm's `auth/jwt` (HS256), for the modes `rest` and `hybrid`. Goldcrest signs a token for each caller with
    /// it. If absent, slurmrestd gets the caller's own access token, so Slurm must know the identity provider's keys.
    pub jwt_key_file: Option<PathBuf>,
    /// Seconds for which an answer of Slurm's accounting is reused for the same list of jobs; 0 disables this. The controller is
    /// queried for each list, and accounting too when a job has ended, so the list is always current.
    #[serde(default = "default_accounting_freshness")]
    pub accounting_freshness: f64,
}

impl Config {
    /// `accounting_freshness` as a duration; zero if it is invalid.
    pub fn accounting_freshness(&self) -> Duration {
        freshness(self.accounting_freshness)
    }
}

/// How Slurm is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionMode {
    /// Its commands, over SSH.
    #[default]
    Ssh,
    /// Its REST API.
    Rest,
    /// Its REST API where it can, its commands where it cannot.
    Hybrid,
}

fn default_accounting_freshness() -> f64 {
    10.0
}
