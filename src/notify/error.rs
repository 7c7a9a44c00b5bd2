//! The errors of webhooks.

use crate::error::{Classify, Kind};
use crate::store::StoreError;

/// Why a webhook was not registered, or not found.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address may not be called.
    #[error("the address of the webhook is refused: {0}")]
    Url(String),
    /// The user has reached the limit.
    #[error(
        "you have {0} webhooks on this system, the limit of one user (webhooks.max_per_user): remove one, or register one for all of your jobs"
    )]
    TooMany(usize),
    /// The system has no random bytes for a secret.
    #[error("no secret for the webhook could be made")]
    NoRandomness,
    /// The record in the store cannot be read.
    #[error("the record of the webhook in the store cannot be read")]
    Unreadable,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for WebhookError {
    fn kind(&self) -> Kind {
        match self {
            Self::Url(_) => Kind::Invalid,
            Self::TooMany(_) => Kind::Conflict,
            Self::NoRandomness | Self::Unreadable => Kind::Internal,
            Self::Store(source) => source.kind(),
        }
    }

    fn wrapped(&self) -> Option<&dyn Classify> {
        match self {
            Self::Store(source) => Some(source),
            Self::Url(_) | Self::TooMany(_) | Self::NoRandomness | Self::Unreadable => None,
        }
    }
}
