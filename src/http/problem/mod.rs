//! Errors on the wire: the only place with status codes for errors.
//!
//! The body is a problem document (RFC 9457) that also carries the members that clients of FirecREST read. A [`Problem`] is
//! turned into a response in two steps: here its status and headers are set, and a layer (`middleware/problem_body.rs`) writes the
//! body and `Retry-After`, since only there the caller, the path and the method are known. To add a kind of failure: a variant of [`Kind`] and an arm in
//! [`answer`].

mod alternatives;
pub(crate) mod context;
pub(crate) mod detail;
pub(crate) mod field_names;
pub(crate) mod invalid;
pub(crate) mod problem_context;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::cluster::GateError;
use crate::error::{Classify, ErrorChain, Kind, public_causes};
use crate::filesystem::FilesystemError;
use crate::http::problem::context::RequestContext;
use crate::http::problem::field_names::placed;
use crate::http::problem::invalid::InvalidInput;
use crate::notify::WebhookError;
use crate::scheduler::SchedulerError;
use crate::service::{AccessError, InvalidRequest, ServiceError};

/// The media type of every error body.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a problem document can always be written.
const SERIALISES: &str = "strings, numbers and JSON values serialise";

/// The kind of failure and the `reason` of refusals during a maintenance. The web interface of FirecREST looks for it.
const MAINTENANCE: &str = "maintenance";

/// An error response. Its content is boxed, so that results are small in the case of success.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Content>);

#[derive(Clone, Debug)]
struct Content {
    answer: ErrorAnswer,
    error_type: ErrorType,
    message: String,
    caused_by: Option<Vec<String>>,
    invalid: Option<Invalid>,
    maybe_effected: Option<bool>,
    /// Whether the request may safely be sent again, although it may have taken effect.
    repeatable: bool,
    challenge: Option<String>,
    /// The size of the file if the requested range is outside it.
    size: Option<u64>,
    log: String,
}

/// The wrong fields of a request.
#[derive(Clone, Debug)]
enum Invalid {
    /// Wrong fields found while the request was read.
    Input(InvalidInput),
    /// Wrong fields found by a use case, which does not know their places.
    Request(InvalidRequest),
}

/// Status, name, title and retry advice of a kind of failure.
#[derive(Clone, Copy, Debug)]
struct ErrorAnswer {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    retryable: bool,
    retry_after: Option<u32>,
}

/// The body of every error answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiResponseError<'a> {
    /// A URI that names the kind of failure (RFC 9457).
    #[serde(rename = "type")]
    #[schema(example = "urn:goldcrest:problem:not-found")]
    kind: String,
    /// The kind of failure as text.
    #[schema(example = "Not found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What went wrong; the same as `message`.
    detail: &'a str,
    /// The path of the request.
    instance: &'a str,
    /// Whether the request failed or was malformed.
    error_type: ErrorType,
    /// What went wrong.
    #[schema(example = "System not found")]
    message: &'a str,
    /// The messages of the causes, nearest first.
    caused_by: Option<&'a [String]>,
    /// More about the failure: for `validation`, the wrong fields as `fields`, each with `location`, `name` and `message`.
    #[schema(value_type = Option<Object>)]
    data: Option<&'a Value>,
    /// The user name of the caller, once known.
    user: Option<&'a str>,
    /// Whether the same request may succeed later and is safe to send again.
    retryable: bool,
    /// `maintenance` if the site or the system is under maintenance. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "maintenance")]
    reason: Option<&'static str>,
    /// For a change that failed: whether it may have happened nevertheless. Absent where that does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    maybe_effected: Option<bool>,
}

/// Whether a request failed or was malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ApResponseErrorType)]
pub(crate) enum ErrorType {
    /// It failed.
    Error,
    /// It was malformed.
    Validation,
}

