//! The objects that a site wants in each user's namespace.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::local_queue::LocalQueue;
use super::names::is_name;

/// An object of a kind that limits a namespace, as its type reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NamespaceManifest {
    /// How much there may be in all.
    Quota(ResourceQuota),
    /// How large each container may be.
    Limits(LimitRange),
    /// With whom pods may speak.
    Network(NetworkPolicy),
    /// From which queue of the cluster its jobs get their room.
    Queue(LocalQueue),
}

impl NamespaceManifest {
    /// Reads an object.
    ///
    /// # Errors
    /// What is wrong: another kind, a member that its type does not have in this form, no name, or a namespace.
    pub(super) fn read(manifest: &Value) -> Result<Self, String> {
        match manifest.get("kind").and_then(Value::as_str) {
            Some(ResourceQuota::KIND) => typed(manifest).map(Self::Quota),
            Some(LimitRange::KIND) => typed(manifest).map(Self::Limits),
            Some(NetworkPolicy::KIND) => typed(manifest).map(Self::Network),
            Some(LocalQueue::KIND) => match typed::<LocalQueue>(manifest)? {
                queue if queue.is_current() => Ok(Self::Queue(queue)),
                _ => Err(format!("is no LocalQueue of {}", LocalQueue::API_VERSION)),
            },
            Some(other) => Err(format!("is of a kind that no namespace is given: {other}")),
            None => Err("has no kind".to_owned()),
        }
    }
}

fn typed<T>(manifest: &Value) -> Result<T, String>
where
    T: DeserializeOwned + Metadata<Ty = ObjectMeta> + Resource<Scope = NamespaceResourceScope>,
{
    let object: T = serde_json::from_value(manifest.clone()).map_err(|error| format!("is no {}: {error}", T::KIND))?;
    let ObjectMeta { name, namespace, owner_references, finalizers, .. } = object.metadata();
    if !name.as_deref().is_some_and(is_name) {
        return Err("has no metadata.name that Kubernetes allows".to_owned());
    }
    if namespace.is_some() || owner_references.is_some() || finalizers.is_some() {
        return Err("has a namespace, an owner or a finalizer in its metadata".to_owned());
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quotas_limits_and_policies_are_read_by_their_types() {
        for manifest in [
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "a"}, "spec": {"hard": {"pods": "10"}}}),
            json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "a"},
                "spec": {"limits": [{"type": "Container", "max": {"cpu": "4"}}]}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a"},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
            json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "a"}, "spec": {"clusterQueue": "all"}}),
        ] {
            NamespaceManifest::read(&manifest).unwrap();
        }
    }

    #[test]
    fn other_kinds_and_what_reaches_beyond_the_namespace_are_refused() {
        let quota = |metadata: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {}});
        for manifest in [
            json!({}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v2", "kind": "ResourceQuota", "metadata": {"name": "a"}}),
            json!({"apiVersion": "kueue.x-k8s.io/v1alpha1", "kind": "LocalQueue", "metadata": {"name": "a"}, "spec": {}}),
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "a"}, "spec": {"hard": ["pods"]}}),
            quota(json!({})),
            quota(json!({"name": "../a"})),
            quota(json!({"name": "a", "namespace": "kube-system"})),
            quota(json!({"name": "a", "finalizers": ["a/b"]})),
        ] {
            assert!(NamespaceManifest::read(&manifest).is_err(), "{manifest}");
        }
    }
}
