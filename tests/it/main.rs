//! The in-process suite: loopback only, nothing to install.

mod api;
mod config;
mod demo;
mod demo_sshd;
mod ssh;
mod structure;
mod support;