impl Problem {
    /// A failure without an error value behind it.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::with(answer(kind), message.into())
    }

    /// The path exists and does not have this method.
    pub(crate) fn method_not_allowed(methods: &[&str], documentation: &str) -> Self {
        let message = format!("Method Not Allowed: this path has {}; {documentation} lists the operations", methods.join(", "));
        Self::of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", message)
    }

    /// A condition of the request does not hold (RFC 9110, 15.5.13).
    pub(crate) fn precondition_failed(message: impl Into<String>) -> Self {
        Self::of(StatusCode::PRECONDITION_FAILED, "precondition-failed", "A condition does not hold", message)
    }

    /// The file is not in the state that a condition of the request names.
    pub(crate) fn state_changed() -> Self {
        Self::precondition_failed("the file is not in a state that the request expects")
    }

    /// The requested range is outside the file, which has this size (RFC 9110, 15.5.17).
    pub(crate) fn unsatisfiable(size: u64) -> Self {
        let message = format!("the file has {size} bytes, and none in the range asked for");
        let mut problem = Self::of(StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "Nothing in this range", message);
        problem.0.size = Some(size);
        problem
    }

    /// Another request holds what this one needs (RFC 4918, 11.3).
    fn locked(message: String) -> Self {
        let answer = ErrorAnswer { status: StatusCode::LOCKED, name: "locked", title: "In use", retryable: true, retry_after: Some(1) };
        Self::with(answer, message)
    }

    /// The document is read, and asks for what cannot be had (RFC 9110, 15.5.21).
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::of(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "This cannot be done", message)
    }

    /// The key of a submission was used for another request (draft-ietf-httpapi-idempotency-key-header, 2.7).
    fn key_reused(message: String) -> Self {
        Self::of(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The key was used for another request", message)
    }

    /// The address of a webhook may not be called.
    fn webhook_refused(message: String) -> Self {
        Self::of(StatusCode::UNPROCESSABLE_ENTITY, "webhook-refused", "This address is not called", message)
    }

    /// The content has not the checksum that was announced (tus 1.0, checksum).
    fn checksum_mismatch(message: String) -> Self {
        let status = StatusCode::from_u16(460).expect("460 is a number from 100 to 999");
        Self::of(status, "checksum-mismatch", "Another checksum than announced", message)
    }

    /// The type of the content is not supported (RFC 9110, 15.5.16).
    pub(crate) fn unsupported_media(message: impl Into<String>) -> Self {
        Self::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Not this kind of content", message)
    }

    /// What cannot be read as a request of HTTP/1.1, by the status of the server's own answer.
    pub(crate) fn malformed(status: StatusCode) -> Option<Self> {
        Some(match status {
            StatusCode::BAD_REQUEST => {
                Self::new(Kind::Invalid, "this is no request of HTTP/1.1: its first line, the version or a header field is malformed")
            }
            StatusCode::URI_TOO_LONG => {
                let message =
                    "the address of the request is longer than 65534 bytes: send long values in a body, where the operation has one";
                Self::of(status, "uri-too-long", "The address is too long", message)
            }
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                let message = "the first line and the header fields of the request are larger than 65536 bytes, or more than 100: send fewer \
                               or shorter ones, such as a smaller token or a shorter query";
                Self::of(status, "head-too-large", "The head of the request is too large", message)
            }
            _ => return None,
        })
    }

    /// Marks the change as possibly made.
    pub(crate) fn maybe_effected(mut self) -> Self {
        self.0.maybe_effected = Some(true);
        self
    }

    /// The same of work that only reads, whatever the method of the request.
    pub(crate) fn of_read(mut self) -> Self {
        self.0.maybe_effected = None;
        self
    }

    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.0.answer.status.as_u16()
    }

    /// The complete error for the log.
    pub(crate) fn log(&self) -> &str {
        &self.0.log
    }

    /// Whether the same request may be sent again; `safe` tells whether its method only reads.
    pub(crate) fn is_retryable(&self, safe: bool) -> bool {
        self.0.answer.retryable && (self.0.repeatable || self.effect(safe) != Some(true))
    }

    /// After how many seconds the same request may be sent again, for `Retry-After`.
    pub(crate) fn retry_after(&self, safe: bool) -> Option<u32> {
        self.0.answer.retry_after.filter(|_| self.is_retryable(safe))
    }

    /// Writes the body: `instance` is the path of the request, `safe` whether its method changes nothing.
    pub(crate) fn body(&self, context: &RequestContext, instance: &str, safe: bool) -> Vec<u8> {
        self.document(context, instance, safe, |document| serde_json::to_vec(document).expect(SERIALISES))
    }

    /// The body as a value.
    fn value(&self, context: &RequestContext, instance: &str, safe: bool) -> Value {
        self.document(context, instance, safe, |document| serde_json::to_value(document).expect(SERIALISES))
    }

    fn document<T>(&self, context: &RequestContext, instance: &str, safe: bool, write: impl FnOnce(&ApiResponseError<'_>) -> T) -> T {
        let maybe_effected = self.effect(safe);
        let invalid = self.0.invalid.as_ref().map(|invalid| match invalid {
            Invalid::Input(input) => Cow::Borrowed(input),
            Invalid::Request(request) => Cow::Owned(placed(request, context.fields())),
        });
        let message = invalid.as_ref().map_or(Cow::Borrowed(&self.0.message), |invalid| Cow::Owned(invalid.to_string()));
        let data = invalid.map(|invalid| json!({"fields": invalid.0}));
        write(&ApiResponseError {
            kind: format!("urn:goldcrest:problem:{}", self.0.answer.name),
            title: self.0.answer.title,
            status: self.0.answer.status.as_u16(),
            detail: &message,
            instance,
            error_type: self.0.error_type,
            message: &message,
            caused_by: self.0.caused_by.as_deref(),
            data: data.as_ref(),
            user: context.username(),
            retryable: self.is_retryable(safe),
            reason: (self.0.answer.name == MAINTENANCE).then_some(MAINTENANCE),
            maybe_effected,
        })
    }

    /// Whether the change may have happened; nothing for a request that only reads.
    fn effect(&self, safe: bool) -> Option<bool> {
        self.0.maybe_effected.filter(|_| !safe)
    }

    fn of(status: StatusCode, name: &'static str, title: &'static str, message: impl Into<String>) -> Self {
        Self::with(ErrorAnswer { status, name, title, retryable: false, retry_after: None }, message.into())
    }

    fn with(answer: ErrorAnswer, message: String) -> Self {
        let log = message.clone();
        let (error_type, challenge, size) = (ErrorType::Error, None, None);
        let content = Content {
            answer,
            error_type,
            message,
            caused_by: None,
            invalid: None,
            maybe_effected: None,
            repeatable: false,
            challenge,
            size,
            log,
        };
        Self(Box::new(content))
    }

    fn invalid(message: String, names: &str, invalid: Invalid) -> Self {
        let mut problem = Self::new(Kind::Invalid, message);
        problem.0.error_type = ErrorType::Validation;
        problem.0.invalid = Some(invalid);
        // The messages may quote what the client sent; the log gets the names alone.
        problem.0.log = format!("validation failed: {names}");
        problem
    }

    fn classified(error: &impl Classify) -> Self {
        let message = error.public_message().into_owned();
        let causes: Vec<String> = public_causes(error).map(|cause| cause.public_message().into_owned()).collect();
        let mut problem = Self::new(error.kind(), message);
        problem.0.caused_by = (!causes.is_empty()).then_some(causes);
        problem.0.maybe_effected = error.maybe_effected();
        problem.0.answer.retryable = error.is_transient();
        problem.0.log = ErrorChain(error).to_string();
        problem
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let mut problem = Self::classified(&error);
        match &error {
            AccessError::NoToken => problem.0.message.push_str(": send an access token as `Authorization: Bearer <token>`"),
            AccessError::SystemNotFound(_) => problem.0.message.push_str("; GET /status/systems lists the systems that you may use"),
            _ => {}
        }
        problem.0.challenge = challenge(&error);
        if let AccessError::Maintenance(maintenance) = &error {
            let answer =
                ErrorAnswer { name: MAINTENANCE, title: "Under maintenance", retry_after: maintenance.retry_after, ..problem.0.answer };
            problem.0.answer = answer;
        }
        problem
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let alternative = error.alternative();
        let mut problem = match error {
            ServiceError::Invalid(invalid) => invalid.into(),
            ServiceError::Filesystem(FilesystemError::Range(size)) => Self::unsatisfiable(size),
            ServiceError::Precondition(error) => Self::precondition_failed(error.to_string()),
            ServiceError::Checksum(error) => Self::checksum_mismatch(error.to_string()),
            ServiceError::Busy => Self::locked(error.to_string()),
            ServiceError::Webhook(WebhookError::Url(_)) => Self::webhook_refused(error.to_string()),
            ServiceError::Scheduler(SchedulerError::KeyReused) => Self::key_reused(error.to_string()),
            ServiceError::Scheduler(SchedulerError::UnderWay { wait, .. } | SchedulerError::Undecided { wait, .. }) => {
                let mut problem = Self::classified(&error);
                problem.0.answer.retryable = true;
                problem.0.repeatable = true;
                problem.0.answer.retry_after = u32::try_from(wait.as_secs()).ok();
                problem
            }
            ServiceError::Gate(GateError::Unhealthy { wait: Some(wait), .. }) => {
                let mut problem = Self::classified(&error);
                problem.0.answer.retry_after = Some(whole_seconds(wait));
                problem
            }
            error => Self::classified(&error),
        };
        if let Some(alternative) = alternative {
            problem.0.message = format!("{}: {}", problem.0.message, alternatives::words(alternative));
        }
        problem
    }
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        let names: Vec<&str> = error.fields().iter().map(|field| &*field.name).collect();
        let names = names.join(", ");
        Self::invalid(error.to_string(), &names, Invalid::Request(error))
    }
}

