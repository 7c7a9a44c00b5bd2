//! Refuses requests that other servers could read in another way than this one: those that name no host or several, and those whose content
//! has a transfer coding that is not understood. Also those to a proxy, and those whose head is too large, which hyper refuses only where it
//! does not arrive at once.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::error::Kind;
use crate::http::middleware::{host, transfer_coding};
use crate::http::problem::Problem;

/// The maximum size of the first line and the header fields in bytes, as `Problem::malformed` says.
const MAX_HEAD: usize = 65_536;

/// Has `next` answer a request that is well-formed.
pub(super) async fn well_formed<F: Future<Output = Response>>(request: Request, next: impl FnOnce(Request) -> F) -> Response {
    if head_length(&request) > MAX_HEAD
        && let Some(problem) = Problem::malformed(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    {
        return problem.into_response();
    }
    if request.method() == Method::CONNECT {
        return Problem::new(Kind::Unsupported, "CONNECT asks for a tunnel through a proxy, and this server is none").into_response();
    }
    if let Err(reason) = host::validate(&request) {
        return Problem::new(Kind::Invalid, reason).into_response();
    }
    if !transfer_coding::is_understood(request.headers()) {
        let reason = "the only transfer coding that is understood is `chunked` (RFC 9112, 6.1)";
        return Problem::new(Kind::Unsupported, reason).into_response();
    }
    next(request).await
}

/// The length of the head of a request in bytes, without blanks that have no meaning.
fn head_length(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let first = request.method().as_str().len() + target + "  HTTP/1.1\r\n".len();
    first + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ":\r\n".len()).sum::<usize>() + "\r\n".len()
}
