//! Whether a principal may use a cluster.
//!
//! One trait, two implementations: an OpenFGA server, and a policy from the configuration. Both fail closed. This module
//! must not know tokens, jobs or files. To add one: a file, a variant of [`Config`], an arm in `app/build.rs`.

mod config;
mod local_policy;
mod open_fga;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{Principal, SystemName};
use crate::error::{Classify, Kind};

pub use config::{ClientCredentialsConfig, Config, OpenFgaConfig, PolicyConfig, Rule, is_word};
pub use local_policy::LocalPolicy;
pub use open_fga::OpenFga;

/// Decides about relations between principals and clusters.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Decides whether `principal` has `relation` to each of `systems`: one ruling each, in their order.
    ///
    /// # Errors
    /// When there is no decision for one of them. A refusal is not an error.
    async fn check_all(&self, principal: &Principal, relation: Relation, systems: &[&SystemName]) -> Result<Vec<Ruling>, AuthzError>;

    /// Decides about one system; see [`Authorizer::check_all`].
    ///
    /// # Errors
    /// When there is no decision.
    async fn check(&self, principal: &Principal, relation: Relation, system: &SystemName) -> Result<Ruling, AuthzError> {
        let mut rulings = self.check_all(principal, relation, &[system]).await?;
        rulings.pop().ok_or_else(|| AuthzError::Unavailable("no ruling was given".into()))
    }

    /// Checks without a caller that decisions are possible, which finds mistakes in the configuration.
    ///
    /// # Errors
    /// Why there can be none.
    async fn probe(&self) -> Result<(), AuthzError> {
        Ok(())
    }
}

/// The relations that operations ask for. The model may have others, such as `admin`, which lead to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// May use the cluster: jobs, files, status.
    Access,
}

/// An answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The answer.
    pub decision: Decision,
    /// How it came about.
    pub basis: Basis,
}

/// What an answer rests on, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The kind of authorizer that decided: `openfga`, `rules`, or `none` where every caller may use every cluster.
    pub authorizer: &'static str,
    /// The relation that was asked for, in the words of the authorizer.
    pub relation: String,
    /// The object that was asked about, in the words of the authorizer.
    pub object: String,
    /// What decided: the id of OpenFGA's authorization model, or the rule that allowed. `None` where nothing is known.
    pub by: Option<Arc<str>>,
    /// Whether the answer came from the cache.
    pub cached: bool,
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
    /// The authorization service gave no valid answer. Nothing is allowed then.
    #[error("the authorization service does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Classify for AuthzError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unavailable(_) => Kind::Unavailable,
        }
    }
}
