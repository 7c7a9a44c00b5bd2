//! The in-process suite: loopback only, nothing to install.

mod api;
mod config;
mod demo;
mod demo_sshd;
mod ssh;
mod structure;
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod authn;
mod authz;
mod config;
mod rest;
mod support;
