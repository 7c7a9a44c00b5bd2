//! Refuses requests that other servers could read in another way than this one: those that name no host or several, and those whose content
//! has a transfer coding that is not understood.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use crate::error::Kind;
use crate::http::middleware::{host, transfer_coding};
use crate::http::problem::Problem;

/// Has `next` answer a request that is well-formed.
pub(super) async fn well_formed<F: Future<Output = Response>>(request: Request, next: impl FnOnce(Request) -> F) -> Response {
    if let Err(reason) = host::validate(&request) {
        return Problem::new(Kind::Invalid, reason).into_response();
    }
    if !transfer_coding::is_understood(request.headers()) {
        let reason = "the only transfer coding that is understood is `chunked` (RFC 9112, 6.1)";
        return Problem::new(Kind::Unsupported, reason).into_response();
    }
    next(request).await
}
