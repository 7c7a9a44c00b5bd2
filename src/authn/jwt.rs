//! JSON Web Tokens as access tokens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use moka::Expiry;
use moka::future::Cache;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::jwks::{Jwks, KeySet, KeysError, Source};
use super::validator::{Recognition, Rejection, SetupError, Validator, within_limit};
use super::{Authenticator, AuthnError, Config, KeyedAuthenticator, claims};
use crate::domain::{Principal, Secret, TokenValidator, sha256};
use crate::rest::{Client, Object};

const MAX_VERIFIED_TOKENS: u64 = 10_000;
/// A verified token is verified again after this time, even if it is valid for longer.
const VERIFIED_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

/// Verifies JSON Web Tokens with the keys of the identity provider, and caches the valid ones.
pub struct JwtAuthenticator {
    config: Config,
    jwks: Jwks,
    verified: Cache<[u8; 32], Arc<Verified>>,
}

struct Verified {
    principal: Arc<Principal>,
    /// The epoch of the key set that verified the token.
    epoch: u64,
}

impl JwtAuthenticator {
    /// An authenticator; keys are read when [`KeyedAuthenticator::run`] starts, or with the first token.
    ///
    /// # Errors
    /// If no key set is configured, or one has an invalid URL.
    pub fn new(config: Config, client: Client) -> Result<Self, SetupError> {
        if config.public_certs.is_empty() {
            return Err(SetupError::NoKeySet);
        }
        let source = |url: &String| Source::parse(url).map_err(|source| SetupError::Url { key: "public_certs", url: url.clone(), source });
        let sources = config.public_certs.iter().map(source).collect::<Result<_, _>>()?;
        if config.audience.is_empty() {
            tracing::warn!(
                "auth.authentication.audience is empty: any token of the identity provider is accepted, whichever application it was issued for"
            );
        }
        if config.issuer.is_none() {
            tracing::warn!("auth.authentication.issuer is not set: tokens of any issuer that signs with these keys are accepted");
        }
        let verified = Cache::builder().max_capacity(MAX_VERIFIED_TOKENS).expire_after(UntilItEnds).build();
        let jwks = Jwks::new(sources, config.jwk_algorithm.clone(), client);
        Ok(Self { config, jwks, verified })
    }

    async fn verify(&self, token: &Secret) -> Result<Verified, Rejection> {
        let unknown = |error| Rejection { error, recognition: Recognition::Unknown };
        let parts = TokenParts::split(token.expose()).map_err(|error| Rejection { error, recognition: Recognition::OtherKind })?;
        let epoch = self.check_signature(&parts, token).await.map_err(unknown)?;
        let claims = parts.claims()?;
        let principal = self.principal(&claims, &parts, token)?;
        Ok(Verified { principal: Arc::new(principal), epoch })
    }

    /// The epoch of the key set that verifies the token's signature. Another validator may know a token for which there is none.
    async fn check_signature(&self, parts: &TokenParts<'_>, token: &Secret) -> Result<u64, AuthnError> {
        const DOES_NOT_HOLD: AuthnError = AuthnError::Signature("its signature is not valid");
        if parts.header.crit {
            return Err(AuthnError::Invalid("its header demands an extension that is not supported"));
        }
        let keys = self.jwks.keys_or_read().await.map_err(|error| AuthnError::KeysUnavailable(Box::new(error)))?;
        match parts.check_signature(&keys) {
            Signature::Holds => return Ok(keys.epoch),
            Signature::DoesNotHold => return Err(DOES_NOT_HOLD),
            Signature::UnknownKey => {}
        }
        // A token that is invalid whatever its key is no reason to query the provider.
        self.principal(&parts.claims()?, parts, token)?;
        let is_known = |keys: &KeySet| !matches!(parts.check_signature(keys), Signature::UnknownKey);
        let keys = self.jwks.keys_after_unknown(is_known).await.ok_or(AuthnError::KeyNotYetKnown)?;
        match parts.check_signature(&keys) {
            Signature::Holds => Ok(keys.epoch),
            Signature::DoesNotHold => Err(DOES_NOT_HOLD),
            // While a key set cannot be read, the key may well be a good one that is new.
            Signature::UnknownKey => Err(match self.jwks.failure() {
                Some(failure) => AuthnError::KeysUnavailable(Box::new(failure)),
                None => AuthnError::Signature("no known key signed it"),
            }),
        }
    }

