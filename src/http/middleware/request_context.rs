//! The outermost layer inside the router: makes the context of a request, counts the request, and holds its caller's permit until the last
//! byte of the answer.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::http::middleware::client_address::TrustedProxies;
use crate::http::middleware::common_headers::add_common_headers;
use crate::http::middleware::under_way::under_way;
use crate::http::problem::context::RequestContext;
use crate::http::request_info::{Peer, Prefix};
use crate::http::server::request_metrics::RequestMetrics;

/// The parts of the site that the layer needs.
pub(crate) struct ContextLayer {
    proxies: TrustedProxies,
    request_metrics: Arc<RequestMetrics>,
}

impl ContextLayer {
    /// A layer that trusts these proxies, and counts in these metrics.
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

/// The layer.
pub(crate) async fn request_context(State(layer): State<Arc<ContextLayer>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let context = Arc::new(layer.context(&request));
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let pending = layer.request_metrics.begin(route, request.method(), started);
    request.extensions_mut().insert(Arc::clone(&context));
    let span = tracing::info_span!("request", request_id = &**context.id(), correlation_id = context.correlation_id());
    let mut response = next.run(request).instrument(span).await;
    add_common_headers(&mut response, &context);
    pending.answered(response.status());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // The request is under way until the connection is closed, which the server sees.
        response.extensions_mut().insert(context);
        return response;
    }
    response.map(|content| under_way(content, context))
}
