//! The steps that every request passes on its way to a handler.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use access_log::{AccessLog, access_log};
use drain_body::drain_body;
use problem_body::problem_body;
use request_context::{ContextSource, request_context};
use well_formed::well_formed;

pub(crate) mod access_log;
pub(crate) mod client_address;
pub(crate) mod cors;
mod drain_body;
mod host;
pub(crate) mod normalise;
mod problem_body;
pub(crate) mod request_context;
pub(crate) mod time_limit;
mod transfer_coding;
mod under_way;
mod well_formed;

/// The parts of the site that the steps need.
pub(crate) struct StepContext {
    pub(crate) context: ContextSource,
    pub(crate) access_log: AccessLog,
}

/// Passes a request through all steps to the handlers: the first one sees it first and its answer last. They are one layer, because each layer of
/// axum is cloned and boxed for each request.
pub(crate) async fn steps(State(site): State<Arc<StepContext>>, request: Request, next: Next) -> Response {
    let answered = |request| drain_body(request, |request| next.run(request));
    let well_formed = |request| well_formed(request, answered);
    let with_body = |request, context| problem_body(request, context, well_formed);
    let logged = |request, context| access_log(&site.access_log, request, context, with_body);
    request_context(&site.context, request, logged).await
}
