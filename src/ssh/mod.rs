//! SSH: commands as values, and lanes that carry them.
//!
//! The only module that knows russh and deadpool. The rest of the crate sees [`Transport`]: run a command, or open a byte
//! stream. It must not know schedulers, file operations or HTTP.

mod command;
mod config;
pub mod server;
mod transport;

pub use command::{CommandError, CommandLine, Raw, RemoteCommand, run};
pub use config::{Config, HostKeys, Timeouts};
pub use transport::{ByteStream, Duplex, Exec, LaneKind, Limits, RawOutput, Transport, TransportError};
