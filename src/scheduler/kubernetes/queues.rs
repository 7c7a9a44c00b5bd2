//! The queues of Kueue in a user's namespace, which are partitions beside the profiles.
//!
//! A job of a queue is created suspended, with the queue's label: Kueue lets it begin when the queue has room for it, and may suspend it again. Its size
//! is limited by the default profile. Nothing is asked of Kueue's API where the site does not have it.

use k8s_openapi::api::batch::v1::Job as KubernetesJob;

use super::config::Profile;
use super::connection::{Actor, Connection, Selection};
use super::failure::ApiFailure;
use super::local_queue::LocalQueue;
use crate::domain::Partition;
use crate::scheduler::SchedulerError;

/// The label by which a Job names its queue.
pub(super) const QUEUE: &str = "kueue.x-k8s.io/queue-name";

/// The queues of a namespace but those that have the name of a profile; none where the cluster has no Kueue.
///
/// # Errors
/// When the API server does not answer, or does not give them.
pub(super) async fn list(connection: &Connection, namespace: &str, profiles: &[Profile]) -> Result<Vec<LocalQueue>, SchedulerError> {
    let listed = connection.list::<LocalQueue>(Actor::Own, Some(namespace), Selection::default()).await;
    let mut queues = match listed {
        Err(ApiFailure::Refused { code: 404, .. }) => Vec::new(),
        listed => listed.map_err(ApiFailure::without_effect)?,
    };
    queues.retain(|queue| queue.name().is_some_and(|name| profiles.iter().all(|profile| profile.name != name)));
    Ok(queues)
}

/// The name of the queue that a job names as its partition.
///
/// # Errors
/// The names to choose from, where there is no such queue.
pub(super) fn chosen(partition: &str, queues: &[LocalQueue], profiles: &[Profile]) -> Result<String, SchedulerError> {
    if queues.iter().any(|queue| queue.name() == Some(partition)) {
        return Ok(partition.to_owned());
    }
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).chain(queues.iter().filter_map(LocalQueue::name)).collect();
    Err(SchedulerError::Rejected(format!("there is no such partition on this system: choose one of {}", names.join(", "))))
}

/// A queue as a partition. Its nodes and CPUs are those of the whole cluster, of which Kueue gives it a part.
pub(super) fn partition(queue: &LocalQueue) -> Option<Partition> {
    let state = if queue.is_active() { "UP" } else { "DOWN" };
    Some(Partition { name: queue.name()?.to_owned(), cpus: None, total_nodes: None, state: vec![state.to_owned()] })
}

/// The limits of a queue's jobs: those of the default profile, by the queue's name.
pub(super) fn limits(queue: &LocalQueue, profiles: &[Profile]) -> Option<Profile> {
    Some(Profile { name: queue.name()?.to_owned(), ..profiles.first()?.clone() })
}

/// The queue of a job.
pub(super) fn of(job: &KubernetesJob) -> Option<&str> {
    job.metadata.labels.as_ref()?.get(QUEUE).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
    fn queue(name: &str, status: Value) -> LocalQueue {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"clusterQueue": "all"}, "status": status})).unwrap()
    }

    #[test]
    fn a_queue_is_a_partition_that_is_up_where_kueue_admits_its_jobs() {
        let active = |status: &str| json!({"pendingWorkloads": 3, "conditions": [{"type": "Active", "status": status, "reason": "Ready"}]});
        for (status, state) in [(active("True"), "UP"), (active("False"), "DOWN"), (json!({}), "DOWN")] {
            let partition = partition(&queue("team", status)).unwrap();
            assert_eq!((partition.name.as_str(), partition.state), ("team", vec![state.to_owned()]));
        }
    }

    #[test]
    fn an_unknown_partition_is_answered_with_those_that_there_are() {
        let (queues, profiles) = ([queue("team", json!({}))], [Profile::default()]);
        assert_eq!(chosen("team", &queues, &profiles).unwrap(), "team");
        assert!(chosen("other", &queues, &profiles).unwrap_err().to_string().contains("default, team"));
    }
}
