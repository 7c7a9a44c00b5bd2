//! SSH: commands as values, and lanes that carry them.
//!
//! The only module that knows russh and deadpool. The rest of the crate sees [`Transport`]: run a command, or open a byte
//! stream. It must not know schedulers, file operations or HTTP.
//!
//! From the outside in: `lanes` runs commands and decides what is retried; `pool` has the lanes of a cluster's users, their
//! queues and their kept shells; `channel` carries the work of one channel; `lease` has the connections in use and the
//! permits for their channels; `connect` opens one connection and monitors whether it is alive. Each imports only the modules
//! after it. Another way to verify hosts is a variant of [`HostKeys`] with an arm in `connect/host_keys`; another kind of traffic
//! is a variant of [`LaneKind`].

mod channel;
mod command;
mod command_line;
mod config;
mod connect;
mod lanes;
mod lease;
mod pool;
mod program;
mod server_words;
mod stats;
mod transport;

pub use command::{CommandError, RemoteCommand, run};
pub use command_line::{CommandLine, Environment, Raw};
pub use config::{Config, ConfigError, HostKeys, Timeouts};
pub use lanes::Lanes;
#[cfg(test)]
pub use program::program_of;
pub use stats::Stats;
pub use transport::{
    ByteStream, CommandLimits, CommandOutput, CredentialVersion, Duplex, Exec, LaneKind, OutputStream, RawOutput, Transport, TransportError,
};
