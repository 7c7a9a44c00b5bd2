//! What the cluster has: nodes, the profiles as partitions, and what a user may ask for.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod, ResourceQuota};

use super::config::Profile;
use super::manifest;
use super::quantity::{mebibytes, thousandths, whole};
use crate::domain::{AssociationLimits, JobLimits, JobProfile, Memory, Node, NodeState, Partition, PartitionLimits};

/// The nodes; of what they have given out, the jobs of this system are known.
pub(super) fn nodes(nodes: &[KubernetesNode], pods: &[Pod], profiles: &[Profile]) -> Vec<Node> {
    let mut given: HashMap<&str, BTreeMap<&str, i128>> = HashMap::new();
    for spec in pods.iter().filter(|pod| is_there(pod)).filter_map(|pod| pod.spec.as_ref()) {
        if let Some(node) = &spec.node_name {
            let sums = given.entry(node).or_default();
            for (name, amount) in manifest::requests(spec) {
                *sums.entry(name).or_default() += amount;
            }
        }
    }
    nodes.iter().map(|node| tell(node, &given, profiles)).collect()
}

fn is_there(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_none_or(|phase| matches!(phase, "Pending" | "Running"))
}

fn tell(node: &KubernetesNode, given: &HashMap<&str, BTreeMap<&str, i128>>, profiles: &[Profile]) -> Node {
    let name = node.metadata.name.clone().unwrap_or_default();
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let amount = |resource: &str| allocatable.and_then(|resources| resources.get(resource));
    let sums = given.get(name.as_str());
    let used = |resource: &str| sums.and_then(|sums| sums.get(resource)).copied().unwrap_or(0);
    let cpus = amount("cpu").and_then(thousandths).unwrap_or(0);
    let total = u32::try_from(cpus / 1000).unwrap_or(0);
    let alloc = u32::try_from(used("cpu") / 1000).unwrap_or(0).min(total);
    let memory = u64::try_from(used("memory") / 1000).unwrap_or(0) >> 20;
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let address = |kind: &str| addresses.and_then(|list| list.iter().find(|one| one.type_ == kind)).map(|one| one.address.clone());
    Node {
        cpus: total,
        alloc_cpus: Some(alloc),
        idle_cpus: Some(total - alloc),
        alloc_memory: Some(memory),
        free_memory: amount("memory").and_then(mebibytes).map(|total| total.saturating_sub(memory)),
        address: address("InternalIP"),
        hostname: address("Hostname"),
        state: states(node, alloc, total),
        partitions: profiles.iter().filter(|profile| selects(profile, node)).map(|profile| profile.name.clone()).collect(),
        name,
        ..Node::default()
    }
}

fn states(node: &KubernetesNode, alloc: u32, total: u32) -> Vec<NodeState> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let is_closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let load = match alloc {
        0 => NodeState::Idle,
        alloc if alloc < total => NodeState::Mixed,
        _ => NodeState::Allocated,
    };
    let found = [is_closed.then_some(NodeState::Drain), Some(if is_ready { load } else { NodeState::Down })];
    NodeState::each_once(found.into_iter().flatten())
}

fn selects(profile: &Profile, node: &KubernetesNode) -> bool {
    let labels = node.metadata.labels.as_ref();
    profile.node_selector.iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}

/// The profiles as partitions, with the nodes that they select.
pub(super) fn partitions(nodes: &[KubernetesNode], profiles: &[Profile]) -> Vec<Partition> {
    let of = |profile: &Profile| {
        let selected: Vec<&KubernetesNode> = nodes.iter().filter(|node| selects(profile, node)).collect();
        let cpus = selected.iter().filter_map(|node| whole(node.status.as_ref()?.allocatable.as_ref()?.get("cpu")?)).sum::<u64>();
        Partition {
            name: profile.name.clone(),
            cpus: u32::try_from(cpus).ok(),
            total_nodes: u32::try_from(selected.len()).ok(),
            state: vec!["UP".to_owned()],
        }
    };
    profiles.iter().map(of).collect()
}

/// The profiles as they are offered.
pub(super) fn profiles(profiles: &[Profile], default_image: Option<&str>) -> Vec<JobProfile> {
    let given = |seconds: u32| Some(seconds).filter(|seconds| *seconds > 0);
    let of = |(index, profile): (usize, &Profile)| JobProfile {
        name: profile.name.clone(),
        is_default: index == 0,
        image: profile.image.clone().or_else(|| default_image.map(str::to_owned)),
        cpus: profile.cpus,
        max_cpus: profile.max_cpus,
        memory: profile.memory,
        max_memory: profile.max_memory,
        max_gpus: profile.max_gpus,
        time_limit: given(profile.time_limit),
        max_time_limit: given(profile.max_time_limit),
        node_labels: profile.node_selector.clone(),
    };
    profiles.iter().enumerate().map(of).collect()
}

