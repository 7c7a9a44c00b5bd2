//! squeue(1): the jobs that the controller knows: pending, running, and those that ended a short while ago.

use super::delimiter::Delimiter;
use super::slurm_command;
use crate::domain::{Job, JobTimes};
use crate::scheduler::slurm::job_ref::{JobRef, shown_id};
use crate::scheduler::slurm::values::{duration, node_count, number, status, text, times_of_job, timestamp};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The requested fields, in order. The first contains no free text (see [`Delimiter::records`]).
const FIELDS: [&str; 18] = [
    "JobArrayID",
    "JobID",
    "State",
    "Reason",
    "exit_code",
    "UserName",
    "GroupName",
    "Account",
    "NumNodes",
    "NodeList",
    "Partition",
    "PriorityLong",
    "StartTime",
    "EndTime",
    "TimeUsed",
    "TimeLimit",
    "WorkDir",
    "Name",
];

/// Lists the controller's jobs.
pub(super) struct Squeue<'a> {
    /// The separator of the fields.
    pub(super) delimiter: Delimiter,
    /// The jobs.
    pub(super) selection: Selection<'a>,
}

/// The jobs to query with squeue and sacct.
#[derive(Clone, Copy)]
pub(super) enum Selection<'a> {
    /// The jobs of a user, or of all; where given, only of an account and a name. The caller filters by these again.
    Filter { user: Option<&'a str>, account: Option<&'a str>, name: Option<&'a str> },
    /// One job, with the parts it has.
    Job(JobRef<'a>),
    /// These jobs, and no others.
    Jobs(&'a [JobRef<'a>]),
}

/// A job as the controller has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Queued {
    /// The job. The cluster's name is not among the fields and left empty.
    pub(super) job: Job,
    /// The number that srun takes, which every task of an array has of its own.
    pub(super) number: String,
}

impl Selection<'_> {
    /// Adds the options for this selection, which squeue and sacct share.
    pub(super) fn options(self, mut line: CommandLine) -> CommandLine {
        match self {
            Self::Job(job) => line.option("--jobs", job.read_as()),
            Self::Jobs(jobs) => line.option("--jobs", jobs.iter().map(|job| job.read_as()).collect::<Vec<_>>().join(",")),
            Self::Filter { user, account, name } => {
                if let Some(user) = user {
                    line = line.option("--user", user);
                }
                for (option, value) in [("--account", account), ("--name", name)] {
                    // Both take lists separated by commas, without a way to quote one.
                    if let Some(value) = value.filter(|value| is_plain(value)) {
                        line = line.option(option, value);
                    }
                }
                line
            }
        }
    }
}

impl RemoteCommand for Squeue<'_> {
    type Output = Vec<Queued>;

    fn command_line(&self) -> CommandLine {
        let line = slurm_command("squeue").flag("--noheader").flag("--all").flag("--states=all");
        self.selection.options(line.option("--Format", self.delimiter.long_format(&FIELDS)))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let records = self.delimiter.records(&raw.stdout).map_err(not_understood)?;
        records.map(|record| queued(&record)).collect()
    }
}

fn queued(record: &[String; FIELDS.len()]) -> Result<Queued, CommandError> {
    let [
        id,
        raw_id,
        state,
        reason,
        exit,
        user,
        group,
        account,
        node_number,
        nodes,
        partition,
        priority,
        start,
        end,
        used,
        limit,
        directory,
        name,
    ] = record;
    let id = shown_id(id).map_err(|error| not_understood(format!("{id:?}: {error}")))?;
    let (status, _) = status(state, reason, exit);
    let times = times_of_job(&status.state, nodes, timestamp(start), timestamp(end));
    let times = JobTimes { elapsed: duration(used), limit: duration(limit), ..times };
    let job = Job {
        id,
        name: name.clone(),
        status,
        steps: None,
        times,
        account: text(account),
        allocation_nodes: node_count(node_number),
        cluster: String::new(),
        group: text(group),
        nodes: text(nodes).unwrap_or_default(),
        partition: partition.clone(),
        kill_request_user: None,
        user: text(user),
        working_directory: directory.clone(),
        priority: number(priority),
    };
    Ok(Queued { job, number: raw_id.clone() })
}

