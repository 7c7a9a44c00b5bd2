//! The metrics endpoint, on its own listener.
//!
//! It needs no token, and thus is never one of the API's routes. This module does not know the metrics.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::ErrorChain;
use crate::http::list_field;

/// The formats that scrapers request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl MetricsFormat {
    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        })
    }

    /// OpenMetrics for clients that accept it, as Prometheus does; other clients get the older form.
    fn wanted(headers: &HeaderMap) -> Self {
        if list_field::accepts(headers, "application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }
}

/// The router that answers `GET /metrics` with the text that `render` writes.
pub fn metrics<R>(render: R) -> Router
where
    R: Fn(MetricsFormat) -> Result<String, fmt::Error> + Send + Sync + 'static,
{
    let render = Arc::new(render);
    let handler = move |headers: HeaderMap| {
        let (render, format) = (Arc::clone(&render), MetricsFormat::wanted(&headers));
        // The numbers of the process are read from files.
        async move { answer(format, tokio::task::spawn_blocking(move || render(format)).await) }
    };
    Router::new().route("/metrics", get(handler))
}

fn answer(format: MetricsFormat, text: Result<Result<String, fmt::Error>, tokio::task::JoinError>) -> Response {
    let text = match text {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => return failed(&error),
        Err(error) => return failed(&error),
    };
    ([(header::CONTENT_TYPE, format.media_type()), (header::VARY, HeaderValue::from_static("accept"))], text).into_response()
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::error!(error = %ErrorChain(error), "the metrics could not be written");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
