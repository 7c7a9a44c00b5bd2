//! Slurm's commands, and how their answers are combined.
//!
//! A command is one file with a value that has the command line and the parser of the output; [`client`] composes them into the
//! scheduler's operations. Nothing here uses `--json`: it costs several times the named fields, and its shape changes between
//! releases. Oldest release meant: 21.08. To add a command: a file, and recorded outputs of real releases in `testdata/`.

mod alter;
mod client;
mod controller;
mod delimiter;
mod ended;
mod failure;
mod file_names;
mod limits;
mod sacct;
mod sacct_metadata;
mod sacctmgr;
mod sbatch;
mod sbatch_options;
mod sbatch_test;
mod scancel;
mod scontrol;
mod scontrol_job;
mod sinfo_nodes;
mod sinfo_partitions;
mod squeue;
mod srun;
mod submission;
mod tagged;
mod usage;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod release_26_05;

pub use client::SlurmCli;
pub use delimiter::Delimiter;

use crate::ssh::CommandLine;

/// A command of Slurm in an environment that makes its output the same everywhere: English, and times as Unix seconds. `env`
/// rather than assignments, because the login shell need not be a POSIX one.
fn slurm_command(program: &'static str) -> CommandLine {
    CommandLine::new("env LC_ALL=C SLURM_TIME_FORMAT=%s").flag(program)
}
