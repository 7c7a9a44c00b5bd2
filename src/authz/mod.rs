//! Whether a principal may use a cluster.
//!
//! One trait, two implementations: an OpenFGA server, and a policy from the configuration. Both fail closed. This module
//! must not know tokens, jobs or files. To add one: a file, a variant of [`Config`], an arm in `app.rs`.

mod config;
mod local_policy;
mod open_fga;

use std::borrow::Cow;

use async_trait::async_trait;

use crate::domain::{Principal, SystemName};
use crate::error::{Classify, Kind};

pub use config::{Config, OpenFgaConfig, PolicyConfig, Rule};
pub use local_policy::LocalPolicy;
pub use open_fga::OpenFga;

/// Decides about relations between principals and clusters.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Decides whether `principal` stands in `relation` to `system`.
    ///
    /// # Errors
    /// When no decision could be had. A refusal is no error.
    async fn check(&self, principal: &Principal, relation: Relation, system: &SystemName) -> Result<Decision, AuthzError>;
}

/// The relations of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// May use the cluster: jobs, files, status.
    Access,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allowed,
    /// No.
    Denied,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AuthzError {
    /// The authorization service did not answer, or not sensibly. Nothing is allowed then.
    #[error("the authorization service does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Classify for AuthzError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unavailable(_) => Kind::Unavailable,
        }
    }

    fn public_message(&self) -> Cow<'static, str> {
        self.to_string().into()
    }
}
