//! The output of a command with flow control: it is sent no faster than it is read.
//!
//! The library reopens the window of a channel whatever its reader does, and stops reading the whole connection if a channel's
//! messages are not taken: one stalled reader would stop every other transfer. So the program on the cluster sends blocks only
//! on request, and all data is taken off the channel at once, into a buffer that has room for all requested blocks.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::FutureExt;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::ssh::channel::lifecycle::{OpenChannel, stop};
use crate::ssh::channel::outcome::next_message;
use crate::ssh::program::{BLOCK, FIRST_BLOCKS};

const MIB: u64 = 1024 * 1024;

/// The maximum read-ahead of one stream, in bytes: the bandwidth-delay product of 160 MB/s and 100 ms.
const MAX_WINDOW: u64 = 16 * MIB;

/// The maximum read-ahead of all streams of the process, beyond the first blocks of each, in MiB.
const POOL_MIB: usize = 64;

/// Memory is the process's, and so is this.
static POOL_MEMORY: Semaphore = Semaphore::const_new(POOL_MIB);

/// The maximum number of digits of an exit status, with its line feed.
const MAX_EXIT: usize = 4;

/// A piece of output. An empty one is its end.
type Piece = io::Result<Bytes>;

/// The output of a metered program. Dropping it stops the program.
pub(crate) struct MeteredStream {
    pieces: UnboundedReceiver<Piece>,
    chunk: Bytes,
    failure: Option<io::Error>,
    ended: bool,
    meter: Arc<Meter>,
}

/// The number of bytes that the reader has taken.
#[derive(Default)]
struct Meter {
    taken: AtomicU64,
    changed: Notify,
}

impl MeteredStream {
    /// The output on the channel of a [`Program::metered`](crate::ssh::program::Program::metered) that has begun, of which these bytes
    /// have come already.
    pub(crate) fn new(channel: OpenChannel, begun: Bytes, mark: &str) -> Self {
        let (sender, pieces) = unbounded_channel();
        let meter = Arc::<Meter>::default();
        let (counted, trailer) = (Arc::clone(&meter), Trailer::new(mark));
        tokio::spawn(async move {
            let (permit, mut read, write) = channel;
            let end = carry((&mut read, &write), begun, trailer, &counted, &sender).await;
            // The receiver may be gone.
            let _ = sender.send(end.map(|()| Bytes::new()));
            drop(sender);
            stop((permit, read, write)).await;
        });
        Self { pieces, chunk: Bytes::new(), failure: None, ended: false, meter }
    }
}

/// Takes data off the channel, and requests more as the reader takes it, until the program has ended or the reader is gone.
async fn carry(
    (read, write): (&mut ChannelReadHalf, &ChannelWriteHalf<Msg>),
    begun: Bytes,
    mut trailer: Trailer,
    meter: &Meter,
    pieces: &UnboundedSender<Piece>,
) -> io::Result<()> {
    let (ask, mut asked) = unbounded_channel::<u64>();
    // Sent beside the reading: a message may have to wait until the connection has got rid of what it has for us.
    let feed = async {
        while let Some(blocks) = asked.recv().await {
            write.data_bytes(Bytes::from(format!("{blocks}\n"))).await?;
        }
        Ok::<(), russh::Error>(())
    }
    .fuse();
    tokio::pin!(feed);
    let mut window = Window::new();
    let (mut data, mut received) = (begun, 0);
    loop {
        received += data.len() as u64;
        if received > window.granted {
            let reason = "more came than was asked for; do start-up files leave something running that prints?";
            return Err(io::Error::new(ErrorKind::InvalidData, reason));
        }
        let (content, exit) = trailer.take(data);
        if !content.is_empty() {
            let _ = pieces.send(Ok(content));
        }
        match exit {
            Some(0) => return Ok(()),
            Some(exit) => return Err(io::Error::other(format!("Remote process failed with exit status:{exit}"))),
            None => {}
        }
        data = tokio::select! {
            message = next_message(read, feed.as_mut()) => match message {
                Some(ChannelMsg::Data { data }) => data,
                Some(ChannelMsg::Close) => return Err(aborted("the command ended without an exit status")),
                None => return Err(aborted("the SSH connection broke")),
                Some(_) => Bytes::new(),
            },
            () = meter.changed.notified() => Bytes::new(),
            () = pieces.closed() => return Ok(()),
        };
        if let Some(blocks) = window.refill(meter.taken.load(Ordering::Acquire), received) {
            // The other end is in this function.
            let _ = ask.send(blocks);
        }
    }
}

fn aborted(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, reason)
}

/// The maximum distance of the program ahead of the reader.
struct Window {
    size: u64,
    /// The total number of blocks that were requested.
    granted: u64,
    /// The memory that the size beyond the first blocks is reserved by.
    reserved: Vec<SemaphorePermit<'static>>,
}

impl Window {
    fn new() -> Self {
        Self { size: FIRST_BLOCKS * BLOCK, granted: FIRST_BLOCKS * BLOCK, reserved: Vec::new() }
    }

