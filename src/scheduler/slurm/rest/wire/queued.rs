//! Jobs as the controller has them.

use serde::Deserialize;

use super::lenient::{Number, Text, Words};
use super::status::{Exit, status};
use crate::domain::{InvalidName, Job, JobId, JobTimes};
use crate::scheduler::slurm::values::{is_over, is_waiting, times_of_job};

/// The fields that identify the submission of a job.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct JobTrace<'a> {
    /// The number that was answered to the submission: that of the array, or of the first component.
    pub(in super::super) number: Option<i64>,
    /// Its owner, where the version says.
    pub(in super::super) user: Option<&'a str>,
    /// The comment of the submission.
    pub(in super::super) comment: Option<&'a str>,
    /// The working directory.
    pub(in super::super) directory: Option<&'a str>,
    /// When it was submitted, in Unix seconds, where it is known.
    pub(in super::super) submitted: Option<i64>,
}

/// A job of `/slurm/.../jobs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct QueuedJob {
    job_id: Number,
    array_job_id: Number,
    array_task_id: Number,
    array_task_string: Text,
    het_job_id: Number,
    het_job_offset: Number,
    name: Text,
    job_state: Words,
    state_reason: Text,
    exit_code: Option<Exit>,
    account: Text,
    cluster: Text,
    user_name: Text,
    group_name: Text,
    node_count: Number,
    nodes: Text,
    partition: Text,
    priority: Number,
    start_time: Number,
    end_time: Number,
    suspend_time: Number,
    pre_sus_time: Number,
    time_limit: Number,
    current_working_directory: Text,
    comment: Text,
}

impl QueuedJob {
    /// The number that every task and component has of its own.
    pub(in super::super) fn number(&self) -> i64 {
        self.job_id.0.unwrap_or(0)
    }

    /// The fields that identify its submission.
    pub(in super::super) fn trace(&self) -> JobTrace<'_> {
        let number = self.array_job_id.positive().or_else(|| self.het_job_id.positive()).or_else(|| self.job_id.positive());
        JobTrace {
            number,
            user: self.user_name.0.as_deref(),
            comment: self.comment.0.as_deref(),
            directory: self.current_working_directory.0.as_deref(),
            submitted: None,
        }
    }

    /// Whether this is the record of an array's tasks that wait, and the task is one of them.
    pub(in super::super) fn holds_waiting_task(&self, task: u32) -> bool {
        self.array_task_id.0.is_none() && self.array_task_string.0.as_deref().is_some_and(|tasks| lists(tasks, task))
    }

    /// The job in our words, at the time `now` in Unix seconds.
    ///
    /// # Errors
    /// If it has no id.
    pub(in super::super) fn into_job(self, now: i64) -> Result<Job, InvalidName> {
        let id = shown_id(
            self.job_id,
            self.array_job_id.positive().zip(self.array_task_id.0),
            self.het_job_id.positive().zip(self.het_job_offset.0),
        )?;
        let status = status(&self.job_state, self.state_reason, self.exit_code.as_ref());
        let (start, end) = (self.start_time.positive(), self.end_time.positive());
        let nodes = self.nodes.0.unwrap_or_default();
        let times = times_of_job(&status.state, &nodes, start, end);
        let elapsed = elapsed(&status.state, start, end, &self.suspend_time, &self.pre_sus_time, now);
        Ok(Job {
            id,
            name: self.name.0.unwrap_or_default(),
            status,
            steps: None,
            times: JobTimes { elapsed, limit: limit(self.time_limit), ..times },
            account: self.account.given(),
            allocation_nodes: self.node_count.u32().unwrap_or(0),
            cluster: self.cluster.0.unwrap_or_default(),
            group: self.group_name.given(),
            nodes,
            partition: self.partition.0.unwrap_or_default(),
            kill_request_user: None,
            user: self.user_name.given(),
            working_directory: self.current_working_directory.0.unwrap_or_default(),
            priority: self.priority.0,
        })
    }
}

