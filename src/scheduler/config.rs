//! The `scheduler` section of a cluster: one shape for each type of scheduler.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::freshness::freshness;
use super::slurm::ConnectionMode;
use super::{JobMirror, RecordSettings, kubernetes, local, pbs, slurm};

/// A cluster's batch scheduler.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Config {
    /// Slurm.
    Slurm {
        /// The keys of every type.
        #[serde(flatten)]
        common: Common,
        /// The keys of Slurm. As in FirecREST, they are no section of their own.
        #[serde(flatten)]
        slurm: slurm::Config,
    },
    /// OpenPBS and PBS Professional, and Torque where it is the same.
    Pbs {
        /// The keys of every type.
        #[serde(flatten)]
        common: Common,
        /// Interface to the scheduler.
        #[serde(default)]
        connection_mode: CommandsOnly,
        /// Settings of PBS.
        #[serde(default)]
        pbs: pbs::Config,
    },
    /// Goldcrest's own scheduler, for one host without another.
    Local {
        /// The keys of every type.
        #[serde(flatten)]
        common: Common,
        /// Interface to the scheduler.
        #[serde(default)]
        connection_mode: CommandsOnly,
        /// Settings of the local scheduler.
        #[serde(default)]
        local: local::Config,
    },
    /// Kubernetes.
    Kubernetes {
        /// The keys of every type.
        #[serde(flatten)]
        common: Common,
        /// Settings of Kubernetes.
        #[serde(default)]
        kubernetes: Box<kubernetes::Config>,
    },
}

/// The keys that every type of scheduler has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Common {
    /// Version, such as `24.11.0`, shown to clients. Goldcrest detects the features itself, so a wrong version disables nothing. But
    /// clients would be misled: `check-config --connect` fails if the first two numbers are not those of the running Slurm or PBS.
    pub version: String,
    /// Time limit in seconds of a call of slurmrestd or of the API server of Kubernetes; it has no effect on the scheduler's commands.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Seconds for which an answer about jobs, nodes, partitions, reservations or accounts is cached for the same caller; fractions are
    /// allowed, the maximum is 3600. Submitting, cancelling and attaching discard the cached answers. With 0, only requests at the same
    /// time share an answer.
    #[serde(default = "default_read_freshness")]
    pub read_freshness: f64,
    /// Days for which the record of a submission with an `Idempotency-Key` is kept in the user's home directory on the cluster, below
    /// `.goldcrest/submit`, or in the store; from 1 to 365. Afterwards the key can be used again. In Kubernetes the job itself is the record.
    #[serde(default = "default_record_days")]
    #[schemars(range(min = 1, max = 365))]
    pub submission_record_days: u32,
    /// How jobs are watched for callers who wait for changes or read events.
    #[serde(default)]
    pub job_mirror: JobMirror,
}

impl Common {
    /// How records of submissions are kept.
    pub fn records(&self) -> RecordSettings {
        RecordSettings { days: self.submission_record_days, ..RecordSettings::default() }
    }
}

fn default_record_days() -> u32 {
    RecordSettings::default().days
}

impl Config {
    /// The keys that every type has.
    pub fn common(&self) -> &Common {
        match self {
            Self::Slurm { common, .. } | Self::Pbs { common, .. } | Self::Local { common, .. } | Self::Kubernetes { common, .. } => common,
        }
    }

    /// The type alone.
    pub fn kind(&self) -> SchedulerType {
        match self {
            Self::Slurm { .. } => SchedulerType::Slurm,
            Self::Pbs { .. } => SchedulerType::Pbs,
            Self::Local { .. } => SchedulerType::Local,
            Self::Kubernetes { .. } => SchedulerType::Kubernetes,
        }
    }

    /// Whether the states of jobs are shown as the letters of PBS.
    pub fn shows_letters(&self) -> bool {
        matches!(self, Self::Pbs { pbs, .. } if pbs.job_states == pbs::JobStates::Letters)
    }

    /// How it is accessed.
    pub fn connection_mode(&self) -> ConnectionMode {
        match self {
            Self::Slurm { slurm, .. } => slurm.connection_mode,
            Self::Pbs { .. } | Self::Local { .. } => ConnectionMode::Ssh,
            Self::Kubernetes { .. } => ConnectionMode::Rest,
        }
    }

    /// `read_freshness` as a duration; zero if it is invalid.
    pub fn freshness(&self) -> Duration {
        freshness(self.common().read_freshness)
    }
}

fn default_timeout() -> u64 {
    10
}

fn default_read_freshness() -> f64 {
    1.0
}

/// The types of schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerType {
    /// Slurm.
    Slurm,
    /// OpenPBS and PBS Professional, and Torque where it is the same.
    Pbs,
    /// Our own for one host without a scheduler.
    Local,
    /// Kubernetes.
    Kubernetes,
}

/// How a scheduler without a REST API is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommandsOnly {
    /// Its commands, over SSH.
    #[default]
    Ssh,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries for each type of scheduler in other modules, which the compiler cannot check: a new type does not compile without an arm here.
    #[test]
    fn the_variables_and_the_accounts_of_every_type_are_known_elsewhere() {
        for kind in [SchedulerType::Slurm, SchedulerType::Pbs, SchedulerType::Local, SchedulerType::Kubernetes] {
            let (variables, accounts): (&[&str], &[&str]) = match kind {
                SchedulerType::Slurm => {
                    (&["SLURM_*", "SQUEUE_*", "SBATCH_*", "SCANCEL_*", "SINFO_*", "SACCT_*", "SRUN_*"], &["slurm", "slurmrestd"])
                }
                SchedulerType::Pbs => (&["PBS_DPREFIX", "PBS_QSTAT_EXECONLY", "PBS_CLIENTRETRY"], &["pbs", "pbsdata", "pbsadmin"]),
                SchedulerType::Local => (&[], &[]),
                SchedulerType::Kubernetes => (&[], &["kube", "etcd"]),
            };
            let prologue = include_str!("../ssh/prologue.sh");
            let missing = variables.iter().find(|name| !prologue.contains(*name));
            assert_eq!(missing, None, "the variables that steer the programs of {kind:?} go into ssh/prologue.sh");
            let authentication = serde_json::json!({"token_url": "", "public_certs": []});
            let refused = serde_json::from_value::<crate::authn::Config>(authentication).unwrap().refused_usernames;
            let missing = accounts.iter().find(|account| !refused.iter().any(|name| name == *account));
            assert_eq!(missing, None, "the accounts of the daemons of {kind:?} go into authn/usernames.rs");
        }
    }
}
