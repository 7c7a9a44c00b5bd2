//! The key service of CSCS: a token in, a key pair and a certificate out.
//!
//! `POST <url>/api/v1/ssh-keys` with the caller's token as bearer, and `{"duration": "1min", "username": ...}`; the answer is
//! 201 and `{"sshKey": {"privateKey": ..., "publicKey": <the certificate>}}`.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::{Service, default_max_connections, default_timeout};
use super::{Credential, CredentialError, CredentialProvider, SetupError};
use crate::domain::{Principal, Secret};
use crate::rest::{Client, Object, Request};

/// A key service. Keys are requested with the caller's own token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Config {
    /// URL of the service; `/api/v1/ssh-keys` is appended.
    pub url: String,
    /// Maximum number of concurrent calls; 0 for no limit.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Requested lifetime of the keys, in the service's notation.
    #[serde(default = "default_duration")]
    pub duration: String,
    /// Time limit of a call in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
}

/// The provider over [`Config`].
pub struct KeyService {
    service: Service,
    duration: String,
}

#[derive(Serialize)]
struct Order<'a> {
    duration: &'a str,
    username: &'a str,
}

#[derive(Deserialize)]
struct SignedKeys {
    #[serde(rename = "sshKey")]
    ssh_key: Object<Keys>,
}

#[derive(Deserialize)]
struct Keys {
    #[serde(rename = "privateKey")]
    private_key: Secret,
    #[serde(rename = "publicKey")]
    certificate: String,
}

impl KeyService {
    /// Takes the configuration.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn new(config: &Config, client: Client) -> Result<Self, SetupError> {
        let place = (config.url.as_str(), ["api", "v1", "ssh-keys"].as_slice());
        let service = Service::new("SSH key service", place, config.max_connections, config.timeout, client)?;
        Ok(Self { service, duration: config.duration.clone() })
    }
}

#[async_trait]
impl CredentialProvider for KeyService {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        let order = Order { duration: &self.duration, username: principal.username.as_str() };
        let response = self.service.post(principal, |request| who_asks(request).bearer(&principal.token).json(&order)).await?;
        let SignedKeys { ssh_key: Object(ssh_key) } =
            response.json().map_err(|_| self.service.unusable("it is not in the form of a key service's answer"))?;
        self.service.credential(principal, ssh_key.private_key, &ssh_key.certificate)
    }

    fn needs_token(&self) -> bool {
        true
    }
}

/// The headers by which the services count their clients. The name is the one that they know: Goldcrest stands in its place.
pub(super) fn who_asks(request: Request) -> Request {
    let header = |text: &str| Secret::from(text.to_owned());
    request
        .header("x-client-type", header("api"))
        .header("x-client-name", header("firecrest"))
        .header("x-client-version", header(concat!("goldcrest-", env!("CARGO_PKG_VERSION"))))
}

fn default_duration() -> String {
    "1min".to_owned()
}
