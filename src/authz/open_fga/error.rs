//! The errors of OpenFGA.

use std::sync::Arc;
use std::time::Duration;

use crate::rest::{GrantError, RestError};

/// The reason why the server gave no decision.
#[derive(Debug, thiserror::Error)]
pub(in crate::authz) enum OpenFgaError {
    #[error("{url}")]
    Call { url: String, source: RestError },
    #[error("{url} answered with status {status}{reason}; {}", advice(*status, reason))]
    Refused { url: String, status: u16, reason: String },
    #[error("OpenFGA was not asked")]
    NotSent(#[source] RestError),
    #[error("the answer of OpenFGA was not understood")]
    Answer(#[source] RestError),
    #[error("OpenFGA at {url} has no store named {name:?}")]
    NoStore { url: String, name: String },
    #[error("OpenFGA at {url} has several stores named {name:?}: configure store_id")]
    AmbiguousStore { url: String, name: String },
    #[error("OpenFGA refused, or left out, a part of a batch")]
    Incomplete,
    #[error("no credential for OpenFGA could be obtained")]
    Credential(#[source] Arc<GrantError>),
    #[error("OpenFGA at {url} gave no decision within {} s", limit.as_secs())]
    TimeIsOver { url: String, limit: Duration },
}

/// The advice for a status and the server's words. A store that does not exist has no model.
fn advice(status: u16, reason: &str) -> &'static str {
    match status {
        400 if reason.contains("model_not_found") => "store_id (or the store in url) names no store there, or one without this model",
        401 | 403 => "the api_token or the client_credentials of auth.authorization are not those that it takes",
        404 => "store_id (or the store in url) names no store there",
        400 => "relation, object_type or authorization_model_id are not those of its model",
        _ => "its own log has the reason",
    }
}
