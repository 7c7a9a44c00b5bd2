//! A channel as a byte stream.
//!
//! The library's own stream reports a broken connection as an end of file, and leaves a writer waiting for ever when the server
//! has closed the channel; both would damage files. This module must not know what the bytes mean.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::task::AtomicWaker;
use russh::ChannelMsg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::ssh::channel::lifecycle::{OpenChannel, abandon, stop};
use crate::ssh::channel::outcome::{NO_EXEC, number};
use crate::ssh::program::{Marked, Program, START, not_begun};
use crate::ssh::transport::TransportError;

/// The request on a fresh channel.
pub(crate) enum ChannelRequest {
    /// A program for a shell; reading ends when it has ended, and fails then if its exit status is not 0.
    Program(Program),
    /// A subsystem; reading ends with its output.
    Subsystem(&'static str),
}

/// Both directions of a channel. Dropping it stops what runs on the channel and closes it.
pub(crate) struct ChannelStream {
    /// Taken by `drop`; there until then.
    channel: Option<OpenChannel>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    chunk: Bytes,
    command: bool,
    exit: Option<u32>,
    eof: bool,
    end: Option<End>,
    wakers: Arc<Wakers>,
    runtime: Handle,
}

/// The end of the incoming direction.
#[derive(Clone, Copy)]
enum End {
    /// The server closed the channel.
    Closed,
    /// The connection broke before that.
    Broken,
}

/// The two tasks that may wait for the channel's messages, one for each direction.
#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// The outcome of a request.
pub(crate) enum Started {
    /// The program has started.
    Stream(ChannelStream),
    /// The login shell ran nothing, for this reason.
    NotBegun(String),
}

impl ChannelStream {
    /// Makes the request and waits until the server has agreed.
    ///
    /// # Errors
    /// If it refuses, or does not answer within `answer_timeout`; a shell may take longer by `startup`.
    pub(crate) async fn start(
        channel: OpenChannel,
        request: ChannelRequest,
        answer_timeout: Duration,
        startup: Duration,
    ) -> Result<Started, TransportError> {
        let writer: Pin<Box<dyn AsyncWrite + Send>> = Box::pin(channel.2.make_writer());
        let mut stream = Self {
            channel: Some(channel),
            writer,
            chunk: Bytes::new(),
            command: !matches!(request, ChannelRequest::Subsystem(_)),
            exit: None,
            eof: false,
            end: None,
            wakers: Arc::default(),
            runtime: Handle::current(),
        };
        match timeout(answer_timeout, stream.agree(&request)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if let (TransportError::Refused(_), Some((permit, _, write))) = (&error, stream.channel.take()) {
                    tokio::spawn(abandon(permit, write, answer_timeout));
                }
                return Err(error);
            }
            Err(_) => {
                if let Some((permit, ..)) = &stream.channel {
                    permit.suspect(answer_timeout);
                }
                return Err(TransportError::Broken { sent: true });
            }
        }
        let ChannelRequest::Program(program) = request else { return Ok(Started::Stream(stream)) };
        match timeout(startup, stream.begin(program)).await {
            Ok(Ok(None)) => Ok(Started::Stream(stream)),
            Ok(Ok(Some(why))) => Ok(Started::NotBegun(why)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(TransportError::Execution(startup)),
        }
    }

    /// The channel and its unread data, for another kind of reader; none if the channel has ended.
    pub(crate) fn into_parts(mut self) -> Option<(OpenChannel, Bytes)> {
        Some((self.channel.take()?, std::mem::take(&mut self.chunk)))
    }

