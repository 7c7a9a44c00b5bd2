//! Quotas, access control lists and space on the wire.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain;
use crate::http::extract::parameters::lenient;

/// The usage of a file system.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetDfResponse {
    output: Space,
}

/// The usage of a file system.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Space {
    /// Size in bytes.
    total_bytes: u64,
    /// Free bytes.
    free_bytes: u64,
    /// Free bytes available to users other than root.
    available_bytes: u64,
    /// The number of files that it can hold; 0 if it does not report it.
    total_files: u64,
    /// The number of files that can still be created.
    free_files: u64,
}

impl From<domain::Space> for GetDfResponse {
    fn from(space: domain::Space) -> Self {
        let output = Space {
            total_bytes: space.total,
            free_bytes: space.free,
            available_bytes: space.available,
            total_files: space.files,
            free_files: space.files_free,
        };
        Self { output }
    }
}

/// The caller's quotas.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetQuotaResponse {
    output: Vec<Quota>,
}

/// A quota on a file system.
#[derive(Serialize, ToSchema)]
struct Quota {
    /// Whether it is a user's or a group's.
    holder: Holder,
    /// The name of the user or group.
    name: String,
    /// The file system, as the site's tool names it.
    filesystem: String,
    /// Bytes.
    bytes: Use,
    /// Files.
    files: Use,
}

/// The kind of owner of a quota.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = QuotaHolder)]
enum Holder {
    User,
    Group,
}

/// The usage and the limits of a quota; null if there is no limit.
#[derive(Serialize, ToSchema)]
#[schema(as = QuotaUse)]
struct Use {
    used: u64,
    /// The soft limit, which may be exceeded for a limited time.
    soft: Option<u64>,
    /// The hard limit, which cannot be exceeded.
    hard: Option<u64>,
}

impl From<domain::QuotaUse> for Use {
    fn from(quota: domain::QuotaUse) -> Self {
        Self { used: quota.used, soft: quota.soft, hard: quota.hard }
    }
}

impl From<Vec<domain::Quota>> for GetQuotaResponse {
    fn from(quotas: Vec<domain::Quota>) -> Self {
        let quota = |quota: domain::Quota| Quota {
            holder: match quota.holder {
                domain::QuotaHolder::User => Holder::User,
                domain::QuotaHolder::Group => Holder::Group,
            },
            name: quota.name,
            filesystem: quota.filesystem,
            bytes: quota.bytes.into(),
            files: quota.files.into(),
        };
        Self { output: quotas.into_iter().map(quota).collect() }
    }
}

/// The access control list of a file.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetAclResponse {
    output: Vec<AclEntry>,
}

/// An entry of an access control list (POSIX.1e).
#[derive(Serialize, ToSchema)]
struct AclEntry {
    /// Whether it is a default entry, which new entries of the directory inherit.
    default: bool,
    /// Whom the entry applies to.
    tag: AclTag,
    /// The name of the user or group; null for the owner, the owning group, the mask and others.
    name: Option<String>,
    /// The permissions as `ls` shows them.
    #[schema(example = "r-x")]
    permissions: String,
}

/// Whom an entry applies to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AclTag {
    User,
    Group,
    Mask,
    Other,
}

impl From<Vec<domain::AclEntry>> for GetAclResponse {
    fn from(entries: Vec<domain::AclEntry>) -> Self {
        let entry = |entry: domain::AclEntry| AclEntry {
            default: entry.default,
            tag: match entry.tag {
                domain::AclTag::User => AclTag::User,
                domain::AclTag::Group => AclTag::Group,
                domain::AclTag::Mask => AclTag::Mask,
                domain::AclTag::Other => AclTag::Other,
            },
            name: entry.name,
            permissions: [(4, 'r'), (2, 'w'), (1, 'x')]
                .map(|(bit, letter)| if entry.permissions & bit == 0 { '-' } else { letter })
                .iter()
                .collect(),
        };
        Self { output: entries.into_iter().map(entry).collect() }
    }
}

/// The file to follow, and where to start. `Last-Event-ID` takes precedence over both.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct FollowParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/slurm-1.out")]
    pub(in crate::http) path: String,
    /// The first byte, counted from 0.
    #[serde(default, deserialize_with = "lenient::count")]
    pub(in crate::http) offset: Option<u64>,
    /// Start this many bytes before the end; at the end if neither this nor `offset` is given.
    #[serde(default, deserialize_with = "lenient::count")]
    pub(in crate::http) bytes: Option<u64>,
}
