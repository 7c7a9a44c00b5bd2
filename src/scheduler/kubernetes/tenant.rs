//! The namespace of each user: its name, and what is in it before the first job.
//!
//! A namespace is used for a user only where its annotation says that it is theirs, whoever made it: no pattern and no name of a user leads
//! into another one's namespace, or into one of the cluster.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use moka::future::Cache;

use super::Config;
use super::connection::{Actor, Connection, Created, Failure};
use super::names::{GOLDCREST, MANAGED_BY, USER, is_name, readable};
use super::template::NamespaceManifest;
use crate::domain::{Username, hex};
use crate::scheduler::SchedulerError;

/// The most characters that stand around `{user}` in a pattern.
pub(super) const MAX_FIXED: usize = 20;
/// The longest readable part of a user's name, and the length of the digest that keeps names apart which leave the same.
const MAX_READABLE: usize = 30;
const DIGEST: usize = 10;

/// For how long a namespace that was looked at is not looked at again, and for how many users that is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: u64 = 10_000;

/// A pattern for the names of namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespacePattern {
    before: String,
    after: String,
}

impl NamespacePattern {
    /// Reads a pattern with `{user}` in it; none where it is no pattern.
    pub(super) fn new(text: &str) -> Option<Self> {
        let (before, after) = text.split_once("{user}")?;
        let is_pattern = before.len() + after.len() <= MAX_FIXED && is_name(&format!("{before}u{after}"));
        is_pattern.then(|| Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// The namespace of a user. A name that is no name in Kubernetes loses what is not, and gets a digest of the whole instead, behind two `-`
    /// that no name keeps by itself.
    pub(super) fn of(&self, user: &Username) -> String {
        let whole = user.as_str();
        let mut name = readable(whole, MAX_READABLE);
        if name != whole {
            let digest = hex(digest::digest(&digest::SHA256, whole.as_bytes()).as_ref());
            name = format!("{name}--{}", &digest[..DIGEST]);
        }
        let namespace = format!("{}{name}{}", self.before, self.after);
        namespace.trim_start_matches('-').to_owned()
    }
}

/// The namespaces of all users.
pub(super) struct Tenants {
    pattern: Option<NamespacePattern>,
    creates: bool,
    labels: Vec<(String, String)>,
    manifests: Vec<NamespaceManifest>,
    /// Those that were found to be their users'.
    known: Cache<Username, Arc<str>>,
    /// Those that have all that they are given.
    furnished: Cache<Username, ()>,
}

impl Tenants {
    /// The namespaces that the configuration describes.
    pub(super) fn new(config: &Config) -> Self {
        let security = [("enforce", config.pod_security.as_str()), ("enforce-version", "latest")]
            .map(|(mode, value)| (format!("pod-security.kubernetes.io/{mode}"), value.to_owned()));
        let own = [(MANAGED_BY.to_owned(), GOLDCREST.to_owned())].into_iter().chain(security);
        let further = config.namespace_labels.clone().into_iter();
        Self {
            pattern: NamespacePattern::new(&config.namespace),
            creates: config.create_namespaces,
            labels: further.chain(own).collect(),
            manifests: config.namespace_manifests.iter().filter_map(|manifest| NamespaceManifest::read(manifest).ok()).collect(),
            known: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build(),
            furnished: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build(),
        }
    }

    /// The user's namespace; none where there is none yet, and so none of their jobs.
    ///
    /// # Errors
    /// When it is not theirs, or the API server does not answer.
    pub(super) async fn find(&self, connection: &Connection, user: &Username) -> Result<Option<Arc<str>>, SchedulerError> {
        if let Some(namespace) = self.known.get(user).await {
            return Ok(Some(namespace));
        }
        let name = self.name(user)?;
        let Some(found) = connection.get::<Namespace>(Actor::Own, None, &name).await.map_err(|failure| failure.of_read())? else {
            return Ok(None);
        };
        check(&name, &found, user)?;
        let namespace: Arc<str> = name.into();
        self.known.insert(user.clone(), Arc::clone(&namespace)).await;
        Ok(Some(namespace))
    }

    /// The user's namespace, made and furnished where need be.
    ///
    /// # Errors
    /// When it is not theirs, it is missing and may not be made, or the API server does not answer.
    pub(super) async fn ensure(&self, connection: &Connection, user: &Username) -> Result<Arc<str>, SchedulerError> {
        let namespace = match self.find(connection, user).await? {
            Some(namespace) => namespace,
            None => self.create(connection, user).await?,
        };
        if self.creates && !self.furnished.contains_key(user) {
            for manifest in &self.manifests {
                let applied = match manifest {
                    NamespaceManifest::Quota(quota) => connection.apply(&namespace, quota).await,
                    NamespaceManifest::Limits(limits) => connection.apply(&namespace, limits).await,
                    NamespaceManifest::Network(policy) => connection.apply(&namespace, policy).await,
                };
                if let Err(failure) = applied {
                    return Err(self.lost(user, failure).await.unwrap_or_else(Failure::before_write));
                }
            }
            self.furnished.insert(user.clone(), ()).await;
        }
        Ok(namespace)
    }

    async fn create(&self, connection: &Connection, user: &Username) -> Result<Arc<str>, SchedulerError> {
        let name = self.name(user)?;
        if !self.creates {
            let message = format!("you have no namespace on this cluster: its administrators make {name}, with the annotation {USER}");
            return Err(SchedulerError::Denied(message));
        }
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            labels: Some(self.labels.iter().cloned().collect()),
            annotations: Some([(USER.to_owned(), user.to_string())].into()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        match connection.create(Actor::Own, None, &namespace).await.map_err(|failure| failure.before_write())? {
            Created::New(_) => tracing::info!(namespace = name, %user, "a namespace was created for a user"),
            Created::Exists => {}
        }
        // Another request may have been faster, for a user whose name leaves the same.
        let found = self.find(connection, user).await?;
        found.ok_or_else(|| SchedulerError::Down(format!("the namespace {name} was created, and is not there")))
    }

    /// What it means that something was not there: the namespace was removed a moment ago, and is looked for anew by the next request. Gives
    /// other failures back.
    pub(super) async fn lost(&self, user: &Username, failure: Failure) -> Result<SchedulerError, Failure> {
        match failure {
            Failure::Refused { code: 404, message, .. } => {
                self.known.invalidate(user).await;
                self.furnished.invalidate(user).await;
                Ok(SchedulerError::Down(message))
            }
            failure => Err(failure),
        }
    }

    fn name(&self, user: &Username) -> Result<String, SchedulerError> {
        let name = self.pattern.as_ref().map(|pattern| pattern.of(user)).filter(|name| is_name(name));
        name.ok_or_else(|| SchedulerError::Denied(format!("no namespace can be named for the user {user}")))
    }
}

fn check(name: &str, namespace: &Namespace, user: &Username) -> Result<(), SchedulerError> {
    let annotations = namespace.metadata.annotations.as_ref();
    if annotations.and_then(|annotations| annotations.get(USER)).map(String::as_str) != Some(user.as_str()) {
        return Err(SchedulerError::Denied(format!("the namespace {name} is not yours: it lacks the annotation {USER} with your name")));
    }
    if namespace.metadata.deletion_timestamp.is_some() {
        return Err(SchedulerError::Down(format!("the namespace {name} is being removed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_with_different_names_have_different_namespaces() {
        let pattern = NamespacePattern::new("goldcrest-{user}").unwrap();
        let of = |user: &str| pattern.of(&Username::new(user).unwrap());
        assert_eq!(of("test"), "goldcrest-test");
        assert_eq!(of("test-test"), "goldcrest-test-test");
        assert!(of("TEST").starts_with("goldcrest-test--"));
        let users =
            ["test", "TEST", "Test", "t.est", "t_est", "t-est", "te--st", "te-st", "-", "a@example.org", "a+example.org", &"x".repeat(200)];
        let names: std::collections::BTreeSet<String> =
            users.iter().filter_map(|user| Username::new(user).ok()).map(|user| pattern.of(&user)).collect();
        assert_eq!(names.len(), users.len() - 1, "{names:?}");
        assert!(names.iter().all(|name| is_name(name)), "{names:?}");
    }

    #[test]
    fn a_name_of_punctuation_alone_still_has_a_namespace() {
        let pattern = NamespacePattern::new("{user}").unwrap();
        for user in ["...", "_", "@@@"] {
            let name = pattern.of(&Username::new(user).unwrap());
            assert!(is_name(&name), "{name}");
        }
    }

    #[test]
    fn a_namespace_without_the_annotation_is_nobodys() {
        let user = Username::new("kube-system").unwrap();
        let mut namespace = Namespace::default();
        assert!(matches!(check("kube-system", &namespace, &user), Err(SchedulerError::Denied(_))));
        namespace.metadata.annotations = Some([(USER.to_owned(), "someone".to_owned())].into());
        assert!(matches!(check("kube-system", &namespace, &user), Err(SchedulerError::Denied(_))));
        namespace.metadata.annotations = Some([(USER.to_owned(), "kube-system".to_owned())].into());
        assert!(check("kube-system", &namespace, &user).is_ok());
    }
}
