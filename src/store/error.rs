//! The errors of stores.

use std::path::PathBuf;

use crate::error::{Classify, Kind};

/// A foreign error, kept for the log.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// The reason why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no space for more.
    #[error("the store is full: nothing more can be kept until an operator has made space")]
    Full(#[source] Source),
    /// It does not answer, or not in time. Nothing was changed.
    #[error("the store does not answer")]
    Unavailable(#[source] Source),
    /// The connection broke after the change was sent: it may have been made.
    #[error("it is unknown whether the store made the change")]
    Unknown(#[source] Source),
    /// It was made by a later release.
    #[error("the store has tables of version {found}, and this release knows none later than {known}: use the release that made them")]
    Newer {
        /// The version found.
        found: i64,
        /// The latest version known.
        known: i64,
    },
    /// It rejected a statement, or contains invalid data.
    #[error("the store rejected the operation")]
    Refused(#[source] Source),
}

impl Classify for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Full(_) | Self::Unavailable(_) | Self::Unknown(_) | Self::Newer { .. } => Kind::Unavailable,
            Self::Refused(_) => Kind::Internal,
        }
    }

    fn maybe_effected(&self) -> Option<bool> {
        Some(matches!(self, Self::Unknown(_)))
    }
}

/// Why a store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `store.url` is not the address of a database. It may contain a password, so it is not shown.
    #[error("store.url cannot be used: it should be postgres://user:password@host:port/database")]
    Url,
    /// `store.ca_file` cannot be used.
    #[error("store.ca_file {} cannot be used", .0.display())]
    CaFile(PathBuf, #[source] Source),
    /// The connections cannot be set up.
    #[error("the connections to the database cannot be set up")]
    Connections(#[source] Source),
}
