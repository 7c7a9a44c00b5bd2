//! The kinds of tokens that the site accepts, in their order.
//!
//! Each validator is asked in turn. One that knows the token decides; one that does not leaves it to the next. While a service that may know
//! the token cannot be asked, a token that no other validator accepts is neither accepted nor refused.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::introspection::Introspection;
use super::jupyterhub::JupyterHub;
use super::jwt::JwtAuthenticator;
use super::validator::{Recognition, Rejection, SetupError, TokenService, Validator, within_limit};
use super::{Authenticator, AuthnError, Config, KeyedAuthenticator, KeysError, ValidatorConfig};
use crate::domain::{Principal, Secret};
use crate::rest::Client;

/// All kinds of tokens that the site accepts.
pub struct Validators {
    chain: Vec<Arc<dyn Validator>>,
    keyed: Option<Arc<JwtAuthenticator>>,
    services: Vec<Arc<dyn TokenService>>,
    takes_token_scheme: bool,
}

impl Validators {
    /// The validators of the configuration. Nothing is asked yet.
    ///
    /// # Errors
    /// If there is none, or one cannot be made.
    pub fn new(config: &Config, client: &Client) -> Result<Self, SetupError> {
        let mut validators = Self { chain: Vec::new(), keyed: None, services: Vec::new(), takes_token_scheme: false };
        for section in &config.validators {
            match section {
                ValidatorConfig::Jwt => {
                    let jwt = Arc::new(JwtAuthenticator::new(config.clone(), client.clone())?);
                    validators.keyed = Some(Arc::clone(&jwt));
                    validators.chain.push(jwt);
                }
                ValidatorConfig::Jupyterhub(section) => {
                    let hub = Arc::new(JupyterHub::new(section, config, client.clone())?);
                    validators.takes_token_scheme = true;
                    validators.services.push(Arc::clone(&hub) as Arc<dyn TokenService>);
                    validators.chain.push(hub);
                }
                ValidatorConfig::Introspection(section) => {
                    let introspection = Arc::new(Introspection::new(section, config, client.clone())?);
                    validators.services.push(Arc::clone(&introspection) as Arc<dyn TokenService>);
                    validators.chain.push(introspection);
                }
            }
        }
        if validators.chain.is_empty() { Err(SetupError::NoValidator) } else { Ok(validators) }
    }

    /// Keeps the keys of the identity provider fresh until cancelled.
    pub async fn run(self: Arc<Self>, cancelled: CancellationToken) {
        match &self.keyed {
            Some(keyed) => Arc::clone(keyed).run(cancelled).await,
            None => cancelled.cancelled().await,
        }
    }

    /// Reads the keys of the identity provider and returns their number; `None` if the site accepts no JSON Web Tokens.
    ///
    /// # Errors
    /// If a key set cannot be read.
    pub async fn read_keys(&self) -> Option<Result<usize, Arc<KeysError>>> {
        match &self.keyed {
            Some(keyed) => Some(keyed.read_keys().await),
            None => None,
        }
    }

    /// The services that are asked about tokens, in their order.
    pub fn services(&self) -> &[Arc<dyn TokenService>] {
        &self.services
    }
}

#[async_trait]
impl Authenticator for Validators {
    async fn authenticate(&self, token: &Secret) -> Result<Arc<Principal>, AuthnError> {
        within_limit(token)?;
        let mut refused: Option<Rejection> = None;
        for validator in &self.chain {
            match validator.validate(token).await {
                Ok(principal) => return Ok(principal),
                Err(refusal) if refusal.recognition == Recognition::Known => return Err(refusal.error),
                Err(refusal) => {
                    refused = Some(match refused {
                        Some(before) => before.or(refusal),
                        None => refusal,
                    });
                }
            }
        }
        Err(refused.map_or(AuthnError::Invalid("no kind of token is accepted"), |refusal| refusal.error))
    }

    fn takes_token_scheme(&self) -> bool {
        self.takes_token_scheme
    }
}
