//! The server side of firecrest-streamer, on a listener of its own: a client with the secret of a transfer sends the file, or gets it.
//!
//! One WebSocket (RFC 6455) is one transfer. `frames` has the messages of the protocol, `receive` and `send` the two directions. Before
//! the upgrade a client is refused with a status and a line of text, after it by a close frame. This module must not know clusters:
//! who may transfer what, and where the bytes go, is the business of `service::streaming`.

mod failure;
mod frames;
mod receive;
mod send;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::error::{ErrorChain, Kind};
use crate::http::request_info::Peer;
use crate::http::server::upgrade::Draining;
use crate::service::Gate;
use crate::service::streaming::{self, Stream, StreamRefusal};
use crate::transfer::streamer::Direction;

use failure::{TransferFailure, close_frame};

/// The largest message that is taken, in bytes: the limit of the clients themselves.
const MAX_MESSAGE: usize = 6_553_600;

/// The buffer for what is read from a connection, in bytes.
const READ_BUFFER: usize = 64 * 1024;

/// Time limit for a client to send or to accept a message.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Time limit for a client to close its side. The client of firecrest-streamer itself waits for ten seconds.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The router for clients of firecrest-streamer. `gate` is the one of the present configuration.
pub fn streams(gate: impl Fn() -> Gate + Send + Sync + 'static) -> Router {
    let gate = Arc::new(gate);
    Router::new().fallback(move |request: Request| {
        let gate = Arc::clone(&gate);
        async move { connect(&gate(), request).await }
    })
}

/// Lets a client in, if it has a secret, speaks WebSocket, and is the one that is waited for.
async fn connect(gate: &Gate, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let Some(secret) = secret(&parts.headers) else { return refuse(StatusCode::UNAUTHORIZED, "Missing Authorization header") };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).read_buffer_size(READ_BUFFER),
        Err(rejection) => return rejection.into_response(),
    };
    let Some(Peer(address)) = parts.extensions.get().copied() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    match streaming::claim(gate, &secret, address).await {
        Ok(stream) => {
            let draining = parts.extensions.get().cloned().unwrap_or_default();
            upgrade.on_upgrade(move |socket| transfer(socket, stream, draining))
        }
        Err(refusal) => refused(&refusal),
    }
}

/// The secret of a request: what follows `Bearer`, as the server of firecrest-streamer reads it.
fn secret(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim().to_owned())
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message.into() + "\n").into_response()
}

/// The answer to a client that is rejected. Only a client with the right secret learns more than that it is wrong.
fn refused(refusal: &StreamRefusal) -> Response {
    let status = match refusal.kind() {
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let message = match refusal {
        StreamRefusal::Access(_) | StreamRefusal::Service(_) => {
            tracing::warn!(error = %ErrorChain(refusal), "a client of streamer was rejected");
            "The transfer is not possible now".to_owned()
        }
        refusal => refusal.to_string(),
    };
    refuse(status, message)
}

/// Moves the file, tells the client how it ended, and the job.
async fn transfer(mut socket: WebSocket, stream: Stream, draining: Draining) {
    let outcome = match stream.while_running(moved(&mut socket, &stream)).await {
        // At the end of the drain, connections are cut.
        Err(TransferFailure::Lost) if draining.0.is_cancelled() => Err(TransferFailure::Stopped),
        outcome => outcome,
    };
    if let Err(failure) = &outcome {
        tracing::info!(reason = %failure, "a transfer by streamer failed");
    }
    let closing = async {
        let frame = Message::Close(Some(close_frame(&outcome)));
        // What the client still sends is read, or the system would drop the reason together with it.
        let close = async {
            // It fails if the client has closed the connection first; then the answer to that is sent by the next read.
            _ = socket.send(frame).await;
            while let Some(Ok(_)) = socket.recv().await {}
        };
        _ = timeout(CLOSE_TIMEOUT, close).await;
    };
    let ending = match &outcome {
        Ok(()) => Ok(()),
        Err(failure) => Err(failure.reason()),
    };
    tokio::join!(closing, stream.end(ending));
}

async fn moved(socket: &mut WebSocket, stream: &Stream) -> Result<(), TransferFailure> {
    let _place = stream.place().await?;
    match stream.direction() {
        Direction::Upload => receive::receive(socket, stream).await,
        Direction::Download => send::send(socket, stream).await,
    }
}
