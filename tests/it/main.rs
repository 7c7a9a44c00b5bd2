//! The in-process suite: loopback only, nothing to install.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod authn;
mod authz;
mod config;
mod defects;
mod demo;
mod demo_sshd;
mod documents;
mod files;
mod local_scheduler;
mod rest;
mod slurm;
mod ssh;
mod structure;
mod support;
