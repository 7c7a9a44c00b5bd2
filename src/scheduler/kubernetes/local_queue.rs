//! A LocalQueue of Kueue, as far as Goldcrest needs it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A LocalQueue. Items of a list lack the members `kind` and `apiVersion`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LocalQueue {
    #[serde(default = "api_version")]
    api_version: String,
    #[serde(default = "kind")]
    kind: String,
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    /// Written by Kueue alone.
    #[serde(default, skip_serializing)]
    status: LocalQueueStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct LocalQueueStatus {
    #[serde(default)]
    conditions: Vec<QueueCondition>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct QueueCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

impl Resource for LocalQueue {
    const API_VERSION: &'static str = "kueue.x-k8s.io/v1beta2";
    const GROUP: &'static str = "kueue.x-k8s.io";
    const KIND: &'static str = "LocalQueue";
    const VERSION: &'static str = "v1beta2";
    const URL_PATH_SEGMENT: &'static str = "localqueues";
    type Scope = NamespaceResourceScope;
}

impl Metadata for LocalQueue {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn api_version() -> String {
    LocalQueue::API_VERSION.to_owned()
}

fn kind() -> String {
    LocalQueue::KIND.to_owned()
}

impl LocalQueue {
    /// Whether it has the API version that is declared here.
    pub(super) fn is_current(&self) -> bool {
        self.api_version == Self::API_VERSION && self.kind == Self::KIND
    }

    /// Its name.
    pub(super) fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }

    /// Whether jobs of the queue begin, if there is room for them. They may be submitted anyway.
    pub(super) fn is_active(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.type_ == "Active" && condition.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queue_is_sent_as_the_site_has_written_it() {
        let queue = json!({"metadata": {"name": "team"}, "spec": {"clusterQueue": "all"}, "status": {"conditions": []}});
        let queue: LocalQueue = serde_json::from_value(queue).unwrap();
        let sent = serde_json::to_value(queue).unwrap();
        let written = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "team"}, "spec": {"clusterQueue": "all"},
        });
        assert_eq!(sent, written);
    }
}
