//! The in-process suite: loopback only, nothing to install.

mod slurm;
mod support;
