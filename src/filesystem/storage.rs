//! Space, quotas, access control lists and the caller's identity.
//!
//! A new operation is a method here, and one of each implementation in its file of the same name.

use async_trait::async_trait;

use super::FilesystemError;
use crate::domain::{AclEntry, Identity, Principal, Quota, RemotePath, Space};

/// Space, quotas, access control lists and the caller's identity. Every method acts as `principal`; the cluster's permissions decide.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The usage of a path's file system.
    async fn space(&self, principal: &Principal, path: &RemotePath) -> Result<Space, FilesystemError>;

    /// The caller's quotas, by the tool that the site has: on the file system of the path, or on all of them.
    async fn quota(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError>;

    /// The access control list of a path, links followed.
    async fn acl(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError>;

    /// The caller's account on this cluster, as `id` prints it.
    async fn identity(&self, principal: &Principal) -> Result<Identity, FilesystemError>;
}
