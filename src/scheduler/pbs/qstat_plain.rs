//! qstat(1) in its plain form: which jobs there are, in a table that no content of a job can add a line to.

use std::collections::BTreeSet;

use super::dialect::Dialect;
use super::failure::succeeded;
use super::job_ref::sequence_of;
use super::pbs_command;
use crate::domain::bytes_to_text;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists the numbers and indices of all jobs that the caller may see.
pub(super) struct Sequences {
    /// The member of the PBS family.
    pub(super) dialect: Dialect,
    /// Whether jobs that ended are listed too, where the server keeps them.
    pub(super) history: bool,
}

impl RemoteCommand for Sequences {
    type Output = BTreeSet<String>;

    fn command_line(&self) -> CommandLine {
        let line = pbs_command("qstat");
        // Torque prints XML for -x, and lists ended jobs without it.
        if self.history && self.dialect != Dialect::Torque { line.flag("-x") } else { line }
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        succeeded(&raw)?;
        let output = bytes_to_text(&raw.stdout);
        let ids = output.lines().filter_map(|line| line.split_whitespace().next());
        Ok(ids.filter(|id| id.starts_with(|c: char| c.is_ascii_digit())).map(|id| sequence_of(id).to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::*;

    #[test]
    fn a_recorded_table_is_read() {
        let command = Sequences { dialect: Dialect::Pbs { unwrapped: false }, history: true };
        let found = command.parse(recorded("openpbs-23.06.06/list-plain-history.qstat")).unwrap();
        assert!(found.contains("47705") && found.contains("47707[]") && !found.contains("47707"), "{found:?}");
        assert_eq!(command.command_line().to_string(), "env LC_ALL=C TZ=UTC qstat -x");
    }

    #[test]
    fn no_job_is_no_error_and_a_server_that_is_down_is_one() {
        let command = Sequences { dialect: Dialect::Torque, history: true };
        assert_eq!(command.parse(RawOutput::default()).unwrap(), BTreeSet::new());
        assert!(command.parse(recorded("down.qstat")).is_err());
        assert_eq!(command.command_line().to_string(), "env LC_ALL=C TZ=UTC qstat");
    }
}
