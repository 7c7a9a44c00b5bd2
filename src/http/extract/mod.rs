//! Extractors for handlers, and building blocks for their responses.

pub(crate) mod access;
pub(crate) mod cached_response;
pub(crate) mod conditional;
pub(crate) mod digest;
pub(crate) mod forward_body;
pub(crate) mod known_names;
pub(crate) mod many;
pub(crate) mod page;
pub(crate) mod parameters;
pub(crate) mod prefer;
pub(crate) mod query;
pub(crate) mod reached_host;
pub(crate) mod repeated_member;
pub(crate) mod wrong_value;
