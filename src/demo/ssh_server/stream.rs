//! Bytes between a channel and what runs on it.
//!
//! russh hands every message of a connection over in one loop and waits for a slow reader, so a program that does not read
//! its input would stop its whole connection: other channels, and even the output that the program wants to get rid of
//! before it reads on. So [`receive`] always takes what comes, and the sender is slowed down by the channel's window
//! (RFC 4254, 5.2). russh renews that by itself, up to a target that it asks for after each renewal; [`Backlog::window`]
//! answers with next to nothing while there is much to read. The sender then knocks with a few bytes at a time, each knock
//! asks again, and [`Backlog::pause`] spaces them out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The window of a channel whose program keeps up, in bytes.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;

/// The window of a channel whose program does not keep up. russh renews a window below half its target, so this is the
/// smallest that is ever renewed.
const STALLED_WINDOW: u32 = 2;

/// The time that a renewal of a stalled window waits. The other channels of the connection wait with it.
const RENEWAL_PAUSE: Duration = Duration::from_millis(5);

/// With more unread input than this, in bytes, the window is no longer renewed.
const FULL_BACKLOG: isize = 1024 * 1024;

/// With more than this the program is given up. A sender that heeds the window stays far below, but the target is the
/// connection's: while another channel is filled, a small part of its renewals goes to this one.
const MAX_BACKLOG: isize = 64 * 1024 * 1024;

/// Memory asked for at once to read a program's output into.
const CHUNK: usize = 256 * 1024;

/// With less than this left, new memory is asked for. A read takes what there is.
const MIN_READ: usize = 32 * 1024;

/// The bytes of a channel's input that have arrived and were not read yet.
#[derive(Debug, Default)]
pub(super) struct Backlog(AtomicIsize);

impl Backlog {
    /// Counts input that arrived. It may have been read already.
    pub(super) fn arrived(&self, bytes: usize) {
        self.0.fetch_add(bytes.cast_signed(), Ordering::Relaxed);
    }

    /// The size of the window after its next renewal, in bytes.
    pub(super) fn window(&self) -> u32 {
        if self.is_above(FULL_BACKLOG) { STALLED_WINDOW } else { WINDOW }
    }

    /// Holds a knock up while there still is much to read.
    pub(super) async fn pause(&self, bytes: usize) {
        if bytes <= STALLED_WINDOW as usize && self.is_above(FULL_BACKLOG) {
            tokio::time::sleep(RENEWAL_PAUSE).await;
        }
    }

    /// Counts input that was read, or that will not be read.
    pub(super) fn read(&self, bytes: usize) {
        self.0.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
    }

    fn is_above(&self, limit: isize) -> bool {
        self.0.load(Ordering::Relaxed) > limit
    }
}

/// Gives the client's input to `sink` and its signals to `signal`, until the client closes the channel or its connection
/// ends. The sink is shut down at the client's EOF. Also returns when there is too much that the sink does not take.
pub(super) async fn receive<W: AsyncWrite + Unpin>(reader: &mut ChannelReadHalf, sink: W, backlog: &Backlog, mut signal: impl FnMut(Sig)) {
    let mut sink = Some(sink);
    let mut queue: VecDeque<Bytes> = VecDeque::new();
    let mut ended = false;
    loop {
        if ended
            && queue.is_empty()
            && let Some(mut sink) = sink.take()
        {
            sink.shutdown().await.ok();
        }
        tokio::select! {
            message = reader.wait() => match message {
                Some(ChannelMsg::Data { data }) if sink.is_some() && !ended => {
                    queue.push_back(data);
                    if backlog.is_above(MAX_BACKLOG) {
                        tracing::debug!("a command did not read its input and was given up");
                        return;
                    }
                }
                // This input will not be read.
                Some(ChannelMsg::Data { data }) => backlog.read(data.len()),
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Signal { signal: name }) => signal(name),
                Some(ChannelMsg::Close) | None => return,
                Some(_) => {}
            },
            written = write_first(&mut sink, &mut queue), if sink.is_some() && !queue.is_empty() => match written {
                Some(count) => backlog.read(count),
                None => {
                    // The program closed its input, or has ended.
                    sink = None;
                    queue.drain(..).for_each(|data| backlog.read(data.len()));
                }
            },
        }
    }
}

/// Sends what `source` gives to the client until its end, as data or as the extended data of this number.
pub(super) async fn send<R: AsyncRead + Unpin>(mut source: R, writer: &ChannelWriteHalf<Msg>, extended: Option<u32>) {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < MIN_READ {
            // Takes the same memory again where everything that was split off has been sent.
            buffer.reserve(CHUNK);
        }
        match source.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let data = buffer.split().freeze();
        let sent = match extended {
            None => writer.data_bytes(data).await,
            Some(number) => writer.extended_data_bytes(number, data).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Writes once from the front of the queue; `None` when the sink takes no more. Nothing is lost when the future is dropped.
async fn write_first<W: AsyncWrite + Unpin>(sink: &mut Option<W>, queue: &mut VecDeque<Bytes>) -> Option<usize> {
    let (sink, first) = (sink.as_mut()?, queue.front_mut()?);
    if first.is_empty() {
        queue.pop_front();
        return Some(0);
    }
    let count = sink.write(first).await.ok().filter(|count| *count > 0)?;
    first.advance(count);
    if first.is_empty() {
        queue.pop_front();
    }
    Some(count)
}