    /// The number of blocks to request once half of the window is used up. It grows if the reader waits for the network.
    fn refill(&mut self, taken: u64, received: u64) -> Option<u64> {
        let open = self.granted.saturating_sub(taken);
        if open > self.size / 2 {
            return None;
        }
        if received.saturating_sub(taken) < self.size / 8 {
            self.grow();
        }
        let blocks = (self.size - open) / BLOCK;
        self.granted += blocks * BLOCK;
        Some(blocks)
    }

    /// Doubles the window if there is memory for it.
    fn grow(&mut self) {
        let more = self.size.min(MAX_WINDOW - self.size);
        let Some(memory) = u32::try_from(more / MIB).ok().and_then(|more| POOL_MEMORY.try_acquire_many(more).ok()) else { return };
        self.size += more;
        self.reserved.push(memory);
    }
}

/// Finds the end of the output, which is a line with the mark and the exit status.
struct Trailer {
    head: Vec<u8>,
    /// The last bytes that arrived, if they may be the beginning of the end mark.
    held: Bytes,
}

impl Trailer {
    fn new(mark: &str) -> Self {
        Self { head: format!("\n{mark} ").into_bytes(), held: Bytes::new() }
    }

    /// The part of the output that is certainly content, and the exit status at its end.
    fn take(&mut self, data: Bytes) -> (Bytes, Option<u32>) {
        if data.is_empty() {
            return (data, None);
        }
        let held = std::mem::take(&mut self.held);
        let mut content = if held.is_empty() { data } else { Bytes::from([held, data].concat()) };
        let from = content.len().saturating_sub(self.head.len() + MAX_EXIT);
        let Some(at) = (from..content.len()).find(|&at| self.may_begin(&content[at..])) else { return (content, None) };
        let rest = content.split_off(at);
        let exit = self.exit(&rest);
        if exit.is_none() {
            self.held = rest;
        }
        (content, exit)
    }

    fn may_begin(&self, rest: &[u8]) -> bool {
        let length = rest.len().min(self.head.len());
        rest[..length] == self.head[..length]
    }

    fn exit(&self, rest: &[u8]) -> Option<u32> {
        str::from_utf8(rest.strip_prefix(self.head.as_slice())?.strip_suffix(b"\n")?).ok()?.parse().ok()
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        while buf.remaining() > 0 && !this.ended && this.failure.is_none() {
            if this.chunk.is_empty() {
                match this.pieces.poll_recv(cx) {
                    Poll::Ready(Some(Ok(piece))) if piece.is_empty() => this.ended = true,
                    Poll::Ready(Some(Ok(piece))) => this.chunk = piece,
                    Poll::Ready(Some(Err(error))) => this.failure = Some(error),
                    Poll::Ready(None) => this.failure = Some(aborted("the stream has ended")),
                    Poll::Pending => break,
                }
            }
            let length = this.chunk.len().min(buf.remaining());
            buf.put_slice(&this.chunk[..length]);
            this.chunk.advance(length);
        }
        let read = buf.filled().len() - before;
        if read > 0 {
            this.meter.taken.fetch_add(read as u64, Ordering::AcqRel);
            this.meter.changed.notify_one();
            return Poll::Ready(Ok(()));
        }
        match this.failure.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if this.ended || buf.remaining() == 0 => Poll::Ready(Ok(())),
            // The receiver was asked above, and wakes.
            None => Poll::Pending,
        }
    }
}

/// Nothing is written to the command.
impl AsyncWrite for MeteredStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::Error::new(ErrorKind::BrokenPipe, "the command takes no input")))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: &str = "0123456789abcdef0123456789abcdef";

    proptest! {
        #[test]
        fn the_content_and_its_end_are_found_however_they_are_cut(
            pieces in proptest::collection::vec(prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                Just(b"\n".to_vec()),
                (0..34_usize).prop_map(|end| format!("\n{MARK} ").into_bytes()[..end].to_vec()),
            ], 0..12),
            cut in 1..70_usize,
            exit in 0..256_u32,
        ) {
            let content = pieces.concat();
            let sent = [content.clone(), format!("\n{MARK} {exit}\n").into_bytes()].concat();
            let mut trailer = Trailer::new(MARK);
            let (mut found, mut end) = (Vec::new(), None);
            for part in sent.chunks(cut) {
                prop_assert_eq!(end, None);
                let (piece, exit) = trailer.take(Bytes::copy_from_slice(part));
                found.extend_from_slice(&piece);
                end = exit;
            }
            prop_assert_eq!((found, end), (content, Some(exit)));
        }
    }

    #[test]
    fn a_window_is_refilled_by_halves_and_grows_only_for_a_reader_that_waits() {
        let first = FIRST_BLOCKS * BLOCK;
        let mut window = Window::new();
        assert_eq!(window.refill(first / 2 - 1, first), None);
        // A slow reader has the rest before it.
        assert_eq!(window.refill(first / 2, first), Some(FIRST_BLOCKS / 2));
        assert_eq!(window.size, first);
        // A fast one has taken all there is.
        let granted = window.granted;
        assert_eq!(window.refill(granted, granted), Some(FIRST_BLOCKS * 2));
        for _ in 0..9 {
            let granted = window.granted;
            window.refill(granted, granted);
        }
        assert_eq!(window.size, MAX_WINDOW);
    }
}
