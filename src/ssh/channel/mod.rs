//! One channel: its life, commands on it, and streams of bytes.

pub(crate) mod byte_stream;
pub(crate) mod exec;
pub(crate) mod kept_shell;
pub(crate) mod lifecycle;
pub(crate) mod metered;
pub(crate) mod outcome;
pub(crate) mod output_stream;
pub(crate) mod shell_protocol;
