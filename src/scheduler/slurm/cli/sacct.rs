//! sacct(1): the jobs that accounting knows.

use super::delimiter::Delimiter;
use super::job_ref::shown_id;
use super::slurm_command;
use super::squeue::Selection;
use super::values::{duration, minutes, node_count, number, status, text, timestamp};
use crate::domain::{Job, JobStep, JobTimes, TimeWindow};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The fields asked for, in order. The first holds no free text (see [`Delimiter::records`]).
const FIELDS: [&str; 20] = [
    "JobID",
    "State",
    "Reason",
    "ExitCode",
    "Start",
    "End",
    "ElapsedRaw",
    "Suspended",
    "TimelimitRaw",
    "NNodes",
    "Cluster",
    "User",
    "UID",
    "Group",
    "Account",
    "NodeList",
    "Partition",
    "Priority",
    "WorkDir",
    "JobName",
];

/// Lists accounting's jobs: with their steps for a single job, without for a list, where steps would cost the database a query
/// a job.
pub(super) struct Sacct<'a> {
    /// What separates the fields.
    pub(super) delimiter: Delimiter,
    /// Which jobs.
    pub(super) selection: Selection<'a>,
    /// How far back jobs are listed. It does not bound the search for a single job.
    pub(super) window: TimeWindow,
}

impl RemoteCommand for Sacct<'_> {
    type Output = Vec<Job>;

    fn command_line(&self) -> CommandLine {
        let line = slurm_command("sacct").flag("--noheader").flag("--parsable");
        let line = line.option("--delimiter", self.delimiter.as_str()).option("--format", FIELDS.join(","));
        match self.selection {
            Selection::Job(_) => self.selection.options(line),
            Selection::Filter { user, .. } => {
                let line = line.flag("--allocations");
                let line = if user.is_none() { line.flag("--allusers") } else { line };
                // The cluster counts the hours back, so that its clock and time zone need not be ours.
                let line = line.option("--starttime", format!("now-{}hours", self.window.hours())).flag("--endtime=now");
                self.selection.options(line)
            }
        }
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        let with_steps = matches!(self.selection, Selection::Job(_));
        let records = self.delimiter.records::<{ FIELDS.len() }>(&raw.stdout).map_err(not_understood)?;
        let mut jobs: Vec<Job> = Vec::new();
        for record in &records {
            if record[0].contains('.') {
                // The steps of a job follow it.
                let steps = jobs.last_mut().map(|job| job.steps.get_or_insert_default());
                let Some(steps) = steps else { return Err(not_understood(format!("{:?} is a step without a job", record[0]))) };
                steps.push(step(record));
            } else {
                let mut job = job(record)?;
                job.steps = with_steps.then(Vec::new);
                jobs.push(job);
            }
        }
        Ok(jobs)
    }
}

fn job(record: &[String; FIELDS.len()]) -> Result<Job, CommandError> {
    let [
        id,
        state,
        reason,
        exit,
        _,
        _,
        _,
        _,
        _,
        node_number,
        cluster,
        user,
        user_id,
        group,
        account,
        nodes,
        partition,
        priority,
        directory,
        name,
    ] = record;
    let id = shown_id(id).map_err(|error| not_understood(format!("{id:?}: {error}")))?;
    let (status, cancelled_by) = status(state, reason, exit);
    Ok(Job {
        id,
        name: name.clone(),
        status,
        steps: None,
        times: times(record),
        account: text(account),
        allocation_nodes: node_count(node_number),
        cluster: cluster.clone(),
        group: text(group),
        nodes: text(nodes).unwrap_or_default(),
        partition: partition.clone(),
        kill_request_user: cancelled_by.map(|by| match by.as_str() {
            // Accounting knows a number; its name is at hand for the job's owner and for root.
            by if by == user_id && !user.is_empty() => user.clone(),
            "0" => "root".to_owned(),
            by => by.to_owned(),
        }),
        user: text(user),
        working_directory: directory.clone(),
        priority: number(priority),
    })
}

fn step(record: &[String; FIELDS.len()]) -> JobStep {
    let (status, _) = status(&record[1], &record[2], &record[3]);
    JobStep { id: record[0].clone(), name: record[FIELDS.len() - 1].clone(), status, times: times(record) }
}

fn times(record: &[String; FIELDS.len()]) -> JobTimes {
    let [_, _, _, _, start, end, elapsed, suspended, limit, ..] = record;
    JobTimes {
        elapsed: number(elapsed),
        start: timestamp(start),
        end: timestamp(end),
        suspended: duration(suspended),
        limit: minutes(limit),
    }
}

fn not_understood(reason: String) -> CommandError {
    CommandError::Output { program: "sacct", reason }
}
