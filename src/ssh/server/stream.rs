//! Bytes between a channel and what runs on it.
//!
//! russh hands every message of a connection over in one loop and waits for whoever is slow, so a program that does not read
//! would stop its whole connection: other channels, and even the answer that the program is waiting to get rid of. Hence the
//! rules in [`receive`].

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Input held for a program that reads. More than this waits in the connection, which slows the sender down.
const SOFT_LIMIT: usize = 1024 * 1024;

/// Input held for a program that has stopped reading, so that its connection stays usable.
const HARD_LIMIT: usize = 64 * 1024 * 1024;

/// A program that took nothing for this long has stopped reading.
const STALLED: Duration = Duration::from_millis(50);

/// A program that took nothing for this long while the hard limit is reached is given up.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// Memory asked for at once to read a program's output into.
const CHUNK: usize = 256 * 1024;

/// With less than this left, new memory is asked for. A read takes what there is.
const SMALLEST_READ: usize = 32 * 1024;

/// Gives the client's input to `sink` and its signals to `signal`, until the client closes the channel or its connection
/// ends. The sink is shut down at the client's EOF. Also returns when the input cannot be held any more.
pub(super) async fn receive<W: AsyncWrite + Unpin>(reader: &mut ChannelReadHalf, sink: W, mut signal: impl FnMut(Sig)) {
    let mut sink = Some(sink);
    let mut queue: VecDeque<Bytes> = VecDeque::new();
    let mut held = 0;
    let mut ended = false;
    let mut progress = Instant::now();
    loop {
        if ended
            && queue.is_empty()
            && let Some(mut sink) = sink.take()
        {
            sink.shutdown().await.ok();
        }
        let stalled = progress.elapsed() >= STALLED;
        let take = held < SOFT_LIMIT || (stalled && held < HARD_LIMIT);
        tokio::select! {
            message = reader.wait(), if take => match message {
                Some(ChannelMsg::Data { data }) if sink.is_some() && !ended => {
                    if queue.is_empty() {
                        progress = Instant::now();
                    }
                    held += data.len();
                    queue.push_back(data);
                }
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Signal { signal: name }) => signal(name),
                Some(ChannelMsg::Close) | None => return,
                // Nothing else has a meaning here, nor has input that nobody will read.
                Some(_) => {}
            },
            written = write_first(&mut sink, &mut queue), if sink.is_some() && !queue.is_empty() => match written {
                Some(count) => {
                    held -= count;
                    progress = Instant::now();
                }
                None => {
                    // The program closed its input, or has ended.
                    sink = None;
                    queue.clear();
                    held = 0;
                }
            },
            () = tokio::time::sleep_until(progress + STALLED), if !take && !stalled => {}
            () = tokio::time::sleep_until(progress + GIVEN_UP), if held >= HARD_LIMIT => {
                tracing::debug!(held, "a command did not read its input and was given up");
                return;
            }
        }
    }
}

/// Sends what `source` gives to the client until its end, as data or as the extended data of this number.
pub(super) async fn send<R: AsyncRead + Unpin>(mut source: R, writer: &ChannelWriteHalf<Msg>, extended: Option<u32>) {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < SMALLEST_READ {
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
