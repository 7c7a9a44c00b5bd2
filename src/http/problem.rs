//! Errors on the wire: the only place with status codes for errors.
//!
//! The body is a problem document (RFC 9457) that also carries the members that clients of FirecREST read. A [`Problem`] is
//! turned into a response in two steps: here its status and headers are set, and the outermost layer (`observe`) writes the
//! body, since only there the caller and the path are known. To add a kind of failure: a variant of [`Kind`] and an arm in
//! [`answer`].

use std::borrow::Cow;
use std::error::Error;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::context::RequestContext;
use crate::authn::AuthnError;
use crate::error::{Classify, ErrorChain, Kind};
use crate::filesystem::FilesystemError;
use crate::scheduler::SchedulerError;
use crate::service::{AccessError, InvalidRequest, Place, ServiceError};
use crate::ssh::{CommandError, TransportError};

/// The media type of every error body.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// An error answer.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    answer: Answer,
    error_type: ErrorType,
    message: String,
    caused_by: Option<Vec<String>>,
    data: Option<Value>,
    maybe_effected: Option<bool>,
    challenge: Option<String>,
    log: String,
}

/// Status, name, title and retry advice of a kind of failure.
#[derive(Clone, Copy, Debug)]
struct Answer {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    retryable: bool,
    retry_after: Option<u32>,
}

/// The body of every error answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiResponseError<'a> {
    /// A URI that names the kind of failure (RFC 9457).
    #[serde(rename = "type")]
    #[schema(example = "urn:goldcrest:problem:not-found")]
    kind: String,
    /// The kind of failure in words.
    #[schema(example = "Not found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What went wrong this time; the same as `message`.
    detail: &'a str,
    /// The path of the request.
    instance: &'a str,
    /// Whether the request failed or was malformed.
    error_type: ErrorType,
    /// What went wrong this time.
    #[schema(example = "System not found")]
    message: &'a str,
    /// The messages of the causes, nearest first.
    caused_by: Option<&'a [String]>,
    /// More about the failure: for `validation`, the wrong fields as `fields`, each with `location`, `name` and `message`.
    #[schema(value_type = Option<Object>)]
    data: Option<&'a Value>,
    /// The user name of the caller, once known.
    user: Option<&'a str>,
    /// Whether the same request may succeed later and does no harm when sent again.
    retryable: bool,
    /// For a change that failed: whether it may have happened all the same. Absent where that does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    maybe_effected: Option<bool>,
}

/// Whether a request failed or was malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ApResponseErrorType)]
pub(super) enum ErrorType {
    /// It failed.
    Error,
    /// It was malformed.
    Validation,
}

