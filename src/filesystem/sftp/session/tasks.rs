//! The greeting, and the two tasks that own the halves of a session's channel.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::super::protocol::{Request, Response, VERSION, decode_response, encode_request, split_packet};
use super::incoming::Incoming;
use super::{Failure, Outgoing, SessionState};
use crate::ssh::ByteStream;

/// Small packets are put together up to this size before they are written.
const WRITE_BATCH_BYTES: usize = 32 * 1024;

/// Exchanges INIT and VERSION. Returns the server's extensions and what arrived after them.
pub(super) async fn greet(stream: &mut ByteStream) -> Result<(Vec<(Bytes, Bytes)>, BytesMut), Failure> {
    let broken = |_| Failure::Broken { sent: false };
    let mut buffer = BytesMut::new();
    encode_request(0, &Request::Init { version: VERSION }, &mut buffer);
    stream.write_all(&buffer).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    buffer.clear();
    let packet = loop {
        if let Some(packet) = split_packet(&mut buffer)? {
            break packet;
        }
        if stream.read_buf(&mut buffer).await.map_err(broken)? == 0 {
            return Err(Failure::Broken { sent: false });
        }
    };
    match decode_response(packet)?.1 {
        Response::Version { version: VERSION, extensions } => Ok((extensions, buffer)),
        Response::Version { version, .. } => Err(Failure::Protocol(format!("version {version} was offered, {VERSION} is needed"))),
        _ => Err(Failure::unexpected()),
    }
}

/// Reads replies until the channel ends, the other side misbehaves, or there was no request for `idle`.
pub(super) async fn read(stream: impl AsyncRead + Unpin, buffer: BytesMut, shared: Arc<SessionState>, idle: Option<Duration>) {
    let why = tokio::select! {
        () = shared.over.cancelled() => Failure::Broken { sent: true },
        why = read_replies(stream, buffer, &shared, idle) => why,
    };
    shared.fail(why);
}

async fn read_replies(mut stream: impl AsyncRead + Unpin, buffer: BytesMut, shared: &Arc<SessionState>, idle: Option<Duration>) -> Failure {
    let mut incoming = Incoming::new(buffer);
    loop {
        if let Err(failure) = deliver_all(&mut incoming, shared) {
            return failure;
        }
        {
            let mut state = shared.state.lock();
            let is_idle = idle.is_some_and(|idle| shared.quiet_for() >= idle);
            // Decided under the lock that a new request takes, so that none slips in between.
            // A session that has ended waits for what it was asked, but not for a server that has gone silent.
            let is_over = state.ended.is_some();
            if state.pending.is_empty() && (is_over || is_idle) || is_over && is_idle {
                let _ = state.ended.get_or_insert(Failure::Broken { sent: false });
                return Failure::Broken { sent: false };
            }
            if state.pending.is_empty() {
                incoming.rest();
            }
        }
        let mut room = match incoming.room() {
            Ok(room) => room,
            Err(malformed) => return malformed.into(),
        };
        // Far off where there is no such limit.
        let wake = Instant::now()
            + idle.map_or(Duration::from_secs(3600), |idle| idle.saturating_sub(shared.quiet_for()).max(Duration::from_millis(1)));
        tokio::select! {
            read = stream.read_buf(&mut room) => match read {
                Ok(0) | Err(_) => return Failure::Broken { sent: false },
                Ok(_) => shared.moved(),
            },
            () = sleep_until(wake) => {}
        }
    }
}

fn deliver_all(incoming: &mut Incoming, shared: &Arc<SessionState>) -> Result<(), Failure> {
    while let Some(packet) = incoming.packet()? {
        let (id, response) = decode_response(packet)?;
        if matches!(response, Response::Version { .. }) {
            return Err(Failure::unexpected());
        }
        shared.deliver(id, response)?;
    }
    Ok(())
}

/// Writes requests in the order of the queue, small ones together.
pub(super) async fn write(stream: impl AsyncWrite + Unpin, queue: mpsc::Receiver<Outgoing>, shared: Arc<SessionState>) {
    tokio::select! {
        () = shared.over.cancelled() => {}
        () = write_requests(stream, queue, &shared) => {}
    }
    shared.fail(Failure::Broken { sent: true });
}

async fn write_requests(mut stream: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Outgoing>, shared: &SessionState) {
    let mut batch = Vec::with_capacity(64);
    let mut joined = BytesMut::new();
    while queue.recv_many(&mut batch, 64).await > 0 {
        if write_batch(&mut stream, &mut batch, &mut joined, shared).await.is_err() {
            return;
        }
    }
}

async fn write_batch(
    stream: &mut (impl AsyncWrite + Unpin),
    batch: &mut Vec<Outgoing>,
    joined: &mut BytesMut,
    shared: &SessionState,
) -> std::io::Result<()> {
    for Outgoing { sequence, packet, _room } in batch.drain(..) {
        if joined.len() + packet.len() > WRITE_BATCH_BYTES {
            write_out(stream, joined, shared).await?;
            joined.clear();
        }
        shared.started.store(sequence + 1, Ordering::Release);
        if packet.len() > WRITE_BATCH_BYTES {
            write_out(stream, &packet, shared).await?;
        } else {
            joined.extend_from_slice(&packet);
        }
    }
    write_out(stream, joined, shared).await?;
    joined.clear();
    stream.flush().await
}

async fn write_out(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], shared: &SessionState) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write(bytes).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        shared.moved();
    }
    Ok(())
}
