//! Jobs on the wire.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{self, JobQuery};
use crate::http::extract::parameters::lenient;
use crate::service::{AccountingRequest, InvalidRequest, Place, Submission};

/// Which jobs to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct JobsParameters {
    /// All jobs that the caller may see, not only the caller's own.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    allusers: bool,
    /// Only jobs charged to this account.
    account: Option<String>,
    /// Only jobs of this name.
    #[param(max_length = 235)]
    name: Option<String>,
    /// How far back finished jobs are listed. Pending and running jobs are always listed.
    #[serde(default)]
    #[param(inline)]
    time_window: JobsTimeWindow,
}

/// How far back finished jobs are listed.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(default = "24h")]
enum JobsTimeWindow {
    #[serde(rename = "1h")]
    OneHour,
    #[serde(rename = "8h")]
    EightHours,
    #[default]
    #[serde(rename = "24h")]
    OneDay,
    #[serde(rename = "3d")]
    ThreeDays,
    #[serde(rename = "7d")]
    SevenDays,
}

impl From<JobsParameters> for JobQuery {
    fn from(parameters: JobsParameters) -> Self {
        let window = match parameters.time_window {
            JobsTimeWindow::OneHour => domain::TimeWindow::OneHour,
            JobsTimeWindow::EightHours => domain::TimeWindow::EightHours,
            JobsTimeWindow::OneDay => domain::TimeWindow::OneDay,
            JobsTimeWindow::ThreeDays => domain::TimeWindow::ThreeDays,
            JobsTimeWindow::SevenDays => domain::TimeWindow::SevenDays,
        };
        Self { all_users: parameters.allusers, account: parameters.account, name: parameters.name, window }
    }
}

/// Which of accounting's jobs to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AcctParameters {
    /// The jobs of all users whom the caller may see, not only the caller's own.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    allusers: bool,
    /// Only jobs charged to this account.
    account: Option<String>,
    /// Only these jobs: ids separated by commas, at most 1,000.
    #[param(example = "1234,1235")]
    jobs: Option<String>,
    /// Only jobs that were there after this: a date (`2026-01-31`), a time in UTC (`2026-01-31T08:00:00`) or with its offset (RFC 3339), or
    /// Unix seconds. Where neither this nor `jobs` is given, a day before `endtime`.
    #[param(example = "2026-01-31")]
    starttime: Option<String>,
    /// Only jobs that were there before this; now where absent.
    endtime: Option<String>,
}

impl From<AcctParameters> for AccountingRequest {
    fn from(parameters: AcctParameters) -> Self {
        Self {
            all_users: parameters.allusers,
            account: parameters.account,
            jobs: parameters.jobs,
            since: parameters.starttime,
            until: parameters.endtime,
        }
    }
}

/// A job to submit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"job": {
    "name": "example",
    "workingDirectory": "/home/user",
    "standardOutput": "example.out",
    "env": {"OMP_NUM_THREADS": "4"},
    "script": "#!/bin/bash\n#SBATCH --time=00:05:00\nhostname\n"
}}))]
pub(in crate::http) struct PostJobSubmitRequest {
    job: JobDescriptionModel,
}

/// The description of a job. Exactly one of `script` and `scriptPath` is given. Names in snake case are understood too.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JobDescriptionModel {
    /// The job's name.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// The account to charge.
    #[schema(max_length = 255)]
    account: Option<String>,
    /// The reservation to run in.
    #[schema(max_length = 255)]
    reservation: Option<String>,
    /// The partition or queue.
    #[schema(max_length = 255)]
    partition: Option<String>,
    /// The absolute path where the job starts.
    #[serde(alias = "working_directory", alias = "current_working_directory", alias = "currentWorkingDirectory")]
    working_directory: String,
    /// The file read as standard input.
    #[serde(alias = "standard_input")]
    standard_input: Option<String>,
    /// The file that takes standard output.
    #[serde(alias = "standard_output")]
    standard_output: Option<String>,
    /// The file that takes standard error.
    #[serde(alias = "standard_error")]
    standard_error: Option<String>,
    /// Variables for the job: an object of names and values, or a list of `NAME=value`.
    #[serde(default, alias = "environment")]
    #[schema(default = json!({"F7T_version": "v2.0.0"}))]
    env: Environment,
    /// Node features required, in the scheduler's syntax.
    constraints: Option<String>,
    /// The text of the batch script.
    script: Option<String>,
    /// Where the batch script lies on the system; inside a configured file system.
    #[serde(alias = "script_path")]
    script_path: Option<String>,
}

/// The variables of a job.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "an object of strings, or a list of strings")]
enum Environment {
    /// By name.
    Map(std::collections::BTreeMap<String, String>),
    /// As `NAME=value`.
    List(Vec<String>),
}

impl Default for Environment {
    fn default() -> Self {
        Self::Map([("F7T_version".to_owned(), "v2.0.0".to_owned())].into())
    }
}

impl Environment {
    fn pairs(self) -> Result<Vec<(String, String)>, InvalidRequest> {
        match self {
            Self::Map(variables) => Ok(variables.into_iter().collect()),
            Self::List(lines) => lines
                .into_iter()
                .map(|line| match line.split_once('=') {
                    Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                    None => Err(InvalidRequest::new(Place::Document, "job.env", "write each variable as `NAME=value`")),
                })
                .collect(),
        }
    }
}

impl TryFrom<PostJobSubmitRequest> for Submission {
    type Error = InvalidRequest;

