//! Writes the body of errors, which names the caller and the path. Before that, such an answer has a status, headers and a [`Problem`]
//! among its extensions.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;

use crate::http::problem::Problem;
use crate::http::problem::context::RequestContext;
use crate::http::problem::detail::DetailBody;

/// Has `next` answer the request, and writes the body of an error. The problem stays among the extensions, for the log.
pub(super) async fn problem_body<F: Future<Output = Response>>(
    request: Request,
    context: Arc<RequestContext>,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let mut response = next(request).await;
    let Some(problem) = response.extensions().get::<Problem>() else { return response };
    let is_safe = context.method().is_safe();
    let body = match response.extensions().get::<DetailBody>() {
        Some(DetailBody) => problem.detail(&context, is_safe),
        None => problem.body(&context, context.path(), is_safe),
    };
    if let Some(seconds) = problem.retry_after(is_safe) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = if context.method() == Method::HEAD { Body::empty() } else { Body::from(body) };
    response
}
