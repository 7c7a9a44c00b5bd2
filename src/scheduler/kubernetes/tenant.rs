//! The namespace of each user: its name, and what is in it before the first job.
//!
//! A namespace is used for a user only where its annotation says that it is theirs, regardless of its creator: no pattern and no name of a user leads
//! into another one's namespace, or into one of the cluster.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use moka::future::Cache;

use super::Config;
use super::connection::{Actor, Connection, Created};
use super::failure::ApiFailure;
use super::names::{GOLDCREST, MANAGED_BY, USER, is_name};
use super::namespace_pattern::NamespacePattern;
use super::template::NamespaceManifest;
use crate::domain::Username;
use crate::scheduler::SchedulerError;

/// For how long a namespace that was looked at is not looked at again, and for how many users that is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: u64 = 10_000;

/// The namespaces of all users.
pub(super) struct Tenants {
    pattern: Option<NamespacePattern>,
    creates: bool,
    labels: Vec<(String, String)>,
    manifests: Vec<NamespaceManifest>,
    /// Those that were found to be their users'.
    known: Cache<Username, Arc<str>>,
    /// Those that have all that they are given.
    provisioned: Cache<Username, ()>,
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
            provisioned: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build(),
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
        let Some(found) = connection.get::<Namespace>(Actor::Own, None, &name).await.map_err(ApiFailure::without_effect)? else {
            return Ok(None);
        };
        check(&name, &found, user)?;
        let namespace: Arc<str> = name.into();
        self.known.insert(user.clone(), Arc::clone(&namespace)).await;
        Ok(Some(namespace))
    }

    /// The user's namespace, created, with its quotas and policies, if they are missing.
    ///
    /// # Errors
    /// When it is not theirs, it is missing and may not be made, or the API server does not answer.
    pub(super) async fn ensure(&self, connection: &Connection, user: &Username) -> Result<Arc<str>, SchedulerError> {
        let namespace = match self.find(connection, user).await? {
            Some(namespace) => namespace,
            None => self.create(connection, user).await?,
        };
        if self.creates && !self.provisioned.contains_key(user) {
            for manifest in &self.manifests {
                let applied = match manifest {
                    NamespaceManifest::Quota(quota) => connection.apply(&namespace, quota).await,
                    NamespaceManifest::Limits(limits) => connection.apply(&namespace, limits).await,
                    NamespaceManifest::Network(policy) => connection.apply(&namespace, policy).await,
                    NamespaceManifest::Queue(queue) => connection.apply(&namespace, queue).await,
                };
                if let Err(failure) = applied {
                    return Err(self.lost(user, failure).await.unwrap_or_else(ApiFailure::without_effect));
                }
            }
            self.provisioned.insert(user.clone(), ()).await;
        }
        Ok(namespace)
    }

    /// Whether a namespace that is made for a user has this queue of Kueue.
    pub(super) fn gives_queue(&self, name: &str) -> bool {
        let is_it = |manifest: &NamespaceManifest| matches!(manifest, NamespaceManifest::Queue(queue) if queue.name() == Some(name));
        self.creates && self.manifests.iter().any(is_it)
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
        match connection.create(Actor::Own, None, &namespace).await.map_err(ApiFailure::without_effect)? {
            Created::New(_) => tracing::info!(namespace = name, %user, "a namespace was created for a user"),
            Created::Exists => {}
        }
        // Another request may have been faster, for a user whose name leaves the same.
        let found = self.find(connection, user).await?;
        found.ok_or_else(|| SchedulerError::Down(format!("the namespace {name} was created, and is not there")))
    }

    /// The error for an object that is missing because the namespace was removed; the next request looks it up again. Returns other failures
    /// unchanged.
    pub(super) async fn lost(&self, user: &Username, failure: ApiFailure) -> Result<SchedulerError, ApiFailure> {
        match failure {
            ApiFailure::Refused { code: 404, message, .. } => {
                self.known.invalidate(user).await;
                self.provisioned.invalidate(user).await;
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
