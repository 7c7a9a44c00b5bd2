//! An OpenFGA server decides (its HTTP API: `POST /stores/{store_id}/check` and `.../batch-check`).
//!
//! Only `"allowed": true` in the body of a 200 allows. Anything else, or no answer, is not a decision. Permissions are cached for a
//! short time, refusals and failures never.

mod credential;
mod error;
mod server;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::future::Cache;

use super::{Authorizer, AuthzError, Basis, Decision, OpenFgaConfig, Relation, Ruling};
use crate::domain::{Principal, SystemName, Username, sha256};
use crate::rest::{Client, InvalidUrl};
pub(super) use error::OpenFgaError;
use server::{CheckResult, Question, Server};

const MAX_REMEMBERED: u64 = 100_000;
/// The maximum number of contextual tuples that OpenFGA takes with one check.
const MAX_TUPLES: usize = 100;
/// The maximum number of groups of a token that are considered: ten questions for each system.
const MAX_GROUPS: usize = 1000;
/// The longest object that OpenFGA takes, in bytes.
const MAX_OBJECT: usize = 256;

/// The authorizer over an OpenFGA server.
pub struct OpenFga {
    server: Server,
    timeout: Duration,
    relation: String,
    by_effect: bool,
    object_type: String,
    group_type: Option<String>,
    group_relation: String,
    permissions: Option<Cache<Remembered, Model>>,
}

/// The id of the authorization model that an answer rests on, where it is known.
type Model = Option<Arc<str>>;

/// Names a permission: who, with which groups, on which system, and to do what where the model tells that apart.
type Remembered = ([u8; 32], SystemName, Option<Relation>);

impl OpenFga {
    /// A client of the server; nothing is sent yet.
    ///
    /// # Errors
    /// When `url`, or the token endpoint of `client_credentials`, is not a URL.
    pub fn new(config: OpenFgaConfig, client: Client) -> Result<Self, InvalidUrl> {
        let timeout = Duration::from_secs(config.timeout.max(1));
        let permissions = (config.cache_ttl > 0)
            .then(|| Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(Duration::from_secs(config.cache_ttl)).build());
        Ok(Self {
            server: Server::new(&config, client, timeout)?,
            timeout,
            relation: config.relation,
            by_effect: config.by_effect,
            object_type: config.object_type,
            group_type: config.group_type,
            group_relation: config.group_relation,
            permissions,
        })
    }

    /// The distinct groups of the token as objects. A name that cannot be an object's has no grants and is left out.
    fn groups(&self, principal: &Principal) -> Vec<String> {
        let Some(group_type) = &self.group_type else { return Vec::new() };
        let objects: BTreeSet<String> =
            principal.groups.iter().filter(|name| can_be_an_object(group_type, name)).map(|name| format!("{group_type}:{name}")).collect();
        if objects.len() < principal.groups.len() || objects.len() > MAX_GROUPS {
            tracing::debug!(user = %principal.username, of = principal.groups.len(), "not all groups of the token are passed to OpenFGA");
        }
        objects.into_iter().take(MAX_GROUPS).collect()
    }

    /// The relation in the words of the model.
    fn word(&self, relation: Relation) -> &str {
        if self.by_effect || relation.is_separate() { relation.name() } else { &self.relation }
    }

    async fn ask(
        &self,
        username: &Username,
        groups: &[String],
        relation: Relation,
        systems: &[&SystemName],
    ) -> Result<Vec<CheckResult>, OpenFgaError> {
        // Groups beyond the most that one check takes go with further checks: any that allows is enough.
        let parts: Vec<&[String]> = if groups.is_empty() { vec![&[]] } else { groups.chunks(MAX_TUPLES).collect() };
        let question = |system: &SystemName, groups: &&[String]| Question {
            user: format!("user:{username}"),
            relation: self.word(relation).to_owned(),
            object: self.object(system),
            groups: groups.to_vec(),
            group_relation: self.group_relation.clone(),
        };
        let questions: Vec<Question> = systems
            .iter()
            .flat_map(|system| parts.iter().map(move |part| (*system, part)))
            .map(|(system, part)| question(system, part))
            .collect();
        let answers = self.server.ask(&questions).await?;
        Ok(answers
            .chunks(parts.len())
            .filter_map(|of_one| of_one.iter().find(|answer| answer.allowed).or(of_one.first()))
            .cloned()
            .collect())
    }

    fn object(&self, system: &SystemName) -> String {
        format!("{}:{system}", self.object_type)
    }

