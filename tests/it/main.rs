//! The in-process suite: loopback only, nothing to install.

mod files;
mod support;
