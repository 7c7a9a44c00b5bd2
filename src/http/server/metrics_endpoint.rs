//! Numbers about the service, on a listener of their own.
//!
//! It asks for no token, and so it never stands among the routes of the API. What the numbers are is not known here.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::ErrorChain;

/// What answers `GET /metrics` with the text that `render` writes.
pub fn metrics<R>(content_type: &'static str, render: R) -> Router
where
    R: Fn() -> Result<String, fmt::Error> + Send + Sync + 'static,
{
    let render = Arc::new(render);
    let handler = move || {
        let render = Arc::clone(&render);
        // The numbers of the process are read from files.
        async move { answer(content_type, tokio::task::spawn_blocking(move || render()).await) }
    };
    Router::new().route("/metrics", get(handler))
}

fn answer(content_type: &'static str, text: Result<Result<String, fmt::Error>, tokio::task::JoinError>) -> Response {
    let text = match text {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => return failed(&error),
        Err(error) => return failed(&error),
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::error!(error = %ErrorChain(error), "the metrics could not be written");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
