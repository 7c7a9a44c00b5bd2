//! Jobs as accounting has them.

use serde::Deserialize;

use super::lenient::{Number, Records, Text, Words};
use super::queued::{JobTrace, limit, shown_id};
use super::status::{Exit, status};
use crate::domain::{InvalidName, Job, JobStep, JobTimes};
use crate::scheduler::slurm::values;

/// A job of `/slurmdb/.../jobs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct AccountedJob {
    job_id: Number,
    array: Option<Array>,
    het: Option<Component>,
    name: Text,
    state: Option<JobState>,
    exit_code: Option<Exit>,
    account: Text,
    cluster: Text,
    user: Text,
    group: Text,
    allocation_nodes: Number,
    nodes: Text,
    partition: Text,
    priority: Number,
    kill_request_user: Text,
    time: Option<Times>,
    working_directory: Text,
    steps: Records<Step>,
    comment: Option<Comment>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Comment {
    job: Text,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Array {
    job_id: Number,
    task_id: Number,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Component {
    job_id: Number,
    job_offset: Number,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobState {
    current: Words,
    reason: Text,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Times {
    elapsed: Number,
    start: Number,
    end: Number,
    submission: Number,
    suspended: Number,
    limit: Number,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Step {
    step: Option<StepName>,
    state: Words,
    exit_code: Option<Exit>,
    time: Option<Times>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct StepName {
    id: Text,
    name: Text,
}

impl AccountedJob {
    /// The number that every task and component has of its own.
    pub(in super::super) fn number(&self) -> i64 {
        self.job_id.0.unwrap_or(0)
    }

    /// The fields that identify its submission. The comment exists only if the site keeps comments (`AccountingStoreFlags=job_comment`).
    pub(in super::super) fn trace(&self) -> JobTrace<'_> {
        let array = self.array.as_ref().and_then(|array| array.job_id.positive());
        let component = self.het.as_ref().and_then(|het| het.job_id.positive());
        JobTrace {
            number: array.or(component).or_else(|| self.job_id.positive()),
            user: self.user.0.as_deref(),
            comment: self.comment.as_ref().and_then(|comment| comment.job.0.as_deref()),
            directory: self.working_directory.0.as_deref(),
            submitted: self.time.as_ref().and_then(|time| time.submission.positive()),
        }
    }

    /// The job in our words; with its steps where `with_steps`.
    ///
    /// # Errors
    /// If it has no id.
    pub(in super::super) fn into_job(self, with_steps: bool) -> Result<Job, InvalidName> {
        let (array, het, state) = (self.array.unwrap_or_default(), self.het.unwrap_or_default(), self.state.unwrap_or_default());
        let id = shown_id(self.job_id, array.job_id.positive().zip(array.task_id.0), het.job_id.positive().zip(het.job_offset.0))?;
        let status = status(&state.current, state.reason, self.exit_code.as_ref());
        let nodes = self.nodes.0.unwrap_or_default();
        let times = times(&self.time.unwrap_or_default(), |start, end| values::times_of_job(&status.state, &nodes, start, end));
        let steps = with_steps.then(|| self.steps.0.into_iter().map(|step| step.into_step(id.as_str())).collect());
        Ok(Job {
            id,
            name: self.name.0.unwrap_or_default(),
            status,
            steps,
            times,
            account: self.account.given(),
            allocation_nodes: self.allocation_nodes.u32().unwrap_or(0),
            cluster: self.cluster.0.unwrap_or_default(),
            group: self.group.given(),
            nodes,
            partition: self.partition.0.unwrap_or_default(),
            kill_request_user: self.kill_request_user.given(),
            user: self.user.given(),
            working_directory: self.working_directory.0.unwrap_or_default(),
            priority: self.priority.0,
        })
    }
}

impl Step {
    /// The step of a job that is shown under `job`. Versions write `batch`, `0`, or `12.batch` with the job's number.
    fn into_step(self, job: &str) -> JobStep {
        let name = self.step.unwrap_or_default();
        let part = name.id.0.unwrap_or_default();
        let part = part.rsplit('.').next().unwrap_or_default();
        let status = status(&self.state, Text(None), self.exit_code.as_ref());
        let times = times(&self.time.unwrap_or_default(), |start, end| values::times(&status.state, start, end));
        JobStep { id: format!("{job}.{part}"), name: name.name.0.unwrap_or_default(), status, times }
    }
}

/// The times of a job or step, whose `points` depend on its state. For an unfinished job accounting reports the present as its end, and for
/// a pending job as its start.
fn times(times: &Times, points: impl FnOnce(Option<i64>, Option<i64>) -> JobTimes) -> JobTimes {
    JobTimes {
        elapsed: times.elapsed.0,
        suspended: times.suspended.0,
        limit: limit(times.limit),
        expected_start: None,
        expected_end: None,
        ..points(times.start.positive(), times.end.positive())
    }
}
