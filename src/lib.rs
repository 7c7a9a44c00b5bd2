//! Goldcrest, an HPC access proxy: OAuth2 bearer tokens in, jobs and files on clusters out.
//!
//! `ARCHITECTURE.md` shows how the modules stand to one another; `tests/it/structure.rs` holds them to it.

pub mod app;
pub mod authn;
pub mod authz;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod credentials;
#[cfg(feature = "demo")]
pub mod demo;
pub mod domain;
pub mod error;
pub mod filesystem;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod mirror;
pub mod notify;
pub mod rest;
pub mod scheduler;
pub mod service;
pub mod ssh;
pub mod store;
pub mod telemetry;
pub mod transfer;
