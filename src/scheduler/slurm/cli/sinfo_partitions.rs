//! sinfo(1) once more: the partitions.

use super::delimiter::Delimiter;
use super::slurm_command;
use crate::domain::Partition;
use crate::scheduler::slurm::values::number;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists the partitions.
pub(super) struct Partitions {
    /// The separator of the fields.
    pub(super) delimiter: Delimiter,
    /// Also those that are hidden, or closed to the caller.
    pub(super) hidden: bool,
}

impl RemoteCommand for Partitions {
    type Output = Vec<Partition>;

    fn command_line(&self) -> CommandLine {
        let line = slurm_command("sinfo").flag("--noheader");
        let line = if self.hidden { line.flag("--all") } else { line };
        let delimiter = self.delimiter.as_str();
        // %R: name; %a: availability; %D: nodes; %C: CPUs as allocated/idle/other/total.
        line.option("--format", format!("%R{delimiter}%a{delimiter}%D{delimiter}%C{delimiter}"))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let records = self.delimiter.records(&raw.stdout).map_err(|reason| CommandError::Output { program: "sinfo", reason })?;
        Ok(records.map(|record| partition(&record)).collect())
    }
}

fn partition([name, availability, nodes, cpus]: &[String; 4]) -> Partition {
    let state = match availability.trim() {
        "inact" => "INACTIVE".to_owned(),
        other => other.to_uppercase(),
    };
    Partition { name: name.clone(), cpus: cpus.rsplit('/').next().and_then(number), total_nodes: number(nodes), state: vec![state] }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{RELEASES, delimiter, recorded};
    use super::*;

    #[test]
    fn recorded_partitions_are_read() {
        for release in RELEASES {
            let read = |case: &str, hidden| Partitions { delimiter: delimiter(), hidden }.parse(recorded(release, case)).unwrap();
            let names = |partitions: &[Partition]| partitions.iter().map(|partition| partition.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&read("shown.sinfo", false)), ["normal", "long", "closed"], "{release}");
            let all = read("hidden.sinfo", true);
            assert_eq!(names(&all), ["normal", "long", "private", "closed"], "{release}");
            assert_eq!(all[0], Partition { name: "normal".to_owned(), cpus: Some(4), total_nodes: Some(2), state: vec!["UP".to_owned()] });
            assert_eq!(all[3].state, ["DOWN"], "{release}");
        }
    }

    #[test]
    fn only_a_caller_who_asks_sees_hidden_ones() {
        let line = |hidden| Partitions { delimiter: delimiter(), hidden }.command_line().to_string();
        assert!(line(true).contains(" --all ") && !line(false).contains(" --all "));
    }
}
