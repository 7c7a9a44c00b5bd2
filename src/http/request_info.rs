//! Facts about a request that are stored in its extensions before routing.

use std::net::IpAddr;

/// The address at the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The prefix that was removed from a request's path before routing.
#[derive(Clone, Debug)]
pub(crate) struct Prefix(String);

impl Prefix {
    /// Creates a prefix without a slash at its end; empty for none.
    pub(crate) fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    /// The prefix, without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