    fn try_from(PostJobSubmitRequest { job }: PostJobSubmitRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            name: job.name,
            account: job.account,
            reservation: job.reservation,
            partition: job.partition,
            working_directory: job.working_directory,
            standard_input: job.standard_input,
            standard_output: job.standard_output,
            standard_error: job.standard_error,
            environment: job.env.pairs()?,
            constraints: job.constraints,
            script: job.script,
            script_path: job.script_path,
        })
    }
}

/// The id of a submitted job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PostJobSubmissionResponse {
    #[schema(example = "1234")]
    pub(in crate::http) job_id: Option<String>,
}

/// A command to run inside a running job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"command": "nvidia-smi"}))]
pub(in crate::http) struct PostJobAttachRequest {
    /// A shell command.
    pub(in crate::http) command: String,
}

/// What the answer to an attached command holds.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AttachParameters {
    /// Answer 200 with what the command printed, instead of 204 without it.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    pub(in crate::http) output: bool,
}

/// What an attached command printed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PutJobAttachResponse {
    /// Its standard output.
    pub(in crate::http) stdout: String,
    /// Its standard error.
    pub(in crate::http) stderr: String,
    /// Its exit status.
    pub(in crate::http) exit_code: u32,
}

/// Jobs.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetJobResponse {
    jobs: Option<Vec<JobModel>>,
    /// What the answer lacks, where a part of it could not be had; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

/// One job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobModel {
    /// The scheduler's id, with the array part where there is one.
    #[schema(example = "1234")]
    job_id: String,
    name: String,
    status: JobStatus,
    tasks: Option<Vec<JobTask>>,
    time: JobTime,
    account: Option<String>,
    allocation_nodes: u32,
    cluster: String,
    group: Option<String>,
    nodes: String,
    partition: String,
    kill_request_user: Option<String>,
    #[schema(required)]
    user: Option<String>,
    working_directory: String,
    priority: Option<i64>,
}

/// One step of a job.
#[derive(Serialize, ToSchema)]
struct JobTask {
    id: String,
    name: String,
    status: JobStatus,
    time: JobTime,
}

/// Where a job or step stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobStatus {
    /// The state in the scheduler's words.
    #[schema(example = "RUNNING")]
    state: String,
    state_reason: Option<String>,
    exit_code: Option<i32>,
    interrupt_signal: Option<i32>,
}

/// When and how long: Unix seconds, and seconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobTime {
    elapsed: Option<i64>,
    /// When it started.
    start: Option<i64>,
    /// When it ended.
    end: Option<i64>,
    suspended: Option<i64>,
    limit: Option<i64>,
    /// When a job that waits is expected to start; absent where the scheduler does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_start: Option<i64>,
    /// When a job that has not ended is expected to end, or will at the latest; absent where the scheduler does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_end: Option<i64>,
}

/// Scripts and files of jobs.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetJobMetadataResponse {
    jobs: Option<Vec<JobMetadataModel>>,
}

/// Script and files of a job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobMetadataModel {
    job_id: String,
    script: Option<String>,
    standard_input: Option<String>,
    standard_output: Option<String>,
    standard_error: Option<String>,
}

impl From<&[domain::Job]> for GetJobResponse {
    fn from(jobs: &[domain::Job]) -> Self {
        Self { jobs: Some(jobs.iter().cloned().map(JobModel::from).collect()), incomplete: None }
    }
}

impl From<&Vec<domain::Job>> for GetJobResponse {
    fn from(jobs: &Vec<domain::Job>) -> Self {
        jobs.as_slice().into()
    }
}

impl From<domain::Job> for JobModel {
    fn from(job: domain::Job) -> Self {
        Self {
            job_id: job.id.into(),
            name: job.name,
            status: job.status.into(),
            tasks: job.steps.map(|steps| steps.into_iter().map(JobTask::from).collect()),
            time: job.times.into(),
            account: job.account,
            allocation_nodes: job.allocation_nodes,
            cluster: job.cluster,
            group: job.group,
            nodes: job.nodes,
            partition: job.partition,
            kill_request_user: job.kill_request_user,
            user: job.user,
            working_directory: job.working_directory,
            priority: job.priority,
        }
    }
}

impl From<domain::JobStep> for JobTask {
    fn from(step: domain::JobStep) -> Self {
        Self { id: step.id, name: step.name, status: step.status.into(), time: step.times.into() }
    }
}

impl From<domain::JobStatus> for JobStatus {
    fn from(status: domain::JobStatus) -> Self {
        Self { state: status.state, state_reason: status.reason, exit_code: status.exit_code, interrupt_signal: status.signal }
    }
}

impl From<domain::JobTimes> for JobTime {
    fn from(times: domain::JobTimes) -> Self {
        Self {
            elapsed: times.elapsed,
            start: times.start,
            end: times.end,
            suspended: times.suspended,
            limit: times.limit,
            expected_start: times.expected_start,
            expected_end: times.expected_end,
        }
    }
}

impl From<&Vec<domain::JobMetadata>> for GetJobMetadataResponse {
    fn from(jobs: &Vec<domain::JobMetadata>) -> Self {
        Self { jobs: Some(jobs.iter().cloned().map(JobMetadataModel::from).collect()) }
    }
}

impl From<domain::JobMetadata> for JobMetadataModel {
    fn from(job: domain::JobMetadata) -> Self {
        Self {
            job_id: job.id.into(),
            script: job.script,
            standard_input: job.standard_input,
            standard_output: job.standard_output,
            standard_error: job.standard_error,
        }
    }
}
