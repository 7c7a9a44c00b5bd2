//! Bearer tokens in, principals out.
//!
//! The only module that knows jsonwebtoken. It must not know clusters, relations or HTTP frameworks. [`JwtAuthenticator`]
//! follows RFC 8725 (JWT best practices) and RFC 9068 (JWT access tokens). [`Validators`] tries the kinds of tokens in the order of the
//! configuration. A further kind is a file with an implementation of `Validator`, a variant of [`ValidatorConfig`], and a line in
//! [`Validators::new`].

mod claims;
mod config;
mod introspection;
mod jupyterhub;
mod jwks;
mod jwt;
mod keys;
mod lookups;
mod service_account;
mod usernames;
mod validator;
mod validators;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::domain::{Principal, Secret, Username};
use crate::error::{Classify, ErrorChain, Kind};

pub use config::{Config, IntrospectionConfig, JupyterHubConfig, ValidatorConfig};
pub use jwks::{KeysError, Source};
pub use jwt::JwtAuthenticator;
pub use keys::supported_algorithm;
pub use service_account::ServiceAccountTokens;
use service_account::TokenError;
pub use usernames::{UsernamePattern, system_accounts};
pub use validator::{SetupError, TokenService, TokenServiceError};
pub use validators::Validators;

/// The longest token that is accepted, in bytes. Servers in front of this one seldom pass longer headers.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Verifies bearer tokens.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The principal of a token (RFC 6750).
    ///
    /// # Errors
    /// If the token is not valid, or could not be checked. No error contains any part of the token.
    async fn authenticate(&self, token: &Secret) -> Result<Arc<Principal>, AuthnError>;

    /// Whether tokens also come as `Authorization: token <token>`, as the clients of JupyterHub send them.
    fn takes_token_scheme(&self) -> bool {
        false
    }
}

/// An authenticator that verifies tokens with keys of an identity provider, which change.
#[async_trait]
pub trait KeyedAuthenticator: Authenticator {
    /// Keeps the keys fresh until cancelled.
    async fn run(self: Arc<Self>, cancelled: CancellationToken);

    /// Reads the keys now and returns their number. Concurrent calls share one reading. Keys that cannot be read stay as they were.
    ///
    /// # Errors
    /// If a key set cannot be read.
    async fn read_keys(&self) -> Result<usize, Arc<KeysError>>;
}

/// A principal of the proxy's own, such as the account that the health checker works as.
#[async_trait]
pub trait PrincipalSource: Send + Sync {
    /// The principal with a token that is still valid.
    ///
    /// # Errors
    /// If the identity provider issues no token, or an invalid one.
    async fn principal(&self) -> Result<Principal, AuthnError>;
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// It is not valid, for this reason.
    #[error("the access token is not valid: {0}")]
    Invalid(&'static str),
    /// It is longer than [`MAX_TOKEN`]: this many bytes.
    #[error(
        "the access token is not valid: it has {0} bytes, and at most {MAX_TOKEN} are accepted: have the identity provider leave out claims \
         that are not needed, such as long lists of groups"
    )]
    TooLong(usize),
    /// It is valid, and its user name is refused on every cluster.
    #[error("the user name {username} is not accepted: {reason}")]
    Username {
        /// The name.
        username: Username,
        /// Why, and which configuration key says so.
        reason: &'static str,
    },
    /// Its key is unknown, and too many tokens with unknown keys wait for the key sets to be read again.
    #[error("the key that signed the access token is not known yet, and many tokens with unknown keys are being looked up: try again")]
    KeyNotYetKnown,
    /// A service that knows it could not be asked.
    #[error("the access token could not be checked")]
    Unchecked(#[source] Arc<TokenServiceError>),
    /// Too many tokens are being checked with this service.
    #[error("many access tokens are being checked with {0}: try again")]
    TooManyChecks(&'static str),
    /// It is valid, and has none of the scopes of which one is required.
    #[error("the access token may not be used here: it has the scopes {seen}, and one of {wanted} is required")]
    Scopes {
        /// The scopes of the token.
        seen: String,
        /// The configured ones.
        wanted: String,
    },
    /// It was issued by another issuer than the configured one.
    #[error("the access token is not valid: it comes from another issuer, {seen}; this service takes tokens of {wanted}")]
    Issuer {
        /// The token's `iss`.
        seen: String,
        /// The configured one.
        wanted: String,
    },
    /// It was issued for other services than this one.
    #[error("the access token is not valid: it is meant for another audience, {seen}; this service takes tokens for {wanted}")]
    Audience {
        /// The token's `aud`.
        seen: String,
        /// The configured ones.
        wanted: String,
    },
    /// The configured claim is absent, or is no user name.
    #[error("the access token is not valid: it has no usable user name in the claim `{claim}` (auth.authentication.username_claim)")]
    UsernameClaim {
        /// The configured claim.
        claim: String,
    },
    /// Its signature cannot be verified with a known key, for this reason.
    #[error("the access token is not valid: {0}")]
    Signature(&'static str),
    /// It has expired.
    #[error("the access token is not valid: it has expired")]
    Expired,
    /// It expires too soon to be passed on.
    #[error("the access token {}, at least {required} s are required: renew it", end_of(*remaining))]
    EndsTooSoon {
        /// Seconds left.
        remaining: i64,
        /// Seconds required.
        required: u64,
    },
    /// The identity provider gave no token for a service account.
    #[error("no access token for the service account could be obtained")]
    ServiceAccount(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No signing key was ever read: the token can be neither accepted nor refused.
    #[error("the signing keys of the identity provider could not be read")]
    KeysUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// When a token ends with so many seconds left.
fn end_of(remaining: i64) -> String {
    if remaining < 0 { format!("ended {} s ago", remaining.unsigned_abs()) } else { format!("ends in {remaining} s") }
}

impl Classify for AuthnError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_)
            | Self::Issuer { .. }
            | Self::Audience { .. }
            | Self::UsernameClaim { .. }
            | Self::Signature(_)
            | Self::Expired
            | Self::EndsTooSoon { .. }
            | Self::TooLong(_) => Kind::Unauthenticated,
            Self::Username { .. } | Self::Scopes { .. } => Kind::Forbidden,
            Self::KeysUnavailable(_) | Self::KeyNotYetKnown | Self::ServiceAccount(_) | Self::Unchecked(_) | Self::TooManyChecks(_) => {
                Kind::Unavailable
            }
        }
    }

    /// The address of the service and the system's error where it failed. What other sources hold is unknown.
    fn public_message(&self) -> Cow<'static, str> {
        match self {
            Self::KeysUnavailable(source) if source.is::<Arc<KeysError>>() => ErrorChain(self).to_string().into(),
            Self::Unchecked(_) => ErrorChain(self).to_string().into(),
            Self::ServiceAccount(source) if source.is::<Arc<TokenError>>() => ErrorChain(self).to_string().into(),
            _ => self.to_string().into(),
        }
    }
}
