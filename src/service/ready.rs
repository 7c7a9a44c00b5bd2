//! Responses held in memory until their clients have read them.

use super::limits::UserPermit;
use super::{Access, ServiceError};

/// A response in memory. It counts against the limit of its user until it is dropped.
pub struct Ready<T> {
    /// The value of the response.
    pub value: T,
    permit: ReadyPermit,
}

/// The permit of a response in memory, which is kept until the response is sent.
pub struct ReadyPermit(UserPermit);

impl<T> Ready<T> {
    /// The value and its permit, which is kept as long as the value.
    pub fn into_parts(self) -> (T, ReadyPermit) {
        (self.value, self.permit)
    }
}

impl ReadyPermit {
    /// Takes a permit for a response of `bytes`.
    ///
    /// # Errors
    /// If the unread responses of the caller exceed the limit.
    pub(super) fn take(access: &Access, bytes: u64) -> Result<Self, ServiceError> {
        access.state().limits.ready.take(&access.principal().username, bytes).map(Self).ok_or_else(too_much)
    }

    /// The response, whose size has turned out to be `bytes`.
    ///
    /// # Errors
    /// If the size exceeds the permit and the limit.
    pub(super) fn hold<T>(mut self, value: T, bytes: usize) -> Result<Ready<T>, ServiceError> {
        if self.0.resize(bytes as u64) { Ok(Ready { value, permit: self }) } else { Err(too_much()) }
    }
}

fn too_much() -> ServiceError {
    let message = "too many responses to you are not read yet: read them to the end, or use `ops/download`, which holds nothing in memory";
    ServiceError::TooMany(message.into())
}
