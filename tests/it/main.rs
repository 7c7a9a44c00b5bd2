//! The in-process suite: loopback only, nothing to install.

mod demo;
mod demo_sshd;
mod ssh;
mod structure;
mod config;
mod api;
mod ssh;
mod support;