impl Problem {
    /// A failure without an error value behind it.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::with(answer(kind), message.into())
    }

    /// The path exists and does not have this method.
    pub(super) fn method_not_allowed() -> Self {
        let (status, name) = (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed");
        let answer = Answer { status, name, title: "Method not allowed", retryable: false, retry_after: None };
        Self::with(answer, "Method Not Allowed".to_owned())
    }

    /// Says that a change may have happened all the same.
    pub(super) fn maybe_effected(self) -> Self {
        Self { maybe_effected: Some(true), ..self }
    }

    /// The whole story for the log.
    pub(super) fn log(&self) -> &str {
        &self.log
    }

    /// Whether the same request may be sent again, where `safe` says whether its method changes nothing.
    pub(super) fn is_retryable(&self, safe: bool) -> bool {
        self.answer.retryable && self.effect(safe) != Some(true)
    }

    /// Writes the body: `instance` is the path of the request, `safe` whether its method changes nothing.
    pub(super) fn body(&self, context: &RequestContext, instance: &str, safe: bool) -> Vec<u8> {
        let maybe_effected = self.effect(safe);
        let body = ApiResponseError {
            kind: format!("urn:goldcrest:problem:{}", self.answer.name),
            title: self.answer.title,
            status: self.answer.status.as_u16(),
            detail: &self.message,
            instance,
            error_type: self.error_type,
            message: &self.message,
            caused_by: self.caused_by.as_deref(),
            data: self.data.as_ref(),
            user: context.username(),
            retryable: self.is_retryable(safe),
            maybe_effected,
        };
        serde_json::to_vec(&body).expect("strings, numbers and JSON values serialise")
    }

    /// Whether a request that only reads had an effect is no question.
    fn effect(&self, safe: bool) -> Option<bool> {
        self.maybe_effected.filter(|_| !safe)
    }

    fn with(answer: Answer, message: String) -> Self {
        let log = message.clone();
        Self { answer, error_type: ErrorType::Error, message, caused_by: None, data: None, maybe_effected: None, challenge: None, log }
    }

    fn classified(error: &impl Classify) -> Self {
        let message = error.public_message().into_owned();
        let caused_by = public_causes(error, &message);
        let caused_by = (!caused_by.is_empty()).then_some(caused_by);
        let maybe_effected = error.maybe_effected();
        Self { caused_by, maybe_effected, log: ErrorChain(error).to_string(), ..Self::new(error.kind(), message) }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let challenge = challenge(&error);
        Self { challenge, ..Self::classified(&error) }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(invalid) => invalid.into(),
            error => Self::classified(&error),
        }
    }
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        let fields: Vec<Value> = error
            .fields()
            .iter()
            .map(|field| {
                let location = match field.place {
                    Place::Name => "path",
                    Place::Parameter => "query",
                    Place::Document => "body",
                };
                json!({"location": location, "name": field.name, "message": field.message})
            })
            .collect();
        // The messages may quote what the client sent; the log gets the names alone.
        let names: Vec<&str> = error.fields().iter().map(|field| &*field.name).collect();
        let log = format!("validation failed: {}", names.join(", "));
        let data = Some(json!({"fields": fields}));
        Self { error_type: ErrorType::Validation, data, log, ..Self::new(Kind::Invalid, error.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.answer.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge.as_deref().and_then(|challenge| HeaderValue::from_str(challenge).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        let mut response = (self.answer.status, headers, Body::empty()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The table.
fn answer(kind: Kind) -> Answer {
    let (status, name, title, retryable, retry_after) = match kind {
        Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid", "The request is not valid", false, None),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated", false, None),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed", false, None),
        Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found", false, None),
        Kind::RemoteTimeout => (StatusCode::REQUEST_TIMEOUT, "remote-timeout", "The cluster took too long", true, None),
        Kind::Conflict => (StatusCode::CONFLICT, "conflict", "The present state forbids it", false, None),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", false, None),
        Kind::DependencyFailed => (StatusCode::FAILED_DEPENDENCY, "dependency-failed", "The cluster could not be reached", true, Some(5)),
        Kind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", true, Some(10)),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", false, None),
        Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "unsupported", "Not supported", false, None),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", true, Some(10)),
        Kind::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline-exceeded", "The request took too long", true, None),
    };
    Answer { status, name, title, retryable, retry_after }
}

/// The `WWW-Authenticate` value (RFC 6750, 3): plain where no token was sent, with the reason where one was refused.
fn challenge(error: &AccessError) -> Option<String> {
    let description: Cow<'static, str> = match error {
        AccessError::NoToken => return Some("Bearer".to_owned()),
        AccessError::Malformed(reason) => Cow::Borrowed(reason),
        AccessError::Authentication(source @ (AuthnError::Invalid(_) | AuthnError::EndsTooSoon { .. })) => source.public_message(),
        _ => return None,
    };
    let description: String = description.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
    Some(format!("Bearer error=\"invalid_token\", error_description=\"{description}\""))
}

/// The public messages of the causes. Only errors of ours are shown: what a foreign error says, such as an address, is unknown.
fn public_causes(error: &(dyn Error + 'static), message: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let Some(text) = public_text(cause) else { break };
        if text != message && messages.last() != Some(&text) {
            messages.push(text);
        }
        source = cause.source();
    }
    messages
}

fn public_text(error: &(dyn Error + 'static)) -> Option<String> {
    fn of<E: Classify>(error: &(dyn Error + 'static)) -> Option<Cow<'static, str>> {
        error.downcast_ref::<E>().map(Classify::public_message)
    }
    of::<TransportError>(error)
        .or_else(|| of::<CommandError>(error))
        .or_else(|| of::<SchedulerError>(error))
        .or_else(|| of::<FilesystemError>(error))
        .map(Cow::into_owned)
}
