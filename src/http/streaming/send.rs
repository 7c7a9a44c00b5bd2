//! A file to the client.

use axum::extract::ws::{Message, WebSocket, close_code};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::timeout;

use super::IDLE_TIMEOUT;
use super::failure::TransferFailure;
use super::frames::{CHUNK, Content, init};
use super::receive::closed;
use crate::filesystem::{ContentStream, Download};
use crate::service::streaming::Stream;

/// Sends the whole file, and waits until the client has closed the connection: then it has taken everything.
///
/// # Errors
/// If the file cannot be read whole, or the client breaks off.
pub(super) async fn send(socket: &mut WebSocket, stream: &Stream) -> Result<(), TransferFailure> {
    let Download { range, content, .. } = stream.open().await?;
    let size = range.end - range.start;
    let mut sending = Sending { socket, content: Content::new(size), buffer: BytesMut::new() };
    // As the client's own sender does it: bytes, although it is text.
    sending.message(Message::Binary(init(size).into_bytes().into())).await?;
    let mut pieces = content;
    while let Some(piece) = sending.next(&mut pieces).await? {
        sending.piece(&piece).await?;
    }
    sending.flush().await?;
    let eof = sending.content.eof()?;
    sending.message(Message::Text(eof.into())).await?;
    sending.confirmed().await
}

/// A file on its way.
struct Sending<'a> {
    socket: &'a mut WebSocket,
    content: Content,
    buffer: BytesMut,
}

impl Sending<'_> {
    /// The next piece of the file, unless the client breaks off before it comes.
    async fn next(&mut self, pieces: &mut ContentStream) -> Result<Option<Bytes>, TransferFailure> {
        loop {
            tokio::select! {
                biased;
                message = self.socket.recv() => passing(message)?,
                piece = pieces.next() => return Ok(piece.transpose()?),
            }
        }
    }

    async fn piece(&mut self, mut piece: &[u8]) -> Result<(), TransferFailure> {
        if piece.is_empty() {
            return Ok(());
        }
        self.content.take(piece)?;
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(CHUNK - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            piece = later;
            if self.buffer.len() == CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), TransferFailure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let message = self.buffer.split().freeze();
        self.message(Message::Binary(message)).await
    }

    /// Sends a message, and waits until the system has taken it.
    async fn message(&mut self, message: Message) -> Result<(), TransferFailure> {
        timeout(IDLE_TIMEOUT, self.socket.send(message)).await.map_err(|_| TransferFailure::Silent)?.map_err(|_| TransferFailure::Lost)
    }

    /// Waits until the client closes the connection, which it does in order if it has the file.
    async fn confirmed(&mut self) -> Result<(), TransferFailure> {
        let closing = async {
            loop {
                match self.socket.recv().await {
                    Some(Ok(Message::Close(frame))) if frame.as_ref().is_none_or(|frame| frame.code == close_code::NORMAL) => return Ok(()),
                    message => passing(message)?,
                }
            }
        };
        timeout(IDLE_TIMEOUT, closing).await.map_err(|_| TransferFailure::Silent)?
    }
}

/// Goes on after a message that needs no answer.
fn passing(message: Option<Result<Message, axum::Error>>) -> Result<(), TransferFailure> {
    match message {
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
        Some(Ok(Message::Close(frame))) => Err(closed(frame)),
        Some(Ok(Message::Binary(_) | Message::Text(_))) => Err(TransferFailure::Protocol("it sends content, and is to get some")),
        Some(Err(_)) | None => Err(TransferFailure::Lost),
    }
}
