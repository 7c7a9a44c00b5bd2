//! The in-process suite: loopback only, nothing to install.

mod support;
mod ssh;
