//! Jobs, independent of the scheduler.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{JobId, JobOptions, RemotePath, is_final_state};

/// The description of a job; `P` is a path, or a string in a description that was not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDescription<P = RemotePath> {
    /// The job's name; the scheduler's default if absent.
    pub name: Option<String>,
    /// The account (project) to charge.
    pub account: Option<String>,
    /// The reservation to run in.
    pub reservation: Option<String>,
    /// The partition or queue.
    pub partition: Option<String>,
    /// The working directory of the job.
    pub working_directory: P,
    /// The file read as standard input; relative to the working directory, patterns as the scheduler has them.
    pub standard_input: Option<String>,
    /// The file that takes standard output; as above.
    pub standard_output: Option<String>,
    /// The file that takes standard error; as above.
    pub standard_error: Option<String>,
    /// Variables added to the job's environment. Keys are valid POSIX names: the constructor in `service` checks.
    pub environment: BTreeMap<String, String>,
    /// Node features required, in the scheduler's syntax.
    pub constraints: Option<String>,
    /// The program.
    pub script: JobScript<P>,
    /// Its other options.
    pub options: JobOptions,
    /// What is run instead of the script, on systems whose jobs are images.
    pub program: Option<ImageProgram>,
}

/// A program that an image has, as a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageProgram {
    /// The program with its first arguments; the image's own if empty.
    pub command: Vec<String>,
    /// Its further arguments; the image's own if this and `command` are empty.
    pub arguments: Vec<String>,
    /// A zip archive that is unpacked in the working directory before the program starts.
    pub code: Option<Arc<[u8]>>,
}

impl<P> JobDescription<P> {
    /// A job without further options.
    pub fn new(working_directory: P, script: JobScript<P>) -> Self {
        Self {
            name: None,
            account: None,
            reservation: None,
            partition: None,
            working_directory,
            standard_input: None,
            standard_output: None,
            standard_error: None,
            environment: BTreeMap::new(),
            constraints: None,
            script,
            program: None,
            options: JobOptions::default(),
        }
    }

    /// The same job with other paths.
    pub fn with_paths<Q>(self, working_directory: Q, script: JobScript<Q>) -> JobDescription<Q> {
        JobDescription {
            name: self.name,
            account: self.account,
            reservation: self.reservation,
            partition: self.partition,
            working_directory,
            standard_input: self.standard_input,
            standard_output: self.standard_output,
            standard_error: self.standard_error,
            environment: self.environment,
            constraints: self.constraints,
            program: self.program,
            options: self.options,
            script,
        }
    }
}

/// The batch script: sent with the request, or already on the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobScript<P = RemotePath> {
    /// The script's text.
    Inline(String),
    /// The path of the script on the cluster.
    Path(P),
}

/// The scheduler's estimate for a job that is not submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEstimate {
    /// When the job would start, in Unix seconds, where the scheduler tells.
    pub start: Option<i64>,
    /// The number of CPUs that it would get.
    pub cpus: Option<u32>,
    /// The nodes, in the scheduler's notation.
    pub nodes: Option<String>,
    /// The partition or queue.
    pub partition: Option<String>,
}

/// The filter for a list of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct JobQuery {
    /// Jobs of all users that the caller may see, not only the caller's own.
    pub all_users: bool,
    /// Only jobs charged to this account.
    pub account: Option<String>,
    /// Only jobs of this name.
    pub name: Option<String>,
    /// How far back finished jobs are listed. Pending and running jobs are always listed.
    pub window: TimeWindow,
}

/// The filter for jobs from accounting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct AccountingQuery {
    /// Jobs of all users that the caller may see, not only the caller's own.
    pub all_users: bool,
    /// Only jobs charged to this account.
    pub account: Option<String>,
    /// Only these jobs, and their parts; all where empty.
    pub jobs: Vec<JobId>,
    /// Only jobs that had not ended before this, in Unix seconds; never absent where `jobs` is empty.
    pub since: Option<i64>,
    /// Only jobs that were submitted before this, in Unix seconds; until now if absent.
    pub until: Option<i64>,
}

/// How far back finished jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TimeWindow {
    /// One hour.
    #[serde(rename = "1h")]
    OneHour,
    /// Eight hours.
    #[serde(rename = "8h")]
    EightHours,
    /// One day.
    #[default]
    #[serde(rename = "24h")]
    OneDay,
    /// Three days.
    #[serde(rename = "3d")]
    ThreeDays,
    /// Seven days.
    #[serde(rename = "7d")]
    SevenDays,
}

impl TimeWindow {
    /// All of them, the shortest first.
    pub const ALL: &'static [Self] = &[Self::OneHour, Self::EightHours, Self::OneDay, Self::ThreeDays, Self::SevenDays];

