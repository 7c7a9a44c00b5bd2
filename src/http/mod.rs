//! The API: the only module that knows axum and utoipa.

mod config;
pub mod issuer;

pub use config::Config;
