//! The errors of calls.

use std::time::Duration;

use crate::error::{Classify, Kind};

/// A host that may not be called. It is an error of its own because it passes through the resolver of reqwest.
///
/// The message is the same for a name without an address, one of an internal address, and an address: those who may name hosts learn nothing
/// about the names and addresses that only this host sees. [`Forbidden::detail`] is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its host has no address that may be called: one of the public internet, or one that the site allows")]
pub struct Forbidden(pub(super) String);

impl Forbidden {
    /// What was found, for the log only.
    pub fn detail(&self) -> &str {
        &self.0
    }
}

/// A failed call. No message holds a URL's query, a header, or any part of a body.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    /// The body to send has no JSON form.
    #[error("the request body could not be encoded")]
    Encode(#[source] serde_json::Error),
    /// The request holds a header value that HTTP does not allow.
    #[error("the request holds a character that HTTP does not allow")]
    Header,
    /// The host may not be called: nothing was sent.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No connection could be made: nothing was sent. With the system's reason.
    #[error("the service could not be reached: {0}")]
    Connect(String),
    /// The answer did not come in time.
    #[error("the service did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The connection broke while the request was under way.
    #[error("the connection to the service broke: {0}")]
    Transport(String),
    /// The answer's body is larger than the cap.
    #[error("the answer of the service is larger than {limit} bytes")]
    TooLarge {
        /// The cap in bytes.
        limit: usize,
    },
    /// The service answered with a status that is no success.
    #[error("the service answered with status {0}")]
    Status(u16),
    /// The body of the answer does not have the form of the service's answers. It is not quoted, because it may be a secret.
    #[error("the answer of the service was not understood: {what} at line {line}, column {column}")]
    Decode {
        /// The kind of error in the JSON.
        what: &'static str,
        /// Line of the body.
        line: usize,
        /// Column of the line.
        column: usize,
    },
}

impl RestError {
    pub(super) fn decode(error: &serde_json::Error) -> Self {
        use serde_json::error::Category;
        let what = match error.classify() {
            Category::Io => "unreadable",
            Category::Syntax => "malformed JSON",
            Category::Data => "an unexpected value",
            Category::Eof => "a sudden end",
        };
        Self::Decode { what, line: error.line(), column: error.column() }
    }
}

impl Classify for RestError {
    fn kind(&self) -> Kind {
        match self {
            Self::Setup(_) | Self::Encode(_) | Self::Header => Kind::Internal,
            Self::Forbidden(_) => Kind::Invalid,
            Self::Connect(_) | Self::Timeout(_) | Self::Transport(_) | Self::TooLarge { .. } | Self::Status(_) | Self::Decode { .. } => {
                Kind::DependencyFailed
            }
        }
    }

    fn maybe_effected(&self) -> Option<bool> {
        match self {
            Self::Setup(_) | Self::Encode(_) | Self::Header | Self::Forbidden(_) | Self::Connect(_) => Some(false),
            Self::Timeout(_) | Self::Transport(_) | Self::TooLarge { .. } | Self::Decode { .. } => Some(true),
            Self::Status(_) => None,
        }
    }
}
