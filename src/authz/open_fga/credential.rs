//! Authentication at the OpenFGA server: none, a preshared key, or a token of an identity provider.

use std::time::Duration;

use super::error::OpenFgaError;
use crate::authz::{ClientCredentialsConfig, OpenFgaConfig};
use crate::domain::Secret;
use crate::rest::{Client, ClientCredentials, InvalidUrl, TokenCache, Url};

/// A token is renewed this long before it ends.
const RENEWAL_MARGIN: Duration = Duration::from_secs(30);
/// The lifetime of a token for which none is stated.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// How this service authenticates at the server.
pub(super) enum Credential {
    None,
    Preshared(Secret),
    Granted(Box<Account>),
}

/// A client of an identity provider, and its newest token.
pub(super) struct Account {
    credentials: ClientCredentials,
    client: Client,
    current: TokenCache<Secret>,
}

impl Credential {
    pub(super) fn new(config: &OpenFgaConfig, client: &Client) -> Result<Self, InvalidUrl> {
        Ok(match (&config.api_token, &config.client_credentials) {
            (Some(key), _) => Self::Preshared(key.clone()),
            (None, Some(account)) => Self::Granted(Box::new(Account {
                credentials: client_of(account)?,
                client: client.clone(),
                current: TokenCache::default(),
            })),
            (None, None) => Self::None,
        })
    }

    /// The bearer token to send, if any. Concurrent calls share one renewal.
    pub(super) async fn token(&self, timeout: Duration) -> Result<Option<Secret>, OpenFgaError> {
        match self {
            Self::None => Ok(None),
            Self::Preshared(key) => Ok(Some(key.clone())),
            Self::Granted(account) => account.token(timeout).await.map(Some),
        }
    }

    /// Forgets a token that the server refused.
    pub(super) async fn refused(&self) {
        if let Self::Granted(account) = self {
            account.current.forget().await;
        }
    }
}

impl Account {
    async fn token(&self, timeout: Duration) -> Result<Secret, OpenFgaError> {
        let obtain = async {
            let grant = self.credentials.grant(&self.client, timeout).await?;
            let lifetime = grant.expires_in.map_or(DEFAULT_LIFETIME, |seconds| {
                let lifetime = Duration::from_secs(seconds);
                lifetime.saturating_sub(RENEWAL_MARGIN).max(lifetime / 2)
            });
            Ok((grant.access_token, lifetime))
        };
        self.current.get(obtain).await.map_err(OpenFgaError::Credential)
    }
}

fn client_of(config: &ClientCredentialsConfig) -> Result<ClientCredentials, InvalidUrl> {
    let optional = [("audience", &config.audience), ("scope", &config.scope)];
    Ok(ClientCredentials {
        endpoint: Url::parse(&config.token_url)?,
        method: config.token_endpoint_auth_method,
        client_id: config.client_id.clone(),
        secret: config.client_secret.clone(),
        fields: optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect(),
    })
}
