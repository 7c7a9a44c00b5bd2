//! A stand-in for the development issuer: it has the interface and signs nothing.

use serde_json::{Value, json};

use crate::domain::{Secret, Username};

/// A client that the development issuer knows.
pub struct DevelopmentClient {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// The user name in its tokens.
    pub username: Username,
    /// The address in its tokens, which makes them a person's.
    pub email: Option<String>,
    /// The groups in its tokens.
    pub groups: Vec<String>,
}

/// A token.
pub struct IssuedToken {
    /// The token itself.
    pub access_token: String,
    /// Seconds that it holds.
    pub expires_in: u64,
}

/// The client is unknown, or its secret is wrong.
#[derive(Debug, thiserror::Error)]
#[error("unknown client or wrong secret")]
pub struct UnknownClient;

/// The development issuer.
pub struct DevelopmentIssuer {
    issuer: String,
    clients: Vec<DevelopmentClient>,
}

impl DevelopmentIssuer {
    /// An issuer under this URL for these clients.
    pub fn new(issuer_url: String, clients: Vec<DevelopmentClient>) -> Self {
        Self { issuer: issuer_url, clients }
    }

    /// The keys.
    pub fn jwks(&self) -> Value {
        json!({"keys": []})
    }

    /// A token for a client.
    ///
    /// # Errors
    /// When the client is unknown or the secret wrong.
    pub fn token(&self, client_id: &str, secret: &str) -> Result<IssuedToken, UnknownClient> {
        let known = self.clients.iter().any(|client| client.id == client_id && client.secret.expose() == secret);
        if !known {
            return Err(UnknownClient);
        }
        Ok(IssuedToken { access_token: format!("unsigned.{client_id}.token"), expires_in: 3600 })
    }

    /// The discovery document.
    pub fn discovery(&self) -> Value {
        let issuer = &self.issuer;
        json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "token_endpoint": format!("{issuer}/token")})
    }
}
