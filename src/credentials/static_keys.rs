//! Keys from the configuration file, one set a user.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Credential, CredentialError, CredentialProvider};
use crate::domain::{Principal, Secret, Username};

/// SSH keys by user name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The keys, by the name the user has on the clusters.
    pub keys: HashMap<Username, UserKeys>,
}

/// One user's keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct UserKeys {
    /// The SSH private key, in place or as `secret_file:/path`.
    pub private_key: Secret,
    /// The OpenSSH user certificate for the key.
    pub public_cert: Option<String>,
    /// The passphrase of the private key, in place or as `secret_file:/path`.
    pub passphrase: Option<Secret>,
}

/// The provider over [`Config`].
pub struct StaticKeys(HashMap<Username, Arc<Credential>>);

impl StaticKeys {
    /// Takes the keys from the configuration.
    pub fn new(config: Config) -> Self {
        let credential = |keys: UserKeys| Credential {
            private_key: keys.private_key,
            passphrase: keys.passphrase,
            certificate: keys.public_cert,
            not_after: None,
            caller: None,
        };
        Self(config.keys.into_iter().map(|(user, keys)| (user, Arc::new(credential(keys)))).collect())
    }
}

#[async_trait]
impl CredentialProvider for StaticKeys {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        self.0.get(&principal.username).cloned().ok_or_else(|| CredentialError::Unknown(principal.username.clone()))
    }
}
