//! One connection: its host keys, login and liveness.

pub(crate) mod algorithms;
pub(crate) mod connection;
pub(crate) mod handshake;
pub(crate) mod host_keys;
pub(crate) mod known_hosts;
pub(crate) mod liveness;
pub(crate) mod login;
pub(crate) mod target;
