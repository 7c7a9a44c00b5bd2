//! A file from the client.

use std::pin::pin;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures::stream;
use tokio::time::timeout;

use super::IDLE_TIMEOUT;
use super::failure::TransferFailure;
use super::frames::{Content, Part, announced_size};
use crate::http::extract::forward_body::forward_body;
use crate::service::streaming::Stream;

/// The size of the pieces in which a message is passed on, in bytes: the next message is read when the last piece of this one was taken.
const PIECE: usize = 256 * 1024;

/// Takes the whole file, and puts it in its place.
///
/// # Errors
/// If the client breaks off or breaks the protocol, the file is too large or not the announced one, or it cannot be written.
pub(super) async fn receive(socket: &mut WebSocket, stream: &Stream) -> Result<(), TransferFailure> {
    let first = timeout(IDLE_TIMEOUT, next_message(socket)).await.map_err(|_| TransferFailure::Silent)??;
    let size = announced_size(&first)?;
    if size > stream.limit() {
        return Err(TransferFailure::TooLarge(stream.limit()));
    }
    if let Some(announced) = stream.announced().filter(|announced| *announced != size) {
        return Err(TransferFailure::OtherSize { size, announced });
    }
    let mut failure = None;
    let state = Receiving { socket, content: Content::new(size), rest: Bytes::new() };
    let pieces = stream::unfold((state, &mut failure), |(mut state, failure)| async move {
        match state.piece().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), (state, failure))),
            Err(error) => {
                *failure = Some(error);
                Some((Err("the client failed"), (state, failure)))
            }
        }
    });
    let outcome = forward_body(&mut pin!(pieces), IDLE_TIMEOUT, |content| stream.receive(content, size)).await;
    outcome.map_err(|error| failure.unwrap_or(TransferFailure::Service(error)))
}

/// A file on its way, piece by piece.
struct Receiving<'a> {
    socket: &'a mut WebSocket,
    content: Content,
    /// What is left of the last message.
    rest: Bytes,
}

impl Receiving<'_> {
    /// The next piece; none after the last one, when the whole content was found to be the announced one.
    async fn piece(&mut self) -> Result<Option<Bytes>, TransferFailure> {
        while self.rest.is_empty() {
            let message = next_message(self.socket).await?;
            match self.content.take(&message)? {
                Part::Content => self.rest = message,
                Part::End => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(PIECE.min(self.rest.len()))))
    }
}

/// The next message that is for the protocol, whichever of the two kinds it has.
async fn next_message(socket: &mut WebSocket) -> Result<Bytes, TransferFailure> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Binary(message))) => return Ok(message),
            Some(Ok(Message::Text(message))) => return Ok(message.into()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
            Some(Err(_)) | None => return Err(TransferFailure::Lost),
        }
    }
}

/// The failure of a client that closes the connection before the end.
pub(super) fn closed(frame: Option<CloseFrame>) -> TransferFailure {
    match frame {
        Some(frame) if frame.reason.is_empty() => TransferFailure::GaveUp(format!("it closed the connection with code {}", frame.code)),
        Some(frame) => TransferFailure::GaveUp(format!("{} (code {})", frame.reason, frame.code)),
        None => TransferFailure::GaveUp("it closed the connection".to_owned()),
    }
}
