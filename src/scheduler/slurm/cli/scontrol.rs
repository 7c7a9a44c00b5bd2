//! scontrol(1): whether the controller answers, the cluster's name, the reservations.

use super::slurm_command;
use super::values::{text, timestamp};
use crate::domain::{Reservation, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Asks whether a controller answers.
pub(super) struct Ping;

impl RemoteCommand for Ping {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("ping")
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        // One line a controller: `Slurmctld(primary) at host is UP`. The status is 0 in some releases even when none is.
        if bytes_to_text(&raw.stdout).lines().any(|line| line.trim_end().ends_with("is UP")) {
            return Ok(());
        }
        if raw.exit == 0 || !raw.stdout.is_empty() {
            return Err(CommandError::Exit { exit: raw.exit.max(1), stderr: "Unable to contact slurm controller".to_owned() });
        }
        Err(CommandError::exit(&raw))
    }
}

/// Asks for the cluster's name as Slurm has it.
pub(super) struct ClusterName;

impl RemoteCommand for ClusterName {
    type Output = String;

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("show").flag("config")
    }

    fn parse(&self, raw: RawOutput) -> Result<String, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let output = bytes_to_text(&raw.stdout);
        let name = output.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == "ClusterName").then(|| value.trim().to_owned())
        });
        name.ok_or_else(|| CommandError::Output { program: "scontrol", reason: "the configuration holds no ClusterName".to_owned() })
    }
}

/// Lists the reservations.
pub(super) struct Reservations;

impl RemoteCommand for Reservations {
    type Output = Vec<Reservation>;

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("--oneliner").flag("show").flag("reservation")
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let output = bytes_to_text(&raw.stdout);
        output.lines().filter(|line| line.starts_with("ReservationName=")).map(reservation).collect()
    }
}

fn reservation(line: &str) -> Result<Reservation, CommandError> {
    // Names and free text are the administrator's; of two equal keys the first is Slurm's own.
    let value = |key: &str| {
        let mut words = line.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).and_then(|(_, value)| text(value))
    };
    let required =
        |key: &str| value(key).ok_or_else(|| CommandError::Output { program: "scontrol", reason: format!("a reservation without {key}") });
    let time = |key: &str| {
        let printed = required(key)?;
        timestamp(&printed).ok_or_else(|| CommandError::Output { program: "scontrol", reason: format!("{printed:?} is no time") })
    };
    Ok(Reservation {
        name: required("ReservationName")?,
        node_list: value("Nodes").unwrap_or_default(),
        start: time("StartTime")?,
        end: time("EndTime")?,
        features: value("Features"),
        state: value("State").map(|state| state.to_lowercase()),
    })
}
