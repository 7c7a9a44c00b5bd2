//! The settings of PBS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How PBS is used, for the type `pbs`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Config {
    /// What a job's account is in PBS.
    pub account: AccountOption,
    /// In which words the states of jobs are told.
    pub job_states: JobStates,
    /// The most commands of PBS that are started on the login node in a minute; 0 for any number. Further ones wait for up to ten
    /// seconds and are then refused with 503. Each takes two reserved ports for a minute, of about 1000 that all users of the node share.
    pub commands_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { account: AccountOption::default(), job_states: JobStates::default(), commands_per_minute: 240 }
    }
}

/// What a job's account is in PBS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountOption {
    /// The project, `qsub -P`. Torque has none: there it is the account name.
    #[default]
    Project,
    /// The account name, `qsub -A`.
    AccountName,
}

/// In which words the states of jobs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStates {
    /// As on clusters with Slurm, such as `PENDING`, `RUNNING`, `COMPLETED`, `FAILED`.
    #[default]
    Names,
    /// The letters of PBS, such as `Q`, `R`, `F`.
    Letters,
}
