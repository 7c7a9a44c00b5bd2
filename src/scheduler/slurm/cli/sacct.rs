//! sacct(1): the jobs that accounting knows.

use super::delimiter::Delimiter;
use super::slurm_command;
use super::squeue::Selection;
use crate::domain::{Job, JobStep, JobTimes, TimeWindow};
use crate::scheduler::slurm::job_ref::shown_id;
use crate::scheduler::slurm::values::{self, duration, minutes, node_count, number, status, text, timestamp};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The requested fields, in order. The first contains no free text (see [`Delimiter::records`]).
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

/// All states there are. Without naming them, sacct leaves out jobs that were cancelled before they could have started.
pub(super) const STATES: &str = "BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S,TO";

/// Lists accounting's jobs: with their steps for a single job, without for a list, where steps would cost the database a query
/// a job.
pub(super) struct Sacct<'a> {
    /// The separator of the fields.
    pub(super) delimiter: Delimiter,
    /// The jobs.
    pub(super) selection: Selection<'a>,
    /// The time whose jobs are listed. It does not bound the search for a single job.
    pub(super) span: Span,
    /// The runs of a requeued job.
    pub(super) runs: Runs,
}

/// The runs of a requeued job that are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// The last one.
    Last,
    /// All of them. Those before the last are `REQUEUED`.
    All,
}

/// The first second that Slurm's commands take in this form; there was no Slurm before it.
const EARLIEST: i64 = 1_000_000;

/// A span of time.
#[derive(Clone, Copy)]
pub(super) enum Span {
    /// Back from now. The cluster counts the hours, so that its clock and time zone need not be ours.
    Window(TimeWindow),
    /// From a point in time to another one or now, in Unix seconds; from the beginning if there is no first one.
    Points(Option<i64>, Option<i64>),
}

impl Span {
    /// Adds the options for this span. Unix seconds are written `uts<seconds>`, as Slurm's commands take them.
    pub(super) fn options(self, line: CommandLine) -> CommandLine {
        let (since, until) = match self {
            Self::Window(window) => (format!("now-{}hours", window.hours()), "now".to_owned()),
            Self::Points(since, until) => {
                let point = |seconds: i64| format!("uts{}", seconds.max(EARLIEST));
                (point(since.unwrap_or(EARLIEST)), until.map_or_else(|| "now".to_owned(), point))
            }
        };
        line.option("--starttime", since).option("--endtime", until)
    }
}

