//! The in-process suite: loopback only, nothing to install.

mod local_scheduler;
mod support;
