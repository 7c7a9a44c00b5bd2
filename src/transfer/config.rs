//! The transfer service of a site, with the keys that FirecREST v2 has for it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::domain::Secret;

/// The transfer service for large files. Shown to clients without its secrets.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "service_type", rename_all = "lowercase")]
pub enum DataTransfer {
    /// An object store with the S3 protocol.
    S3(Box<S3>),
    /// Magic Wormhole, from client to cluster. Not supported; shown to clients only.
    Wormhole(Wormhole),
    /// The protocol of firecrest-streamer, between client and Goldcrest.
    Streamer(Streamer),
}

/// A way for large files to get to and from a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// An object store with the S3 protocol.
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
    /// Name of the store, shown to clients.
    pub name: String,
    /// URL of the store for Goldcrest and the clusters, in place or as `secret_file:/path`. Treated as a secret, as in FirecREST: not
    /// shown to clients, and not logged.
    pub private_url: Secret,
    /// URL of the store for clients.
    pub public_url: String,
    /// Id of the access key, in place or as `secret_file:/path`. Not shown to clients.
    pub access_key_id: Secret,
    /// Secret access key, in place or as `secret_file:/path`.
    pub secret_access_key: Secret,
    /// Region of the buckets.
    pub region: String,
    /// Validity of signed URLs in seconds.
    pub ttl: u64,
    /// Tenant of the buckets, for stores with tenants.
    pub tenant: Option<String>,
    /// Division of large files into parts.
    #[serde(default)]
    pub multipart: Multipart,
    /// Expiry of objects.
    #[serde(default)]
    pub bucket_lifecycle_configuration: BucketLifecycle,
}

/// Division of large files into parts for an object store.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Multipart {
    /// Split a file on the cluster before its parts are sent.
    pub use_split: bool,
    /// Size in bytes of each part except the last. A file can have 10,000 parts.
    pub max_part_size: u64,
    /// Number of parts to send concurrently.
    pub parallel_runs: u32,
    /// Folder on the cluster for split parts. A relative path is below the job's working directory.
    pub tmp_folder: String,
}

impl Default for Multipart {
    fn default() -> Self {
        Self { use_split: false, max_part_size: 2 * 1024 * 1024 * 1024, parallel_runs: 3, tmp_folder: "tmp".to_owned() }
    }
}

/// Expiry of the objects of a bucket.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct BucketLifecycle {
    /// Days after which objects and incomplete uploads expire, in buckets that Goldcrest created.
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
    /// Package index for the installation on the cluster. If absent, the public index.
    pub pypi_index_url: Option<String>,
}

/// The protocol of firecrest-streamer. Goldcrest itself is the server: nothing listens on the cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Streamer {
    /// Without effect: nothing is installed on the cluster.
    pub pypi_index_url: Option<String>,
    /// Address of Goldcrest's machine to listen on. If absent, that of `server.listen`.
    pub host: Option<String>,
    /// First and last port to listen on: the first free one is used. Systems with the same address and the same ports share it.
    pub port_range: [u16; 2],
    /// Addresses or names under which clients reach that port. If absent, the host of the client's request.
    pub public_ips: Option<Vec<String>>,
    /// Seconds that a running job waits for its client.
    pub wait_timeout: u64,
    /// Size limit of an uploaded file, in bytes.
    pub inbound_transfer_limit: u64,
}

impl Default for Streamer {
    fn default() -> Self {
        Self {
            pypi_index_url: None,
            host: None,
            port_range: [5665, 5675],
            public_ips: None,
            wait_timeout: 24 * 60 * 60,
            inbound_transfer_limit: 5 * 1024 * 1024 * 1024,
        }
    }
}

/// Reads one service, or a list of them; none at all if the key is absent.
///
/// # Errors
/// If it is neither.
pub fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<DataTransfer>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Several(Vec<DataTransfer>),
        One(DataTransfer),
    }
    Ok(Option::deserialize(deserializer)?.map(|written| match written {
        Written::Several(services) => services,
        Written::One(service) => vec![service],
    }))
}

/// The schema of [`one_or_more`]: the forms of one service beside the list.
pub fn one_or_more_schema(generator: &mut SchemaGenerator) -> Schema {
    let one = DataTransfer::json_schema(generator).to_value();
    let forms = one.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    let list = json!({"type": "array", "items": one});
    let forms: Vec<Value> = forms.into_iter().chain([list, json!({"type": "null"})]).collect();
    json_schema!({"anyOf": forms})
}
