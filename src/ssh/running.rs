//! A command on its channel, from the exec request to the server's close.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::FusedFuture;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::channel::{abandon, stop};
use super::program::{Marked, Program, START, not_begun};
use super::shell::{self, REFUSED, Script};
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
    /// The shell that was to run it has ended, or never was one, as is said here. Provably nothing ran.
    NotBegun(String),
}

/// How a command is carried on its channel.
pub(super) enum Way {
    /// By a shell of its own, which ends with it.
    Once { program: Program, stdin: Bytes },
    /// By the login shell itself, where that one runs no other.
    Direct { line: Vec<u8>, stdin: Bytes },
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
                Way::Once { program, stdin } => {
                    let (told, begun) = oneshot::channel();
                    let frame = Frame::new(&program.mark, told);
                    let feed = async {
                        write.exec(true, START).await?;
                        write.data_bytes(Bytes::from(program.text)).await?;
                        // Without input nothing can be read ahead; otherwise the shell tells when it has read its program.
                        if !stdin.is_empty() && begun.await.is_ok() {
                            write.data_bytes(stdin).await?;
                        }
                        write.eof().await
                    };
                    converse(&mut read, feed, frame, limits.output).await
                }
                Way::Direct { line, stdin } => {
                    let feed = async {
                        write.exec(true, line).await?;
                        write.data_bytes(stdin).await?;
                        write.eof().await
                    };
                    converse(&mut read, feed, Frame::none(), limits.output).await
                }
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
            Some(Ended::Failed(_) | Ended::NotBegun(_)) | None => drop(tokio::spawn(stop(slot, read, write))),
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

/// Where a command's output begins in what a channel brings.
struct Frame {
    stdout: Marked,
    stderr: Marked,
    /// Told once the mark has come.
    told: Option<oneshot::Sender<()>>,
}

impl Frame {
    fn new(mark: &str, told: oneshot::Sender<()>) -> Self {
        Self { stdout: Marked::new(mark), stderr: Marked::new(mark), told: Some(told) }
    }

    /// All that comes is output.
    fn none() -> Self {
        let all = || Marked { begun: true, ..Marked::new("") };
        Self { stdout: all(), stderr: all(), told: None }
    }

    fn take(&mut self, data: &[u8], is_error: bool) {
        if is_error {
            self.stderr.take(data)
        } else {
            self.stdout.take(data)
        }
        if self.stdout.begun
            && let Some(told) = self.told.take()
        {
            // Nobody listens where there is no input.
            let _ = told.send(());
        }
    }

    fn len(&self) -> usize {
        [&self.stdout, &self.stderr].iter().filter(|stream| stream.begun).map(|stream| stream.bytes.len()).sum()
    }

    fn output(self, exit: u32) -> RawOutput {
        let own = |stream: Marked| if stream.begun { stream.bytes } else { Vec::new() };
        RawOutput { stdout: own(self.stdout), stderr: own(self.stderr), exit }
    }
}

/// Sends the command and its input by `feed`, and collects what comes back until the server closes the channel: the exit status
/// may come before the last of the output.
async fn converse(
    read: &mut ChannelReadHalf,
    feed: impl Future<Output = Result<(), russh::Error>>,
    mut frame: Frame,
    most: usize,
) -> Ended {
    let feed = feed.fuse();
    tokio::pin!(feed);
    let mut exit = None;
    loop {
        let message = hear(read, feed.as_mut()).await;
        match message {
            Some(ChannelMsg::Data { data }) => frame.take(&data, false),
            Some(ChannelMsg::ExtendedData { data, .. }) => frame.take(&data, true),
            Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => exit = Some(128 + number(&signal_name)),
            Some(ChannelMsg::Failure) => break Ended::NotBegun(REFUSED.to_owned()),
            Some(ChannelMsg::Close) if !frame.stdout.begun => {
                break Ended::NotBegun(not_begun(&frame.stdout.bytes, &frame.stderr.bytes));
            }
            Some(ChannelMsg::Close) | None => match exit {
                Some(exit) if matches!(message, Some(ChannelMsg::Close)) => break Ended::Output(frame.output(exit)),
                _ => break Ended::Broken { heard: exit.is_some() || frame.len() > 0 },
            },
            Some(_) => {}
        }
        if frame.len() > most || frame.stdout.is_flooded() || frame.stderr.is_flooded() {
            break Ended::Failed(TransportError::Output(most));
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
