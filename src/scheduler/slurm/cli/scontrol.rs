//! scontrol(1): whether the controller answers, the cluster's name, the reservations.

use std::time::Duration;

use super::slurm_command;
use crate::domain::{Reservation, bytes_to_text};
use crate::scheduler::slurm::values::{text, timestamp};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Asks whether a controller answers.
pub(super) struct Ping;

impl RemoteCommand for Ping {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("ping")
    }

    fn idempotent(&self) -> bool {
        true
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

/// Asks how the cluster is configured.
pub(super) struct ShowConfig;

/// The values that are read from a cluster's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterConfig {
    /// The cluster's name as Slurm has it.
    pub(super) name: String,
    /// The time for which the controller remembers an ended job (slurm.conf(5), `MinJobAge`).
    pub(super) min_job_age: Duration,
}

impl RemoteCommand for ShowConfig {
    type Output = ClusterConfig;

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("show").flag("config")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<ClusterConfig, CommandError> {
        raw.success()?;
        let output = bytes_to_text(&raw.stdout);
        let value = |key: &str| {
            let mut pairs = output.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
        };
        let name = value("ClusterName")
            .ok_or_else(|| CommandError::Output { program: "scontrol", reason: "the configuration holds no ClusterName".to_owned() })?;
        // It is written `300 sec`. An unknown value counts as a controller that remembers nothing.
        let min_job_age =
            value("MinJobAge").and_then(|text| text.split(' ').next()?.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
        Ok(ClusterConfig { name: name.to_owned(), min_job_age })
    }
}

/// Lists the reservations.
pub(super) struct Reservations;

impl RemoteCommand for Reservations {
    type Output = Vec<Reservation>;

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("--oneliner").flag("show").flag("reservation")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
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

#[cfg(test)]
mod tests {
    use super::super::failure::explain;
    use super::super::golden::{RELEASES, recorded};
    use super::*;
    use crate::scheduler::SchedulerError;

    #[test]
    fn a_controller_that_is_up_answers() {
        for release in RELEASES {
            Ping.parse(recorded(release, "up.scontrol")).unwrap();
        }
    }

    #[test]
    fn a_backup_that_is_up_is_enough() {
        let stdout = b"Slurmctld(primary) at one is DOWN\nSlurmctld(backup) at two is UP\n".to_vec();
        Ping.parse(RawOutput { stdout, ..RawOutput::default() }).unwrap();
    }

    #[test]
    fn a_controller_that_is_down_is_down_whatever_the_status() {
        for release in RELEASES {
            for exit in [0, 1] {
                let raw = RawOutput { exit, ..recorded(release, "no-controller.scontrol") };
                let error = explain("ping")(Ping.parse(raw).unwrap_err());
                assert!(matches!(error, SchedulerError::Down(_)), "{release}: {error:?}");
            }
        }
    }

    #[test]
    fn the_clusters_name_and_memory_are_found_in_the_configuration() {
        for (release, name) in RELEASES.into_iter().zip(["goldcrest2205", "goldcrest2411"]) {
            let config = ShowConfig.parse(recorded(release, "all.scontrol-config")).unwrap();
            assert_eq!((config.name.as_str(), config.min_job_age), (name, Duration::from_secs(20)));
        }
    }

    #[test]
    fn no_reservations_are_none() {
        for release in RELEASES {
            assert_eq!(Reservations.parse(recorded(release, "none.scontrol")).unwrap(), Vec::new(), "{release}");
        }
    }

    #[test]
    fn recorded_reservations_are_read() {
        for release in RELEASES {
            let reservations = Reservations.parse(recorded(release, "all.scontrol")).unwrap();
            let course = reservations.iter().find(|reservation| reservation.name == "course").unwrap();
            assert_eq!((course.node_list.as_str(), course.state.as_deref()), ("n3", Some("active")), "{release}");
            assert_eq!((course.end - course.start, course.features.as_deref()), (3600, Some("slow")), "{release}");
            let maintenance = reservations.iter().find(|reservation| reservation.name == "maint-day").unwrap();
            assert_eq!((maintenance.state.as_deref(), maintenance.features.as_deref()), (Some("inactive"), None), "{release}");
        }
    }

    #[test]
    fn a_reservation_without_a_time_is_not_understood() {
        let stdout = b"ReservationName=x StartTime=tomorrow EndTime=5 Nodes=n1\n".to_vec();
        assert!(matches!(Reservations.parse(RawOutput { stdout, ..RawOutput::default() }), Err(CommandError::Output { .. })));
    }
}
