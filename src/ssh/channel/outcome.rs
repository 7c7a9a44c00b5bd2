//! The messages on the channel of a command, and its outcome.

use std::pin::Pin;

use futures::future::FusedFuture;
use russh::{ChannelMsg, ChannelReadHalf, Sig};

use crate::ssh::transport::{RawOutput, TransportError};

/// The refusal of a server that grants no exec request.
pub(crate) const NO_EXEC: &str = "it runs no commands";

/// The outcome of a command.
pub(crate) enum ExecOutcome {
    /// It ended and its output is complete.
    Output(RawOutput),
    /// It was stopped, or refused.
    Failed(TransportError),
    /// The connection broke after the command was sent.
    Broken {
        /// Whether any output had arrived, so that it certainly ran.
        heard: bool,
    },
    /// The shell that was to run it has ended, or never was one, as is said here. Provably nothing ran.
    NotBegun(String),
}

/// The next message on a channel, while `feed` sends the input. A failure to send appears as the end of the channel.
pub(crate) async fn next_message<F: FusedFuture>(read: &mut ChannelReadHalf, mut feed: Pin<&mut F>) -> Option<ChannelMsg> {
    loop {
        tokio::select! {
            message = read.wait() => return message,
            _ = &mut feed, if !feed.is_terminated() => {}
        }
    }
}

/// The number of a signal (POSIX, and Linux on x86 and Arm for the others); 0 for one that is not known.
pub(crate) fn number(signal: &Sig) -> u32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => match name.as_str() {
            "BUS" => 7,
            "USR2" => 12,
            "XCPU" => 24,
            "XFSZ" => 25,
            "SYS" => 31,
            _ => 0,
        },
    }
}
