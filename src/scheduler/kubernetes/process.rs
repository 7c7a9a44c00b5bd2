//! A command in a pod, with its input and output (the protocol `v5.channel.k8s.io`).
//!
//! Its shell says that it has begun, and only then is the program sent that it is to run: of what fails before, nothing has happened.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::{Either, select};
use futures::{SinkExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Input, Messages};
use super::failure::ApiFailure;
use crate::ssh::{RawOutput, TransportError};

/// The channels of the protocol, each the first byte of a message. The last one ends the channel whose number follows.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

/// The maximum length of a message to a command.
const PIECE: usize = 64 * 1024;

/// A part of what a command says.
#[derive(Debug)]
pub(super) enum Part {
    Stdout(Bytes),
    Stderr(Bytes),
    /// Its exit status, or why it has none.
    End(Result<u32, String>),
}

/// A command that runs. Dropping it ends its input, and its output has no reader any more.
pub(super) struct Process {
    messages: Messages,
    input: Input,
    /// The rest of a part that was read.
    rest: Bytes,
    end: Option<Result<u32, String>>,
    is_closed: bool,
}

impl Process {
    /// Waits until the shell prints the mark, before which it prints nothing.
    ///
    /// # Errors
    /// If it does not: why, where the API server says so.
    pub(super) async fn begin((messages, input): (Messages, Input), mark: &[u8]) -> Result<Self, ApiFailure> {
        let mut process = Self { messages, input, rest: Bytes::new(), end: None, is_closed: false };
        let mut begun = BytesMut::new();
        loop {
            match process.part().await.map_err(|failure| ApiFailure::Unreached(failure.into_reason()))? {
                Part::Stdout(bytes) => begun.extend_from_slice(&bytes),
                Part::Stderr(_) => {}
                Part::End(Ok(exit)) => {
                    return Err(ApiFailure::Unreached(format!("its shell ended with exit status {exit} before it began")));
                }
                Part::End(Err(reason)) => return Err(ApiFailure::Unreached(reason)),
            }
            if begun.starts_with(mark) {
                process.rest = begun.freeze().slice(mark.len()..);
                return Ok(process);
            }
            if !mark.starts_with(&begun) {
                return Err(ApiFailure::Unreached("its shell printed something else than that it has begun".to_owned()));
            }
        }
    }

    async fn part(&mut self) -> Result<Part, ApiFailure> {
        futures::future::poll_fn(|cx| self.poll_part(cx)).await
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, ApiFailure>> {
        loop {
            let Some(message) = ready!(self.messages.poll_next_unpin(cx)) else {
                return Poll::Ready(Err(ApiFailure::Unanswered("the connection to the command ended before its exit status".to_owned())));
            };
            if let Some(part) = part(message?) {
                return Poll::Ready(Ok(part));
            }
        }
    }

    /// Sends this to the shell.
    pub(super) async fn send(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while bytes.has_remaining() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.input.feed(message(&piece)).await?;
        }
        self.input.flush().await
    }

    /// Gives the command its input and gathers what it prints, until it has ended.
    ///
    /// # Errors
    /// If it prints more than `max` bytes, or its exit status does not come.
    pub(super) async fn finish(self, stdin: &Bytes, max: usize) -> Result<RawOutput, TransportError> {
        let Self { mut messages, mut input, rest, .. } = self;
        let sending = async {
            for piece in stdin.chunks(PIECE) {
                input.feed(message(piece)).await?;
            }
            input.send(Bytes::from_static(&[CLOSE, STDIN])).await
        };
        let sending = async {
            // A command need not read its input, and the end of its output says how it went.
            _ = sending.await;
            pending::<Infallible>().await
        };
        match select(pin!(sending), pin!(gather(&mut messages, rest, max))).await {
            Either::Left((never, _)) => match never {},
            Either::Right((output, _)) => output,
        }
    }
}

async fn gather(messages: &mut Messages, rest: Bytes, max: usize) -> Result<RawOutput, TransportError> {
    let mut output = RawOutput { stdout: rest.to_vec(), ..RawOutput::default() };
    while let Some(Ok(message)) = messages.next().await {
        match part(message) {
            Some(Part::Stdout(bytes)) => output.stdout.extend_from_slice(&bytes),
            Some(Part::Stderr(bytes)) => output.stderr.extend_from_slice(&bytes),
            Some(Part::End(Ok(exit))) => return Ok(RawOutput { exit, ..output }),
            Some(Part::End(Err(_))) => break,
            None => {}
        }
        if output.stdout.len() + output.stderr.len() > max {
            return Err(TransportError::Output(max));
        }
    }
    Err(TransportError::Broken { sent: true })
}

/// A message of a command; none where it says nothing.
pub(super) fn part(mut message: Bytes) -> Option<Part> {
    if message.is_empty() {
        return None;
    }
    match message.get_u8() {
        STDOUT => Some(Part::Stdout(message)),
        STDERR => Some(Part::Stderr(message)),
        STATUS => {
            let status: Status = serde_json::from_slice(&message).unwrap_or_default();
            let exit = exit_code(&status);
            let reason = status.message.filter(|reason| !reason.is_empty());
            Some(Part::End(exit.ok_or_else(|| reason.unwrap_or_else(|| "the API server does not say how the command ended".to_owned()))))
        }
        _ => None,
    }
}

/// The exit status in a `Status` of the API, where it has one.
fn exit_code(status: &Status) -> Option<u32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?.message.as_ref()?.parse().ok()
}