impl RemoteCommand for Sacct<'_> {
    type Output = Vec<Job>;

    fn command_line(&self) -> CommandLine {
        let line = slurm_command("sacct").flag("--noheader").flag("--parsable");
        let line = line.option("--delimiter", self.delimiter.as_str()).option("--format", FIELDS.join(","));
        let line = if self.runs == Runs::All { line.flag("--duplicates") } else { line };
        let line = match self.selection {
            Selection::Job(_) => line,
            Selection::Jobs(_) => self.span.options(line.flag("--allocations")).option("--state", STATES),
            Selection::Filter { user, .. } => {
                let line = line.flag("--allocations");
                let line = if user.is_none() { line.flag("--allusers") } else { line };
                self.span.options(line).option("--state", STATES)
            }
        };
        self.selection.options(line)
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let with_steps = matches!(self.selection, Selection::Job(_));
        let records = self.delimiter.records::<{ FIELDS.len() }>(&raw.stdout).map_err(not_understood)?;
        let mut jobs: Vec<Job> = Vec::new();
        for record in records {
            if record[0].contains('.') {
                // The steps of a job follow it.
                let steps = jobs.last_mut().map(|job| job.steps.get_or_insert_default());
                let Some(steps) = steps else { return Err(not_understood(format!("{:?} is a step without a job", record[0]))) };
                steps.push(step(&record));
            } else {
                let mut job = job(&record)?;
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
    let times = times(record, |start, end| values::times_of_job(&status.state, nodes, start, end));
    Ok(Job {
        id,
        name: name.clone(),
        status,
        steps: None,
        times,
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
    let times = times(record, |start, end| values::times(&status.state, start, end));
    JobStep { id: record[0].clone(), name: record[FIELDS.len() - 1].clone(), status, times }
}

fn times(record: &[String; FIELDS.len()], points: impl FnOnce(Option<i64>, Option<i64>) -> JobTimes) -> JobTimes {
    let [_, _, _, _, start, end, elapsed, suspended, limit, ..] = record;
    JobTimes { elapsed: number(elapsed), suspended: duration(suspended), limit: minutes(limit), ..points(timestamp(start), timestamp(end)) }
}

fn not_understood(reason: String) -> CommandError {
    CommandError::Output { program: "sacct", reason }
}

#[cfg(test)]
mod tests {
    use super::super::failure::{accounting_is_off, explain};
    use super::super::golden::{RELEASES, delimiter, recorded};
    use super::*;
    use crate::domain::JobId;
    use crate::scheduler::SchedulerError;
    use crate::scheduler::slurm::job_ref::JobRef;

    fn sacct(selection: Selection<'_>) -> Sacct<'_> {
        Sacct { delimiter: delimiter(), selection, span: Span::Window(TimeWindow::OneDay), runs: Runs::Last }
    }

    const ALL: Selection<'static> = Selection::Filter { user: None, account: None, name: None };

    #[test]
    fn a_list_leaves_out_steps_and_counts_back_on_the_cluster() {
        let line = sacct(Selection::Filter { user: Some("jane"), account: None, name: None }).command_line().to_string();
        assert!(line.contains("--allocations --starttime='now-24hours' --endtime='now'"), "{line}");
        assert!(line.ends_with(" --user='jane'") && !line.contains("--allusers"), "{line}");
        assert!(sacct(ALL).command_line().to_string().contains("--allusers"));
    }

    #[test]
    fn a_single_job_is_searched_without_a_window_and_with_steps() {
        let id = JobId::new("12_3").unwrap();
        let line = sacct(Selection::Job(JobRef::new(&id).unwrap())).command_line().to_string();
        assert!(line.ends_with(" --jobs='12_3'") && !line.contains("--starttime") && !line.contains("--allocations"), "{line}");
    }

    #[test]
    fn points_in_time_are_given_in_unix_seconds() {
        let line = |since, until| {
            let ids = ["12", "13_4"].map(|id| JobId::new(id).unwrap());
            let jobs: Vec<_> = ids.iter().filter_map(JobRef::new).collect();
            let span = Span::Points(since, until);
            Sacct { delimiter: delimiter(), selection: Selection::Jobs(&jobs), span, runs: Runs::Last }.command_line().to_string()
        };
        let bounded = line(Some(1_700_000_000), Some(1_700_003_600));
        assert!(bounded.contains(" --allocations --starttime='uts1700000000' --endtime='uts1700003600' "), "{bounded}");
        assert!(bounded.ends_with(" --jobs='12,13_4'"), "{bounded}");
        assert!(line(None, None).contains("--starttime='uts1000000' --endtime='now'"));
        assert!(line(Some(-5), None).contains("--starttime='uts1000000'"));
    }

    #[test]
    fn recorded_jobs_are_read() {
        for release in RELEASES {
            insta::assert_debug_snapshot!(format!("sacct_{release}"), sacct(ALL).parse(recorded(release, "later.sacct")).unwrap());
        }
    }

    #[test]
    fn recorded_steps_belong_to_their_job() {
        let id = JobId::new("1").unwrap();
        for release in RELEASES {
            let jobs = sacct(Selection::Job(JobRef::new(&id).unwrap())).parse(recorded(release, "steps.sacct")).unwrap();
            assert_eq!(jobs.len(), 1, "{release}");
            let steps = jobs[0].steps.as_deref().unwrap();
            assert!(steps.iter().any(|step| step.id == format!("{}.batch", jobs[0].id) && step.status.exit_code == Some(3)), "{release}");
        }
    }

    #[test]
    fn recorded_states_tell_how_jobs_ended() {
        for release in RELEASES {
            let jobs = sacct(ALL).parse(recorded(release, "later.sacct")).unwrap();
            let last = |name: &str| jobs.iter().rev().find(|job| job.name == name).unwrap();
            assert_eq!(last("toolong").status.state, "TIMEOUT", "{release}");
            assert_eq!(last("ended").status.exit_code, Some(3), "{release}");
            assert_eq!(last("killed").status.signal, Some(9), "{release}");
            assert_eq!(last("cancelled").status.state, "CANCELLED", "{release}");
            assert_eq!(last("cancelled").kill_request_user.as_deref(), Some("fireuser"), "{release}");
            assert_eq!(last("completed").account.as_deref(), Some("shared"), "{release}");
            assert!(jobs.iter().any(|job| job.name.starts_with("evil|name\u{1f}mark4\u{1f}\n99")), "{release}");
        }
    }

    #[test]
    fn a_cluster_without_accounting_is_told_apart_from_one_whose_database_is_down() {
        for release in RELEASES {
            let error = |case| sacct(ALL).parse(recorded(release, case)).unwrap_err();
            assert!(accounting_is_off(&error("no-accounting.sacct")), "{release}");
            assert!(!accounting_is_off(&error("no-database.sacct")), "{release}");
            assert!(matches!(explain("x")(error("no-database.sacct")), SchedulerError::Down(_)), "{release}");
        }
    }

    #[test]
    fn a_step_without_a_job_is_not_understood() {
        let mark = delimiter();
        let output = format!("1.batch{0}{1}", mark.as_str(), format!("x{}", mark.as_str()).repeat(FIELDS.len() - 1));
        let raw = RawOutput { stdout: output.into_bytes(), ..RawOutput::default() };
        assert!(matches!(sacct(ALL).parse(raw), Err(CommandError::Output { .. })));
    }
}
