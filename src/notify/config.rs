//! The `webhooks` section.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::Network;

/// Webhooks: calls to services of the users when the states of their jobs change. If absent, there are none. They need the section `store`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Config {
    /// Networks that may be called although they are not of the public internet, such as `10.20.0.0/16`.
    #[serde(default)]
    pub allowed_networks: Vec<Network>,
    /// Whether addresses that begin with `http:` may be called too. Messages to them are not encrypted.
    #[serde(default)]
    pub allow_http: bool,
    /// Maximum number of webhooks of one user on one system, including those of single jobs; from 1 to 500.
    #[serde(default = "default_max_per_user")]
    #[schemars(range(min = 1, max = 500))]
    pub max_per_user: usize,
    /// Address at which clients reach the API, such as `https://api.example.org/hpc`: events name their system below it. If absent, they name it by
    /// the path alone.
    #[serde(default)]
    pub public_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { allowed_networks: Vec::new(), allow_http: false, max_per_user: default_max_per_user(), public_url: None }
    }
}

fn default_max_per_user() -> usize {
    50
}
