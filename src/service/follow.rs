//! Following files as they grow.
//!
//! Each caller has a separate reader on the cluster. Readers of the outputs of jobs, which many callers follow, are shared: `shared_follow.rs`.

use std::time::Duration;

use futures::future::ready;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use tokio::time::{Sleep, sleep};

use crate::domain::Principal;
use crate::filesystem::{FollowFrom, Followed};

use super::limits::FollowPermit;
use super::{Access, ServiceError};

/// An update of a followed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Something happened to the file.
    Change(Followed),
    /// The end of the updates, with its reason.
    End(EndReason),
}

/// The reason why the updates end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The caller's token has ended.
    TokenEnded,
    /// The job has ended, and all of its output was sent.
    JobEnded,
    /// All existing content was sent, and no more was requested.
    Complete,
}

/// Updates until an [`Update::End`] or an error, one of which is the last.
pub type UpdateStream = BoxStream<'static, Result<Update, ServiceError>>;

/// Follows a file, until the caller's token ends: then the stream ends too.
///
/// # Errors
/// If the caller follows too many files already, the path breaks the policy, or the cluster does not let it be read.
pub async fn follow(access: &Access, path: &str, from: FollowFrom) -> Result<UpdateStream, ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let principal = access.principal();
    let permit = FollowPermit::take(access)?;
    let happening = files.follow(principal, &path, from).await?;
    let changes = happening.inspect(move |_| _ = &permit);
    Ok(until_expiry(principal, changes.map(|change| change.map(Update::Change).map_err(ServiceError::from)).boxed()))
}

/// These updates, until the caller's token has ended.
pub(super) fn until_expiry(principal: &Principal, updates: BoxStream<'static, Result<Update, ServiceError>>) -> UpdateStream {
    let last = stream::once(ready(Ok(Update::End(EndReason::TokenEnded))));
    let mut is_over = false;
    let up_to_the_end = move |update: &Result<Update, ServiceError>| {
        let is_last = !matches!(update, Ok(Update::Change(_)));
        ready(!std::mem::replace(&mut is_over, is_last))
    };
    updates.take_until(expiry(principal)).chain(last).take_while(up_to_the_end).boxed()
}

/// Waits until the caller's token has ended.
pub(super) fn expiry(principal: &Principal) -> Sleep {
    let left = principal.expires_at.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
}
