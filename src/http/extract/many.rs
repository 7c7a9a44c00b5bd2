//! Many operations in one request: their deadline, and the error of those that were not done.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::error::Kind;
use crate::http::Config;
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::service::many::Outcome;

/// An operation that was not done.
pub(crate) struct NotDone {
    /// The status of a separate request for the same job.
    pub(crate) status: u16,
    /// The problem document of a separate request for the same work.
    pub(crate) error: Value,
}

/// The deadline of the work: the rest of the request's time is reserved for the response.
pub(crate) fn deadline(config: &Config) -> Instant {
    Instant::now() + Duration::from_secs(config.request_timeout).mul_f32(0.9)
}

/// The result of the work; `changes` tells whether it is a change.
///
/// # Errors
/// If it was not done.
pub(crate) fn result<T>(outcome: Outcome<T>, changes: bool, problem_context: &ProblemContext) -> Result<T, NotDone> {
    let problem = match outcome {
        Outcome::Done(value) => return Ok(value),
        Outcome::Failed(error) => Problem::from(error),
        Outcome::TimedOut { maybe_effected } => {
            let problem = Problem::new(Kind::DeadlineExceeded, "it was not done in the time of the request: send fewer at a time");
            if maybe_effected { problem.maybe_effected() } else { problem }
        }
        Outcome::Skipped(earlier) => Problem::new(Kind::Conflict, format!("not begun, because operation {earlier} (from 0) failed")),
    };
    let problem = if changes { problem } else { problem.of_read() };
    Err(NotDone { status: problem.status(), error: problem_context.value(&problem) })
}
