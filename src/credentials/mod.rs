//! The credentials of users for clusters: keys and certificates for SSH, and tokens for slurmrestd (`slurm_tokens`).
//!
//! A provider answers with keys as text; only `ssh` logs in with them. Providers whose credentials end stand behind a
//! [`Cached`]. Certificates are made and read here (`keys`), so this module knows `russh::keys`, and nothing else of russh.
//! It must not know connections or clusters. To add a provider: a variant of [`Config`], a file here, and an arm in `app/build.rs`.

mod authority;
mod cached;
mod error;
mod key_service;
mod keys;
mod replaceable;
mod service;
mod slurm_tokens;
mod sshca;
mod static_keys;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{Principal, Secret, Username};

pub use authority::{CertificateAuthority, Config as AuthorityConfig, Extension};
pub use cached::Cached;
pub use error::{CredentialError, SetupError};
pub use key_service::{Config as KeyServiceConfig, KeyService};
pub use replaceable::Replaceable;
pub use slurm_tokens::{SlurmKeyError, SlurmTokenError, SlurmTokens};
pub use sshca::{Config as SshCaConfig, SshCa};
pub use static_keys::{StaticKeys, UserKeys};

/// The source of SSH credentials.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Config {
    /// Keys in the configuration, one set per user.
    #[serde(rename = "SSHStaticKeys")]
    StaticKeys(static_keys::Config),
    /// A key service (CSCS) that returns a key and a certificate for a caller's token.
    #[serde(rename = "SSHService")]
    KeyService(KeyServiceConfig),
    /// An SSH certificate authority (DeiC) that signs a key made by Goldcrest for a caller's token.
    #[serde(rename = "SSHCA")]
    SshCa(SshCaConfig),
    /// Goldcrest's own certificate authority, which signs short-lived certificates.
    #[serde(rename = "SSHCertificateAuthority")]
    Authority(AuthorityConfig),
}

impl Default for Config {
    /// No keys: for a site that reaches no cluster over SSH.
    fn default() -> Self {
        Self::StaticKeys(static_keys::Config::default())
    }
}

/// A key pair, and a certificate if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The private key in OpenSSH or PEM form.
    pub private_key: Secret,
    /// The passphrase of the private key.
    pub passphrase: Option<Secret>,
    /// The OpenSSH user certificate (`*-cert.pub`) for the key.
    pub certificate: Option<String>,
    /// When the credential ends. A connection does not outlive it.
    pub not_after: Option<Timestamp>,
    /// The caller that it was made for, if it is not for the user in general: only this caller may use connections opened with it.
    pub caller: Option<Arc<CallerKey>>,
}

/// One caller, as a token identifies it. Two callers may have the same name on the clusters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerKey {
    /// The name on the clusters.
    pub username: Username,
    /// The token's `sub`.
    pub subject: String,
    /// The OAuth2 client that the token was issued to.
    pub client_id: Option<String>,
}

/// Gives the credential of a caller. An unchanged credential is the same `Arc`, so that a change shows by its address.
#[async_trait]
pub trait CredentialProvider: Send + Sync {
    /// The credential to log in with as `principal.username`.
    ///
    /// # Errors
    /// If the caller has none, or the service behind the provider does not answer.
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError>;

    /// Whether a credential is only made for a caller whose token is still valid, so that there is none for work that goes on without a token.
    fn needs_token(&self) -> bool;
}

impl Config {
    /// The error in the section that its types do not exclude: the key and the reason. Nothing if it can be used.
    pub fn validate(&self) -> Option<(String, String)> {
        match self {
            Self::StaticKeys(keys) => keys.validate(),
            Self::KeyService(_) | Self::SshCa(_) => None,
            Self::Authority(config) => CertificateAuthority::new(config).err().map(|error| (error.key, error.reason)),
        }
    }

    /// The private keys that cannot be used, each with its key of the configuration and the error. The keys of other users work.
    pub fn unusable_keys(&self) -> Vec<(String, &'static str)> {
        match self {
            Self::StaticKeys(keys) => keys.unusable(),
            Self::KeyService(_) | Self::SshCa(_) | Self::Authority(_) => Vec::new(),
        }
    }

    /// The passphrases that do not open the private keys beside them, each by its key of the configuration. Each key takes a moment.
    pub fn wrong_passphrases(&self) -> Vec<String> {
        match self {
            Self::StaticKeys(keys) => keys.wrong_passphrases(),
            Self::KeyService(_) | Self::SshCa(_) | Self::Authority(_) => Vec::new(),
        }
    }

    /// The users whose keys are in the configuration, in their order.
    pub fn users(&self) -> Vec<&Username> {
        let Self::StaticKeys(keys) = self else { return Vec::new() };
        let mut users: Vec<_> = keys.keys.keys().collect();
        users.sort_unstable_by_key(|user| user.as_str());
        users
    }
}

impl CallerKey {
    /// The caller behind a principal.
    pub fn of(principal: &Principal) -> Self {
        Self { username: principal.username.clone(), subject: principal.subject.clone(), client_id: principal.client_id.clone() }
    }
}
