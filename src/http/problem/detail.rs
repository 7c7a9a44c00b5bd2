//! Errors in the form of another program's API: one member with what went wrong.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use crate::http::problem::Problem;
use crate::http::problem::context::RequestContext;

/// The answer to every invalid token; clients compare the text.
const NO_TOKEN: &str = "Incorrect token";

/// Among the extensions of an answer: its error is written as `{"detail": ...}`.
#[derive(Clone)]
pub(crate) struct DetailBody;

/// The same answer, whose error is written as `{"detail": ...}`.
pub(crate) fn with_details(mut response: Response) -> Response {
    if response.extensions().get::<Problem>().is_some() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.extensions_mut().insert(DetailBody);
    }
    response
}

impl Problem {
    /// Writes the body in that form.
    pub(crate) fn detail(&self, context: &RequestContext, safe: bool) -> Vec<u8> {
        let detail = match self.status() == StatusCode::UNAUTHORIZED.as_u16() {
            true => json!(NO_TOKEN),
            false => self.value(context, context.path(), safe)["detail"].take(),
        };
        json!({"detail": detail}).to_string().into_bytes()
    }
}
