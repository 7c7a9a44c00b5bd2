//! The `store` section.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::Secret;

/// The store for tasks, share links, webhooks, events, and records of submissions that cannot be kept on the cluster. If absent,
/// nothing is stored, and requests that need it are refused.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Config {
    /// A file of this process. For a site with one replica.
    Sqlite(SqliteConfig),
    /// A PostgreSQL database, for several replicas.
    Postgres(PostgresConfig),
}

/// A file of this process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SqliteConfig {
    /// Directory of the file `store.sqlite`. It must be on a local disk, and only Goldcrest's own account should be able to read it.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Maximum size of the file, in MiB. When it is reached, operations that need more space are refused.
    #[serde(default = "default_max_size")]
    #[schemars(range(min = 1))]
    pub max_size: u32,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self { state_dir: default_state_dir(), max_size: default_max_size() }
    }
}

/// A PostgreSQL database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct PostgresConfig {
    /// Address of the database: `postgres://user:password@host:5432/database`. TLS is required unless the host is this one, or `sslmode` is
    /// given. Goldcrest creates its tables in the schema `goldcrest`, which it creates too.
    pub url: Secret,
    /// File with the certificates of the authorities that may sign the server's certificate (PEM). If absent, those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Maximum number of connections to the database.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1))]
    pub max_connections: u16,
    /// Time limit of an operation in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
}

fn default_state_dir() -> PathBuf {
    "/var/lib/goldcrest".into()
}

fn default_max_size() -> u32 {
    1024
}

fn default_max_connections() -> u16 {
    8
}

fn default_timeout() -> u64 {
    10
}
