//! The `auth.authorization` section.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Relation;
use crate::domain::{Secret, SystemName};
use crate::rest::TokenEndpointAuthMethod;

/// Decides which clusters a caller may use. If absent, every caller with a valid token may use every cluster.
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

/// An OpenFGA server. Before each use of a cluster, Goldcrest checks whether `user:<name>` has `<relation>` to
/// `<object_type>:<system>`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct OpenFgaConfig {
    /// Base URL of the server, such as `http://openfga:8080`. It may end with `/stores/<id>` or `/stores/<id>/check` to select the
    /// store.
    pub url: String,
    /// Time limit of one decision in seconds, including all its requests.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
    /// Maximum number of concurrent checks; 0 for no limit.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Name of the store, which Goldcrest resolves once. Unused if the id is known.
    #[serde(default = "default_store")]
    pub store: String,
    /// Id of the store.
    pub store_id: Option<String>,
    /// Id of the authorization model. If absent, the store's newest model is used.
    pub authorization_model_id: Option<String>,
    /// The server's preshared key, in place or as `secret_file:/path`. Goldcrest never sends it a caller's token.
    pub api_token: Option<Secret>,
    /// For a server that expects tokens of an identity provider instead of a preshared key.
    pub client_credentials: Option<ClientCredentialsConfig>,
    /// Relation that permits the use of a cluster.
    #[serde(default = "default_relation")]
    pub relation: String,
    /// Whether each operation requires the relation of its effect instead: `read`, `submit` or `write`. The model must define these. A command of
    /// `clusters[].commands` always requires `run`, and a share link `share`.
    #[serde(default)]
    pub by_effect: bool,
    /// Object type of clusters.
    #[serde(default = "default_object_type")]
    pub object_type: String,
    /// Object type of groups, such as `group`. If set, each check includes the groups of the caller's token as contextual tuples:
    /// `user:<name>` has `<group_relation>` to `<group_type>:<name of the group>`. If absent, the groups of tokens have no effect here.
    pub group_type: Option<String>,
    /// Relation of a user to the groups in the token.
    #[serde(default = "default_group_relation")]
    pub group_relation: String,
    /// Seconds for which a permission is cached; 0 disables the cache. Refusals are never cached.
    #[serde(default = "default_cache_ttl")]
    pub cache_ttl: u64,
}

/// A client of an identity provider whose tokens the OpenFGA server accepts (RFC 6749, 4.4).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct ClientCredentialsConfig {
    /// Token endpoint of the identity provider.
    pub token_url: String,
    /// How the secret is sent to the token endpoint.
    #[serde(default)]
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// Id of the client.
    pub client_id: String,
    /// Secret of the client, in place or as `secret_file:/path`.
    pub client_secret: Secret,
    /// The `audience` to request, if the provider requires one.
    pub audience: Option<String>,
    /// The `scope` to request, if the provider requires one.
    pub scope: Option<String>,
}

/// Rules that allow. What no rule allows is refused.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct PolicyConfig {
    /// The rules. One matching rule grants access.
    pub rules: Vec<Rule>,
}

/// Permits callers to use clusters. `*` matches everything of its kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Rule {
    /// Names of clusters, or `*`.
    pub systems: Vec<String>,
    /// User names, or `*`.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups as in the token, or `*` for every member of any group.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Ids of OAuth2 clients to which tokens were issued, or `*`.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Permitted effects: `read`, `submit` (jobs), `write` (files), `run` (`clusters[].commands`) and `share` (share links). If absent, all but
    /// `run` and `share`.
    #[serde(default = "default_relations")]
    pub relations: Vec<Relation>,
}

impl Rule {
    /// The error in the rule: the key and the reason.
    pub fn validate(&self) -> Option<(&'static str, &'static str)> {
        if self.systems.is_empty() {
            return Some(("systems", "a rule without systems allows nothing"));
        }
        if self.systems.iter().any(|system| system != "*" && SystemName::new(system).is_err()) {
            return Some(("systems", "not a system name, nor `*`"));
        }
        if self.users.is_empty() && self.groups.is_empty() && self.clients.is_empty() {
            return Some(("users", "a rule without users, groups and clients matches no caller"));
        }
        if self.relations.is_empty() {
            return Some(("relations", "a rule without relations allows nothing"));
        }
        None
    }
}

/// Distinguished by their keys here, because serde's untagged enums cannot report the error.
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

/// Whether a text is a valid name of a type or a relation of an OpenFGA model.
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

fn default_relations() -> Vec<Relation> {
    Relation::OF_ACCESS.to_vec()
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
