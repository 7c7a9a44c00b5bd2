//! The in-process suite: loopback only, nothing to install.

mod structure;
mod support;
mod ssh;
