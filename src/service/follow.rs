//! Following files as they grow.

use std::time::Duration;

use futures::stream::StreamExt;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::filesystem::{FollowFrom, FollowStream};

use super::limits::FollowPermit;
use super::{Access, ServiceError};

/// Follows a file, until the caller's token ends: then the stream ends too.
///
/// # Errors
/// When the caller follows too many files already, the path breaks the policy, or the cluster does not let it be read.
pub async fn follow(access: &Access, path: &str, from: FollowFrom) -> Result<FollowStream, ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let principal = access.principal();
    let permit = FollowPermit::take(access)?;
    let happening = files.follow(principal, &path, from).await?;
    let left = principal.expires_at.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    let end = sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0)));
    Ok(happening.take_until(end).inspect(move |_| _ = &permit).boxed())
}
