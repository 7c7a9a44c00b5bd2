//! sinfo(1): the nodes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::delimiter::Delimiter;
use super::slurm_command;
use crate::domain::Node;
use crate::scheduler::slurm::values::{node_states, number, text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The requested fields, in order.
const FIELDS: [&str; 15] = [
    "NodeList",
    "NodeHost",
    "NodeAddr",
    "Partition",
    "StateComplete",
    "CPUs",
    "CPUsState",
    "Sockets",
    "Cores",
    "Threads",
    "CPUsLoad",
    "FreeMem",
    "AllocMem",
    "Weight",
    "Features",
];

/// Lists the nodes. sinfo prints a node once for every partition it is in; here it is one, with all its partitions.
pub(super) struct Nodes {
    /// The separator of the fields.
    pub(super) delimiter: Delimiter,
}

impl RemoteCommand for Nodes {
    type Output = Vec<Node>;

    fn command_line(&self) -> CommandLine {
        slurm_command("sinfo").flag("--noheader").flag("--all").flag("--Node").option("--Format", self.delimiter.long_format(&FIELDS))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let records = self.delimiter.records::<{ FIELDS.len() }>(&raw.stdout).map_err(not_understood)?;
        let mut nodes: Vec<Node> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        for record in records {
            // The default partition carries an asterisk.
            let partition = record[3].trim_end_matches('*').to_owned();
            match index.entry(record[0].clone()) {
                Entry::Occupied(known) => nodes[*known.get()].partitions.push(partition),
                Entry::Vacant(new) => {
                    new.insert(nodes.len());
                    nodes.push(Node { partitions: vec![partition], ..node(&record)? });
                }
            }
        }
        nodes.iter_mut().for_each(|node| node.partitions.sort_unstable());
        Ok(nodes)
    }
}

fn node(record: &[String; FIELDS.len()]) -> Result<Node, CommandError> {
    let [name, hostname, address, _, state, cpus, cpu_states, sockets, cores, threads, load, free, allocated, weight, features] = record;
    // Allocated, idle, other, total.
    let mut counts = cpu_states.split('/').map(number);
    Ok(Node {
        name: name.clone(),
        cpus: number(cpus).ok_or_else(|| not_understood(format!("{cpus:?} is no number of CPUs")))?,
        sockets: number(sockets),
        cores: number(cores),
        threads: number(threads),
        cpu_load: number(load),
        free_memory: number(free),
        alloc_memory: number(allocated),
        alloc_cpus: counts.next().flatten(),
        idle_cpus: counts.next().flatten(),
        features: text(features).map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        address: text(address),
        hostname: text(hostname),
        state: node_states(state.split('+')),
        partitions: Vec::new(),
        weight: number(weight),
    })
}

fn not_understood(reason: String) -> CommandError {
    CommandError::Output { program: "sinfo", reason }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{RELEASES, delimiter, recorded};
    use super::*;
    use crate::domain::NodeState;

    #[test]
    fn recorded_nodes_are_read_once_each_with_all_their_partitions() {
        for release in RELEASES {
            let nodes = Nodes { delimiter: delimiter() }.parse(recorded(release, "all.sinfo")).unwrap();
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            assert_eq!(names, ["n1", "n2", "n3", "n4"], "{release}");
            let node = |name: &str| nodes.iter().find(|node| node.name == name).unwrap();
            assert_eq!(node("n1").partitions, ["long", "normal"], "{release}");
            assert_eq!(node("n1").features, ["fast", "gpu"], "{release}");
            assert!(node("n2").state.contains(&NodeState::Drain), "{release}: {:?}", node("n2").state);
            assert!(node("n4").state.contains(&NodeState::Down), "{release}: {:?}", node("n4").state);
            assert_eq!(node("n4").free_memory, None, "{release}");
            let n1 = node("n1");
            assert_eq!((n1.cpus, n1.sockets, n1.cores, n1.threads, n1.weight), (2, Some(1), Some(2), Some(1), Some(1)), "{release}");
            assert_eq!(n1.alloc_cpus.unwrap() + n1.idle_cpus.unwrap(), 2, "{release}");
        }
    }
}
