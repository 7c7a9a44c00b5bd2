//! What a lane lends: a connection in use, and the right to one channel on it.

pub(crate) mod connection_manager;
pub(crate) mod permit;
