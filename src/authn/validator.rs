//! What the validators of the kinds of tokens have in common.

use std::sync::Arc;

use async_trait::async_trait;

use super::{AuthnError, MAX_TOKEN};
use crate::domain::{Principal, Secret};
use crate::error::{Classify, Kind};
use crate::rest::{InvalidUrl, RestError, Url};

/// Verifies one kind of tokens.
#[async_trait]
pub(super) trait Validator: Send + Sync {
    /// The principal of a token of at most [`MAX_TOKEN`] bytes.
    async fn validate(&self, token: &Secret) -> Result<Arc<Principal>, Rejection>;
}

/// Why a validator did not accept a token.
pub(super) struct Rejection {
    pub(super) error: AuthnError,
    pub(super) recognition: Recognition,
}

/// What a refusal means for the validators that come later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognition {
    /// The token is of another kind. It was not looked up.
    OtherKind,
    /// It may be of this kind, and it is not known here, or that could not be found out.
    Unknown,
    /// It is known here, and refused.
    Known,
}

/// Refused whatever another validator says.
impl From<AuthnError> for Rejection {
    fn from(error: AuthnError) -> Self {
        Self { error, recognition: Recognition::Known }
    }
}

/// Refuses a token that is longer than [`MAX_TOKEN`].
pub(super) fn within_limit(token: &Secret) -> Result<(), AuthnError> {
    let length = token.expose().len();
    if length > MAX_TOKEN { Err(AuthnError::TooLong(length)) } else { Ok(()) }
}

/// A service that is asked about tokens.
#[async_trait]
pub trait TokenService: Send + Sync {
    /// Its name for messages.
    fn name(&self) -> &'static str;

    /// Finds out whether it answers, and with the credentials of the configuration where there are any. Returns what it says of itself.
    ///
    /// # Errors
    /// If it does not.
    async fn probe(&self) -> Result<String, TokenServiceError>;
}

/// Why the validators could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No key set is configured.
    #[error("public_certs names no key set: no token could be verified")]
    NoKeySet,
    /// No validator is configured.
    #[error("validators is empty: no token could be verified")]
    NoValidator,
    /// A URL cannot be used.
    #[error("{key}: {url:?}")]
    Url {
        /// The key.
        key: &'static str,
        /// The text that was configured.
        url: String,
        /// The error.
        source: InvalidUrl,
    },
}

/// Why a service could not be asked about a token.
#[derive(Debug, thiserror::Error)]
#[error("{service} at {url} gave no answer that could be used")]
pub struct TokenServiceError {
    service: &'static str,
    url: Url,
    source: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error("it refuses Goldcrest's own credentials ({0})")]
    OwnCredentials(&'static str),
}

impl TokenServiceError {
    /// The call failed.
    pub(super) fn call(service: &'static str, url: &Url, source: RestError) -> Self {
        Self { service, url: url.clone(), source: source.into() }
    }

    /// The service refused the credentials that this key holds.
    pub(super) fn own_credentials(service: &'static str, url: &Url, key: &'static str) -> Self {
        Self { service, url: url.clone(), source: Reason::OwnCredentials(key) }
    }
}

impl Rejection {
    /// The refusal to show of two: what could not be found out, because the token may be valid; or else that of the later validator, unless
    /// it did not look.
    pub(super) fn or(self, later: Self) -> Self {
        let is_open = self.error.kind() == Kind::Unavailable && later.error.kind() != Kind::Unavailable;
        if is_open || later.recognition == Recognition::OtherKind { self } else { later }
    }
}
