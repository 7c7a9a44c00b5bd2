//! The `auth.authorization` section.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{Secret, SystemName};
use crate::rest::TokenEndpointAuthMethod;

/// Who decides which clusters a caller may use. Absent: every caller with a valid token may use every cluster.
///
/// A `url` means an OpenFGA server, `rules` mean a policy in this file.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Config {
    /// An OpenFGA server.
    OpenFga(Box<OpenFgaConfig>),
    /// Rules in this file.
    Policy(PolicyConfig),
}

/// An OpenFGA server, asked `user:<name>` has `<relation>` to `<object_type>:<system>` before each use of a cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct OpenFgaConfig {
    /// Base URL of the server, such as `http://openfga:8080`. May go on to `/stores/<id>` or `/stores/<id>/check`, which
    /// then names the store.
    pub url: String,
    /// Seconds for one decision, with everything that it takes.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
    /// The most checks at the same time; 0 for no limit.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Name of the store, looked up once. Not used when the store's id is given.
    #[serde(default = "default_store")]
    pub store: String,
    /// Id of the store.
    pub store_id: Option<String>,
    /// Id of the authorization model; the newest one of the store when absent.
    pub authorization_model_id: Option<String>,
    /// The server's preshared key, in place or as `secret_file:/path`. A caller's token is never sent.
    pub api_token: Option<Secret>,
    /// For a server that wants tokens of an identity provider instead of a preshared key.
    pub client_credentials: Option<ClientCredentialsConfig>,
    /// The relation that allows the use of a cluster.
    #[serde(default = "default_relation")]
    pub relation: String,
    /// The type of the objects that stand for clusters.
    #[serde(default = "default_object_type")]
    pub object_type: String,
    /// The type of the objects that stand for groups, such as `group`. With it, the groups of the caller's token go along with
    /// each check, as contextual tuples: `user:<name>` has `<group_relation>` to `<group_type>:<name of the group>`. Absent: the
    /// groups of tokens count for nothing here.
    pub group_type: Option<String>,
    /// The relation of a user to a group that the token names.
    #[serde(default = "default_group_relation")]
    pub group_relation: String,
    /// Seconds that a permission is remembered; 0 to ask each time. Refusals are never remembered.
    #[serde(default = "default_cache_ttl")]
    pub cache_ttl: u64,
}

/// A client of an identity provider whose tokens the OpenFGA server accepts (RFC 6749, 4.4).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct ClientCredentialsConfig {
    /// The token endpoint of that identity provider.
    pub token_url: String,
    /// How the secret is shown there.
    #[serde(default)]
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// The client's id.
    pub client_id: String,
    /// The client's secret, in place or as `secret_file:/path`.
    pub client_secret: Secret,
    /// The `audience` to ask for, where the provider wants one.
    pub audience: Option<String>,
    /// The `scope` to ask for, where the provider wants one.
    pub scope: Option<String>,
}

/// Rules that allow. What no rule allows is refused.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct PolicyConfig {
    /// The rules; one that matches is enough.
    pub rules: Vec<Rule>,
}

/// Allows the named callers to use the named clusters. `*` stands for all of a kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Rule {
    /// The clusters, or `*`.
    pub systems: Vec<String>,
    /// User names, or `*`.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups as the token names them, or `*` for anyone who is in a group.
    #[serde(default)]
    pub groups: Vec<String>,
    /// OAuth2 clients that the token was issued to, or `*`.
    #[serde(default)]
    pub clients: Vec<String>,
}

impl Rule {
    /// What is wrong with the rule: the key and why.
    pub fn validate(&self) -> Option<(&'static str, &'static str)> {
        if self.systems.is_empty() {
            return Some(("systems", "a rule without systems allows nothing"));
        }
        if self.systems.iter().any(|system| system != "*" && SystemName::new(system).is_err()) {
            return Some(("systems", "not a system name, nor `*`"));
        }
        if self.users.is_empty() && self.groups.is_empty() && self.clients.is_empty() {
            return Some(("users", "a rule without users, groups and clients allows nobody"));
        }
        None
    }
}

/// Told apart by their keys here, since serde's own way of doing so cannot say what is wrong.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let config = if value.get("rules").is_some() {
            serde_json::from_value(value).map(Self::Policy)
        } else {
            serde_json::from_value(value).map(Self::OpenFga)
        };
        config.map_err(serde::de::Error::custom)
    }
}

/// True for what may name a type or a relation of an OpenFGA model.
pub fn is_word(text: &str) -> bool {
    (1..=50).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '#' | '@'))
}

fn default_timeout() -> u64 {
    1
}

fn default_max_connections() -> usize {
    100
}

fn default_store() -> String {
    "goldcrest".to_owned()
}

fn default_relation() -> String {
    "access".to_owned()
}

fn default_object_type() -> String {
    "system".to_owned()
}

fn default_group_relation() -> String {
    "member".to_owned()
}

fn default_cache_ttl() -> u64 {
    5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firecrests_three_keys_mean_an_openfga_server() {
        let json = serde_json::json!({"url": "http://openfga:8080", "timeout": 1, "max_connections": 100});
        match serde_json::from_value(json).unwrap() {
            Config::OpenFga(config) => assert_eq!((config.store.as_str(), config.relation.as_str()), ("goldcrest", "access")),
            Config::Policy(_) => panic!("read as a policy"),
        }
    }
}
