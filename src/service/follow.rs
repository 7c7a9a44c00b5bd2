//! Following files as they grow.

use std::time::Duration;

use futures::stream::StreamExt;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::filesystem::{FollowFrom, FollowStream};

use super::user_limit::UserLimit;
use super::{Access, ServiceError};

/// The most files that one user follows at a time, on all clusters. Each keeps a file open on a cluster.
const MAX_FOLLOWERS_PER_USER: u64 = 16;

/// Who follows how many files.
#[derive(Clone)]
pub struct FollowLimits(UserLimit);

impl Default for FollowLimits {
    fn default() -> Self {
        Self(UserLimit::new(MAX_FOLLOWERS_PER_USER, u64::MAX))
    }
}

/// Follows a file, until the caller's token ends: then the stream ends too.
///
/// # Errors
/// When the caller follows too many files already, the path breaks the policy, or the cluster does not let it be read.
pub async fn follow(access: &Access, followers: &FollowLimits, path: &str, from: FollowFrom) -> Result<FollowStream, ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let principal = access.principal();
    let seat = followers.0.take(&principal.username, 1);
    let seat = seat.ok_or(ServiceError::TooMany("you follow as many files as one user may".into()))?;
    let happening = files.follow(principal, &path, from).await?;
    let left = principal.expires_at.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    let end = sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0)));
    Ok(happening.take_until(end).inspect(move |_| _ = &seat).boxed())
}
