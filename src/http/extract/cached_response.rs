//! Responses that a client may cache for a short time: with their age, with a tag, and 304 for clients that have them already
//! (RFC 9110, 8.8.3 and 13.1.2; RFC 9111, 5).
//!
//! The document and its tag are created once for each [`Reading`], so that sending it again costs neither. This module must not know
//! the content of the readings.

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::{Backend, Reading, Rendering, hex};
use crate::http::Api;
use crate::http::extract::conditional::{strong, tags};
use crate::http::extract::page::Paging;

/// The backend of the scheduler that answered, if there is more than one.
static SCHEDULER_PATH: HeaderName = HeaderName::from_static("goldcrest-scheduler-path");

/// The header that describes what is missing in a response.
static INCOMPLETE: HeaderName = HeaderName::from_static("goldcrest-incomplete");

/// The header that names the backend, if there is more than one.
pub(crate) fn backend_header(via: Option<Backend>) -> HeaderMap {
    let value = via.and_then(|backend| HeaderValue::from_str(&backend.to_string()).ok());
    value.map(|value| (SCHEDULER_PATH.clone(), value)).into_iter().collect()
}

/// The description of what is missing, if a part of a response could not be obtained.
pub(crate) type Missing = Option<&'static str>;

/// The tags of `If-None-Match`: the responses that the client has.
pub(crate) struct IfNoneMatch(Vec<String>);

impl FromRequestParts<Api> for IfNoneMatch {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self::from(&parts.headers))
    }
}

impl From<&HeaderMap> for IfNoneMatch {
    fn from(headers: &HeaderMap) -> Self {
        Self(tags(headers, &header::IF_NONE_MATCH).unwrap_or_default())
    }
}

impl IfNoneMatch {
    /// The response with the document that `render` creates; 304 without it if the client has it.
    pub(crate) fn answer<T>(&self, reading: &Reading<T>, render: impl FnOnce(&T, Missing) -> Rendering) -> Response {
        let missing = reading.missing();
        self.respond(reading, reading.rendering(|value| render(value, missing)), HeaderMap::new())
    }

    /// The same for a page of the response; for all entries if no page is requested.
    pub(crate) fn page<E>(&self, reading: &Reading<Vec<E>>, paging: &Paging, render: fn(&[E], Missing) -> Rendering) -> Response {
        if paging.is_whole() {
            return self.answer(reading, |entries, missing| render(entries, missing));
        }
        self.respond(reading, &render(paging.of(reading), reading.missing()), paging.headers(reading.len()))
    }

    fn respond<T>(&self, reading: &Reading<T>, rendering: &Rendering, mut headers: HeaderMap) -> Response {
        let tag = format!("\"{}\"", rendering.digest);
        let max_age = format!("private, max-age={}", reading.fresh_for().as_secs());
        headers.extend(backend_header(reading.via()));
        if let Some(missing) = reading.missing() {
            headers.insert(INCOMPLETE.clone(), HeaderValue::from_static(missing));
        }
        for (name, value) in [(header::ETAG, &tag), (header::CACHE_CONTROL, &max_age)] {
            headers.insert(name, HeaderValue::from_str(value).expect("a digest and a number are printable ASCII"));
        }
        headers.insert(header::AGE, HeaderValue::from(reading.age().as_secs()));
        headers.insert(header::VARY, HeaderValue::from_static("authorization"));
        if self.holds(&tag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (headers, Body::from(rendering.bytes.clone())).into_response()
    }

    fn holds(&self, tag: &str) -> bool {
        self.0.iter().any(|known| strong(known) == tag || known == "*")
    }
}

/// A document with the description of what is missing.
#[derive(Serialize)]
struct Incomplete<M> {
    #[serde(flatten)]
    model: M,
    incomplete: &'static str,
}

/// A document with the description of what is missing.
pub(crate) fn render(model: impl Serialize, missing: Missing) -> Rendering {
    let bytes = match missing {
        None => serde_json::to_vec(&model),
        Some(incomplete) => serde_json::to_vec(&Incomplete { model, incomplete }),
    };
    let bytes = bytes.expect("strings, numbers and lists of them serialise");
    let digest = hex(&digest(&SHA256, &bytes).as_ref()[..16]);
    Rendering { bytes: bytes.into(), digest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_every_way_of_writing_it_and_no_other_is() {
        let headers = |fields: &[&'static str]| -> HeaderMap {
            fields.iter().map(|field| (header::IF_NONE_MATCH, HeaderValue::from_static(field))).collect()
        };
        let holds = |fields: &[&'static str]| IfNoneMatch::from(&headers(fields)).holds("\"a1\"");
        for fields in [&["\"a1\""][..], &["W/\"a1\""], &["\"b2\", \"a1\""], &["\"b2\",W/\"a1\" "], &["\"b2\"", "\"a1\""], &["*"]] {
            assert!(holds(fields), "{fields:?}");
        }
        for fields in [&[][..], &[""], &["a1"], &["\"a11\""], &["\"A1\""], &["\"b2\", \"c3\""]] {
            assert!(!holds(fields), "{fields:?}");
        }
    }
}
