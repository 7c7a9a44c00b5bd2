//! `/compute/{system_name}/jobs/events` and `/compute/{system_name}/jobs/{job_id}/events`: changes of jobs, as server-sent events (HTML
//! standard, 9.2) or as lines of JSON.
//!
//! The id of an event is its number, so that a client that reconnects with `Last-Event-ID` misses nothing and sees nothing twice.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::domain::JobEvent;
use crate::http::compute::jobs::EVENT_ID;
use crate::http::event_stream::{COMMENT, LAST_EVENT_ID, MEDIA_TYPE, UNBUFFERED, event};
use crate::http::extract::access::{JobIdText, ReadAccess};
use crate::http::filesystem::ndjson;
use crate::http::list_field;
use crate::http::problem::Problem;
use crate::mirror::{Encoding, JournalEntry, Staleness};
use crate::service::watching::{self, JobEvents, Notice, Resume};

/// A change of a job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct JobEventModel<'a> {
    /// The number of the event; absent for the state of a job at the start of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    /// The scheduler's id, with the array index if there is one.
    #[schema(example = "1234")]
    job_id: &'a str,
    name: Option<&'a str>,
    user: &'a str,
    /// The previous state, in the scheduler's words; null if the job was not known.
    #[schema(example = "RUNNING")]
    previous_state: Option<&'a str>,
    /// The state, in the scheduler's words; `UNKNOWN` if the scheduler no longer knows the job and its end was not observed.
    #[schema(example = "COMPLETED")]
    state: &'a str,
    exit_code: Option<i32>,
    /// The signal that ended the job.
    interrupt_signal: Option<i32>,
    /// Whether the job has ended.
    is_final: bool,
    /// When the change was observed.
    #[schema(example = "2026-01-31T08:00:00Z")]
    time: String,
}

impl<'a> JobEventModel<'a> {
    fn new(sequence: Option<u64>, event: &'a JobEvent) -> Self {
        Self {
            sequence,
            job_id: &event.id,
            name: event.name.as_deref(),
            user: &event.owner,
            previous_state: event.previous.as_deref(),
            state: &event.state,
            exit_code: event.exit_code,
            interrupt_signal: event.signal,
            is_final: event.is_final,
            time: event.at.to_string(),
        }
    }
}

/// Follow the caller's jobs
///
/// Server-sent events, or with `Accept: application/x-ndjson` one line for each. Events without a name are changes of the caller's jobs. The event
/// `stale` means that the scheduler has not answered for `age` seconds, and `current` that it answers again. The event `end` has the reason of the end.
/// The id of an event is its number; a request with this number as `Last-Event-ID` continues after it.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/jobs/events",
    operation_id = "get_job_events_compute__system_name__jobs_events_get",
    tag = "compute",
    params(("Last-Event-ID" = Option<String>, Header, description = "Continue after the event with this number; with the next event if it is not a number")),
    responses((status = 200, description = "What happens to the jobs", content((JobEventModel = "text/event-stream"), (JobEventModel = "application/x-ndjson"))))
)]
pub(crate) async fn events(ReadAccess(access): ReadAccess, headers: HeaderMap) -> Result<Response, Problem> {
    Ok(answer(watching::own_events(&access, resume(&headers)).await?, &headers))
}

/// Follow a job
///
/// The events of one job and its tasks, as for all jobs of the caller, until the job has ended. Without `Last-Event-ID`, the first events have the
/// current state of the job.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/jobs/{job_id}/events",
    operation_id = "get_events_of_job_compute__system_name__jobs__job_id__events_get",
    tag = "compute",
    params(("Last-Event-ID" = Option<String>, Header, description = "Continue after the event with this number; with the next event if it is not a number")),
    responses((status = 200, description = "What happens to the job", content((JobEventModel = "text/event-stream"), (JobEventModel = "application/x-ndjson"))))
)]
pub(crate) async fn job_events(ReadAccess(access): ReadAccess, id: JobIdText, headers: HeaderMap) -> Result<Response, Problem> {
    Ok(answer(watching::job_events(&access, &id.0, resume(&headers)).await?, &headers))
}

fn resume(headers: &HeaderMap) -> Resume {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Resume::Present };
    let number = id.to_str().ok().map(str::trim).filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.parse().ok()).map_or(Resume::Malformed, Resume::After)
}

fn answer(events: JobEvents, headers: &HeaderMap) -> Response {
    let (encoding, media_type) = if list_field::accepts(headers, ndjson::MEDIA_TYPE) {
        (Encoding::Lines, ndjson::MEDIA_TYPE)
    } else {
        (Encoding::EventStream, MEDIA_TYPE)
    };
    let position = events.position();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (EVENT_ID.clone(), HeaderValue::from(position)),
        (header::VARY, HeaderValue::from_static("accept")),
        UNBUFFERED,
    ];
    let notices = stream::unfold(events, |mut events| async move { events.next().await.map(|notice| (notice, events)) });
    let pieces = notices.map(move |notice| Ok::<_, Infallible>(encode(notice, encoding)));
    // The first piece lets the client know at once that all is well, and when to come again and with which id, should it have seen no event.
    let first = (encoding == Encoding::EventStream).then(|| Ok(Bytes::from(format!("retry: 3000\nid: {position}\n\n"))));
    (headers, Body::from_stream(stream::iter(first).chain(pieces))).into_response()
}

fn encode(notice: Notice, encoding: Encoding) -> Bytes {
    match notice {
        Notice::Event(entry) => entry.encoded(encoding, |entry| of_entry(entry, encoding)),
        Notice::Present(job) => data(None, None, &document(None, &job), encoding),
        Notice::NotResumed(reason) => comment(reason, encoding),
        Notice::Gap => comment("earlier events are no longer kept", encoding),
        Notice::Stale(Staleness { age, reason }) => {
            let document = json!({"age": age.as_secs(), "reason": &*reason}).to_string();
            data(Some("stale"), None, &document, encoding)
        }
        Notice::Current => data(Some("current"), None, "{}", encoding),
        Notice::Quiet if encoding == Encoding::Lines => Bytes::from_static(b"\n"),
        Notice::Quiet => COMMENT,
        Notice::End(reason) => data(Some("end"), None, &json!({"reason": reason}).to_string(), encoding),
    }
}

fn of_entry(entry: &JournalEntry, encoding: Encoding) -> Bytes {
    data(None, Some(entry.sequence), &document(Some(entry.sequence), &entry.event), encoding)
}

fn document(sequence: Option<u64>, event: &JobEvent) -> String {
    serde_json::to_string(&JobEventModel::new(sequence, event)).expect("strings and numbers serialise")
}

/// An event, or a line; one with a name has its data in a member of that name.
fn data(name: Option<&str>, id: Option<u64>, document: &str, encoding: Encoding) -> Bytes {
    match (encoding, name) {
        (Encoding::EventStream, name) => event(name, id, document),
        (Encoding::Lines, None) => format!("{document}\n").into(),
        (Encoding::Lines, Some(name)) => format!("{{\"{name}\":{document}}}\n").into(),
    }
}

fn comment(text: &str, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::EventStream => format!(": {text}\n\n").into(),
        Encoding::Lines => format!("{}\n", json!({"comment": text})).into(),
    }
}
