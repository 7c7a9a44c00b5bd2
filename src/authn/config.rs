//! The `auth.authentication` section.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::usernames::{self, UsernamePattern};
use crate::rest::TokenEndpointAuthMethod;

/// How bearer tokens are verified.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Config {
    /// The token endpoint of the identity provider (RFC 6749, 3.2): for the documentation pages and the service accounts.
    pub token_url: String,
    /// How a service account shows its secret there.
    #[serde(default)]
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// JSON Web Key Sets (RFC 7517) with the keys that sign tokens: `https://`, `http://` or `file://` URLs.
    #[serde(default)]
    pub public_certs: Vec<String>,
    /// Seconds between readings of the key sets. A token with an unknown key makes them be read sooner.
    #[serde(default = "default_public_certs_refresh")]
    #[schemars(range(min = 1))]
    pub public_certs_refresh: u64,
    /// The OAuth2 scopes that the documentation pages ask for, with their descriptions.
    #[serde(default)]
    pub scopes: Option<BTreeMap<String, String>>,
    /// The claim that holds the user name on the clusters.
    #[serde(default = "default_username_claim")]
    pub username_claim: String,
    /// A regular expression that user names have to match as a whole, such as `[a-z][a-z0-9]{2,7}`; others are refused with 403. Any name where absent.
    pub username_pattern: Option<UsernamePattern>,
    /// User names that are refused with 403, whatever the credentials: system accounts. Compared without case, and before an `@`; a list given here
    /// replaces the default. Where it is not empty, numbers below 1000 are refused too, since schedulers read them as user ids.
    #[serde(default = "usernames::system_accounts")]
    pub refused_usernames: Vec<String>,
    /// The claim that holds the caller's groups, for authorization. A dot leads into objects: `realm_access.roles`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// The `iss` that tokens must carry. Not checked when absent.
    pub issuer: Option<String>,
    /// The `aud` values that are accepted; a token must carry one of them. Not checked, with a warning, when empty.
    #[serde(default)]
    pub audience: Vec<String>,
    /// The algorithm of keys that do not name one themselves, such as `RS256`. The token's own header never decides.
    pub jwk_algorithm: Option<String>,
    /// Seconds that a token must still hold.
    #[serde(default = "default_min_token_ttl")]
    pub min_token_ttl: u64,
    /// Seconds that clocks may differ.
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
