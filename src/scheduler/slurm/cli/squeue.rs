//! squeue(1): the jobs that the controller knows: pending, running, and those that ended a short while ago.

use super::delimiter::Delimiter;
use super::job_ref::{JobRef, shown_id};
use super::slurm_command;
use super::values::{duration, node_count, number, status, text, timestamp};
use crate::domain::{Job, JobTimes};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The fields asked for, in order. The first holds no free text (see [`Delimiter::records`]).
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
    /// What separates the fields.
    pub(super) delimiter: Delimiter,
    /// Which jobs.
    pub(super) selection: Selection<'a>,
}

/// Which jobs squeue and sacct are asked for.
#[derive(Clone, Copy)]
pub(super) enum Selection<'a> {
    /// The jobs of a user, or of all; where given, only of an account and a name. The caller filters by these again.
    Filter { user: Option<&'a str>, account: Option<&'a str>, name: Option<&'a str> },
    /// One job, with the parts it has.
    Job(JobRef<'a>),
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
            Self::Job(job) => line.option("--jobs", job.as_str()),
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

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let records = self.delimiter.records(&raw.stdout).map_err(not_understood)?;
        records.iter().map(queued).collect()
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
    let job = Job {
        id,
        name: name.clone(),
        status,
        steps: None,
        times: JobTimes { elapsed: duration(used), start: timestamp(start), end: timestamp(end), suspended: None, limit: duration(limit) },
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
