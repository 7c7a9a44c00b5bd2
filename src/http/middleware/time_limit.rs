//! Limits on requests: their time, and the effect of a panic.

use std::any::Any;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::Kind;
use crate::http::problem::Problem;

/// Answers 504 to a request that takes too long; its work is dropped, which cancels it.
pub(crate) async fn time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let safe = request.method().is_safe();
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request did not end within {} s", limit.as_secs());
            let problem = Problem::new(Kind::DeadlineExceeded, message);
            if safe { problem.into_response() } else { problem.maybe_effected().into_response() }
        }
    }
}

/// The answer to a request whose handling panicked. The panic's message goes to the log by the panic hook, not to the client.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(Kind::Internal, "An error occurred during the request process").into_response()
}
