//! The updates of a followed file or output, and the reasons for their end.

use std::time::Duration;

use futures::future::ready;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use tokio::time::{Sleep, sleep};

use crate::domain::Principal;
use crate::filesystem::Followed;

use super::ServiceError;

/// An update of a followed file or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Something happened to the file.
    Change(Followed),
    /// Nothing more follows, for this reason.
    End(EndReason),
}

/// The reason why the updates end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The caller's token has ended.
    TokenEnded,
    /// The job has ended, and all of its output was sent.
    JobEnded,
    /// The existing content was sent, and following was not requested.
    Complete,
    /// The process stops. More may follow from another one.
    Stopping,
}

/// Updates until an [`Update::End`] or an error, one of which is the last.
pub type UpdateStream = BoxStream<'static, Result<Update, ServiceError>>;

/// These updates, until the caller's token has ended.
pub(super) fn until_expiry(principal: &Principal, updates: BoxStream<'static, Result<Update, ServiceError>>) -> UpdateStream {
    until(updates, expiry(principal), EndReason::TokenEnded)
}

/// These updates until `over`, when they end for this reason.
pub fn until(
    updates: BoxStream<'static, Result<Update, ServiceError>>,
    over: impl Future<Output = ()> + Send + 'static,
    reason: EndReason,
) -> UpdateStream {
    let last = stream::once(ready(Ok(Update::End(reason))));
    let mut is_over = false;
    let up_to_the_end = move |update: &Result<Update, ServiceError>| {
        let is_last = !matches!(update, Ok(Update::Change(_)));
        ready(!std::mem::replace(&mut is_over, is_last))
    };
    updates.take_until(over).chain(last).take_while(up_to_the_end).boxed()
}

/// Waits until the caller's token has ended.
pub(super) fn expiry(principal: &Principal) -> Sleep {
    sleep(validity(principal))
}

/// The time until the caller's token ends.
pub(super) fn validity(principal: &Principal) -> Duration {
    let left = principal.expires_at.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}
