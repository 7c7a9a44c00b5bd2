//! Slurm, spoken to through its commands.
//!
//! [`cli`] holds the commands of the SSH connection mode, one small file each. A client of its REST API goes into a folder
//! beside it. This module must not know how commands are carried, nor anything of HTTP.

mod cli;

pub use cli::{Delimiter, SlurmCli};
