//! A command on its channel, from the exec request to the server's close.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::FusedFuture;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio_util::sync::CancellationToken;

use super::channel::{abandon, stop};
use super::shell::{self, Script};
use super::shells::Shell;
use super::slot::Slot;
use super::transport::{Limits, RawOutput, TransportError};

/// A connection that said something this recently is not doubted when a command on it runs out of time.
const LATELY: Duration = Duration::from_millis(500);

/// What came of a command.
pub(super) enum Ended {
    /// It ended and its output is complete.
    Output(RawOutput),
    /// It was stopped, or refused.
    Failed(TransportError),
    /// The connection broke after the command was sent.
    Broken {
        /// Whether any output had come back, so that it certainly ran.
        heard: bool,
    },
    /// The shell that was to run it has ended, or never was one. Provably nothing ran.
    NotBegun,
}

/// How a command is carried on its channel.
pub(super) enum Way {
    /// By an exec request, on a channel of its own, which ends with it.
    Exec { line: Vec<u8>, stdin: Bytes },
    /// By a shell, which is kept afterwards; a `fresh` channel is made one first.
    Shell { script: Script, fresh: bool },
}

/// An open channel, with the right to it.
pub(super) type Open = (Slot, ChannelReadHalf, ChannelWriteHalf<Msg>);

/// Runs a command in a task of its own, which drains its output at once. Dropping the future stops the command.
pub(super) async fn run((slot, mut read, write): Open, way: Way, limits: Limits, patience: Duration) -> Ended {
    let cancelled = CancellationToken::new();
    let _cancel = cancelled.clone().drop_guard();
    let task = tokio::spawn(async move {
        let started = Instant::now();
        let kept = matches!(way, Way::Shell { .. });
        let conversation = async {
            match way {
                Way::Exec { line, stdin } => converse(&mut read, &write, line, stdin, limits.output).await,
                Way::Shell { script, fresh } => shell::converse(&mut read, &write, fresh, script, limits.output).await,
            }
        };
        let ended = tokio::select! {
            ended = conversation => Some(ended),
            () = cancelled.cancelled() => None,
            () = tokio::time::sleep(limits.execution) => Some(Ended::Failed(TransportError::Execution(limits.execution))),
        };
        if let Some(Ended::Failed(TransportError::Execution(_))) = ended {
            let recent = Instant::now().checked_sub(LATELY).unwrap_or(started);
            if !slot.connection().pulse.heard_since(recent) {
                slot.doubt(patience);
            }
        }
        match &ended {
            Some(Ended::Output(_)) if kept => Shell::new(slot, read, write).keep(),
            Some(Ended::Output(_) | Ended::Broken { .. }) => {}
            Some(Ended::Failed(TransportError::Refused(_))) => drop(tokio::spawn(abandon(slot, write, patience))),
            Some(Ended::Failed(_) | Ended::NotBegun) | None => drop(tokio::spawn(stop(slot, read, write))),
        }
        ended
    });
    match task.await {
        Ok(Some(ended)) => ended,
        // It is cancelled only when nobody awaits it, and it does not panic; were it so, the command may have run.
        Ok(None) | Err(_) => Ended::Broken { heard: true },
    }
}

/// The next message on a channel, while `feed` sends what there is to send. A failure to send is seen as the end of the channel.
pub(super) async fn hear<F: FusedFuture>(read: &mut ChannelReadHalf, mut feed: Pin<&mut F>) -> Option<ChannelMsg> {
    loop {
        tokio::select! {
            message = read.wait() => return message,
            _ = &mut feed, if !feed.is_terminated() => {}
        }
    }
}

/// Sends the command and its input, and collects what comes back until the server closes the channel: the exit status may come
/// before the last of the output.
async fn converse(read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>, line: Vec<u8>, stdin: Bytes, most: usize) -> Ended {
    let feed = async {
        write.exec(true, line).await?;
        write.data_bytes(stdin).await?;
        write.eof().await
    }
    .fuse();
    tokio::pin!(feed);
    let mut output = RawOutput::default();
    let mut exit = None;
    loop {
        let message = hear(read, feed.as_mut()).await;
        match message {
            Some(ChannelMsg::Data { data }) if output.stdout.len() + output.stderr.len() + data.len() <= most => {
                output.stdout.extend_from_slice(&data);
            }
            Some(ChannelMsg::ExtendedData { data, .. }) if output.stdout.len() + output.stderr.len() + data.len() <= most => {
                output.stderr.extend_from_slice(&data);
            }
            Some(ChannelMsg::Data { .. } | ChannelMsg::ExtendedData { .. }) => break Ended::Failed(TransportError::Output(most)),
            Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => exit = Some(128 + number(&signal_name)),
            Some(ChannelMsg::Failure) => break Ended::Failed(TransportError::Refused("it runs no commands".to_owned())),
            Some(ChannelMsg::Close) | None => match exit {
                Some(exit) if matches!(message, Some(ChannelMsg::Close)) => break Ended::Output(RawOutput { exit, ..output }),
                _ => break Ended::Broken { heard: exit.is_some() || !output.stdout.is_empty() || !output.stderr.is_empty() },
            },
            Some(_) => {}
        }
    }
}

/// The number of a signal (POSIX, and Linux on x86 and Arm for the others); 0 for one that is not known.
pub(super) fn number(signal: &Sig) -> u32 {
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