/// What a user's jobs may ask for: by the profiles, and by the quotas of the user's namespace.
pub(super) fn limits(profiles: &[Profile], namespace: Option<&str>, quotas: &[ResourceQuota]) -> JobLimits {
    let given = |seconds: u32| Some(u64::from(seconds)).filter(|seconds| *seconds > 0);
    let partition = |(index, profile): (usize, &Profile)| PartitionLimits {
        name: profile.name.clone(),
        is_default: index == 0,
        state: Some("UP".to_owned()),
        max_time: given(profile.max_time_limit),
        default_time: given(profile.time_limit),
        max_nodes: Some(1),
        max_cpus_per_node: profile.max_cpus.map(u64::from),
        max_memory_per_node: profile.max_memory.map(Memory::mebibytes),
        default_memory_per_node: Some(profile.memory.mebibytes()),
        max_resources: [(profile.gpu_resource.clone(), profile.max_gpus.to_string())].into(),
        ..PartitionLimits::default()
    };
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, amount) in quotas.iter().filter_map(|quota| quota.spec.as_ref()?.hard.as_ref()).flatten() {
        all.insert(name.clone(), amount.0.clone());
    }
    let association = namespace.map(|namespace| AssociationLimits {
        account: namespace.to_owned(),
        max_resources_in_all: all,
        ..AssociationLimits::default()
    });
    JobLimits {
        partitions: profiles.iter().enumerate().map(partition).collect(),
        qos: None,
        associations: association.map(|one| vec![one]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, ready: &str, unschedulable: bool) -> KubernetesNode {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kind": name}},
            "spec": {"unschedulable": unschedulable},
            "status": {
                "allocatable": {"cpu": "4", "memory": "8Gi"},
                "conditions": [{"type": "Ready", "status": ready}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": name}],
            },
        }))
        .unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
    fn pod(node: &str, phase: &str, requests: Value) -> Pod {
        let containers = json!([{"name": "job", "resources": {"requests": requests}}]);
        serde_json::from_value(json!({"metadata": {}, "spec": {"nodeName": node, "containers": containers}, "status": {"phase": phase}}))
            .unwrap()
    }

    #[test]
    fn nodes_are_told_with_what_jobs_have_of_them() {
        let pods = [
            pod("a", "Running", json!({"cpu": "1", "memory": "1Gi"})),
            pod("a", "Succeeded", json!({"cpu": "2"})),
            pod("b", "Pending", json!({"cpu": "4", "memory": "512Mi"})),
        ];
        let of_a = Profile { node_selector: [("kind".to_owned(), "a".to_owned())].into(), ..Profile::default() };
        let nodes = [node("a", "True", false), node("b", "True", false), node("c", "Unknown", false), node("d", "True", true)];
        let told = super::nodes(&nodes, &pods, std::slice::from_ref(&of_a));
        let states: Vec<Vec<NodeState>> = told.iter().map(|node| node.state.clone()).collect();
        assert_eq!(
            states,
            [vec![NodeState::Mixed], vec![NodeState::Allocated], vec![NodeState::Down], vec![NodeState::Drain, NodeState::Idle]]
        );
        assert_eq!(
            (told[0].alloc_cpus, told[0].idle_cpus, told[0].alloc_memory, told[0].free_memory),
            (Some(1), Some(3), Some(1024), Some(7168))
        );
        assert_eq!((&told[0].partitions, &told[1].partitions), (&vec!["default".to_owned()], &Vec::new()));
        assert_eq!(partitions(&nodes, &[of_a])[0].total_nodes, Some(1));
    }

    #[test]
    fn limits_are_those_of_profiles_and_quotas() {
        let quota = serde_json::from_value(json!({"metadata": {}, "spec": {"hard": {"requests.cpu": "8"}}})).unwrap();
        let limits = limits(&[Profile { max_cpus: Some(2), ..Profile::default() }], Some("goldcrest-ada"), &[quota]);
        assert_eq!((limits.partitions[0].max_cpus_per_node, limits.partitions[0].default_time), (Some(2), Some(86_400)));
        assert_eq!(limits.associations.unwrap()[0].max_resources_in_all["requests.cpu"], "8");
    }
}
