//! The signing half of a development identity provider, for the demonstration and for tests.
//!
//! It makes its key when it starts and forgets it when it ends; there is no HTTP here. It must never be offered as a
//! provider for a real site: it has no users, no revocation and no storage.

mod endpoint;

use std::collections::HashMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::domain::{Secret, Username};

pub use endpoint::{PATH, beside, router};

const LIFETIME: u64 = 900;

/// A client that the issuer knows.
#[derive(Clone, Debug)]
pub struct DevelopmentClient {
    /// Its `client_id`.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// The user name on the clusters that its tokens carry.
    pub username: Username,
    /// The email address; with one, the tokens count as a person's.
    pub email: Option<String>,
    /// The groups that its tokens carry.
    pub groups: Vec<String>,
}

/// An issuer of ES256 access tokens (RFC 9068) for the client credentials grant.
pub struct DevelopmentIssuer {
    url: String,
    key: EncodingKey,
    key_id: String,
    point: Vec<u8>,
    clients: HashMap<String, DevelopmentClient>,
}

/// The response of the token endpoint (RFC 6749, 5.1).
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub access_token: Secret,
    /// Seconds that it holds.
    pub expires_in: u64,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The client is unknown or its secret wrong: `invalid_client` (RFC 6749, 5.2).
    #[error("unknown client or wrong secret")]
    InvalidClient,
    /// The platform's random source or the cryptographic library failed.
    #[error("no key could be made")]
    Key,
    /// The token could not be signed.
    #[error("the token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

impl DevelopmentIssuer {
    /// The `aud` of its tokens.
    pub const AUDIENCE: &str = "goldcrest";

    /// An issuer with a fresh key. `url` is its `iss`, without a slash at the end.
    ///
    /// # Errors
    /// [`IssuerError::Key`] when no key could be made.
    pub fn new(url: impl Into<String>, clients: Vec<DevelopmentClient>) -> Result<Self, IssuerError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(|_| IssuerError::Key)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).map_err(|_| IssuerError::Key)?;
        let point = pair.public_key().as_ref().to_vec();
        let key_id = URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, &point).as_ref()[..12]);
        let clients = clients.into_iter().map(|client| (client.id.clone(), client)).collect();
        Ok(Self { url: url.into(), key: EncodingKey::from_ec_der(pkcs8.as_ref()), key_id, point, clients })
    }

    /// The key set to serve at `<url>/certs` (RFC 7517).
    pub fn jwks(&self) -> Value {
        // An uncompressed point is the byte 4 and two coordinates of 32 bytes each.
        let (x, y) = self.point[1..].split_at(32);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    /// The metadata to serve at `<url>/.well-known/openid-configuration` (RFC 8414).
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "token_endpoint": format!("{}/token", self.url),
            "jwks_uri": format!("{}/certs", self.url),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        })
    }

    /// A token for a client that shows its secret.
    ///
    /// # Errors
    /// [`IssuerError::InvalidClient`] when it shows another, or is not known.
    pub fn token(&self, client_id: &str, secret: &Secret) -> Result<IssuedToken, IssuerError> {
        let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
        let client = self.clients.get(client_id);
        // An unknown client costs the same comparison as a known one; hashes make the lengths equal.
        let expected = client.map_or_else(|| hash(&self.key_id), |client| hash(client.secret.expose()));
        let same = constant_time::verify_slices_are_equal(expected.as_ref(), hash(secret.expose()).as_ref()).is_ok();
        match client {
            Some(client) if same => self.sign(client),
            _ => Err(IssuerError::InvalidClient),
        }
    }

    fn sign(&self, client: &DevelopmentClient) -> Result<IssuedToken, IssuerError> {
        let now = Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.url,
            "aud": Self::AUDIENCE,
            "sub": client.id,
            "client_id": client.id,
            "azp": client.id,
            "iat": now,
            "exp": now.saturating_add_unsigned(LIFETIME),
            "jti": uuid::Uuid::new_v4().to_string(),
            "scope": "openid profile",
            "preferred_username": client.username,
            "groups": client.groups,
        });
        if let Some(email) = &client.email {
            claims["email"] = json!(email);
        }
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.key_id.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(IssuerError::Sign)?;
        Ok(IssuedToken { access_token: Secret::from(token), expires_in: LIFETIME })
    }
}