/// A part of the input as a message.
fn message(piece: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + piece.len());
    message.put_u8(STDIN);
    message.put_slice(piece);
    message.freeze()
}

/// Reads standard output; it ends with the command, and fails then if the command failed.
impl AsyncRead for Process {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.rest.is_empty() {
                let length = self.rest.len().min(buf.remaining());
                buf.put_slice(&self.rest.split_to(length));
                return Poll::Ready(Ok(()));
            }
            match &self.end {
                Some(Ok(0)) => return Poll::Ready(Ok(())),
                Some(Ok(exit)) => {
                    return Poll::Ready(Err(io::Error::other(format!("Remote process failed with exit status:{exit}"))));
                }
                Some(Err(reason)) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason.clone()))),
                None => {}
            }
            match ready!(self.poll_part(cx)) {
                Ok(Part::Stdout(bytes)) => self.rest = bytes,
                Ok(Part::Stderr(_)) => {}
                Ok(Part::End(end)) => self.end = Some(end),
                Err(failure) => self.end = Some(Err(failure.into_reason())),
            }
        }
    }
}

/// Writes standard input.
impl AsyncWrite for Process {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.input.as_mut().poll_ready(cx))?;
        let length = bytes.len().min(PIECE);
        self.input.as_mut().start_send(message(&bytes[..length]))?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closed {
            ready!(self.input.as_mut().poll_ready(cx))?;
            self.input.as_mut().start_send(Bytes::from_static(&[CLOSE, STDIN]))?;
            self.is_closed = true;
        }
        self.input.as_mut().poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SUCCESS: &[u8] = b"\x03{\"status\":\"Success\"}";
    const FAILURE: &[u8] = b"\x03{\"status\":\"Failure\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"7\"}]}}";
    const NOT_STARTED: &[u8] = b"\x03{\"status\":\"Failure\",\"message\":\"container not found\"}";

    type Sent = Arc<Mutex<Vec<u8>>>;

    /// A command that says this, and what is sent to it.
    async fn begun(said: &[&'static [u8]]) -> (Result<Process, ApiFailure>, Sent) {
        let messages: Vec<Result<Bytes, ApiFailure>> = said.iter().map(|message| Ok(Bytes::from_static(message))).collect();
        let sent = Sent::default();
        let log = Arc::clone(&sent);
        let input = futures::sink::unfold((), move |(), message: Bytes| {
            log.lock().unwrap().extend_from_slice(&message);
            async { Ok::<_, io::Error>(()) }
        });
        let process = Process::begin((stream::iter(messages).boxed(), Box::pin(input)), b"go\n").await;
        (process, sent)
    }

    #[tokio::test]
    async fn nothing_is_sent_before_the_shell_has_begun() {
        for (said, reason) in [
            (&[NOT_STARTED][..], "container not found"),
            (&[b"\x02sh: out of luck\n", FAILURE], "exit status 7"),
            (&[b"\x01g"], "before its exit status"),
            (&[], "before its exit status"),
        ] {
            let (process, sent) = begun(said).await;
            let failure = process.err().expect("it has not begun").into_reason();
            assert!(failure.contains(reason), "{failure}");
            assert!(sent.lock().unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn the_output_of_a_command_begins_after_the_mark() {
        let (process, sent) = begun(&[b"\x02warning", b"\x01g", b"\x01o\nfirst ", b"", b"\x01", b"\x01last", b"\x02bad", FAILURE]).await;
        let mut process = process.unwrap();
        process.send(Bytes::from_static(b"program")).await.unwrap();
        let output = process.finish(&Bytes::from_static(b"in"), 100).await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice(), output.exit), (&b"first last"[..], &b"bad"[..], 7));
        assert_eq!(*sent.lock().unwrap(), b"\x00program\x00in\xff\x00");
    }

    #[tokio::test]
    async fn a_command_without_an_exit_status_has_perhaps_done_something() {
        for said in [&[&b"\x01go\nout"[..]][..], &[b"\x01go\n", NOT_STARTED], &[b"\x01go\n", b"\x03not json"]] {
            let output = begun(said).await.0.unwrap().finish(&Bytes::new(), 100).await;
            assert!(matches!(output, Err(TransportError::Broken { sent: true })), "{output:?}");
        }
        let output = begun(&[b"\x01go\n", b"\x01too long", SUCCESS]).await.0.unwrap().finish(&Bytes::new(), 7).await;
        assert!(matches!(output, Err(TransportError::Output(7))), "{output:?}");
    }

    #[tokio::test]
    async fn a_stream_ends_well_only_where_its_command_does() {
        for (end, expected) in
            [(&[SUCCESS][..], None), (&[FAILURE], Some(io::ErrorKind::Other)), (&[], Some(io::ErrorKind::ConnectionAborted))]
        {
            let said: Vec<&'static [u8]> = [&b"\x01go\n"[..], b"\x01out", b"\x02err", b"\x01put"].iter().chain(end).copied().collect();
            let (process, sent) = begun(&said).await;
            let mut process = process.unwrap();
            process.write_all(&[7; PIECE + 1]).await.unwrap();
            process.shutdown().await.unwrap();
            process.shutdown().await.unwrap();
            let mut read = Vec::new();
            let outcome = process.read_to_end(&mut read).await;
            assert_eq!((read.as_slice(), outcome.err().map(|error| error.kind())), (&b"output"[..], expected));
            let sent = sent.lock().unwrap();
            assert_eq!((sent.len(), &sent[PIECE + 1..]), (PIECE + 5, &b"\x00\x07\xff\x00"[..]));
        }
    }
}
