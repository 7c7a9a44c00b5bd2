//! The changes of a followed file or output as server-sent events (HTML standard, 9.2).
//!
//! The id of an event is the number of bytes sent up to it, so that a client that reconnects with `Last-Event-ID` misses nothing and sees
//! nothing twice.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use serde_json::json;
use tokio::time::timeout;

use crate::domain::bytes_to_text;
use crate::filesystem::Followed;
use crate::http::list_field;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};
use crate::http::problem::problem_context::ProblemContext;
use crate::http::server::upgrade::Draining;
use crate::service::follow::{EndReason, Update, UpdateStream, until};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";

/// The interval of comments while there is no event, so that no intermediary takes the connection for dead.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// The id of the last event that a reconnecting client has received.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The header that keeps nginx from buffering a response.
pub(crate) const UNBUFFERED: (HeaderName, HeaderValue) = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// A comment, for a time without an event.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The answer with these updates.
pub(crate) fn answer(updates: UpdateStream, problem_context: ProblemContext) -> Response {
    respond(events(updates, problem_context))
}

/// The answer with these events.
pub(crate) fn respond(events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    // The first piece confirms at once that the stream has started, and says when to reconnect.
    let pieces = stream::iter([Bytes::from_static(b"retry: 3000\n\n")]).chain(events).map(Ok::<_, Infallible>);
    // A response for one caller must not be stored.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        UNBUFFERED,
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// These updates until the server begins to drain.
pub(crate) fn until_drain(updates: UpdateStream, draining: Draining) -> UpdateStream {
    until(updates, draining.0.cancelled_owned(), EndReason::Stopping)
}

/// Whether the caller requests events.
pub(crate) fn accepts(headers: &HeaderMap) -> bool {
    list_field::accepts(headers, MEDIA_TYPE)
}

/// Where the content of a response starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// This many bytes after the start of the file.
    Offset(u64),
    /// This amount before the end of the file.
    FromEnd(u64),
}

/// The requested start: the id of the last event, which takes precedence, or the parameter `offset`, or the named parameter with an amount before
/// the end. None if the request has none of them.
///
/// # Errors
/// If both parameters are given, or the header is not the id of an event.
pub(crate) fn start(
    headers: &HeaderMap,
    offset: Option<u64>,
    (name, from_end): (&'static str, Option<u64>),
) -> Result<Option<Start>, InvalidInput> {
    if let Some(offset) = last_event_id(headers)? {
        return Ok(Some(Start::Offset(offset)));
    }
    match (offset, from_end) {
        (Some(_), Some(_)) => Err(InvalidInput::new(Place::Query, name, format!("Only one of `{name}` or `offset` can be specified."))),
        (offset, from_end) => Ok(offset.map(Start::Offset).or(from_end.map(Start::FromEnd))),
    }
}

/// The offset in bytes of the last event that the caller has.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, InvalidInput> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let offset = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    offset.map(Some).ok_or_else(|| InvalidInput::new(Place::Header, "Last-Event-ID", "not an id that this server gave"))
}

/// The state of the encoder: the bytes not sent yet.
struct EventEncoder {
    updates: Option<UpdateStream>,
    /// The start of a character whose rest has not come yet, and where in the file it ends.
    held: (Vec<u8>, u64),
    problem_context: ProblemContext,
}

fn events(updates: UpdateStream, problem_context: ProblemContext) -> impl Stream<Item = Bytes> + Send {
    let encoder = EventEncoder { updates: Some(updates), held: (Vec::new(), 0), problem_context };
    stream::unfold(encoder, |mut encoder| async move { encoder.next().await.map(|event| (event, encoder)) })
}

