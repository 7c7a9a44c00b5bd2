//! The in-process suite: loopback only, nothing to install.

mod api;
mod support;
