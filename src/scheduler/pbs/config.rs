//! The settings of PBS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings for the type `pbs`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Config {
    /// PBS attribute for the account of a job.
    pub account: AccountOption,
    /// Names for the states of jobs.
    pub job_states: JobStates,
    /// Maximum number of PBS commands per minute on the login node; 0 for no limit. Further commands wait for up to ten seconds and are
    /// then refused with 503. Each command occupies two reserved ports for a minute, of about 1000 that all users of the node share.
    pub commands_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { account: AccountOption::default(), job_states: JobStates::default(), commands_per_minute: 240 }
    }
}

/// PBS attribute for the account of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountOption {
    /// The project, `qsub -P`. Torque has none: there it is the account name.
    #[default]
    Project,
    /// The account name, `qsub -A`.
    AccountName,
}

/// Names for the states of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStates {
    /// As on clusters with Slurm, such as `PENDING`, `RUNNING`, `COMPLETED`, `FAILED`.
    #[default]
    Names,
    /// The letters of PBS, such as `Q`, `R`, `F`.
    Letters,
}
