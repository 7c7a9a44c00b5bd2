//! The transfer service of a site, with the keys that FirecREST v2 has for it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::Secret;

/// How large files get to and from a cluster. Shown to clients without its secrets.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "service_type", rename_all = "lowercase")]
pub enum DataTransfer {
    /// By way of an object store that speaks S3.
    S3(Box<S3>),
    /// By Magic Wormhole, from client to cluster.
    Wormhole(Wormhole),
    /// By firecrest-streamer, from client to cluster.
    Streamer(Streamer),
}

/// A way for large files to get to and from a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By way of an object store that speaks S3.
    S3,
    /// By Magic Wormhole.
    Wormhole,
    /// By firecrest-streamer.
    Streamer,
}

impl Method {
    /// Its name in requests and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Wormhole => "wormhole",
            Self::Streamer => "streamer",
        }
    }
}

impl DataTransfer {
    /// The way that this service is for.
    pub fn method(&self) -> Method {
        match self {
            Self::S3(_) => Method::S3,
            Self::Wormhole(_) => Method::Wormhole,
            Self::Streamer(_) => Method::Streamer,
        }
    }
}

/// An object store.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct S3 {
    /// What clients know the store by.
    pub name: String,
    /// URL of the store inside the site. It is not shown.
    pub private_url: Secret,
    /// URL of the store for clients.
    pub public_url: String,
    /// Id of the access key. It is not shown.
    pub access_key_id: Secret,
    /// The access key, in place or as `secret_file:/path`.
    pub secret_access_key: Secret,
    /// Region of the buckets.
    pub region: String,
    /// For how long signed URLs hold, in seconds.
    pub ttl: u64,
    /// Tenant that the buckets belong to, for stores that have tenants.
    pub tenant: Option<String>,
    /// How large files are cut.
    #[serde(default)]
    pub multipart: Multipart,
    /// When objects are removed.
    #[serde(default)]
    pub bucket_lifecycle_configuration: BucketLifecycle,
}

/// How large files are cut for an object store.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Multipart {
    /// Whether a file is split on the cluster before its parts are sent.
    pub use_split: bool,
    /// The size of each part but the last, in bytes. A file can have 10,000 of them.
    pub max_part_size: u64,
    /// How many parts are sent at the same time.
    pub parallel_runs: u32,
    /// Folder on the cluster for split parts; below the directory that the job runs in where it is no absolute path.
    pub tmp_folder: String,
}

impl Default for Multipart {
    fn default() -> Self {
        Self { use_split: false, max_part_size: 2 * 1024 * 1024 * 1024, parallel_runs: 3, tmp_folder: "tmp".to_owned() }
    }
}

/// When the objects of a bucket are removed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct BucketLifecycle {
    /// Days after which an object of a bucket that was made here expires, and an upload that was never completed.
    pub days: u32,
}

impl Default for BucketLifecycle {
    fn default() -> Self {
        Self { days: 10 }
    }
}

/// Magic Wormhole.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Wormhole {
    /// Package index that the cluster installs its end from; the public one when absent.
    pub pypi_index_url: Option<String>,
}

/// firecrest-streamer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Streamer {
    /// Package index that the cluster installs its end from; the public one when absent.
    pub pypi_index_url: Option<String>,
    /// Address on the cluster to listen at.
    pub host: Option<String>,
    /// The first and the last port to listen at.
    #[serde(default = "default_port_range")]
    pub port_range: [u16; 2],
    /// Addresses that clients reach the cluster at.
    pub public_ips: Option<Vec<String>>,
    /// How long a client is waited for, in seconds.
    #[serde(default = "default_wait_timeout")]
    pub wait_timeout: u64,
    /// The most that is received, in bytes.
    #[serde(default = "default_inbound_transfer_limit")]
    pub inbound_transfer_limit: u64,
}

fn default_port_range() -> [u16; 2] {
    [5665, 5675]
}

fn default_wait_timeout() -> u64 {
    24 * 60 * 60
}

fn default_inbound_transfer_limit() -> u64 {
    5 * 1024 * 1024 * 1024
}
