//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) of a submission, and the response headers about it.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::domain::Reported;
use crate::error::Kind;
use crate::http::Api;
use crate::http::compute::model::PostJobSubmissionResponse;
use crate::http::compute::webhooks::WebhookModel;
use crate::http::extract::cached_response::backend_header;
use crate::http::problem::Problem;
use crate::notify::Registered;
use crate::scheduler::{RecordPlace, Submitted};
use crate::service::IdempotencyKey;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `hit` if the response is that of an earlier request.
pub(in crate::http) const REPLY: HeaderName = HeaderName::from_static("idempotency-key-reply");

/// The place of the submission's record: `cluster` or `store`.
pub(in crate::http) const RECORD: HeaderName = HeaderName::from_static("idempotency-key-record");

/// The key of the request, if it has one.
pub(in crate::http) struct KeyHeader(Option<String>);

impl FromRequestParts<Api> for KeyHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(KEY).iter();
        let value = values.next().map(|value| value.to_str().unwrap_or_default().trim());
        if values.next().is_some() {
            return Err(Problem::new(Kind::Invalid, "send one Idempotency-Key"));
        }
        // The draft has a string between quotes; many clients leave them out.
        let text = value.map(|text| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text));
        Ok(Self(text.map(str::to_owned)))
    }
}

impl KeyHeader {
    /// The key of a request with this content.
    pub(super) fn of(self, content: &[u8]) -> Result<Option<IdempotencyKey>, Problem> {
        let key = self.0.map(|key| IdempotencyKey::new(&key, content)).transpose();
        key.map_err(|message| Problem::new(Kind::Invalid, message))
    }
}

/// The answer to a submission: 201 with the id.
pub(super) fn submitted(submitted: Reported<Submitted>) -> Response {
    answer(submitted, None, None)
}

/// The answer to a submission with a webhook.
pub(super) fn submitted_with(job: Reported<Submitted>, webhook: Result<Registered, &'static str>) -> Response {
    match webhook {
        Ok(registered) => answer(job, Some(registered.into()), None),
        Err(reason) => answer(job, None, Some(reason)),
    }
}

fn answer(submitted: Reported<Submitted>, webhook: Option<WebhookModel>, webhook_error: Option<&'static str>) -> Response {
    let headers = (backend_header(submitted.via), reply(&submitted));
    let body = Json(PostJobSubmissionResponse { job_id: Some(submitted.value.id.into()), webhook, webhook_error });
    (StatusCode::CREATED, headers.0, headers.1, body).into_response()
}

/// The headers that distinguish a repeated response from a first one, and name the place of the record.
fn reply(submitted: &Submitted) -> HeaderMap {
    let repeated = submitted.repeated.then(|| (REPLY, HeaderValue::from_static("hit")));
    let record = submitted.record.map(|place| match place {
        RecordPlace::Cluster => (RECORD, HeaderValue::from_static("cluster")),
        RecordPlace::Store => (RECORD, HeaderValue::from_static("store")),
    });
    repeated.into_iter().chain(record).collect()
}
