//! A command whose output is streamed.
//!
//! A task of its own takes everything off the channel at once, since a channel that is not read stops its whole connection. What was not read yet is kept; the
//! limit of the output bounds it.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::ssh::channel::lifecycle::{OpenChannel, abandon, stop};
use crate::ssh::channel::outcome::{NO_EXEC, next_message, number};
use crate::ssh::program::{Marked, Program, START, not_begun};
use crate::ssh::transport::{CommandLimits, CommandOutput, OutputStream, TransportError};

/// The start of a command.
pub(crate) enum Begun {
    /// It runs.
    Running(OutputStream),
    /// The login shell ran nothing, for this reason.
    Refused(String),
    /// It could not be started.
    Failed(TransportError),
}

/// Starts a program with this standard input.
pub(crate) async fn start(channel: OpenChannel, program: Program, stdin: Bytes, limits: CommandLimits, answer_timeout: Duration) -> Begun {
    let (waiter, begun) = oneshot::channel();
    let (pieces, mut output) = unbounded_channel();
    tokio::spawn(async move {
        let (permit, mut read, write) = channel;
        let mut carrier = Carrier::new(&program.mark, limits.output, waiter, pieces.clone());
        let ended = tokio::select! {
            ended = carrier.carry(&mut read, &write, program, stdin) => ended,
            () = tokio::time::sleep(limits.execution) => OutputEnd::Stopped(TransportError::Execution(limits.execution)),
            () = pieces.closed() => OutputEnd::Stopped(TransportError::Broken { sent: true }),
        };
        match ended {
            OutputEnd::Exit(exit) => carrier.send(Ok(CommandOutput::Exit(exit))),
            OutputEnd::Broken => carrier.fail(TransportError::Broken { sent: true }),
            OutputEnd::Refused => {
                carrier.tell(Begun::Failed(TransportError::Refused(NO_EXEC.to_owned())));
                abandon(permit, write, answer_timeout).await;
            }
            OutputEnd::NotBegun(why) => {
                carrier.tell(Begun::Refused(why));
                stop((permit, read, write)).await;
            }
            OutputEnd::Stopped(error) => {
                match (error, carrier.exit) {
                    // Something that it started has its output open.
                    (TransportError::Execution(_), Some(exit)) => carrier.send(Ok(CommandOutput::Exit(exit))),
                    (error, _) => carrier.fail(error),
                }
                drop(carrier);
                stop((permit, read, write)).await;
            }
        }
    });
    match begun.await {
        Ok(None) => Begun::Running(stream::poll_fn(move |context| output.poll_recv(context)).boxed()),
        Ok(Some(failed)) => failed,
        Err(_) => Begun::Failed(TransportError::Broken { sent: true }),
    }
}

enum OutputEnd {
    Exit(u32),
    Broken,
    Refused,
    NotBegun(String),
    Stopped(TransportError),
}

struct Carrier {
    stdout: Marked,
    stderr: Marked,
    carried: usize,
    max_output: usize,
    /// Its exit status, which may come before the end of its output.
    exit: Option<u32>,
    /// Notified when the command has begun, or cannot.
    waiter: Option<oneshot::Sender<Option<Begun>>>,
    pieces: UnboundedSender<Result<CommandOutput, TransportError>>,
}

impl Carrier {
    fn new(
        mark: &str,
        max_output: usize,
        waiter: oneshot::Sender<Option<Begun>>,
        pieces: UnboundedSender<Result<CommandOutput, TransportError>>,
    ) -> Self {
        Self { stdout: Marked::new(mark), stderr: Marked::new(mark), carried: 0, max_output, exit: None, waiter: Some(waiter), pieces }
    }

    async fn carry(&mut self, read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>, program: Program, stdin: Bytes) -> OutputEnd {
        let (reads_input, begun) = oneshot::channel();
        let mut reads_input = Some(reads_input);
        let feed = async {
            write.exec(true, START).await?;
            write.data_bytes(Bytes::from(program.text)).await?;
            // Some shells read ahead: the input is sent when the program was read.
            if begun.await.is_ok() && !stdin.is_empty() {
                write.data_bytes(stdin).await?;
            }
            write.eof().await
        }
        .fuse();
        tokio::pin!(feed);
        loop {
            match next_message(read, feed.as_mut()).await {
                Some(ChannelMsg::Data { data }) => self.take(&data, false),
                Some(ChannelMsg::ExtendedData { data, .. }) => self.take(&data, true),
                Some(ChannelMsg::ExitStatus { exit_status }) => self.exit = Some(exit_status),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => self.exit = Some(128 + number(&signal_name)),
                Some(ChannelMsg::Failure) => return OutputEnd::Refused,
                Some(ChannelMsg::Close) if !self.stdout.begun => {
                    return OutputEnd::NotBegun(not_begun(&self.stdout.bytes, &self.stderr.bytes));
                }
                Some(ChannelMsg::Close) => return self.exit.map_or(OutputEnd::Broken, OutputEnd::Exit),
                None => return OutputEnd::Broken,
                Some(_) => {}
            }
            if self.stdout.begun
                && let Some(reads_input) = reads_input.take()
            {
                // Who waits for it is in this function.
                let _ = reads_input.send(());
                if let Some(waiter) = self.waiter.take() {
                    let _ = waiter.send(None);
                }
            }
            if self.carried > self.max_output || self.stdout.is_flooded() || self.stderr.is_flooded() {
                return OutputEnd::Stopped(TransportError::Output(self.max_output));
            }
        }
    }

    /// Takes data of one of the streams, and forwards the command's own output up to the limit.
    fn take(&mut self, data: &[u8], is_error: bool) {
        let stream = if is_error { &mut self.stderr } else { &mut self.stdout };
        stream.take(data);
        if !stream.begun || stream.bytes.is_empty() {
            return;
        }
        let mut bytes = Bytes::from(std::mem::take(&mut stream.bytes));
        let room = self.max_output.saturating_sub(self.carried);
        self.carried += bytes.len();
        bytes.truncate(room);
        if !bytes.is_empty() {
            self.send(Ok(if is_error { CommandOutput::Stderr(bytes) } else { CommandOutput::Stdout(bytes) }));
        }
    }

    fn send(&self, piece: Result<CommandOutput, TransportError>) {
        // The receiver may be gone.
        let _ = self.pieces.send(piece);
    }

    /// Reports an error where it is awaited: at the start, or as the last piece.
    fn fail(&mut self, error: TransportError) {
        match self.waiter.take() {
            Some(waiter) => drop(waiter.send(Some(Begun::Failed(error)))),
            None => self.send(Err(error)),
        }
    }

    fn tell(&mut self, begun: Begun) {
        if let Some(waiter) = self.waiter.take() {
            drop(waiter.send(Some(begun)));
        }
    }
}
