//! What happens to something that is followed, as server-sent events (HTML standard, 9.2).
//!
//! The id of an event is the number of bytes that were told up to it, so that a client that comes again with `Last-Event-ID` misses nothing and sees
//! nothing twice.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde_json::json;
use tokio::time::timeout;

use crate::domain::bytes_to_text;
use crate::filesystem::Followed;

use crate::http::list_field::members;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};
use crate::http::problem::problem_context::ProblemContext;
use crate::service::follow::{EndReason, Update, UpdateStream};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";

/// After so long without an event a comment is sent, so that nobody on the way takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What nginx looks at before it gathers an answer.
pub(crate) const UNBUFFERED: (HeaderName, HeaderValue) = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// The answer with these updates. It replaces the `no-cache` of axum's events: what one caller may see is not to be stored.
pub(crate) fn answer(updates: UpdateStream, problem_context: ProblemContext) -> Response {
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store")), UNBUFFERED];
    (headers, Sse::new(events(updates, problem_context)).keep_alive(KeepAlive::new().interval(HEARTBEAT))).into_response()
}

/// Whether the caller asks for events.
pub(crate) fn accepts(headers: &HeaderMap) -> bool {
    let mut types = members(headers, &header::ACCEPT).map(|range| range.split(';').next().unwrap_or_default().trim());
    types.any(|media_type| media_type.eq_ignore_ascii_case(MEDIA_TYPE))
}

/// Where the events ended that the caller has, in bytes.
///
/// # Errors
/// When the header holds no id of an event.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, InvalidInput> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let offset = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    offset.map(Some).ok_or_else(|| InvalidInput::new(Place::Header, "Last-Event-ID", "not an id that this server gave"))
}

/// What is left to be told.
struct EventEncoder {
    updates: Option<UpdateStream>,
    /// The start of a character whose rest has not come yet, and where in the file it ends.
    held: (Vec<u8>, u64),
    /// The event behind what was held back.
    last: Option<Event>,
    problem_context: ProblemContext,
}

fn events(updates: UpdateStream, problem_context: ProblemContext) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let encoder = EventEncoder { updates: Some(updates), held: (Vec::new(), 0), last: None, problem_context };
    let rest = stream::unfold(encoder, |mut encoder| async move { encoder.next().await.map(|event| (Ok(event), encoder)) });
    // The first piece lets the client know at once that all is well, and when to come again.
    stream::iter([Ok(Event::default().retry(Duration::from_secs(3)))]).chain(rest)
}

impl EventEncoder {
    async fn next(&mut self) -> Option<Event> {
        if let Some(last) = self.last.take() {
            return Some(last);
        }
        let updates = self.updates.as_mut()?;
        let next = if self.held.0.is_empty() {
            updates.next().await
        } else {
            let Ok(next) = timeout(HEARTBEAT, updates.next()).await else { return self.held_back() };
            next
        };
        let change = match next? {
            Ok(Update::Change(change)) => change,
            Ok(Update::End(reason)) => return Some(self.end(reason)),
            Err(error) => {
                self.updates = None;
                let problem = Problem::from(error);
                self.problem_context.log(&problem, "a file could not be followed any more");
                return Some(Event::default().event("error").data(self.problem_context.value(&problem).to_string()));
            }
        };
        Some(match change {
            Followed::Data { data, end } => self.data(&data, end),
            Followed::Truncated => self.begins_anew("truncated"),
            Followed::Replaced => self.begins_anew("replaced"),
            Followed::Removed => Event::default().event("removed").data("{}"),
        })
    }

    /// What was held back for the rest of a character: after so long it is no character's start.
    fn held_back(&mut self) -> Option<Event> {
        let (held, end) = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| content(&held, end))
    }

    fn end(&mut self, reason: EndReason) -> Event {
        self.updates = None;
        let reason = match reason {
            EndReason::TokenEnded => "the access token has ended",
            EndReason::JobEnded => "the job has ended",
            EndReason::Complete => "this is all there is now",
        };
        let last = Event::default().event("end").data(json!({"reason": reason}).to_string());
        match self.held_back() {
            Some(held) => {
                self.last = Some(last);
                held
            }
            None => last,
        }
    }

    fn data(&mut self, data: &[u8], end: u64) -> Event {
        let (held, _) = std::mem::take(&mut self.held);
        let data = [held.as_slice(), data].concat();
        let whole = data.len() - unfinished(&data);
        let sent_end = end - (data.len() - whole) as u64;
        self.held = (data[whole..].to_vec(), end);
        content(&data[..whole], sent_end)
    }

    fn begins_anew(&mut self, name: &str) -> Event {
        self.held = (Vec::new(), 0);
        Event::default().event(name).id("0").data("{}")
    }
}

/// New content. JSON has no line breaks of its own, so that the data of an event is one line.
fn content(data: &[u8], end: u64) -> Event {
    Event::default().id(end.to_string()).data(json!({"content": bytes_to_text(data)}).to_string())
}

/// How many bytes at the end may be the start of a character of UTF-8 whose rest is to come: at most three.
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
}
