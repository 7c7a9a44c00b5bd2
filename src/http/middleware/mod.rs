//! The layers that every request passes on its way to a handler.

pub(crate) mod access_log;
pub(crate) mod client_address;
pub(crate) mod common_headers;
pub(crate) mod cors;
pub(crate) mod drain_body;
mod host;
pub(crate) mod normalise;
pub(crate) mod problem_body;
pub(crate) mod request_context;
pub(crate) mod time_limit;
mod transfer_coding;
mod under_way;
pub(crate) mod well_formed;
