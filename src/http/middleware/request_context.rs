//! The outermost step inside the router: makes the context of a request, counts the request, and holds its caller's permit until the last
//! byte of the answer.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::response::Response;
use tracing::Instrument;

use crate::http::common_headers::add_common_headers;
use crate::http::middleware::client_address::TrustedProxies;
use crate::http::middleware::under_way::under_way;
use crate::http::problem::context::RequestContext;
use crate::http::request_info::{Peer, Prefix};
use crate::http::server::request_metrics::RequestMetrics;

/// The parts of the site that contexts are made from.
pub(crate) struct ContextSource {
    proxies: TrustedProxies,
    request_metrics: Arc<RequestMetrics>,
}

impl ContextSource {
    /// A source that trusts these proxies, and counts in these metrics.
    pub(crate) fn new(proxies: TrustedProxies, request_metrics: Arc<RequestMetrics>) -> Self {
        Self { proxies, request_metrics }
    }

    fn context(&self, request: &Request) -> RequestContext {
        let peer = request.extensions().get::<Peer>();
        let address = peer.map(|peer| self.proxies.client(peer.0, request.headers()));
        let prefix = request.extensions().get::<Prefix>().map_or("", Prefix::as_str);
        let path = format!("{prefix}{}", request.uri().path());
        RequestContext::new(request.method(), path, request.headers(), address)
    }
}

/// Has `next` answer the request with its context.
pub(super) async fn request_context<F: Future<Output = Response>>(
    source: &ContextSource,
    mut request: Request,
    next: impl FnOnce(Request, Arc<RequestContext>) -> F,
) -> Response {
    let started = Instant::now();
    let context = Arc::new(source.context(&request));
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let pending = source.request_metrics.begin(route, request.method(), started);
    request.extensions_mut().insert(Arc::clone(&context));
    let span = tracing::info_span!("request", request_id = &**context.id(), correlation_id = context.correlation_id());
    let mut response = next(request, Arc::clone(&context)).instrument(span).await;
    add_common_headers(&mut response, &context);
    pending.answered(response.status());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // The request is under way until the connection is closed, which the server sees.
        response.extensions_mut().insert(context);
        return response;
    }
    response.map(|content| under_way(content, context))
}
