//! A command on its channel, from the exec request to the server's close.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::ssh::channel::kept_shell::KeptShell;
use crate::ssh::channel::lifecycle::{OpenChannel, abandon, stop};
use crate::ssh::channel::outcome::{ExecOutcome, NO_EXEC, next_message, number};
use crate::ssh::channel::shell_protocol::{self, Script};
use crate::ssh::program::{Marked, Program, START, not_begun};
use crate::ssh::transport::{CommandLimits, RawOutput, TransportError};

/// A connection that said something this recently is not suspected when a command on it runs out of time.
const RECENT_SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// The way a command is run on its channel.
pub(crate) enum Carrier {
    /// By a separate shell, which ends with it.
    Once { program: Program, stdin: Bytes },
    /// By the login shell itself, without input, if that shell reads no program on its standard input.
    Direct { program: Program },
    /// By a shell, which is kept afterwards; a `fresh` channel is made one first.
    Shell { script: Script, fresh: bool },
}

/// Runs a command in a separate task, which drains its output at once. Dropping the future stops the command.
///
/// The output of a command in a shell, with the shell, which may be kept for the next command.
pub(crate) async fn run(
    channel: OpenChannel,
    carrier: Carrier,
    limits: CommandLimits,
    answer_timeout: Duration,
) -> (ExecOutcome, Option<KeptShell>) {
    let cancelled = CancellationToken::new();
    let _cancel = cancelled.clone().drop_guard();
    let task = tokio::spawn(async move {
        let (permit, mut read, write) = channel;
        let started = Instant::now();
        let is_shell = matches!(carrier, Carrier::Shell { .. });
        let outcome = tokio::select! {
            outcome = carry(&mut read, &write, carrier, limits.output) => outcome,
            // This outcome is not awaited.
            () = cancelled.cancelled() => ExecOutcome::Failed(TransportError::Broken { sent: true }),
            () = tokio::time::sleep(limits.execution) => ExecOutcome::Failed(TransportError::Execution(limits.execution)),
        };
        if let ExecOutcome::Failed(TransportError::Execution(_)) = outcome {
            let recent = Instant::now().checked_sub(RECENT_SIGN_OF_LIFE).unwrap_or(started);
            if !permit.connection().liveness.heard_since(recent) {
                permit.suspect(answer_timeout);
            }
        }
        match &outcome {
            ExecOutcome::Output(_) if is_shell => return (outcome, Some(KeptShell::new((permit, read, write)))),
            ExecOutcome::Output(_) | ExecOutcome::Broken { .. } => {}
            ExecOutcome::Failed(TransportError::Refused(_)) => drop(tokio::spawn(abandon(permit, write, answer_timeout))),
            ExecOutcome::Failed(_) | ExecOutcome::NotBegun(_) => drop(tokio::spawn(stop((permit, read, write)))),
        }
        (outcome, None)
    });
    // The task does not panic; if it did, the command may have run.
    task.await.unwrap_or((ExecOutcome::Broken { heard: true }, None))
}

/// Sends the command, and collects what comes back.
async fn carry(read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>, carrier: Carrier, max_output: usize) -> ExecOutcome {
    match carrier {
        Carrier::Once { program, stdin } => {
            let (on_begun, begun) = oneshot::channel();
            let frame = Frame::new(&program.mark, Some(on_begun));
            let feed = async {
                write.exec(true, START).await?;
                write.data_bytes(Bytes::from(program.text)).await?;
                // Without input nothing can be read ahead; otherwise the shell tells when it has read its program.
                if !stdin.is_empty() && begun.await.is_ok() {
                    write.data_bytes(stdin).await?;
                }
                write.eof().await
            };
            drive(read, feed, frame, max_output).await
        }
        Carrier::Direct { program } => {
            let frame = Frame::new(&program.mark, None);
            let feed = async {
                write.exec(true, program.text).await?;
                write.eof().await
            };
            drive(read, feed, frame, max_output).await
        }
        Carrier::Shell { script, fresh } => shell_protocol::drive(read, write, fresh, script, max_output).await,
    }
}

/// The start of a command's output in the data of a channel.
struct Frame {
    stdout: Marked,
    stderr: Marked,
    /// Notified when the mark has arrived.
    on_begun: Option<oneshot::Sender<()>>,
}

impl Frame {
    fn new(mark: &str, on_begun: Option<oneshot::Sender<()>>) -> Self {
        Self { stdout: Marked::new(mark), stderr: Marked::new(mark), on_begun }
    }

    fn take(&mut self, data: &[u8], is_error: bool) {
        if is_error {
            self.stderr.take(data)
        } else {
            self.stdout.take(data)
        }
        if self.stdout.begun
            && let Some(on_begun) = self.on_begun.take()
        {
            // Without input there is no receiver.
            let _ = on_begun.send(());
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
            Some(ChannelMsg::Failure) => break ExecOutcome::NotBegun(NO_EXEC.to_owned()),
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
