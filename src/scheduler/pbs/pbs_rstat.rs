//! pbs_rstat(1): the reservations.

use super::failure::succeeded;
use super::pbs_command;
use super::records::{Layout, PbsRecord, records};
use super::values::timestamp;
use crate::domain::Reservation;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists the reservations.
pub(super) struct Reservations;

impl RemoteCommand for Reservations {
    type Output = Vec<Reservation>;

    fn command_line(&self) -> CommandLine {
        pbs_command("pbs_rstat").flag("-f")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        succeeded(&raw)?;
        records(&raw.stdout, Layout { head: "Resv ID: ", indented: false }).iter().map(reservation).collect()
    }
}

fn reservation(record: &PbsRecord) -> Result<Reservation, CommandError> {
    let not_understood = |reason| CommandError::Output { program: "pbs_rstat", reason };
    let time = |attribute: &str| {
        record.get(attribute).and_then(timestamp).ok_or_else(|| not_understood(format!("a reservation without {attribute}")))
    };
    // Jobs are submitted to its queue, so that this is the name by which clients can use it. Its given name need not be unique.
    let name = record.get("queue").unwrap_or_else(|| record.name.split('.').next().unwrap_or_default());
    let running = record.get("reserve_state").is_some_and(|state| state.trim() == "RESV_RUNNING");
    Ok(Reservation {
        name: name.trim().to_owned(),
        node_list: nodes(record.get("resv_nodes").unwrap_or_default()),
        start: time("reserve_start")?,
        end: time("reserve_end")?,
        features: None,
        state: Some(if running { "active" } else { "inactive" }.to_owned()),
    })
}

/// The nodes of `(n1:ncpus=2+n2:ncpus=1)+(n3:ncpus=1)`, each once.
fn nodes(printed: &str) -> String {
    let mut nodes: Vec<&str> = Vec::new();
    for chunk in printed.split('+') {
        let node = chunk.trim_matches(['(', ')', ' ']).split(':').next().unwrap_or_default();
        if !node.is_empty() && !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    nodes.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::*;

    #[test]
    fn recorded_reservations_are_read() {
        let read = Reservations.parse(recorded("all.pbs_rstat")).unwrap();
        assert_eq!(read.len(), 2);
        let expected = Reservation {
            name: "R21".to_owned(),
            node_list: "pbs".to_owned(),
            start: 1_795_262_400,
            end: 1_795_266_000,
            features: None,
            state: Some("inactive".to_owned()),
        };
        assert_eq!(read[0], expected);
    }

    #[test]
    fn no_reservation_is_no_error_and_a_server_that_is_down_is_one() {
        assert_eq!(Reservations.parse(RawOutput::default()).unwrap(), []);
        assert!(Reservations.parse(recorded("down.pbs_rstat")).is_err());
        let stdout = b"Resv ID: R1.s\nreserve_start = tomorrow\n".to_vec();
        assert!(matches!(Reservations.parse(RawOutput { stdout, ..RawOutput::default() }), Err(CommandError::Output { .. })));
    }

    #[test]
    fn nodes_are_told_once() {
        assert_eq!(nodes("(n1:ncpus=2+n2:ncpus=1)+(n1:ncpus=1)"), "n1,n2");
        assert_eq!(nodes(""), "");
    }
}
