//! Keys from the configuration file, one set a user.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Credential, CredentialError, CredentialProvider, keys};
use crate::domain::{Principal, Secret, Username};

/// SSH keys by user name.
#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
pub struct Config {
    /// The keys, by login name.
    pub keys: HashMap<Username, UserKeys>,
}

/// One user's keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct UserKeys {
    /// SSH private key, in place or as `secret_file:/path`.
    pub private_key: Secret,
    /// OpenSSH user certificate of the key.
    pub public_cert: Option<String>,
    /// Passphrase of the private key, in place or as `secret_file:/path`.
    pub passphrase: Option<Secret>,
}

impl Config {
    /// The first key that cannot be a private one, and why.
    pub(super) fn validate(&self) -> Option<(String, String)> {
        let is_public = |text: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|start| text.trim_start().starts_with(start));
        let (user, _) = self.keys.iter().find(|(_, keys)| is_public(keys.private_key.expose()))?;
        let reason = "is a public key: the private one stands in the file without `.pub`".to_owned();
        Some((format!("keys.{user}.private_key"), reason))
    }
}

impl Config {
    /// The keys that cannot be used, each with its key of the configuration and the error, in the order of the users.
    pub(super) fn unusable(&self) -> Vec<(String, &'static str)> {
        let reason_for = |(user, keys): (&Username, &UserKeys)| {
            let reason = keys::unusable(&keys.private_key, keys.passphrase.is_some())?;
            Some((format!("keys.{user}.private_key"), reason))
        };
        let mut unusable: Vec<_> = self.keys.iter().filter_map(reason_for).collect();
        unusable.sort();
        unusable
    }

    /// The passphrases that do not open their keys, each by its key of the configuration, in the order of the users.
    pub(super) fn wrong_passphrases(&self) -> Vec<String> {
        let is_wrong =
            |keys: &UserKeys| keys.passphrase.as_ref().is_some_and(|passphrase| keys::stays_locked(&keys.private_key, passphrase));
        let wrong = self.keys.iter().filter(|(_, keys)| is_wrong(keys));
        let mut wrong: Vec<_> = wrong.map(|(user, _)| format!("keys.{user}.passphrase")).collect();
        wrong.sort();
        wrong
    }
}

/// The provider over [`Config`].
pub struct StaticKeys(HashMap<Username, Arc<Credential>>);

impl StaticKeys {
    /// Takes the keys from the configuration.
    pub fn new(config: Config) -> Self {
        Self::keeping(config, None)
    }

    /// As [`StaticKeys::new`]. A user whose keys are the same as in `previous` has the same credential, so that its connections stay open.
    pub fn keeping(config: Config, previous: Option<&Self>) -> Self {
        let credential = |keys: UserKeys| Credential {
            private_key: keys.private_key,
            passphrase: keys.passphrase,
            certificate: keys.public_cert,
            not_after: None,
            caller: None,
        };
        let kept = |user: &Username, credential: Credential| {
            let known = previous.and_then(|previous| previous.0.get(user)).filter(|known| ***known == credential);
            known.cloned().unwrap_or_else(|| Arc::new(credential))
        };
        Self(
            config
                .keys
                .into_iter()
                .map(|(user, keys)| {
                    let held = kept(&user, credential(keys));
                    (user, held)
                })
                .collect(),
        )
    }
}

#[async_trait]
impl CredentialProvider for StaticKeys {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        self.0.get(&principal.username).cloned().ok_or_else(|| CredentialError::Unknown(principal.username.clone()))
    }

    fn needs_token(&self) -> bool {
        false
    }
}