    /// The window's length in hours.
    pub fn hours(self) -> u32 {
        match self {
            Self::OneHour => 1,
            Self::EightHours => 8,
            Self::OneDay => 24,
            Self::ThreeDays => 72,
            Self::SevenDays => 168,
        }
    }
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The scheduler's id, with the array part (`123_4`) where it has one.
    pub id: JobId,
    /// The job's name.
    pub name: String,
    /// Its state.
    pub status: JobStatus,
    /// Its steps, where accounting has them.
    pub steps: Option<Vec<JobStep>>,
    /// When and how long.
    pub times: JobTimes,
    /// The account charged.
    pub account: Option<String>,
    /// The number of nodes allocated, or asked for while pending.
    pub allocation_nodes: u32,
    /// The scheduler's own name for the cluster.
    pub cluster: String,
    /// The POSIX group it runs as.
    pub group: Option<String>,
    /// The nodes, in the scheduler's notation; `None assigned` or empty while pending.
    pub nodes: String,
    /// The partition or queue.
    pub partition: String,
    /// The user who cancelled it.
    pub kill_request_user: Option<String>,
    /// Whether it is a user's or a group's.
    pub user: Option<String>,
    /// Where it started.
    pub working_directory: String,
    /// Its scheduling priority.
    pub priority: Option<i64>,
}

impl Job {
    /// A job of which only the id and the state are known.
    pub fn new(id: JobId, state: impl Into<String>) -> Self {
        Self {
            id,
            name: String::new(),
            status: JobStatus { state: state.into(), ..JobStatus::default() },
            steps: None,
            times: JobTimes::default(),
            account: None,
            allocation_nodes: 0,
            cluster: String::new(),
            group: None,
            nodes: String::new(),
            partition: String::new(),
            kill_request_user: None,
            user: None,
            working_directory: String::new(),
            priority: None,
        }
    }
}

/// One step of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStep {
    /// The step's id, such as `123.batch` or `123.0`.
    pub id: String,
    /// The step's name.
    pub name: String,
    /// Its state.
    pub status: JobStatus,
    /// When and how long.
    pub times: JobTimes,
}

/// The state of a job or step.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobStatus {
    /// The state in the scheduler's words, one of them: `PENDING`, `RUNNING`, `COMPLETED`, `CANCELLED`, ...
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// The exit code, once there is one.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl JobStatus {
    /// Whether nothing more will happen to the job: the final states of squeue(1), which are those of the local scheduler and of PBS by names too, and the
    /// letters of qstat(1) where PBS is shown with its own.
    pub fn has_ended(&self) -> bool {
        is_final_state(&self.state) || matches!(self.state.as_str(), "C" | "F" | "M" | "X")
    }
}

/// When and how long: Unix seconds for points in time, seconds for lengths.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobTimes {
    /// Seconds run so far.
    pub elapsed: Option<i64>,
    /// When it started.
    pub start: Option<i64>,
    /// When it ended.
    pub end: Option<i64>,
    /// When the scheduler expects a job that waits to start.
    pub expected_start: Option<i64>,
    /// When a job that has not ended will end at the latest, or is expected to.
    pub expected_end: Option<i64>,
    /// Seconds suspended.
    pub suspended: Option<i64>,
    /// The time limit, in seconds.
    pub limit: Option<i64>,
}

/// One of the two streams that a job writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// Both of them.
    pub const ALL: &'static [Self] = &[Self::Stdout, Self::Stderr];
}

/// The script and the files of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobMetadata {
    /// The job.
    pub id: JobId,
    /// The batch script's text.
    pub script: Option<String>,
    /// Standard input, with patterns expanded.
    pub standard_input: Option<String>,
    /// Standard output, with patterns expanded.
    pub standard_output: Option<String>,
    /// Standard error, with patterns expanded.
    pub standard_error: Option<String>,
    /// Whether this stands for tasks of an array, each of which has files of its own.
    pub is_array: bool,
}

impl JobMetadata {
    /// The file that takes this stream, as the scheduler names it.
    pub fn file(&self, stream: LogStream) -> Option<&str> {
        match stream {
            LogStream::Stdout => self.standard_output.as_deref(),
            LogStream::Stderr => self.standard_error.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_ended_in_the_final_states_of_every_scheduler_alone() {
        let has_ended = |state: &str| JobStatus { state: state.to_owned(), ..JobStatus::default() }.has_ended();
        assert!(["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "F", "C"].into_iter().all(has_ended));
        let going_on =
            ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUSPENDED", "Q", "R", "E", "H", ""];
        assert!(!going_on.into_iter().any(has_ended));
    }
}
