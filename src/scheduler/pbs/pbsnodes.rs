//! pbsnodes(1): the nodes.

use super::failure::succeeded;
use super::pbs_command;
use super::records::{Layout, PbsRecord, records};
use super::values::mebibytes;
use crate::domain::{Node, NodeState, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists the nodes.
pub(super) struct Nodes;

impl RemoteCommand for Nodes {
    type Output = Vec<Node>;

    fn command_line(&self) -> CommandLine {
        pbs_command("pbsnodes").flag("-a")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        let stderr = bytes_to_text(&raw.stderr);
        if stderr.contains("Server has no node list") || stderr.contains("No nodes found") {
            return Ok(Vec::new());
        }
        succeeded(&raw)?;
        let nodes = records(&raw.stdout, Layout { head: "", indented: true });
        // A greeting of the login shell may look like a name, but it has no state.
        Ok(nodes.iter().filter_map(|record| Some((record, record.get("state")?))).map(|(record, state)| node(record, state)).collect())
    }
}

fn node(record: &PbsRecord, state: &str) -> Node {
    let text = |attribute: &str| record.get(attribute).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let number = |attribute: &str| record.get(attribute).and_then(|text| text.trim().parse::<u32>().ok());
    let size = |attribute: &str| record.get(attribute).and_then(mebibytes);
    let cpus = ["resources_available.ncpus", "np", "pcpus"].into_iter().find_map(number).unwrap_or(0);
    let allocated = number("resources_assigned.ncpus").unwrap_or_else(|| slots_of_torque(record)).min(cpus);
    let assigned_memory = size("resources_assigned.mem");
    let memory = size("resources_available.mem");
    Node {
        name: record.name.clone(),
        cpus,
        cpu_load: status_of_torque(record, "loadave").and_then(|load| load.parse().ok()),
        free_memory: memory
            .map(|memory| memory.saturating_sub(assigned_memory.unwrap_or(0)))
            .or_else(|| status_of_torque(record, "availmem").and_then(mebibytes)),
        alloc_memory: assigned_memory,
        alloc_cpus: Some(allocated),
        idle_cpus: Some(cpus - allocated),
        features: features(record),
        address: text("Mom"),
        hostname: text("resources_available.host"),
        state: states(state, allocated),
        partitions: text("queue").or_else(|| text("resources_available.Qlist")).map(|list| words(&list)).unwrap_or_default(),
        ..Node::default()
    }
}

/// The resources that are simply there or not; in Torque, the properties.
fn features(record: &PbsRecord) -> Vec<String> {
    let mut features = record.get("properties").map(words).unwrap_or_default();
    features.extend(record.resources("resources_available").filter(|(_, value)| *value == "True").map(|(name, _)| name.to_owned()));
    features
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The slots in use, of `0-3/12.srv, 4/13.srv`; 0 if it is not Torque.
fn slots_of_torque(record: &PbsRecord) -> u32 {
    let jobs = record.get("jobs").unwrap_or_default();
    let slots = jobs.split(", ").flat_map(|job| job.split('/').next().unwrap_or_default().split(','));
    let count = slots.map(|range| match range.trim().split_once('-') {
        Some((first, last)) => match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) => last.saturating_sub(first).saturating_add(1),
            _ => 0,
        },
        None => u32::from(!range.trim().is_empty()),
    });
    count.fold(0, u32::saturating_add)
}

/// One of the values that Torque packs into one attribute.
fn status_of_torque<'a>(record: &'a PbsRecord, wanted: &str) -> Option<&'a str> {
    let mut pairs = record.get("status")?.split(',').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// The states of `state-unknown,down,offline`. A node that is free and has jobs is a mixed one.
fn states(printed: &str, allocated: u32) -> Vec<NodeState> {
    let state = |word: &str| {
        Some(match word.trim() {
            "free" if allocated > 0 => NodeState::Mixed,
            "free" => NodeState::Idle,
            "job-busy" | "job-exclusive" => NodeState::Allocated,
            "job-sharing" | "time-shared" => NodeState::Mixed,
            "busy" => NodeState::Busy,
            "down" | "stale" | "unresolvable" => NodeState::Down,
            "offline" | "maintenance" => NodeState::Offline,
            "reserve" | "resv-exclusive" => NodeState::Reserved,
            "provisioning" | "wait-provisioning" | "initializing" => NodeState::PoweringUp,
            "sleep" => NodeState::PoweringDown,
            _ => return None,
        })
    };
    NodeState::each_once(printed.split(',').filter_map(state))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::failure::explain;
    use super::super::golden::recorded;
    use super::*;
    use crate::scheduler::SchedulerError;

    fn parse(stdout: &str) -> Vec<Node> {
        Nodes.parse(RawOutput { stdout: stdout.into(), ..RawOutput::default() }).unwrap()
    }

    #[test]
    fn recorded_nodes_are_read() {
        insta::assert_debug_snapshot!("nodes", Nodes.parse(recorded("all.pbsnodes")).unwrap());
    }

    #[test]
    fn nodes_of_torque_are_read() {
        let nodes = parse(
            "n1\n     state = free\n     np = 8\n     properties = fast,gpu\n     ntype = cluster\n     jobs = 0-2/12.srv, 5/13.srv\n     \
             status = rectime=1,physmem=65536kb,availmem=32768kb,loadave=0.25\n     mom_service_port = 15002\n\n",
        );
        let node = &nodes[0];
        assert_eq!((node.cpus, node.alloc_cpus, node.idle_cpus), (8, Some(4), Some(4)));
        assert_eq!(
            (node.features.as_slice(), node.cpu_load, node.free_memory),
            (&["fast".to_owned(), "gpu".to_owned()][..], Some(0.25), Some(32))
        );
        assert_eq!(node.state, [NodeState::Mixed]);
    }

    #[test]
    fn features_and_queues_are_resources_of_the_node() {
        let nodes = parse(
            "n1\n     state = free\n     resources_available.gpu = True\n     resources_available.Qlist = a,b\n     resources_available.slow = False\n",
        );
        assert_eq!(
            (nodes[0].features.as_slice(), nodes[0].partitions.as_slice()),
            (&["gpu".to_owned()][..], &["a".to_owned(), "b".to_owned()][..])
        );
    }

    #[test]
    fn several_states_hold_at_once() {
        assert_eq!(states("state-unknown,down,offline", 0), [NodeState::Down, NodeState::Offline]);
        assert_eq!(states("resv-exclusive,job-busy", 4), [NodeState::Reserved, NodeState::Allocated]);
        assert_eq!(states("something-new", 0), [NodeState::Unknown]);
    }

    #[test]
    fn a_server_without_nodes_has_none_and_one_that_is_down_is_an_error() {
        let raw = RawOutput { stderr: b"pbsnodes: Server has no node list\n".to_vec(), exit: 1, ..RawOutput::default() };
        assert_eq!(Nodes.parse(raw).unwrap(), []);
        assert!(matches!(explain("x")(Nodes.parse(recorded("down.pbsnodes")).unwrap_err()), SchedulerError::Down(_)));
    }

    proptest! {
        #[test]
        fn hostile_nodes_are_read_without_a_panic(lines in proptest::collection::vec(r"(     (jobs|state|np|status|resources_available.ncpus|resources_assigned.ncpus) = )?[-0-9/,=a-z. ]{0,16}", 0..12)) {
            let nodes = parse(&lines.join("\n"));
            prop_assert!(nodes.len() <= lines.len());
        }
    }
}
