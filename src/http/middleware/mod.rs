//! What every request passes on its way to a handler.

pub(crate) mod access_log;
pub(crate) mod client_address;
pub(crate) mod drain_body;
pub(crate) mod host;
pub(crate) mod normalise;
pub(crate) mod time_limit;
pub(crate) mod transfer_coding;
pub(crate) mod under_way;