/// Whether a text can be one element of a list of Slurm's, and means itself.
fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn not_understood(reason: String) -> CommandError {
    CommandError::Output { program: "squeue", reason }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain;
    use super::super::golden::{RELEASES, delimiter, recorded};
    use super::*;
    use crate::domain::JobId;
    use crate::scheduler::SchedulerError;

    fn squeue() -> Squeue<'static> {
        Squeue { delimiter: delimiter(), selection: Selection::Filter { user: None, account: None, name: None } }
    }

    fn all(release: &str) -> Vec<Queued> {
        squeue().parse(recorded(release, "all.squeue")).unwrap()
    }

    fn named(release: &str, name: &str) -> Job {
        let jobs = all(release);
        jobs.iter().find(|queued| queued.job.name == name).unwrap_or_else(|| panic!("{release} has no job {name}")).job.clone()
    }

    #[test]
    fn the_command_asks_for_finished_and_hidden_jobs_too() {
        let selection = Selection::Filter { user: Some("jane+x"), account: Some("a"), name: Some("n") };
        let line = Squeue { selection, ..squeue() }.command_line().to_string();
        assert!(line.starts_with("env LC_ALL=C SLURM_TIME_FORMAT=%s squeue --noheader --all --states=all --Format='JobArrayID:"), "{line}");
        assert!(line.ends_with(" --user='jane+x' --account='a' --name='n'"), "{line}");
    }

    #[test]
    fn a_name_that_squeue_would_read_as_a_list_is_left_to_the_caller() {
        let selection = Selection::Filter { user: None, account: Some("a,b"), name: Some("x y") };
        let line = Squeue { selection, ..squeue() }.command_line().to_string();
        assert!(!line.contains("--account") && !line.contains("--name"), "{line}");
    }

    #[test]
    fn recorded_jobs_are_read() {
        for release in RELEASES {
            insta::assert_debug_snapshot!(format!("squeue_{release}"), all(release));
        }
    }

    #[test]
    fn waiting_jobs_are_there_whatever_they_wait_for() {
        for release in RELEASES {
            for (name, reason) in [("held", "JobHeldUser"), ("dependent", "Dependency")] {
                let job = named(release, name);
                assert_eq!((job.status.state.as_str(), job.status.reason.as_deref()), ("PENDING", Some(reason)), "{release}");
                assert_eq!((job.status.exit_code, job.times.start), (None, None), "{release}");
            }
            assert_eq!(named(release, "dependent").times.limit, None, "{release}: UNLIMITED");
        }
    }

    #[test]
    fn an_array_is_shown_as_its_running_task_and_as_the_array_that_waits() {
        for release in RELEASES {
            let jobs = all(release);
            let tasks: Vec<&Queued> = jobs.iter().filter(|queued| queued.job.name == "array").collect();
            let waiting = tasks.iter().find(|queued| queued.job.status.state == "PENDING").unwrap();
            let running = tasks.iter().find(|queued| queued.job.status.state == "RUNNING").unwrap();
            assert_eq!(running.job.id, JobId::new(&format!("{}_1", waiting.job.id)).unwrap(), "{release}");
            assert_ne!(running.number, waiting.number, "{release}: srun takes a number of its own");
        }
    }

    #[test]
    fn a_hostile_name_and_directory_stay_where_they_belong() {
        for release in RELEASES {
            let jobs = all(release);
            let hostile: Vec<&Queued> = jobs.iter().filter(|queued| queued.job.user.as_deref() == Some("otheruser")).collect();
            let running = hostile.iter().find(|queued| queued.job.status.state == "RUNNING").unwrap();
            assert!(running.job.name.starts_with("evil|name\u{1f}mark4\u{1f}\n99\u{1f}"), "{release}: {:?}", running.job.name);
            assert!(running.job.working_directory.ends_with("/w\u{1f}\nx"), "{release}: {:?}", running.job.working_directory);
            assert_eq!(jobs.len(), 10, "{release}: a forged job");
        }
    }

    #[test]
    fn a_job_that_the_controller_does_not_know_is_not_found() {
        for release in RELEASES {
            let error = explain("x")(squeue().parse(recorded(release, "unknown.squeue")).unwrap_err());
            assert!(matches!(error, SchedulerError::JobNotFound), "{release}: {error:?}");
        }
    }

    #[test]
    fn an_exit_code_is_read_in_the_forms_of_both_releases() {
        for release in RELEASES {
            let status = |name| named(release, name).status;
            assert_eq!((status("ended").exit_code, status("ended").signal), (Some(3), None), "{release}");
            assert_eq!((status("killed").exit_code, status("killed").signal), (Some(0), Some(9)), "{release}");
            assert_eq!(status("cancelled").state, "CANCELLED", "{release}");
        }
    }
}
