//! Connections: serving them, their limits, and their counters.

pub(crate) mod idle_timeout;
pub(crate) mod malformed;
pub(crate) mod metrics_endpoint;
pub(crate) mod push_endpoint;
pub(crate) mod request_metrics;
pub(crate) mod serve;
pub(crate) mod upgrade;
