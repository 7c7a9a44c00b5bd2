//! The API: the only module that knows axum and utoipa.

mod config;

pub use config::Config;
