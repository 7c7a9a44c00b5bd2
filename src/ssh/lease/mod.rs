//! Connections in use: how many a cluster takes, how many channels each carries, and the permits for these channels.

pub(crate) mod admission;
pub(crate) mod connection_manager;
pub(crate) mod lane_state;
pub(crate) mod leased;
pub(crate) mod permit;
pub(crate) mod placement;