    async fn agree(&mut self, request: &ChannelRequest) -> Result<(), TransportError> {
        let Some((_, read, write)) = &mut self.channel else { return Err(TransportError::Broken { sent: false }) };
        let sent = match request {
            // The shell reads its program as soon as it is there.
            ChannelRequest::Program(program) => match write.exec(true, START).await {
                Ok(()) => write.data_bytes(Bytes::copy_from_slice(&program.text)).await,
                failed => failed,
            },
            ChannelRequest::Subsystem(name) => write.request_subsystem(true, *name).await,
        };
        sent.map_err(|_| TransportError::Broken { sent: false })?;
        loop {
            match read.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure) => {
                    return Err(TransportError::Refused(match request {
                        ChannelRequest::Program(_) => NO_EXEC.to_owned(),
                        ChannelRequest::Subsystem(name) => format!("it has no subsystem {name}"),
                    }));
                }
                Some(ChannelMsg::Close) | None => {
                    self.end = Some(End::Broken);
                    return Err(TransportError::Broken { sent: true });
                }
                Some(_) => {}
            }
        }
    }

    /// Waits until the program begins, and drops the output before. Returns the reason if it never begins.
    async fn begin(&mut self, program: Program) -> Result<Option<String>, TransportError> {
        let Some((_, read, _)) = &mut self.channel else { return Err(TransportError::Broken { sent: true }) };
        let (mut stdout, mut stderr) = (Marked::new(&program.mark), Marked::new(&program.mark));
        loop {
            match read.wait().await {
                Some(ChannelMsg::Data { data }) => stdout.take(&data),
                Some(ChannelMsg::ExtendedData { data, .. }) => stderr.take(&data),
                Some(ChannelMsg::Close) => {
                    self.end = Some(End::Closed);
                    return Ok(Some(not_begun(&stdout.bytes, &stderr.bytes)));
                }
                None => {
                    self.end = Some(End::Broken);
                    return Err(TransportError::Broken { sent: true });
                }
                Some(_) => {}
            }
            if stdout.begun {
                self.chunk = stdout.bytes.into();
                return Ok(None);
            }
            if stdout.is_flooded() || stderr.is_flooded() {
                return Err(TransportError::Output(stdout.bytes.len()));
            }
        }
    }

    /// Takes one relevant message, if there is one: data, or the end. Takes none while a chunk is unread.
    fn poll_message(&mut self) -> Poll<()> {
        let Some((_, read, _)) = &mut self.channel else { return Poll::Ready(()) };
        let waker = Waker::from(Arc::clone(&self.wakers));
        let mut cx = Context::from_waker(&waker);
        loop {
            // Waiting is cancel-safe, and what it registered outlives it; so a new future for each poll loses nothing.
            let message = ready!(pin!(read.wait()).poll(&mut cx));
            match message {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => self.chunk = data,
                Some(ChannelMsg::Eof) => self.eof = true,
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.exit = Some(exit_status);
                    continue;
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.exit = Some(128 + number(&signal_name));
                    continue;
                }
                Some(ChannelMsg::Close) => self.end = Some(End::Closed),
                None => self.end = Some(End::Broken),
                Some(_) => continue,
            }
            // The other direction may be waiting for just this.
            self.wakers.wake_by_ref();
            return Poll::Ready(());
        }
    }

    fn read_end(&self) -> Option<io::Result<()>> {
        match self.end {
            None if self.eof && !self.command => Some(Ok(())),
            None => None,
            Some(End::Broken) => Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the SSH connection broke"))),
            Some(End::Closed) if !self.command => Some(Ok(())),
            Some(End::Closed) => Some(match self.exit {
                Some(0) => Ok(()),
                Some(exit) => Err(io::Error::other(format!("Remote process failed with exit status:{exit}"))),
                None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the command ended without an exit status")),
            }),
        }
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wakers.reader.register(cx.waker());
        loop {
            if !this.chunk.is_empty() {
                let length = this.chunk.len().min(buf.remaining());
                buf.put_slice(&this.chunk[..length]);
                this.chunk.advance(length);
                return Poll::Ready(Ok(()));
            }
            if let Some(end) = this.read_end() {
                return Poll::Ready(end);
            }
            ready!(this.poll_message());
        }
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.wakers.writer.register(cx.waker());
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if this.end.is_some() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the remote end is closed")));
            }
            if let Poll::Ready(written) = this.writer.as_mut().poll_write(cx, buf) {
                return Poll::Ready(written);
            }
            // The window may never open again; the end of the channel says so.
            if !this.chunk.is_empty() || (this.eof && this.poll_message().is_pending()) {
                return Poll::Pending;
            }
            if !this.eof {
                ready!(this.poll_message());
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_shutdown(cx)
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        if let (None, Some(channel)) = (self.end, self.channel.take()) {
            self.runtime.spawn(stop(channel));
        }
    }
}
