//! The proxy's own accounts at the identity provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Authenticator, AuthnError, Config, PrincipalSource};
use crate::domain::{Principal, Secret};
use crate::rest::{Client, ClientCredentials, GrantError, InvalidUrl, TokenCache, Url};

const TIMEOUT: Duration = Duration::from_secs(10);
/// A token is renewed this long before it would be refused.
const MARGIN: Duration = Duration::from_secs(15);

/// A principal obtained by the client credentials grant (RFC 6749, 4.4), or by a token of the configuration. Its token passes the same checks
/// as any other.
pub struct ServiceAccountTokens {
    tokens: Tokens,
    client: Client,
    authenticator: Arc<dyn Authenticator>,
    refused_before: Duration,
    current: TokenCache<Principal>,
}

/// Where the tokens of an account come from.
enum Tokens {
    Granted(ClientCredentials),
    /// There is one, which the configuration holds.
    Configured(Secret),
}

impl ServiceAccountTokens {
    /// An account; nothing is sent yet. Without a token endpoint, `secret` is a token itself.
    ///
    /// # Errors
    /// If the token endpoint is no URL.
    pub fn new(
        config: &Config,
        client_id: &str,
        secret: Secret,
        client: Client,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, InvalidUrl> {
        let tokens = match &config.token_url {
            Some(url) => Tokens::Granted(ClientCredentials {
                endpoint: Url::parse(url)?,
                method: config.token_endpoint_auth_method,
                client_id: client_id.to_owned(),
                secret,
                fields: Vec::new(),
            }),
            None => Tokens::Configured(secret),
        };
        Ok(Self {
            tokens,
            client,
            authenticator,
            refused_before: Duration::from_secs(config.min_token_ttl),
            current: TokenCache::default(),
        })
    }

    /// A principal, and how long it may be used: until its token would soon be refused.
    async fn fetch(&self) -> Result<(Principal, Duration), TokenError> {
        let token = match &self.tokens {
            Tokens::Granted(credentials) => credentials.grant(&self.client, TIMEOUT).await?.access_token,
            Tokens::Configured(token) => token.clone(),
        };
        let principal = self.authenticator.authenticate(&token).await.map(Arc::unwrap_or_clone).map_err(TokenError::DoesNotHold)?;
        let remaining = principal.expires_at.as_second().saturating_sub(Timestamp::now().as_second());
        let remaining = Duration::from_secs(u64::try_from(remaining).unwrap_or(0));
        Ok((principal, remaining.saturating_sub(self.refused_before + MARGIN)))
    }
}

#[async_trait]
impl PrincipalSource for ServiceAccountTokens {
    async fn principal(&self) -> Result<Principal, AuthnError> {
        self.current.get(self.fetch()).await.map_err(|error| AuthnError::ServiceAccount(Box::new(error)))
    }
}

/// The reason why there is no principal.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error("the token of the account is not accepted")]
    DoesNotHold(#[source] AuthnError),
}
