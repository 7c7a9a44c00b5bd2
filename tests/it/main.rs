//! The in-process suite: loopback only, nothing to install.

mod ssh;
mod support;
