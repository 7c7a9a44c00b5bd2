//! `GET /filesystem/{system_name}/ops/follow`: a file as it grows, as server-sent events (HTML standard, 9.2).
//!
//! The id of an event is the number of bytes of the file that were told up to it, so that a client that comes again with
//! `Last-Event-ID` misses nothing and sees nothing twice.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::json;
use tokio::time::timeout;

use crate::domain::bytes_to_text;
use crate::filesystem::{FollowFrom, FollowStream, Followed};
use crate::http::extract::access::ReadAccess;
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::model::storage::FollowParameters;
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::service::{InvalidRequest, Place, ServiceError, follow};

/// After so long without an event a comment is sent, so that nobody on the way takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where a client goes on that was cut off.
pub(in crate::http) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follow a file
///
/// Server-sent events. Without a name of their own: `{"content": ...}` with what is new, in the text form of `head` and `tail`.
/// Named `truncated`, `replaced` (by another file of that name) and `removed`: what happened to the file; what comes next is from
/// the start. Named `error`: why there is no more, as a problem document. Named `end`: the token has ended. The id of an event is
/// the offset in bytes, from where `Last-Event-ID` goes on.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/follow",
    operation_id = "get_follow_filesystem__system_name__ops_follow_get",
    tag = "filesystem",
    params(FollowParameters, ("Last-Event-ID" = Option<u64>, Header, description = "Where to go on, in bytes")),
    responses((status = 200, description = "What happens to the file", body = String, content_type = "text/event-stream"))
)]
pub(crate) async fn follow(
    ReadAccess(access): ReadAccess,
    query: Parameters<FollowParameters>,
    headers: HeaderMap,
    problem_context: ProblemContext,
) -> Result<Response, Problem> {
    let from = from(&query.0, &headers)?;
    let changes = follow::follow(&access, &query.0.path, from).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // What nginx looks at before it gathers an answer.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(events(changes, problem_context))).into_response())
}

fn from(query: &FollowParameters, headers: &HeaderMap) -> Result<FollowFrom, InvalidRequest> {
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        let offset = id.to_str().ok().and_then(|id| id.trim().parse().ok());
        return offset.map(FollowFrom::Start).ok_or_else(|| InvalidRequest::new(Place::Parameter, "Last-Event-ID", "it is none of ours"));
    }
    match (query.offset, query.bytes) {
        (Some(_), Some(_)) => Err(InvalidRequest::new(Place::Parameter, "bytes", "Only one of `bytes` or `offset` can be specified.")),
        (Some(offset), None) => Ok(FollowFrom::Start(offset)),
        (None, bytes) => Ok(FollowFrom::End(bytes.unwrap_or(0))),
    }
}

/// What is left to be told.
struct EventEncoder {
    changes: Option<FollowStream>,
    /// The start of a character whose rest has not come yet, and where in the file it ends.
    held: (Vec<u8>, u64),
    problem_context: ProblemContext,
}

fn events(changes: FollowStream, problem_context: ProblemContext) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send {
    let encoder = EventEncoder { changes: Some(changes), held: (Vec::new(), 0), problem_context };
    let rest = stream::unfold(encoder, |mut encoder| async move { encoder.next().await.map(|event| (Ok(event), encoder)) });
    // The first piece lets the client know at once that all is well, and when to come again.
    stream::iter([Ok(Bytes::from_static(b"retry: 3000\n\n"))]).chain(rest)
}

impl EventEncoder {
    async fn next(&mut self) -> Option<Bytes> {
        let changes = self.changes.as_mut()?;
        let Ok(next) = timeout(HEARTBEAT, changes.next()).await else {
            // What was held back so long is no character's start.
            let (held, end) = std::mem::take(&mut self.held);
            return Some(if held.is_empty() { Bytes::from_static(b":\n\n") } else { content(&held, end) });
        };
        Some(match next {
            Some(Ok(Followed::Data { data, end })) => self.data(&data, end),
            Some(Ok(Followed::Truncated)) => self.begins_anew("truncated"),
            Some(Ok(Followed::Replaced)) => self.begins_anew("replaced"),
            Some(Ok(Followed::Removed)) => event(Some("removed"), None, "{}"),
            Some(Err(error)) => {
                self.changes = None;
                let problem = Problem::from(ServiceError::from(error));
                self.problem_context.log(&problem, "a file could not be followed any more");
                event(Some("error"), None, &String::from_utf8_lossy(&self.problem_context.document(&problem)))
            }
            None => {
                self.changes = None;
                event(Some("end"), None, &json!({"reason": "the access token has ended"}).to_string())
            }
        })
    }

    fn data(&mut self, data: &[u8], end: u64) -> Bytes {
        let (held, _) = std::mem::take(&mut self.held);
        let data = [held.as_slice(), data].concat();
        let whole = data.len() - unfinished(&data);
        let told = end - (data.len() - whole) as u64;
        self.held = (data[whole..].to_vec(), end);
        content(&data[..whole], told)
    }

    fn begins_anew(&mut self, name: &str) -> Bytes {
        self.held = (Vec::new(), 0);
        event(Some(name), Some(0), "{}")
    }
}

fn content(data: &[u8], end: u64) -> Bytes {
    event(None, Some(end), &json!({"content": bytes_to_text(data)}).to_string())
}

/// An event. JSON has no line breaks of its own, so that its data is one line. Not axum's `Sse`, which says `Cache-Control: no-cache`, so that what
/// one caller may see could be stored.
pub(in crate::http) fn event(name: Option<&str>, id: Option<u64>, data: &str) -> Bytes {
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

/// How many bytes at the end may be the start of a character of UTF-8 whose rest is to come: at most three.
fn unfinished(data: &[u8]) -> usize {
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