    fn principal(&self, claims: &Map<String, Value>, parts: &TokenParts<'_>, token: &Secret) -> Result<Principal, AuthnError> {
        claims::principal(claims, parts.header.typ.as_deref(), &self.config, (token, TokenValidator::Jwt), Timestamp::now())
    }
}

#[async_trait]
impl Validator for JwtAuthenticator {
    async fn validate(&self, token: &Secret) -> Result<Arc<Principal>, Rejection> {
        let name = sha256(token.expose().as_bytes());
        if let Some(verified) = self.verified.get(&name).await
            && verified.epoch == self.jwks.keys().epoch
        {
            claims::check_expiry(verified.principal.expires_at, &self.config, Timestamp::now())?;
            return Ok(Arc::clone(&verified.principal));
        }
        let verified = self.verify(token).await?;
        let principal = Arc::clone(&verified.principal);
        self.verified.insert(name, Arc::new(verified)).await;
        Ok(principal)
    }
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, token: &Secret) -> Result<Arc<Principal>, AuthnError> {
        within_limit(token)?;
        self.validate(token).await.map_err(|refusal| refusal.error)
    }
}

#[async_trait]
impl KeyedAuthenticator for JwtAuthenticator {
    async fn run(self: Arc<Self>, cancelled: CancellationToken) {
        self.jwks.run(Duration::from_secs(self.config.public_certs_refresh.max(1)), &cancelled).await;
    }

    async fn read_keys(&self) -> Result<usize, Arc<KeysError>> {
        self.jwks.refresh().await;
        match self.jwks.failure() {
            Some(failure) => Err(failure),
            None => Ok(self.jwks.keys().len()),
        }
    }
}

/// The header members that matter (RFC 7515, 4.1). `jku`, `jwk` and `x5u` are not among them: a token does not bring its key.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Whether there is a `crit`, whatever its value.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// True for a member that is there, be it `null`.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Whether a text has the form of a JSON Web Token.
pub(super) fn is_jwt(text: &str) -> bool {
    TokenParts::split(text).is_ok()
}

/// A token in its three parts (RFC 7515, 7.1).
struct TokenParts<'a> {
    header: Header,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

enum Signature {
    Holds,
    DoesNotHold,
    UnknownKey,
}

impl<'a> TokenParts<'a> {
    fn split(token: &'a str) -> Result<Self, AuthnError> {
        const NO_TOKEN: AuthnError = AuthnError::Invalid("it is not a JSON Web Token");
        let (message, signature) = token.rsplit_once('.').ok_or(NO_TOKEN)?;
        let (header, payload) = message.split_once('.').ok_or(NO_TOKEN)?;
        if payload.contains('.') {
            return Err(NO_TOKEN);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| NO_TOKEN)?;
        let Object(header): Object<Header> = serde_json::from_slice(&header).map_err(|_| NO_TOKEN)?;
        Ok(Self { header, message, payload, signature })
    }

    fn check_signature(&self, keys: &KeySet) -> Signature {
        let mut outcome = Signature::UnknownKey;
        for key in keys.candidates(self.header.kid.as_deref()) {
            let Some(algorithm) = key.algorithm(&self.header.alg) else {
                outcome = Signature::DoesNotHold;
                continue;
            };
            if key.verifies(algorithm, self.message.as_bytes(), self.signature) {
                return Signature::Holds;
            }
            outcome = Signature::DoesNotHold;
        }
        outcome
    }

    fn claims(&self) -> Result<Map<String, Value>, AuthnError> {
        const NO_CLAIMS: AuthnError = AuthnError::Invalid("its claims are not a JSON object");
        let payload = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| NO_CLAIMS)?;
        serde_json::from_slice(&payload).map_err(|_| NO_CLAIMS)
    }
}

/// Remembers a token until it ends, and no longer than [`VERIFIED_TOKEN_TTL`].
struct UntilItEnds;

impl Expiry<[u8; 32], Arc<Verified>> for UntilItEnds {
    fn expire_after_create(&self, _: &[u8; 32], verified: &Arc<Verified>, _: std::time::Instant) -> Option<Duration> {
        let remaining = verified.principal.expires_at.as_second().saturating_sub(Timestamp::now().as_second());
        Some(Duration::from_secs(u64::try_from(remaining).unwrap_or(0)).min(VERIFIED_TOKEN_TTL))
    }
}
