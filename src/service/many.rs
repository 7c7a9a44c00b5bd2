//! Many pieces of work in one request, with one deadline.

use tokio::time::{Instant, timeout_at};

use super::ServiceError;

/// The outcome of one piece of work.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It was done.
    Done(T),
    /// It was not done.
    Failed(ServiceError),
    /// It did not end in time.
    TimedOut {
        /// Whether it had begun and may have changed something.
        maybe_effected: bool,
    },
    /// Not begun, because the piece of this number (from 0) failed before it.
    Skipped(usize),
}

/// Does `work` until `deadline`, and abandons it then. `maybe_effected` is called if work was abandoned.
pub(super) async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, ServiceError>>,
    maybe_effected: impl FnOnce() -> bool,
) -> Outcome<T> {
    if Instant::now() >= deadline {
        return Outcome::TimedOut { maybe_effected: false };
    }
    match timeout_at(deadline, work).await {
        Ok(Ok(value)) => Outcome::Done(value),
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::TimedOut { maybe_effected: maybe_effected() },
    }
}
