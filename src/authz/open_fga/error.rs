//! Why OpenFGA gave no decision.

use std::sync::Arc;

use crate::rest::{GrantError, RestError};

/// Why the server gave no decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFgaError {
    #[error("{url}")]
    Call { url: String, source: RestError },
    #[error("{url} answered with status {status}{reason}; {}", advice(*status))]
    Refused { url: String, status: u16, reason: String },
    #[error("OpenFGA was not asked")]
    NotAsked(#[source] RestError),
    #[error("the answer of OpenFGA was not understood")]
    Answer(#[source] RestError),
    #[error("OpenFGA has no store named {0:?}")]
    NoStore(String),
    #[error("OpenFGA has several stores named {0:?}: configure store_id")]
    AmbiguousStore(String),
    #[error("OpenFGA refused, or left out, a part of a batch")]
    Incomplete,
    #[error("no credential for OpenFGA could be had")]
    Credential(#[source] Arc<GrantError>),
    #[error("no decision within the time for one")]
    TimeIsOver,
}

/// What to check for a status.
fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "the api_token or the client_credentials of auth.authorization are not those that it takes",
        404 => "store_id (or the store in url) names no store there",
        400 => "relation, object_type or authorization_model_id are not those of its model",
        _ => "its own log has the reason",
    }
}
