//! Forwards request content from the connection to its writer, a few pieces at a time.
//!
//! This module decides how long to wait for a client; it does not know what the content is.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::future::{Either, select};
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::filesystem::{ContentStream, FilesystemError};
use crate::http::server::idle_timeout::at_slowest;

/// The number of pieces buffered between the client and the cluster. A piece is the result of one read from the connection.
const BUFFERED_PIECES: usize = 2;

/// The length of the content of a request, if announced.
pub(crate) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A piece or an error; none at the end.
type Piece = Option<Result<Bytes, FilesystemError>>;

/// Lets `write` consume the content of `source`, and returns its result. The content ends with an error if the client breaks
/// off, or pauses for longer than `pause` and what [`MIN_BYTES_PER_SECOND`](crate::http::server::idle_timeout::MIN_BYTES_PER_SECOND) allows for the bytes it sent.
pub(crate) async fn forward_body<S, E, W, F>(source: &mut S, pause: Duration, write: W) -> F::Output
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn Error + Send + Sync>>,
    W: FnOnce(ContentStream) -> F,
    F: Future,
{
    let (sender, receiver) = mpsc::channel(BUFFERED_PIECES);
    // If the sender is dropped without an end, the content was broken off: `write` may continue without this future.
    let content = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver: mpsc::Receiver<Piece> = receiver?;
        match receiver.recv().await {
            Some(Some(piece)) => Some((piece, Some(receiver))),
            Some(None) => None,
            None => Some((Err(FilesystemError::Interrupted(io::ErrorKind::UnexpectedEof.into())), None)),
        }
    });
    let write = pin!(write(content.boxed()));
    let feed = pin!(feed(source, sender, pause));
    match select(write, feed).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), write)) => write.await,
    }
}

/// Forwards the content, piece by piece, until it ends or the receiver is gone.
async fn feed<S, E>(source: &mut S, sender: mpsc::Sender<Piece>, pause: Duration)
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    // Only the time spent waiting for the client counts, not that of the cluster.
    let (mut received, mut waited) = (0, Duration::ZERO);
    loop {
        let asked = Instant::now();
        let allowed = (pause + at_slowest(received)).saturating_sub(waited).min(pause);
        let piece = timeout(allowed, source.next()).await;
        waited += asked.elapsed();
        let piece = match piece {
            Ok(Some(Ok(bytes))) => {
                received += bytes.len() as u64;
                Ok(bytes)
            }
            Ok(None) => {
                // The receiver may be gone.
                let _ = sender.send(None).await;
                return;
            }
            Ok(Some(Err(error))) => Err(FilesystemError::Interrupted(io::Error::other(error))),
            Err(_) => Err(FilesystemError::Interrupted(io::ErrorKind::TimedOut.into())),
        };
        let last = piece.is_err();
        if sender.send(Some(piece)).await.is_err() || last {
            return;
        }
    }
}
