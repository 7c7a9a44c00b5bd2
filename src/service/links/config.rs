//! The `shares` section.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::Secret;

/// The shortest key, in bytes.
pub const MIN_KEY: usize = 32;

/// Links by which somebody without an account downloads a file or a directory of a user. If absent, there are none. They need the section `store`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Key that signs the links, of at least 32 bytes, in place or as `secret_file:/path`. It is the same for all replicas; with another key, all
    /// links are invalid.
    pub key: Secret,
    /// Maximum time for which a link may be valid, in seconds.
    #[serde(default = "default_max_time")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_time: u64,
    /// Maximum number of downloads by one link.
    #[serde(default = "default_max_uses")]
    #[schemars(range(min = 1))]
    pub max_uses: u64,
    /// Maximum number of links of one user that may still be used, on all systems together; from 1 to 500.
    #[serde(default = "default_max_per_user")]
    #[schemars(range(min = 1, max = 500))]
    pub max_per_user: usize,
}

fn default_max_time() -> u64 {
    7 * 24 * 3600
}

fn default_max_uses() -> u64 {
    100
}

fn default_max_per_user() -> usize {
    50
}
