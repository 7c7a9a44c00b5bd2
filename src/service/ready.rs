//! Answers that are ready in memory, and that their clients have not taken yet.

use super::limits::UserPermit;
use super::{Access, ServiceError};

/// An answer in memory. It counts for its user until it is dropped.
pub struct Ready<T> {
    /// What was asked for.
    pub value: T,
    permit: ReadyPermit,
}

/// The place of an answer in memory, which goes with what is sent of it.
pub struct ReadyPermit(UserPermit);

impl<T> Ready<T> {
    /// What was asked for, and what has to be kept for as long as it is.
    pub fn into_parts(self) -> (T, ReadyPermit) {
        (self.value, self.permit)
    }
}

impl ReadyPermit {
    /// Leave to have an answer of `bytes` ready.
    ///
    /// # Errors
    /// When the caller's clients have not taken enough of those before.
    pub(super) fn take(access: &Access, bytes: u64) -> Result<Self, ServiceError> {
        access.state().limits.ready.take(&access.principal().username, bytes).map(Self).ok_or_else(too_much)
    }

    /// The answer, which has turned out to take so many bytes.
    ///
    /// # Errors
    /// When those are more than there was leave for, and too many.
    pub(super) fn hold<T>(mut self, value: T, bytes: usize) -> Result<Ready<T>, ServiceError> {
        if self.0.resize(bytes as u64) { Ok(Ready { value, permit: self }) } else { Err(too_much()) }
    }
}

fn too_much() -> ServiceError {
    let message = "too much of the answers under way was not read yet: read those on, or take `ops/download`, which needs no memory";
    ServiceError::TooMany(message.into())
}
