//! Logs each request with one line when it has been answered.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::config::{LoggedHeader, Logger};
use crate::http::problem::Problem;
use crate::http::problem::context::RequestContext;

/// The maximum length of a logged header value, in characters.
const MAX_LOGGED: usize = 256;

/// The request headers to log.
pub(crate) struct AccessLog {
    loggable: Vec<LoggedHeader>,
}

impl AccessLog {
    /// Creates a layer that logs what the configuration selects.
    pub(crate) fn new(logger: Logger) -> Self {
        let headers = logger.loggable_request_headers.into_iter().filter(|_| logger.enable_tracing_log);
        Self { loggable: headers.filter(|header| !is_secret_header(&header.input)).collect() }
    }
}

/// Whether a header carries secrets that must not be logged; names are case-insensitive.
pub fn is_secret_header(name: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie"].iter().any(|secret| secret.eq_ignore_ascii_case(name.trim()))
}

/// The layer.
pub(crate) async fn access_log(State(access_log): State<Arc<AccessLog>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let Some(context) = request.extensions().get::<Arc<RequestContext>>().cloned() else { return next.run(request).await };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let headers = read_headers(&access_log.loggable, request.headers());
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let line = Line { route: route.as_ref().map(MatchedPath::as_str), context: &context, headers, started };
    log(&line, response.status(), problem.as_ref());
    response
}

/// The headers to log, as one JSON object; none if there are none.
fn read_headers(loggable: &[LoggedHeader], headers: &HeaderMap) -> Option<String> {
    let read = |header: &LoggedHeader| {
        let value = headers.get(header.input.trim())?;
        let text: String = String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_LOGGED).collect();
        Some((header.output.clone(), serde_json::Value::String(text)))
    };
    let found: serde_json::Map<_, _> = loggable.iter().filter_map(read).collect();
    (!found.is_empty()).then(|| serde_json::Value::Object(found).to_string())
}

/// The fields of the access log for a request. The query is left out: it may contain secrets.
struct Line<'a> {
    route: Option<&'a str>,
    context: &'a RequestContext,
    headers: Option<String>,
    started: Instant,
}

fn log(line: &Line<'_>, status: StatusCode, problem: Option<&Problem>) {
    let status = status.as_u16();
    let milliseconds = line.started.elapsed().as_secs_f64() * 1000.0;
    let (method, path, route, user) = (line.context.method(), line.context.path(), line.route, line.context.username());
    let validator = line.context.validator();
    let (request_id, correlation_id) = (&**line.context.id(), line.context.correlation_id());
    let (error, headers) = (problem.map(Problem::log), line.headers.as_deref());
    let client_address = line.context.client_address().map(tracing::field::display);
    // The ids are fields of the line itself: to take them from the span, the JSON format would read and write it anew each time.
    match status {
        500 => {
            tracing::error!(parent: None, request_id, correlation_id, %method, path, route, status, user, validator, client_address, milliseconds, headers, error, "{method} {path:?} failed with {status}");
        }
        // A failure of a cluster or the identity provider: no defect of this program, but operators should know if it persists.
        408 | 424 | 429 | 501.. => {
            tracing::warn!(parent: None, request_id, correlation_id, %method, path, route, status, user, validator, client_address, milliseconds, headers, error, "{method} {path:?} failed with {status}");
        }
        // Orchestrators ask every few seconds.
        200 if route == Some("/status/liveness/") => {
            tracing::debug!(parent: None, request_id, correlation_id, %method, path, route, status, client_address, milliseconds, "{method} {path:?} answered {status}")
        }
        _ => {
            tracing::info!(parent: None, request_id, correlation_id, %method, path, route, status, user, validator, client_address, milliseconds, headers, error, "{method} {path:?} answered {status}");
        }
    }
}
