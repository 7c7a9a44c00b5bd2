//! The SSH certificate authority of DeiC: it signs a key of ours for a caller's token.
//!
//! `POST <url>/sign` with `{"PublicKey": "ssh-ed25519 ...", "OTT": <the token>}`; the answer is 200 and the certificate as text.
//! The private key never leaves this process.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key_service::who_asks;
use super::keys::KeyPair;
use super::service::{Service, default_max_connections, default_timeout};
use super::{Credential, CredentialError, CredentialProvider, SetupError};
use crate::domain::Principal;
use crate::rest::Client;

/// An SSH certificate authority that is called with the caller's own token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Config {
    /// URL of one authority of the service, such as `http://sshca:2280/hpc`; `/sign` is appended.
    pub url: String,
    /// Maximum number of concurrent calls; 0 for no limit.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Time limit of a call in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
}

/// The provider over [`Config`].
pub struct SshCa(Service);

#[derive(Serialize)]
struct Order<'a> {
    #[serde(rename = "PublicKey")]
    public_key: String,
    /// The one-time token.
    #[serde(rename = "OTT")]
    token: &'a str,
}

impl SshCa {
    /// Takes the configuration.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn new(config: &Config, client: Client) -> Result<Self, SetupError> {
        let place = (config.url.as_str(), ["sign"].as_slice());
        Service::new("SSH certificate authority", place, config.max_connections, config.timeout, client).map(Self)
    }
}

#[async_trait]
impl CredentialProvider for SshCa {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        let pair = KeyPair::generate().map_err(CredentialError::Signing)?;
        let public_key = pair.public_key().map_err(CredentialError::Signing)?;
        let order = Order { public_key, token: principal.token.expose() };
        let response = self.0.post(principal, |request| who_asks(request).json(&order)).await?;
        let certificate = std::str::from_utf8(&response.body).map_err(|_| self.0.unusable("it holds no SSH certificate"))?;
        let private_key = pair.private_key().map_err(CredentialError::Signing)?;
        self.0.credential(principal, private_key, certificate)
    }

    fn needs_token(&self) -> bool {
        true
    }
}