/// The id that a record is shown under: `8_1` for a task, `9+0` for a component. The tasks of an array that still wait share one
/// record without a task, which is shown under the array's own id.
pub(super) fn shown_id(number: Number, task: Option<(i64, i64)>, component: Option<(i64, i64)>) -> Result<JobId, InvalidName> {
    JobId::new(&match (task, component) {
        (Some((array, task)), _) => format!("{array}_{task}"),
        (None, Some((leader, offset))) => format!("{leader}+{offset}"),
        (None, None) => number.positive().map(|number| number.to_string()).unwrap_or_default(),
    })
}

/// Whether a list of tasks such as `1,3,5-9%2` or `0-8:4` holds the task. Slurm cuts long lists off with dots: those may hold any.
fn lists(tasks: &str, task: u32) -> bool {
    let list = tasks.split('%').next().unwrap_or_default();
    let holds = |part: &str| {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last), Ok(step)) = (first.parse::<u32>(), last.parse::<u32>(), step.parse::<u32>()) else { return false };
        (first..=last).contains(&task) && step > 0 && (task - first).is_multiple_of(step)
    };
    list.contains("...") || list.split(',').any(holds)
}

/// A limit in seconds from one in minutes.
pub(super) fn limit(minutes: Number) -> Option<i64> {
    minutes.0.and_then(|minutes| minutes.checked_mul(60))
}

/// The seconds that a job ran, for which slurmrestd has no member: `pre_suspended` are those before it was suspended last, at
/// `suspended`, or resumed.
fn elapsed(state: &str, start: Option<i64>, end: Option<i64>, suspended: &Number, pre_suspended: &Number, now: i64) -> Option<i64> {
    if is_waiting(state) {
        return Some(0);
    }
    if state == "SUSPENDED" {
        return pre_suspended.0;
    }
    let until = if is_over(state) { end? } else { now };
    let since = suspended.positive().or(start)?;
    Some((until - since).max(0) + if suspended.positive().is_some() { pre_suspended.0.unwrap_or(0) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_run_leaves_out_what_was_suspended() {
        let (none, at_500, after_100) = (Number(Some(0)), Number(Some(500)), Number(Some(100)));
        assert_eq!(elapsed("PENDING", Some(900), None, &none, &none, 1000), Some(0));
        assert_eq!(elapsed("RUNNING", Some(400), Some(2000), &none, &none, 1000), Some(600));
        assert_eq!(elapsed("RUNNING", Some(400), Some(2000), &at_500, &after_100, 1000), Some(600));
        assert_eq!(elapsed("SUSPENDED", Some(400), None, &at_500, &after_100, 1000), Some(100));
        assert_eq!(elapsed("COMPLETED", Some(400), Some(450), &none, &none, 1000), Some(50));
        assert_eq!(elapsed("RUNNING", Some(400), None, &none, &none, 399), Some(0));
        assert_eq!(elapsed("RUNNING", None, None, &none, &none, 399), None);
    }

    #[test]
    fn a_waiting_task_is_found_in_the_list_of_its_array() {
        for (tasks, held, not_held) in [
            ("2-9%1", 5, 1),
            ("1,3,5-7", 3, 4),
            ("0-8:4", 8, 6),
            ("7", 7, 8),
            ("1,2,...", 900, 900),
            ("", 0, 0),
            ("5-x", 5, 5),
            ("1-4:0", 1, 1),
        ] {
            let expected = (!matches!(tasks, "" | "5-x" | "1-4:0"), tasks.contains("..."));
            assert_eq!((lists(tasks, held), lists(tasks, not_held)), expected, "{tasks}");
        }
    }

    #[test]
    fn ids_have_the_form_of_the_commands() {
        let id = |number, task, component| shown_id(Number(Some(number)), task, component).map(|id| id.to_string());
        assert_eq!(id(5, None, None).unwrap(), "5");
        assert_eq!(id(12, Some((8, 0)), None).unwrap(), "8_0");
        assert_eq!(id(10, None, Some((9, 1))).unwrap(), "9+1");
        assert!(id(0, None, None).is_err());
    }
}
