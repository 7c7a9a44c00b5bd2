//! Slurm, through its commands or through its REST API.
//!
//! [`cli`] holds the commands of the connection mode `ssh`, one small file each, [`rest`] the client of slurmrestd, and
//! [`hybrid`] puts the two together. What both know of Slurm lies beside them: its states and values, the ids of its jobs, its
//! words for failures, and how the controller's and accounting's jobs become one list. This module must not know how commands or
//! HTTP requests are carried.

mod cli;
mod config;
mod hybrid;
mod job_options;
mod job_ref;
mod merge;
mod messages;
mod rest;
mod values;

pub use cli::{Delimiter, SlurmCli};
pub use config::{Config, ConnectionMode};
pub use hybrid::SlurmHybrid;
pub use rest::{ApiVersion, CallersToken, Settings as RestSettings, SlurmRest, UserToken};
