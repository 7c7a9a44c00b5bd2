//! The `auth.authentication` section.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AuthnError;
use super::usernames::{self, UsernamePattern};
use crate::domain::{Secret, Username};
use crate::rest::TokenEndpointAuthMethod;

/// Verification of bearer tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Config {
    /// The kinds of tokens that are accepted, in the order in which they are tried. A token that one of them knows is accepted or refused by it;
    /// one that it does not know is left to the next. `jwt` are JSON Web Tokens, with the keys of this section.
    #[serde(default = "default_validators")]
    pub validators: Vec<ValidatorConfig>,
    /// Token endpoint of the identity provider (RFC 6749, 3.2), used by the API's pages and the service accounts. Required if `validators` has
    /// `jwt`. If absent, the secret of a service account is itself a token that one of the validators accepts.
    pub token_url: Option<String>,
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

/// A kind of tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ValidatorConfig {
    /// JSON Web Tokens of the identity provider, verified with its keys.
    Jwt,
    /// Tokens of a JupyterHub.
    Jupyterhub(JupyterHubConfig),
    /// Tokens that an authorization server is asked about (RFC 7662).
    Introspection(Box<IntrospectionConfig>),
}

/// Tokens of a JupyterHub, sent as `Authorization: token <token>` or as bearer tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct JupyterHubConfig {
    /// Whether Goldcrest runs as a service of this Hub. Then keys that are absent are read from the variables that the Hub sets: `api_url`
    /// (`JUPYTERHUB_API_URL`), `api_token` (`JUPYTERHUB_API_TOKEN`), `scopes` (`JUPYTERHUB_OAUTH_ACCESS_SCOPES`, or else the scope of the
    /// service `JUPYTERHUB_SERVICE_NAME`); and for the server `apis_root_path` (`JUPYTERHUB_SERVICE_PREFIX`) and `server.listen`
    /// (`JUPYTERHUB_SERVICE_URL`).
    #[serde(default)]
    pub as_service: bool,
    /// Address of the Hub's REST API, such as `http://127.0.0.1:8081/hub/api`.
    pub api_url: String,
    /// Token of Goldcrest itself at the Hub, with which `check-config --connect` tries the Hub. Callers' tokens are checked without it.
    pub api_token: Option<Secret>,
    /// Scopes of the Hub of which a token must have one, such as `access:services!service=goldcrest`; others are refused with 403. If empty,
    /// every token that the Hub knows is accepted, also those of users' servers, and a warning is logged.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Text before each of the Hub's groups, such as `hub:`, so that they differ from the groups in other tokens.
    #[serde(default)]
    pub group_prefix: String,
    /// Time in seconds for which an answer of the Hub is used. A token that was revoked is accepted no longer than that.
    #[serde(default = "default_cache_seconds")]
    #[schemars(range(max = 3600))]
    pub cache_seconds: u64,
    /// Time limit of a question in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
}

fn default_cache_seconds() -> u64 {
    60
}

fn default_timeout() -> u64 {
    10
}

/// Tokens that an authorization server is asked about (RFC 7662): tokens that are no JSON Web Tokens, or whose revocation must count at once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// The introspection endpoint, such as `https://id.example.org/oauth2/introspect`.
    pub url: String,
    /// Id of Goldcrest's client at the authorization server.
    pub client_id: String,
    /// The client's secret, in place or as `secret_file:/path`.
    pub client_secret: Secret,
    /// How the secret is sent to the endpoint.
    #[serde(default)]
    pub auth_method: TokenEndpointAuthMethod,
    /// Member of the answer with the login name on the clusters.
    #[serde(default = "default_answer_username")]
    pub username_claim: String,
    /// Member of the answer with the caller's groups. A dot selects a member: `realm_access.roles`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Required `iss` of the answer. If absent, it is not checked.
    pub issuer: Option<String>,
    /// Accepted `aud` values; an answer must contain one of them. If empty, the audience is not checked.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Time in seconds for which an answer is used. A token that was revoked is accepted no longer than that.
    #[serde(default = "default_cache_seconds")]
    #[schemars(range(max = 3600))]
    pub cache_seconds: u64,
    /// Time limit of a question in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
}

fn default_answer_username() -> String {
    "username".to_owned()
}

impl Config {
    /// Whether JSON Web Tokens are accepted.
    pub fn accepts_jwts(&self) -> bool {
        self.validators.iter().any(|validator| matches!(validator, ValidatorConfig::Jwt))
    }

    /// Why a token with this user name is refused, if it is.
    pub fn refusal_of(&self, username: &Username) -> Option<&'static str> {
        match usernames::check(username, &self.refused_usernames, self.username_pattern.as_ref()) {
            Err(AuthnError::Username { reason, .. }) => Some(reason),
            _ => None,
        }
    }
}

fn default_validators() -> Vec<ValidatorConfig> {
    vec![ValidatorConfig::Jwt]
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
