//! The in-process suite: loopback only, nothing to install.

mod config;
mod support;
