//! OpenPBS and PBS Professional, and Torque where it is the same, through their commands.
//!
//! A command is one file with a value that has the command line and the parser of the output; [`client`] composes them into the
//! scheduler's operations. To add a command: a file, and outputs of the real tool in `testdata/`. This module must not know how
//! commands are transported, nor HTTP.
//!
//! Jobs, queues, nodes and reservations are read in the plain form, one attribute a line, which every release has. The JSON form
//! appeared in the same release as unwrapped plain lines and is worse in each: up to 23.06 a variable swallows the one after it
//! when it is empty, and bytes that are no UTF-8 pass as they are; after it, all jobs but the first of several that were asked
//! for are missing, `1e5` becomes `100000`, and one variable without a value fails the whole answer.

mod alter;
mod budget;
mod client;
mod config;
mod dialect;
mod failure;
mod job;
mod job_ref;
mod pbs_rstat;
mod pbsnodes;
mod qdel;
mod qselect;
mod qstat;
mod qstat_plain;
mod qsub;
mod qsub_options;
mod queues;
mod records;
mod server;
mod status;
mod values;
mod variables;

#[cfg(test)]
mod golden;

pub use client::Pbs;
pub use config::{AccountOption, Config, JobStates};

use crate::ssh::CommandLine;

/// A command of PBS in an environment that makes its output the same everywhere: English, and times in UTC. `env` rather than
/// assignments, because the login shell need not be a POSIX one.
fn pbs_command(program: &'static str) -> CommandLine {
    CommandLine::new("env LC_ALL=C TZ=UTC").flag(program)
}
