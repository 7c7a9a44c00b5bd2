//! The log and the metrics, for operators.
//!
//! Nothing is counted here. Each module counts its work in plain numbers, and [`Metrics`] reads them at each scrape, so that a
//! request costs one addition. This module must not know how the metrics are served.
//!
//! To add a metric: a [`Family`] in `families`, and the line in `metrics` that reads it. A test compares the families with the table in
//! `docs/operations.md`. No value of a label may come from a client, and none may be the name of a user.

mod families;
mod log;
mod metrics;
mod process;

pub use families::{Family, families};
pub use log::{AUDIT_TARGET, LOG_VARIABLE, LogFormat, TelemetryError, UnknownLogFormat, colours, init};
pub use metrics::{Metrics, Sources};
