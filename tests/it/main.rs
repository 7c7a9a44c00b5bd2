//! The in-process suite: loopback only, nothing to install.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod demo;
mod demo_sshd;
mod support;