    fn ruling(&self, relation: Relation, system: &SystemName, allowed: bool, by: Model, cached: bool) -> Ruling {
        let decision = if allowed { Decision::Allowed } else { Decision::Denied };
        let relation = self.word(relation).to_owned();
        let basis = Basis { authorizer: "openfga", relation, object: self.object(system), by, cached };
        Ruling { decision, basis }
    }
}

#[async_trait]
impl Authorizer for OpenFga {
    async fn check_all(&self, principal: &Principal, relation: Relation, systems: &[&SystemName]) -> Result<Vec<Ruling>, AuthzError> {
        let groups = self.groups(principal);
        let caller = fingerprint(&principal.username, &groups);
        let remembered = |system: &SystemName| (caller, system.clone(), (self.by_effect || relation.is_separate()).then_some(relation));
        let mut rulings = Vec::with_capacity(systems.len());
        for system in systems {
            let known = match &self.permissions {
                Some(permissions) => permissions.get(&remembered(system)).await,
                None => None,
            };
            rulings.push(known.map(|model| self.ruling(relation, system, true, model, true)));
        }
        let unknown: Vec<&SystemName> =
            systems.iter().zip(&rulings).filter(|(_, known)| known.is_none()).map(|(system, _)| *system).collect();
        let mut asked = Vec::new();
        if !unknown.is_empty() {
            let answers = tokio::time::timeout(self.timeout, self.ask(&principal.username, &groups, relation, &unknown)).await;
            let answers =
                answers.unwrap_or_else(|_| Err(self.server.time_is_over())).map_err(|error| AuthzError::Unavailable(Box::new(error)))?;
            for (system, answer) in unknown.into_iter().zip(answers) {
                if let (true, Some(permissions)) = (answer.allowed, &self.permissions) {
                    permissions.insert(remembered(system), answer.model.clone()).await;
                }
                asked.push(self.ruling(relation, system, answer.allowed, answer.model, false));
            }
        }
        let mut asked = asked.into_iter();
        let complete: Option<Vec<Ruling>> = rulings.into_iter().map(|known| known.or_else(|| asked.next())).collect();
        complete.ok_or_else(|| AuthzError::Unavailable("an answer is missing".into()))
    }

    /// Checks a user and an object without any grant, which works only if store, model, relation and credential are right.
    async fn probe(&self, relations: &[Relation]) -> Result<(), AuthzError> {
        let words: BTreeSet<&str> = relations.iter().map(|relation| self.word(*relation)).collect();
        for word in words {
            let question = Question {
                user: "user:goldcrest-probe".to_owned(),
                relation: word.to_owned(),
                object: format!("{}:goldcrest-probe", self.object_type),
                groups: Vec::new(),
                group_relation: self.group_relation.clone(),
            };
            let asking = tokio::time::timeout(self.timeout, self.server.ask(std::slice::from_ref(&question)));
            let answer = asking.await.unwrap_or_else(|_| Err(self.server.time_is_over()));
            answer.map_err(|error| AuthzError::Unavailable(Box::new(error)))?;
        }
        Ok(())
    }
}

/// One name for a caller with these groups. The lengths keep different lists apart.
fn fingerprint(username: &Username, groups: &[String]) -> [u8; 32] {
    let mut content = Vec::new();
    for text in std::iter::once(username.as_str()).chain(groups.iter().map(String::as_str)) {
        content.extend_from_slice(&(text.len() as u64).to_be_bytes());
        content.extend_from_slice(text.as_bytes());
    }
    sha256(&content)
}

/// An id that OpenFGA refuses, or interprets as more than one object (`*`), would fail the whole check.
fn can_be_an_object(kind: &str, id: &str) -> bool {
    !id.is_empty()
        && id != "*"
        && kind.len() + 1 + id.len() <= MAX_OBJECT
        && !id.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_openfga_could_take_for_something_else_is_no_object() {
        for good in ["researchers", "/hpc/users", "a@b", "urn-like.name", "größe"] {
            assert!(can_be_an_object("group", good), "{good}");
        }
        let long = "x".repeat(251);
        for bad in ["", "*", "a b", "a#member", "system:daint", "a\n", "\u{7f}", long.as_str()] {
            assert!(!can_be_an_object("group", bad), "{bad:?}");
        }
    }

    #[test]
    fn callers_with_other_groups_have_other_fingerprints() {
        let print = |user: &str, groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
            fingerprint(&Username::new(user).unwrap(), &groups)
        };
        let all = [print("ada", &[]), print("ada", &["a", "b"]), print("ada", &["ab"]), print("adaa", &["b"]), print("ada", &["a"])];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(print("ada", &["a"]), print("ada", &["a"]));
    }
}
