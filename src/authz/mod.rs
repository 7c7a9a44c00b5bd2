//! Decides whether a principal may use a cluster.
//!
//! One trait, two implementations: an OpenFGA server, and a policy from the configuration. Both fail closed. This module
//! must not know tokens, jobs or files. To add one: a file, a variant of [`Config`], an arm in `app/build.rs`.

mod config;
mod local_policy;
mod open_fga;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Principal, SystemName};
use crate::error::{Classify, ErrorChain, Kind};

pub use config::{ClientCredentialsConfig, Config, OpenFgaConfig, PolicyConfig, Rule, is_word};
pub use local_policy::LocalPolicy;
pub use open_fga::OpenFga;

/// Decides about relations between principals and clusters.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Decides whether `principal` has `relation` to each of `systems`: one ruling each, in their order.
    ///
    /// # Errors
    /// If there is no decision for one of them. A refusal is not an error.
    async fn check_all(&self, principal: &Principal, relation: Relation, systems: &[&SystemName]) -> Result<Vec<Ruling>, AuthzError>;

    /// Decides about one system; see [`Authorizer::check_all`].
    ///
    /// # Errors
    /// If there is no decision.
    async fn check(&self, principal: &Principal, relation: Relation, system: &SystemName) -> Result<Ruling, AuthzError> {
        let mut rulings = self.check_all(principal, relation, &[system]).await?;
        rulings.pop().ok_or_else(|| AuthzError::Unavailable("no ruling was given".into()))
    }

    /// Checks without a caller that decisions about these relations are possible, which finds mistakes in the configuration.
    ///
    /// # Errors
    /// The reason why there can be none.
    async fn probe(&self, _relations: &[Relation]) -> Result<(), AuthzError> {
        Ok(())
    }
}

/// The relations that operations require, by their effect. The model may have others, such as `access`, which imply these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// See: status, jobs, and contents of files.
    Read,
    /// Have work done: submit jobs, cancel them and attach to them.
    Submit,
    /// Change files.
    Write,
    /// Run the commands of `clusters[].commands` on the login node. No other relation implies it.
    Run,
    /// Make links for downloads without an account. No other relation implies it.
    Share,
}

impl Relation {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Submit, Self::Write, Self::Run, Self::Share];

    /// The relations of a caller who may use a system, by default.
    pub const OF_ACCESS: [Self; 3] = [Self::Read, Self::Submit, Self::Write];

    /// Its name in models, rules and the audit trail.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Write => "write",
            Self::Run => "run",
            Self::Share => "share",
        }
    }

    /// Whether it is checked under its own name everywhere: it is never among what a general relation permits.
    pub fn is_separate(self) -> bool {
        !Self::OF_ACCESS.contains(&self)
    }
}

/// An answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The answer.
    pub decision: Decision,
    /// The basis of the decision.
    pub basis: Basis,
}

/// The basis of a decision, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The kind of authorizer that decided: `openfga`, `rules`, or `none` if every caller may use every cluster.
    pub authorizer: &'static str,
    /// The relation that was checked, in the words of the authorizer.
    pub relation: String,
    /// The object that was checked, in the words of the authorizer.
    pub object: String,
    /// The deciding part: the id of OpenFGA's authorization model, or the rule that allowed. `None` if unknown.
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

/// The reason why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum AuthzError {
    /// The authorization service gave no valid answer. Nothing is allowed then.
    #[error("the authorization service gave no decision")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Classify for AuthzError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unavailable(_) => Kind::Unavailable,
        }
    }

    /// The server, its store and the system's error where OpenFGA gave no decision. What other sources hold is unknown.
    fn public_message(&self) -> Cow<'static, str> {
        match self {
            Self::Unavailable(source) if source.is::<open_fga::OpenFgaError>() => ErrorChain(self).to_string().into(),
            Self::Unavailable(_) => self.to_string().into(),
        }
    }
}
