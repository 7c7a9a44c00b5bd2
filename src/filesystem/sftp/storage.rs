//! Space, quotas, access control lists and the caller's identity, by SFTP.

use std::sync::Arc;

use async_trait::async_trait;

use super::Sftp;
use super::errors::{bytes, filesystem_error};
use super::protocol::{FileSystemSpace, Request, Response};
use super::session::{Failure, Session};
use crate::domain::{AclEntry, Identity, Principal, Quota, RemotePath, Space};
use crate::filesystem::{FilesystemError, Storage};

#[async_trait]
impl Storage for Sftp {
    async fn space(&self, principal: &Principal, path: &RemotePath) -> Result<Space, FilesystemError> {
        let ask = |session: Arc<Session>| async move {
            if !session.capabilities().statvfs {
                return Ok(None);
            }
            let failed = |failure| filesystem_error(path, failure);
            match session.request(&Request::Statvfs { path: bytes(path) }).await.map_err(failed)? {
                Response::ExtendedReply { data } => Ok(Some(FileSystemSpace::decode(data).map_err(|error| failed(error.into()))?)),
                _ => Err(failed(Failure::unexpected())),
            }
        };
        let Some(statistics) = self.sessions.run(principal, true, ask).await? else { return self.exec.space(principal, path).await };
        let bytes = |blocks: u64| blocks.saturating_mul(statistics.block);
        Ok(Space {
            total: bytes(statistics.blocks),
            free: bytes(statistics.free),
            available: bytes(statistics.available),
            files: statistics.files,
            files_free: statistics.files_free,
        })
    }

    async fn quota(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError> {
        self.exec.quota(principal, path).await
    }

    async fn acl(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError> {
        self.exec.acl(principal, path).await
    }

    async fn identity(&self, principal: &Principal) -> Result<Identity, FilesystemError> {
        self.exec.identity(principal).await
    }
}
