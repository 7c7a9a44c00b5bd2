//! The errors of object stores.

use crate::error::{Classify, Kind};
use crate::rest::RestError;

/// An object store failed. No message holds its private address, a key or a signature.
#[derive(Debug, thiserror::Error)]
pub enum ObjectStoreError {
    /// It did not answer.
    #[error("the object store {store} did not answer when it was asked to {task}")]
    Unanswered {
        /// The store.
        store: String,
        /// The operation.
        task: &'static str,
        /// The error of the call.
        source: RestError,
    },
    /// It cannot at the moment.
    #[error("the object store {store} cannot {task} now: {reason}")]
    Busy {
        /// The store.
        store: String,
        /// The operation.
        task: &'static str,
        /// Its status, and its word for the reason.
        reason: String,
    },
    /// It will not.
    #[error("the object store {store} refused to {task}: {reason}")]
    Refused {
        /// The store.
        store: String,
        /// The operation.
        task: &'static str,
        /// Its status, and its word for the reason.
        reason: String,
    },
    /// Its answer holds no upload.
    #[error("the answer of the object store {store} was not understood when it was asked to {task}")]
    Unclear {
        /// The store.
        store: String,
        /// The operation.
        task: &'static str,
    },
    /// Its address, though a URL, cannot hold buckets.
    #[error("the address of the object store cannot be used")]
    Address,
}

impl Classify for ObjectStoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unanswered { .. } | Self::Busy { .. } => Kind::Unavailable,
            Self::Refused { .. } | Self::Unclear { .. } => Kind::DependencyFailed,
            Self::Address => Kind::Internal,
        }
    }

    fn public_cause(&self) -> Option<&dyn Classify> {
        match self {
            Self::Unanswered { source, .. } => Some(source),
            _ => None,
        }
    }

    /// What a store refuses for the moment is [`ObjectStoreError::Busy`].
    fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The only possible effect is an upload that cannot be used; no file is changed.
    fn maybe_effected(&self) -> Option<bool> {
        Some(false)
    }
}
