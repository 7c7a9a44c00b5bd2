//! Following files as they grow.
//!
//! Each caller has a separate reader on the cluster. Readers of the outputs of jobs, which many callers follow, are shared: `shared_follow`.

use futures::stream::StreamExt;

use crate::filesystem::FollowFrom;

use super::limits::FollowPermit;
use super::updates::until_expiry;
use super::{Access, ServiceError};

pub use super::updates::{EndReason, Update, UpdateStream, until};

/// Follows a file until the caller's token has expired.
///
/// # Errors
/// If the caller follows too many files already, the path breaks the policy, or the cluster does not let it be read.
pub async fn follow(access: &Access, path: &str, from: FollowFrom) -> Result<UpdateStream, ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let principal = access.principal();
    let permit = FollowPermit::of_file(access)?;
    let happening = files.follow(principal, &path, from).await?;
    let changes = happening.inspect(move |_| _ = &permit);
    Ok(until_expiry(principal, changes.map(|change| change.map(Update::Change).map_err(ServiceError::from)).boxed()))
}
