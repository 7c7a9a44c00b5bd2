//! The `auth.authentication` section.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::usernames::{self, UsernamePattern};
use crate::rest::TokenEndpointAuthMethod;

/// Verification of bearer tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Config {
    /// Token endpoint of the identity provider (RFC 6749, 3.2), used by the API's pages and the service accounts.
    pub token_url: String,
    /// How a service account sends its secret to the token endpoint.
    #[serde(default)]
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// URLs (`https://`, `http://` or `file://`) of the JSON Web Key Sets (RFC 7517) with the provider's signing keys.
    #[serde(default)]
    pub public_certs: Vec<String>,
    /// Interval in seconds at which the key sets are read. A token with an unknown key triggers an earlier reading.
    #[serde(default = "default_public_certs_refresh")]
    #[schemars(range(min = 1))]
    pub public_certs_refresh: u64,
    /// OAuth2 scopes that the API's pages request, with their descriptions.
    #[serde(default)]
    pub scopes: Option<BTreeMap<String, String>>,
    /// Claim with the login name on the clusters.
    #[serde(default = "default_username_claim")]
    pub username_claim: String,
    /// Regular expression for the whole login name, such as `[a-z][a-z0-9]{2,7}`. Other names are refused with 403. If absent, any name
    /// is accepted.
    pub username_pattern: Option<UsernamePattern>,
    /// Login names that are always refused with 403: system accounts, by default `root`, `daemon`, `nobody`, `slurm`, `postgres` and other
    /// common ones. The comparison ignores case, and everything from an `@` on. A list here replaces the default. Unless it is empty,
    /// numbers below 1000 are refused too, because schedulers read them as user ids.
    #[serde(default = "usernames::system_accounts")]
    pub refused_usernames: Vec<String>,
    /// Claim with the caller's groups, for authorization. A dot selects a member: `realm_access.roles`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Required `iss` of tokens. If absent, it is not checked.
    pub issuer: Option<String>,
    /// Accepted `aud` values; a token must contain one of them. If empty, the audience is not checked, and a warning is logged.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Algorithm, such as `RS256`, of keys without an `alg` of their own. The header of a token never selects the algorithm.
    pub jwk_algorithm: Option<String>,
    /// Minimum remaining lifetime of a token, in seconds.
    #[serde(default = "default_min_token_ttl")]
    pub min_token_ttl: u64,
    /// Tolerated clock difference in seconds.
    #[serde(default = "default_leeway")]
    pub leeway: u64,
}

fn default_username_claim() -> String {
    "preferred_username".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_public_certs_refresh() -> u64 {
    300
}

fn default_min_token_ttl() -> u64 {
    30
}

fn default_leeway() -> u64 {
    5
}
