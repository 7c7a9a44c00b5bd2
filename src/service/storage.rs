//! Quotas, access control lists, and how full a file system is.

use crate::domain::{AclEntry, Quota, Space};

use super::{Access, ServiceError};

/// The usage of the file system of a path.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not answer.
pub async fn space(access: &Access, path: &str) -> Result<Space, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.space(access.principal(), &path).await?)
}

/// The caller's quotas.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not answer.
pub async fn quota(access: &Access, path: &str) -> Result<Vec<Quota>, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.quota(access.principal(), &path).await?)
}

/// The access control list of a path.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not answer.
pub async fn acl(access: &Access, path: &str) -> Result<Vec<AclEntry>, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.acl(access.principal(), &path).await?)
}
