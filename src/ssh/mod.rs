//! SSH: commands as values, and lanes that carry them.
//!
//! The only module that knows russh and deadpool. The rest of the crate sees [`Transport`]: run a command, or open a byte
//! stream. It must not know schedulers, file operations or HTTP.
//!
//! Outside in: `lanes` decides what is tried again, `lane` lends channels and owns the queue and the pool, which `opener`
//! fills, `cluster` holds what lanes share, `connection` judges one connection and `handshake` makes it, `channel`, `running`,
//! `shell` and `stream` carry the work, and `shells` are kept for the next command. Another way to know hosts is a variant of [`HostKeys`] with an arm in `hostkeys`; another kind
//! of traffic is a variant of [`LaneKind`].

mod channel;
mod command;
mod config;
mod connect;
mod lanes;
mod lease;
mod pool;
mod program;
pub mod server;
mod server_words;
mod stats;
mod transport;

pub use command::{CommandError, CommandLine, Environment, Raw, RemoteCommand, run};
pub use config::{Config, ConfigError, HostKeys, Timeouts};
pub use lanes::Lanes;
#[cfg(test)]
pub use program::program_of;
pub use stats::Stats;
pub use transport::{ByteStream, CredentialVersion, Duplex, Exec, LaneKind, Limits, RawOutput, Transport, TransportError};
