//! What a user's SSH connection authenticates with.
//!
//! A provider answers with keys as text; only `ssh` decodes them. To add a provider: a variant of [`Config`], a file here,
//! and an arm in `app.rs`.

mod static_keys;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{Principal, Secret, Username};
use crate::error::{Classify, Kind};

pub use static_keys::{StaticKeys, UserKeys};

/// Where SSH credentials come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Config {
    /// Keys written in the configuration, one set a user.
    #[serde(rename = "SSHStaticKeys")]
    StaticKeys(static_keys::Config),
}

/// A key pair, and a certificate where there is one.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The private key in OpenSSH or PEM form.
    pub private_key: Secret,
    /// What the private key is encrypted with.
    pub passphrase: Option<Secret>,
    /// The OpenSSH user certificate (`*-cert.pub`) for the key.
    pub certificate: Option<String>,
    /// When the credential ends. A connection does not outlive it.
    pub not_after: Option<Timestamp>,
}

/// Gives the credential of a caller. Equal credentials come back as the same `Arc`, so that a change is seen by its address.
#[async_trait]
pub trait CredentialProvider: Send + Sync {
    /// The credential to log in with as `principal.username`.
    ///
    /// # Errors
    /// When the caller has none, or the service behind the provider does not answer.
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError>;
}

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The configuration names no key for this user.
    #[error("no SSH credential is configured for user {0}")]
    Unknown(Username),
}

impl Classify for CredentialError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown(_) => Kind::DependencyFailed,
        }
    }

    fn public_message(&self) -> Cow<'static, str> {
        self.to_string().into()
    }
}