impl From<InvalidInput> for Problem {
    fn from(error: InvalidInput) -> Self {
        let names: Vec<&str> = error.0.iter().map(|field| &*field.name).collect();
        let names = names.join(", ");
        Self::invalid(error.to_string(), &names, Invalid::Input(error))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(challenge) = self.0.challenge.as_deref().and_then(|challenge| HeaderValue::from_str(challenge).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(range) = self.0.size.and_then(|size| HeaderValue::from_str(&format!("bytes */{size}")).ok()) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        let mut response = (self.0.answer.status, headers, Body::empty()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The time as the value of `Retry-After`: rounded up, at least 1.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

/// The status of an error of this kind.
pub(crate) fn status(kind: Kind) -> StatusCode {
    answer(kind).status
}

/// The table.
fn answer(kind: Kind) -> ErrorAnswer {
    let (status, name, title, retry_after) = match kind {
        Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid", "The request is not valid", None),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated", None),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed", None),
        Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found", None),
        Kind::Gone => (StatusCode::GONE, "gone", "Not there any more", None),
        Kind::RemoteTimeout => (StatusCode::REQUEST_TIMEOUT, "remote-timeout", "The cluster took too long", None),
        Kind::Conflict => (StatusCode::CONFLICT, "conflict", "The present state forbids it", None),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", None),
        Kind::DependencyFailed => (StatusCode::FAILED_DEPENDENCY, "dependency-failed", "The cluster could not be reached", Some(5)),
        Kind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", Some(10)),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", None),
        Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "unsupported", "Not supported", None),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", Some(10)),
        Kind::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline-exceeded", "The request took too long", None),
    };
    ErrorAnswer { status, name, title, retryable: kind.is_transient(), retry_after }
}

/// The `WWW-Authenticate` value (RFC 6750, 3): without parameters if no token was sent, with the reason if one was refused.
fn challenge(error: &AccessError) -> Option<String> {
    let description: Cow<'static, str> = match error {
        AccessError::NoToken => return Some("Bearer".to_owned()),
        AccessError::Malformed(reason) => Cow::Borrowed(reason),
        AccessError::Authentication(source) if source.kind() == Kind::Unauthenticated => source.public_message(),
        _ => return None,
    };
    let description: String = description.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
    Some(format!("Bearer error=\"invalid_token\", error_description=\"{description}\""))
}

#[cfg(test)]
mod tests;
