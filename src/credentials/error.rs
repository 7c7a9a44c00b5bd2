//! The errors of credentials. No message contains a key, a token, or any part of a service's answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::Username;
use crate::error::{Classify, ErrorChain, Kind};
use crate::rest::RestError;

/// The reason why there is no credential. It is cloned for all callers that waited for the same answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CredentialError {
    /// The configuration names no key for this user.
    #[error("no SSH credential is configured for user {0}")]
    Unknown(Username),
    /// The service could not be called, or it failed.
    #[error("the {service} gave no credential")]
    Service {
        /// The service.
        service: &'static str,
        /// The error of the call.
        #[source]
        source: Arc<RestError>,
    },
    /// The service did not accept the caller's token.
    #[error("the {service} did not accept the token of {user} (status {status}): the token must be issued for that service too")]
    Token {
        /// The service.
        service: &'static str,
        /// The owner of the token.
        user: Username,
        /// 400 or 401.
        status: u16,
    },
    /// The service knows the caller and refuses a credential.
    #[error("the {service} gives {user} no credential (status {status}): ask those who run it")]
    Refused {
        /// The service.
        service: &'static str,
        /// The user who was refused.
        user: Username,
        /// 403.
        status: u16,
    },
    /// The service answered with something that cannot be used.
    #[error("the answer of the {service} cannot be used: {reason}")]
    Answer {
        /// The service.
        service: &'static str,
        /// The error, without any part of the answer.
        reason: &'static str,
    },
    /// The limit of concurrent calls is reached.
    #[error("the {service} is busy: no call could be made within {} s", .waited.as_secs_f32())]
    Busy {
        /// The service.
        service: &'static str,
        /// The time that the call waited.
        waited: Duration,
    },
    /// Our own authority could not make a certificate.
    #[error("no certificate could be made: {0}")]
    Signing(&'static str),
    /// The task that was to obtain it ended without an answer.
    #[error("obtaining the SSH credential was interrupted")]
    Interrupted,
}

/// Why a provider's configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {reason}")]
pub struct SetupError {
    /// The key in the section.
    pub key: String,
    /// The error in its value, without any part of the value.
    pub reason: String,
}

impl Classify for CredentialError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown(_) | Self::Token { .. } | Self::Answer { .. } => Kind::DependencyFailed,
            Self::Service { source, .. } => source.kind(),
            Self::Refused { .. } => Kind::Forbidden,
            Self::Busy { .. } => Kind::Unavailable,
            Self::Signing(_) | Self::Interrupted => Kind::Internal,
        }
    }

    fn public_message(&self) -> Cow<'static, str> {
        match self {
            // The call's error is safe to show and tells the user what to change. A deeper cause goes to the log only.
            Self::Service { service, source } => format!("the {service} gave no credential: {source}").into(),
            other => ErrorChain(other).to_string().into(),
        }
    }

    /// No key appears by itself, and the caller's token stays one that the service does not take.
    fn is_final(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Token { .. })
    }

    fn maybe_effected(&self) -> Option<bool> {
        Some(false)
    }
}
