//! qstat(1): the queues, which are what clients know as partitions.

use super::failure::succeeded;
use super::pbs_command;
use super::records::{Layout, PbsRecord, records};
use super::values::duration;
use crate::domain::{Partition, PartitionLimits};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists the queues.
pub(super) struct Queues {
    /// Whether queues that do not accept submissions by name are listed: those of reservations, and those that are only routed to.
    pub(super) hidden: bool,
}

impl RemoteCommand for Queues {
    type Output = Vec<Partition>;

    fn command_line(&self) -> CommandLine {
        pbs_command("qstat").flag("-Q").flag("-f")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        succeeded(&raw)?;
        let queues = records(&raw.stdout, Layout { head: "Queue: ", indented: true });
        Ok(queues.iter().filter(|queue| self.hidden || !is_hidden(queue)).map(partition).collect())
    }
}

/// Reads the limits of the queues. Queues that do not accept submissions by name are left out.
pub(super) struct QueueLimits;

impl RemoteCommand for QueueLimits {
    type Output = Vec<PartitionLimits>;

    fn command_line(&self) -> CommandLine {
        Queues { hidden: false }.command_line()
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        succeeded(&raw)?;
        let queues = records(&raw.stdout, Layout { head: "Queue: ", indented: true });
        Ok(queues.iter().filter(|queue| !is_hidden(queue)).map(limits).collect())
    }
}

fn limits(queue: &PbsRecord) -> PartitionLimits {
    let seconds = |attribute| queue.get(attribute).and_then(duration).and_then(|seconds| u64::try_from(seconds).ok());
    let named = |attribute| queue.resources(attribute).map(|(name, amount)| (name.to_owned(), amount.to_owned())).collect();
    PartitionLimits {
        state: partition(queue).state.pop(),
        name: queue.name.clone(),
        max_time: seconds("resources_max.walltime"),
        default_time: seconds("resources_default.walltime"),
        max_nodes: queue.get("resources_max.nodect").and_then(|count| count.trim().parse().ok()),
        max_resources: named("resources_max"),
        total_resources: named("resources_available"),
        ..PartitionLimits::default()
    }
}

fn is_hidden(queue: &PbsRecord) -> bool {
    is_of_a_reservation(queue) || is_true(queue, "from_route_only")
}

/// Whether PBS made the queue for a reservation: by its name, for users whose hosts are named too, and with what was reserved as its
/// limit. A queue of the site may have such a name, and an ACL as well.
fn is_of_a_reservation(queue: &PbsRecord) -> bool {
    let named =
        queue.name.strip_prefix(['R', 'S', 'M']).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    named
        && is_true(queue, "acl_user_enable")
        && queue.get("acl_users").is_some_and(|users| users.contains('@'))
        && queue.resources("resources_max").next().is_some()
        && queue.resources("resources_available").next().is_some()
}

fn partition(queue: &PbsRecord) -> Partition {
    // In Slurm's words: whether jobs are taken, and whether they are started.
    let state = match (is_true(queue, "enabled"), is_true(queue, "started")) {
        (true, true) => "UP",
        (true, false) => "DOWN",
        (false, true) => "DRAIN",
        (false, false) => "INACTIVE",
    };
    let number = |attribute| queue.get(attribute).and_then(|text| text.trim().parse().ok());
    Partition {
        name: queue.name.clone(),
        cpus: number("resources_available.ncpus"),
        total_nodes: number("resources_available.nodect"),
        state: vec![state.to_owned()],
    }
}

fn is_true(queue: &PbsRecord, attribute: &str) -> bool {
    queue.get(attribute).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::*;

    #[test]
    fn recorded_queues_are_read() {
        let queues = Queues { hidden: false }.parse(recorded("all.queues")).unwrap();
        let read: Vec<_> =
            queues.iter().map(|queue| (queue.name.as_str(), queue.state[0].as_str(), queue.cpus, queue.total_nodes)).collect();
        assert_eq!(
            read,
            [
                ("workq", "UP", None, None),
                ("long", "DRAIN", Some(64), Some(4)),
                ("routed", "INACTIVE", None, None),
                ("hold", "INACTIVE", None, None)
            ]
        );
    }

    #[test]
    fn recorded_limits_of_queues_are_read() {
        let output = b"Queue: long\n    enabled = True\n    started = True\n    resources_max.walltime = 48:00:00\n    resources_max.nodect = 4\n    resources_default.walltime = 01:00:00\n\n";
        let raw = RawOutput { stdout: output.to_vec(), ..RawOutput::default() };
        let read = QueueLimits.parse(raw).unwrap();
        assert_eq!((read[0].max_time, read[0].default_time, read[0].max_nodes), (Some(172_800), Some(3600), Some(4)));
        assert_eq!((&*read[0].max_resources["walltime"], read[0].state.as_deref()), ("48:00:00", Some("UP")));
        assert_eq!(QueueLimits.parse(recorded("all.queues")).unwrap().len(), 4);
    }

    #[test]
    fn queues_of_reservations_are_hidden() {
        let names: Vec<String> =
            Queues { hidden: true }.parse(recorded("all.queues")).unwrap().into_iter().map(|queue| queue.name).collect();
        assert_eq!(names, ["workq", "long", "routed", "hold", "R21", "R22"]);
    }

    #[test]
    fn a_queue_of_the_site_that_is_named_like_a_reservation_is_shown() {
        let queues = Queues { hidden: false }.parse(recorded("openpbs-23.06.06/queues-of-reservations.qstat")).unwrap();
        let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, ["workq", "short", "disabled", "stopped", "off", "router", "aclq", "big", "S1", "R7"]);
    }

    #[test]
    fn a_server_that_is_down_has_no_empty_list_of_queues() {
        assert!(Queues { hidden: false }.parse(recorded("down.server")).is_err());
    }
}
