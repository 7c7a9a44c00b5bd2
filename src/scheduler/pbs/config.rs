//! The settings of PBS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How PBS is used, for the type `pbs`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Config {
    /// What a job's account is in PBS.
    pub account: AccountOption,
    /// In which words the states of jobs are told.
    pub job_states: JobStates,
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
