//! The proxy's own accounts at the identity provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use moka::Expiry;
use moka::future::Cache;
use serde::Deserialize;

use super::{Authenticator, AuthnError, Config, PrincipalSource, TokenEndpointAuthMethod};
use crate::domain::{Principal, Secret};
use crate::rest::{Client, InvalidUrl, Request, RestError, Url};

const MAX_ANSWER: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
/// A token is renewed this long before it would be refused.
const MARGIN: Duration = Duration::from_secs(15);

/// A principal by the client credentials grant (RFC 6749, 4.4). Its token passes the same checks as everybody's.
pub struct ServiceAccountTokens {
    endpoint: Url,
    method: TokenEndpointAuthMethod,
    client_id: String,
    secret: Secret,
    client: Client,
    authenticator: Arc<dyn Authenticator>,
    current: Cache<(), Principal>,
}

impl ServiceAccountTokens {
    /// An account; nothing is sent yet.
    ///
    /// # Errors
    /// When the token endpoint is no URL.
    pub fn new(
        config: &Config,
        client_id: &str,
        secret: Secret,
        client: Client,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, InvalidUrl> {
        let refused_before = Duration::from_secs(config.min_token_ttl);
        Ok(Self {
            endpoint: Url::parse(&config.token_url)?,
            method: config.token_endpoint_auth_method,
            client_id: client_id.to_owned(),
            secret,
            client,
            authenticator,
            current: Cache::builder().max_capacity(1).expire_after(ShortlyBefore(refused_before)).build(),
        })
    }

    async fn fetch(&self) -> Result<Principal, TokenError> {
        let token = self.token().await?;
        self.authenticator.authenticate(&token).await.map(Arc::unwrap_or_clone).map_err(TokenError::DoesNotHold)
    }

    async fn token(&self) -> Result<Secret, TokenError> {
        let request = Request::post(self.endpoint.clone()).timeout(TIMEOUT).max_body(MAX_ANSWER);
        let request = request.header("accept", Secret::from("application/json".to_owned()));
        let request = match self.method {
            TokenEndpointAuthMethod::ClientSecretBasic => {
                // RFC 6749, 2.3.1: both are form-encoded before they become a user name and a password.
                let secret = Secret::from(Request::form_encode(self.secret.expose()));
                request.basic(&Request::form_encode(&self.client_id), &secret).form(&[("grant_type", "client_credentials")])
            }
            TokenEndpointAuthMethod::ClientSecretPost => request.form(&[
                ("grant_type", "client_credentials"),
                ("client_id", &self.client_id),
                ("client_secret", self.secret.expose()),
            ]),
        };
        let response = self.client.send(request).await?;
        if response.status == 400 || response.status == 401 {
            // RFC 6749, 5.2. The code is one of a few words; anything else is not repeated.
            let code = response.json::<Refusal>().ok().and_then(|refusal| KNOWN_CODES.into_iter().find(|code| *code == refusal.error));
            return Err(TokenError::Refused(code.unwrap_or("no reason given")));
        }
        let answer: TokenAnswer = response.success()?.json()?;
        Ok(answer.access_token)
    }
}

#[async_trait]
impl PrincipalSource for ServiceAccountTokens {
    async fn principal(&self) -> Result<Principal, AuthnError> {
        self.current.try_get_with((), self.fetch()).await.map_err(|error| AuthnError::ServiceAccount(Box::new(error)))
    }
}

/// Why the provider gave no token.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("the identity provider refused the service account: {0}")]
    Refused(&'static str),
    #[error(transparent)]
    Call(#[from] RestError),
    #[error("the token that the identity provider gave is not accepted")]
    DoesNotHold(#[source] AuthnError),
}

const KNOWN_CODES: [&str; 6] =
    ["invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"];

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Secret,
}

/// Keeps a principal until its token would soon be refused.
struct ShortlyBefore(Duration);

impl Expiry<(), Principal> for ShortlyBefore {
    fn expire_after_create(&self, (): &(), principal: &Principal, _: std::time::Instant) -> Option<Duration> {
        let remaining = principal.expires_at.as_second().saturating_sub(Timestamp::now().as_second());
        let remaining = Duration::from_secs(u64::try_from(remaining).unwrap_or(0));
        Some(remaining.saturating_sub(self.0 + MARGIN))
    }
}
