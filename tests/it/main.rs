//! The in-process suite: loopback only, nothing to install.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod authn;
mod authz;
mod config;
mod credentials;
mod defects;
mod demo;
mod demo_sshd;
mod documents;
mod files;
mod firecrest_site;
mod kubernetes;
mod local_scheduler;
mod pbs;
mod program;
mod rest;
mod shares;
mod slurm;
mod slurm_files;
mod slurm_rest;
mod slurm_rest_faults;
mod ssh;
mod store;
mod structure;
mod submission;
mod support;
mod tasks;
mod token_services;
mod webhooks;
