//! What every request and answer gets: ids, a span, one access line, the common headers, and the body of errors.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::error::Kind;
use crate::http::config::{LoggedHeader, Logger};
use crate::http::middleware::client_address::TrustedProxies;
use crate::http::middleware::under_way::under_way;
use crate::http::middleware::{host, transfer_coding};
use crate::http::problem::Problem;
use crate::http::problem::context::{CORRELATION_ID, REQUEST_ID, RequestContext};
use crate::http::request_info::{Peer, Prefix};
use crate::http::server::request_metrics::RequestMetrics;

/// The headers of FirecREST.
pub(crate) const TIMESTAMP: HeaderName = HeaderName::from_static("f7t-timestamp");
pub(crate) const APP_VERSION: HeaderName = HeaderName::from_static("f7t-appversion");
pub(crate) const AUTH_USERNAME: HeaderName = HeaderName::from_static("f7t-authusername");

/// The version of the contract, for `F7T-AppVersion`; our own version is in the documentation pages. It is a number, and the first
/// that has every parameter of ours: clients compare it (aiida-firecrest refuses `2.x.x`, which a FirecREST built from its source says).
const CONTRACT_VERSION: HeaderValue = HeaderValue::from_static(API_LEVEL);

/// The release of FirecREST whose API this is.
pub const API_LEVEL: &str = "2.6.0";

/// The most of a header's value that is logged, in characters.
const MAX_LOGGED: usize = 256;

/// What is looked at, and where it is counted.
pub(crate) struct AccessLog {
    loggable: Vec<LoggedHeader>,
    proxies: TrustedProxies,
    request_metrics: Arc<RequestMetrics>,
}

impl AccessLog {
    /// One that logs what the configuration says, and believes these proxies.
    pub(crate) fn new(logger: Logger, proxies: TrustedProxies, request_metrics: Arc<RequestMetrics>) -> Self {
        let headers = logger.loggable_request_headers.into_iter().filter(|_| logger.enable_tracing_log);
        Self { loggable: headers.filter(|header| !is_secret_header(&header.input)).collect(), proxies, request_metrics }
    }
}

/// Whether a header carries what must not be logged, in whatever case its name is written.
pub fn is_secret_header(name: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie"].iter().any(|secret| secret.eq_ignore_ascii_case(name.trim()))
}

/// The outermost layer inside the router.
pub(crate) async fn access_log(State(observer): State<Arc<AccessLog>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let peer = request.extensions().get::<Peer>();
    let address = peer.map(|peer| observer.proxies.client(peer.0, request.headers()));
    let context = Arc::new(RequestContext::new(request.headers(), address));
    let method = request.method().clone();
    let prefix = request.extensions().get::<Prefix>().map_or("", |prefix| prefix.as_str());
    let path = format!("{prefix}{}", request.uri().path());
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let headers = read_headers(&observer.loggable, request.headers());
    let pending = observer.request_metrics.begin(route.as_deref(), &method, started);
    request.extensions_mut().insert(Arc::clone(&context));
    let span = tracing::info_span!("request", request_id = &**context.id(), correlation_id = context.correlation_id());
    let mut response = match host::validate(&request) {
        Err(reason) => Problem::new(Kind::Invalid, reason).into_response(),
        Ok(()) if !transfer_coding::is_understood(request.headers()) => {
            Problem::new(Kind::Unsupported, "the only transfer coding that is understood is `chunked` (RFC 9112, 6.1)").into_response()
        }
        Ok(()) => next.run(request).instrument(span).await,
    };

    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let body = problem.body(&context, &path, method.is_safe());
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !problem.is_retryable(method.is_safe()) {
            response.headers_mut().remove(header::RETRY_AFTER);
        }
        *response.body_mut() = if method == Method::HEAD { Body::empty() } else { Body::from(body) };
    }
    add_headers(&mut response, &context);

    pending.answered(response.status());
    log(&Line { method: &method, path: &path, route, context: &context, headers, started }, &response, problem.as_ref());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // The request is under way until the connection is closed, which the server sees.
        response.extensions_mut().insert(context);
        return response;
    }
    response.map(|content| under_way(content, context))
}

fn add_headers(response: &mut Response, context: &RequestContext) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = format!("{}.{:06}", now.as_secs(), now.subsec_micros());
    let headers = response.headers_mut();
    let texts = [
        (TIMESTAMP, Some(timestamp.as_str())),
        (AUTH_USERNAME, context.username()),
        (REQUEST_ID, Some(&**context.id())),
        (CORRELATION_ID, Some(context.correlation_id())),
    ];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(APP_VERSION, CONTRACT_VERSION);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Answers hold what one caller may see; the pages of the documentation say otherwise themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The headers to log, as one JSON object; none where there are none.
fn read_headers(loggable: &[LoggedHeader], headers: &HeaderMap) -> Option<String> {
    let read = |header: &LoggedHeader| {
        let value = headers.get(header.input.trim())?;
        let text: String = String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_LOGGED).collect();
        Some((header.output.clone(), serde_json::Value::String(text)))
    };
    let found: serde_json::Map<_, _> = loggable.iter().filter_map(read).collect();
    (!found.is_empty()).then(|| serde_json::Value::Object(found).to_string())
}

/// What the access line says of a request. The query is left out: it may hold anything.
struct Line<'a> {
    method: &'a Method,
    path: &'a str,
    route: Option<String>,
    context: &'a RequestContext,
    headers: Option<String>,
    started: Instant,
}

fn log(line: &Line<'_>, response: &Response, problem: Option<&Problem>) {
    let status = response.status().as_u16();
    let milliseconds = line.started.elapsed().as_secs_f64() * 1000.0;
    let (method, path, route, user) = (line.method, line.path, line.route.as_deref(), line.context.username());
    let (request_id, correlation_id) = (&**line.context.id(), line.context.correlation_id());
    let (error, headers) = (problem.map(Problem::log), line.headers.as_deref());
    let client_address = line.context.client_address().map(tracing::field::display);
    // The ids are fields of the line itself: to take them from the span, the JSON format would read and write it anew each time.
    match status {
        500 => {
            tracing::error!(parent: None, request_id, correlation_id, %method, path, route, status, user, client_address, milliseconds, headers, error, "{method} {path:?} failed with {status}");
        }
        // What a cluster or the identity provider did not do: not our defect, and someone should know when it goes on.
        408 | 424 | 429 | 501.. => {
            tracing::warn!(parent: None, request_id, correlation_id, %method, path, route, status, user, client_address, milliseconds, headers, error, "{method} {path:?} failed with {status}");
        }
        // Orchestrators ask every few seconds.
        200 if route == Some("/status/liveness/") => {
            tracing::debug!(parent: None, request_id, correlation_id, %method, path, route, status, client_address, milliseconds, "{method} {path:?} answered {status}")
        }
        _ => {
            tracing::info!(parent: None, request_id, correlation_id, %method, path, route, status, user, client_address, milliseconds, headers, error, "{method} {path:?} answered {status}");
        }
    }
}
