//! Bearer tokens in, principals out.
//!
//! The only module that knows jsonwebtoken. It must not know clusters, relations or HTTP frameworks. [`JwtAuthenticator`]
//! follows RFC 8725 (JWT best practices) and RFC 9068 (JWT access tokens). A further kind of token is a further
//! implementation of [`KeyedAuthenticator`], made in `app/build.rs` (`authenticator`).

mod claims;
mod config;
mod jwks;
mod jwt;
mod keys;
mod service_account;
mod usernames;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::domain::{Principal, Secret, Username};
use crate::error::{Classify, ErrorChain, Kind};

pub use config::Config;
pub use jwks::{KeysError, Source};
pub use jwt::{JwtAuthenticator, SetupError};
pub use keys::supported_algorithm;
pub use service_account::ServiceAccountTokens;
use service_account::TokenError;
pub use usernames::{UsernamePattern, system_accounts};

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
}

/// An authenticator that verifies tokens with keys of an identity provider, which change.
#[async_trait]
pub trait KeyedAuthenticator: Authenticator {
    /// Keeps the keys fresh until cancelled.
    async fn run(self: Arc<Self>, cancelled: CancellationToken);

    /// Reads the keys now. Concurrent calls share one reading. Keys that cannot be read stay as they were.
    async fn refresh_keys(&self);

    /// Reads the keys and returns their number.
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
    #[error("the access token ends in {remaining} s, at least {required} s are required: renew it")]
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
            Self::Username { .. } => Kind::Forbidden,
            Self::KeysUnavailable(_) | Self::KeyNotYetKnown | Self::ServiceAccount(_) => Kind::Unavailable,
        }
    }

    /// The identity provider's address and the system's error where that one failed. What other sources hold is unknown.
    fn public_message(&self) -> Cow<'static, str> {
        match self {
            Self::KeysUnavailable(source) if source.is::<Arc<KeysError>>() => ErrorChain(self).to_string().into(),
            Self::ServiceAccount(source) if source.is::<Arc<TokenError>>() => ErrorChain(self).to_string().into(),
            _ => self.to_string().into(),
        }
    }
}
