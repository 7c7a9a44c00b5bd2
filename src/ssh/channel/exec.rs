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

use crate::ssh::channel::kept_shell::{self, REFUSED, Script};
use crate::ssh::channel::lifecycle::{abandon, stop};
use crate::ssh::lease::permit::ChannelPermit;
use crate::ssh::pool::shell_cache::Shell;
use crate::ssh::program::{Marked, Program, START, not_begun};
use crate::ssh::transport::{Limits, RawOutput, TransportError};

/// A connection that said something this recently is not doubted when a command on it runs out of time.
const RECENT_SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// What came of a command.
pub(crate) enum ExecOutcome {
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
pub(crate) enum Carrier {
    /// By a shell of its own, which ends with it.
    Once { program: Program, stdin: Bytes },
    /// By the login shell itself, where that one runs no other.
    Direct { line: Vec<u8>, stdin: Bytes },
    /// By a shell, which is kept afterwards; a `fresh` channel is made one first.
    Shell { script: Script, fresh: bool },
}

/// An open channel, with the right to it.
pub(crate) type Open = (ChannelPermit, ChannelReadHalf, ChannelWriteHalf<Msg>);

/// Runs a command in a task of its own, which drains its output at once. Dropping the future stops the command.
pub(crate) async fn run((permit, mut read, write): Open, way: Carrier, limits: Limits, patience: Duration) -> ExecOutcome {
    let cancelled = CancellationToken::new();
    let _cancel = cancelled.clone().drop_guard();
    let task = tokio::spawn(async move {
        let started = Instant::now();
        let kept = matches!(way, Carrier::Shell { .. });
        let conversation = async {
            match way {
                Carrier::Once { program, stdin } => {
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
                    drive(&mut read, feed, frame, limits.output).await
                }
                Carrier::Direct { line, stdin } => {
                    let feed = async {
                        write.exec(true, line).await?;
                        write.data_bytes(stdin).await?;
                        write.eof().await
                    };
                    drive(&mut read, feed, Frame::none(), limits.output).await
                }
                Carrier::Shell { script, fresh } => kept_shell::drive(&mut read, &write, fresh, script, limits.output).await,
            }
        };
        let ended = tokio::select! {
            ended = conversation => Some(ended),
            () = cancelled.cancelled() => None,
            () = tokio::time::sleep(limits.execution) => Some(ExecOutcome::Failed(TransportError::Execution(limits.execution))),
        };
        if let Some(ExecOutcome::Failed(TransportError::Execution(_))) = ended {
            let recent = Instant::now().checked_sub(RECENT_SIGN_OF_LIFE).unwrap_or(started);
            if !permit.connection().liveness.heard_since(recent) {
                permit.suspect(patience);
            }
        }
        match &ended {
            Some(ExecOutcome::Output(_)) if kept => Shell::new(permit, read, write).keep(),
            Some(ExecOutcome::Output(_) | ExecOutcome::Broken { .. }) => {}
            Some(ExecOutcome::Failed(TransportError::Refused(_))) => drop(tokio::spawn(abandon(permit, write, patience))),
            Some(ExecOutcome::Failed(_) | ExecOutcome::NotBegun(_)) | None => drop(tokio::spawn(stop(permit, read, write))),
        }
        ended
    });
    match task.await {
        Ok(Some(ended)) => ended,
        // It is cancelled only when nobody awaits it, and it does not panic; were it so, the command may have run.
        Ok(None) | Err(_) => ExecOutcome::Broken { heard: true },
    }
}

/// The next message on a channel, while `feed` sends what there is to send. A failure to send is seen as the end of the channel.
pub(crate) async fn next_message<F: FusedFuture>(read: &mut ChannelReadHalf, mut feed: Pin<&mut F>) -> Option<ChannelMsg> {
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
async fn drive(
    read: &mut ChannelReadHalf,
    feed: impl Future<Output = Result<(), russh::Error>>,
    mut frame: Frame,
    max_output: usize,
) -> ExecOutcome {
    let feed = feed.fuse();
    tokio::pin!(feed);
    let mut exit = None;
    loop {
        let message = next_message(read, feed.as_mut()).await;
        match message {
            Some(ChannelMsg::Data { data }) => frame.take(&data, false),
            Some(ChannelMsg::ExtendedData { data, .. }) => frame.take(&data, true),
            Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => exit = Some(128 + number(&signal_name)),
            Some(ChannelMsg::Failure) => break ExecOutcome::NotBegun(REFUSED.to_owned()),
            Some(ChannelMsg::Close) if !frame.stdout.begun => {
                break ExecOutcome::NotBegun(not_begun(&frame.stdout.bytes, &frame.stderr.bytes));
            }
            Some(ChannelMsg::Close) | None => match exit {
                Some(exit) if matches!(message, Some(ChannelMsg::Close)) => break ExecOutcome::Output(frame.output(exit)),
                _ => break ExecOutcome::Broken { heard: exit.is_some() || frame.len() > 0 },
            },
            Some(_) => {}
        }
        if frame.len() > max_output || frame.stdout.is_flooded() || frame.stderr.is_flooded() {
            break ExecOutcome::Failed(TransportError::Output(max_output));
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
