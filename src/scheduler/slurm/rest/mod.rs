//! Slurm through slurmrestd, its REST API.
//!
//! [`endpoint`] makes one call, in a version that [`discovery`] has learned from the server; [`wire`] reads answers of all versions;
//! [`submission`] writes jobs; [`client`] composes them into the scheduler's operations. A further version of the API is a number
//! in [`version`], answers recorded in `testdata/`, and whatever differs in these files. This module must not know SSH, and nothing
//! of how tokens are made: that is [`UserToken`].

mod alter;
mod calls;
mod cancel;
mod client;
mod discovery;
mod endpoint;
mod failure;
mod submission;
mod submission_options;
mod submit;
mod version;
mod wire;

#[cfg(test)]
mod golden;

use std::time::Duration;

use crate::credentials::SlurmTokens;
use crate::domain::{Principal, Secret};
use crate::rest::Url;
use crate::scheduler::SchedulerError;

pub use client::SlurmRest;
pub(super) use submission::is_possible;
pub use version::ApiVersion;

/// The settings for a slurmrestd.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its address.
    pub url: Url,
    /// The version to speak; the newest that both understand if absent.
    pub api_version: Option<ApiVersion>,
    /// The time for one call.
    pub timeout: Duration,
}

/// The token for calls of slurmrestd in a caller's name (`X-SLURM-USER-TOKEN`).
pub trait UserToken: Send + Sync {
    /// The token for this caller.
    ///
    /// # Errors
    /// [`SchedulerError::Denied`] if the caller gets none.
    fn token(&self, principal: &Principal) -> Result<Secret, SchedulerError>;
}

/// A token that is signed with the site's key.
impl UserToken for SlurmTokens {
    fn token(&self, principal: &Principal) -> Result<Secret, SchedulerError> {
        self.sign(principal).map_err(|error| SchedulerError::Denied(error.to_string()))
    }
}

/// The caller's own access token, for sites whose Slurm knows the keys of the identity provider.
pub struct CallersToken;

impl UserToken for CallersToken {
    fn token(&self, principal: &Principal) -> Result<Secret, SchedulerError> {
        Ok(principal.token.clone())
    }
}