impl EventEncoder {
    async fn next(&mut self) -> Option<Bytes> {
        let updates = self.updates.as_mut()?;
        let Ok(next) = timeout(HEARTBEAT_INTERVAL, updates.next()).await else {
            return Some(self.held_back().unwrap_or(COMMENT));
        };
        let change = match next {
            Some(Ok(Update::Change(change))) => change,
            Some(Ok(Update::End(reason))) => return Some(self.end(reason)),
            Some(Err(error)) => {
                self.updates = None;
                let problem = Problem::from(error);
                self.problem_context.log(&problem, "a file could not be followed any more");
                return Some(event(Some("error"), None, &self.problem_context.value(&problem).to_string()));
            }
            None => return None,
        };
        Some(match change {
            Followed::Data { data, end } => self.data(&data, end),
            Followed::Truncated => self.begins_anew("truncated"),
            Followed::Replaced => self.begins_anew("replaced"),
            Followed::Removed => event(Some("removed"), None, "{}"),
        })
    }

    /// The bytes held back for the rest of a character: after this time they are taken as invalid.
    fn held_back(&mut self) -> Option<Bytes> {
        let (held, end) = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| content(&held, end))
    }

    fn end(&mut self, reason: EndReason) -> Bytes {
        self.updates = None;
        let reason = match reason {
            EndReason::TokenEnded => "the access token has ended",
            EndReason::JobEnded => "the job has ended",
            EndReason::Complete => "this is all there is now",
            EndReason::Stopping => "Goldcrest is stopping: reconnect to continue",
        };
        let last = event(Some("end"), None, &json!({"reason": reason}).to_string());
        self.held_back().map_or(last.clone(), |held| [held, last].concat().into())
    }

    fn data(&mut self, data: &[u8], end: u64) -> Bytes {
        let (held, _) = std::mem::take(&mut self.held);
        let data = [held.as_slice(), data].concat();
        let whole = data.len() - unfinished(&data);
        let given = end - (data.len() - whole) as u64;
        self.held = (data[whole..].to_vec(), end);
        content(&data[..whole], given)
    }

    fn begins_anew(&mut self, name: &str) -> Bytes {
        self.held = (Vec::new(), 0);
        event(Some(name), Some(0), "{}")
    }
}

fn content(data: &[u8], end: u64) -> Bytes {
    event(None, Some(end), &json!({"content": bytes_to_text(data)}).to_string())
}

/// An event. JSON contains no line breaks, so its data is one line. It is not axum's `Event`, because all watchers of a job share the
/// bytes of one event.
pub(crate) fn event(name: Option<&str>, id: Option<u64>, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + 48);
    for (field, value) in [("event", name.map(str::to_owned)), ("id", id.map(|id| id.to_string())), ("data", Some(data.to_owned()))] {
        if let Some(value) = value {
            text.push_str(field);
            text.push_str(": ");
            text.push_str(&value);
            text.push('\n');
        }
    }
    text.push('\n');
    text.into()
}

/// The number of bytes at the end that may be the start of an incomplete UTF-8 character: at most three.
pub(crate) fn unfinished(data: &[u8]) -> usize {
    let tail = &data[data.len().saturating_sub(3)..];
    for (at, byte) in tail.iter().enumerate() {
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => continue,
        };
        let here = &tail[at..];
        if here.len() < length && here[1..].iter().all(|byte| (0x80..=0xBF).contains(byte)) {
            return here.len();
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_character_waits_for_its_rest_and_nothing_else_does() {
        for (data, length) in [
            (&b""[..], 0),
            (b"abc", 0),
            ("aü".as_bytes(), 0),
            (b"a\xC3", 1),
            (b"a\xE2\x82", 2),
            (b"\xF0\x9F\x90", 3),
            (b"\xF0\x9F\x90\xA6", 0),
            (b"a\xFF", 0),
            (b"a\x80\x80", 0),
            (b"\xE2a", 0),
        ] {
            assert_eq!(unfinished(data), length, "{data:?}");
        }
    }

    #[test]
    fn an_event_has_its_data_in_one_line() {
        assert_eq!(content(b"a\r\nb\xFF", 5), "id: 5\ndata: {\"content\":\"a\\r\\nb\u{EFFF}\"}\n\n".as_bytes());
    }
}
