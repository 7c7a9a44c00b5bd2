//! The message to a receiver: a CloudEvent (specification 1.0, structured mode, JSON).

use serde::Serialize;

use super::webhook::{Delivery, StoredWebhook};

/// The media type of a CloudEvent in structured mode.
pub(super) const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// The type of events about a job's state. CloudEvents recommends a prefix with a reverse domain name; the project has none, and `source` names the site.
const JOB_STATE: &str = "goldcrest.job.state";

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    time: jiff::Timestamp,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    job_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    owner: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a str>,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    is_final: bool,
}

/// The body of a message; the same at each attempt.
pub(super) fn body(id: &str, public_url: Option<&str>, webhook: &StoredWebhook, delivery: &Delivery) -> Vec<u8> {
    let event = &delivery.event;
    let base = public_url.unwrap_or_default().trim_end_matches('/');
    let event = CloudEvent {
        specversion: "1.0",
        id,
        source: format!("{base}/compute/{}", webhook.system),
        kind: JOB_STATE,
        subject: &event.id,
        time: event.at,
        datacontenttype: "application/json",
        data: Data {
            job_id: &event.id,
            name: event.name.as_deref(),
            owner: &event.owner,
            previous: event.previous.as_deref(),
            state: &event.state,
            exit_code: event.exit_code,
            signal: event.signal,
            is_final: event.is_final,
        },
    };
    super::webhook::encode(&event)
}
