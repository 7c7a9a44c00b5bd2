//! The in-process suite: loopback only, nothing to install.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod files;
mod support;
