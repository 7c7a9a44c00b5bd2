//! Jobs on the wire.

use serde::{Deserialize, Serialize};
use utoipa::openapi::Schema;
use utoipa::{IntoParams, ToSchema};

use crate::domain::{self, JobQuery};
use crate::http::compute::webhooks::WebhookModel;
use crate::http::enumeration::one_of;
use crate::http::extract::parameters::lenient;
use crate::service::AccountingRequest;

/// The filter for the list of jobs.
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
    #[param(schema_with = time_window)]
    time_window: domain::TimeWindow,
}

/// How far back finished jobs are listed.
fn time_window() -> Schema {
    one_of(
        "How far back finished jobs are listed. Pending and running jobs are always listed.",
        domain::TimeWindow::ALL,
        Some(&domain::TimeWindow::default()),
    )
}

impl From<JobsParameters> for JobQuery {
    fn from(JobsParameters { allusers, account, name, time_window }: JobsParameters) -> Self {
        Self { all_users: allusers, account, name, window: time_window }
    }
}

/// The filter for the jobs from the accounting database.
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
    /// Only jobs that existed before this time; now if absent.
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

/// The state of the job that a waiting caller already knows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct WaitParameters {
    /// The state that the caller knows, for a wait: `RUNNING` for example, or the number of the last event (`Goldcrest-Event-Id`). If it differs from the
    /// current state, the response is sent at once. Without `Prefer: wait` it has no effect.
    #[param(example = "RUNNING")]
    pub(in crate::http) since: Option<String>,
}

/// The id of a submitted job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PostJobSubmissionResponse {
    #[schema(example = "1234")]
    pub(in crate::http) job_id: Option<String>,
    /// The webhook of the job, if the submission has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) webhook: Option<WebhookModel>,
    /// Why the webhook could not be registered although the job was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) webhook_error: Option<&'static str>,
}

/// A command to run inside a running job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"command": "nvidia-smi"}))]
pub(in crate::http) struct PostJobAttachRequest {
    /// A shell command.
    pub(in crate::http) command: String,
}

/// The content of the response to an attached command.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AttachParameters {
    /// Answer 200 with the output of the command, instead of 204 without content.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    pub(in crate::http) output: bool,
}

/// The output, and the part of it.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct LogParameters {
    /// The output to read.
    #[serde(default)]
    #[param(schema_with = log_stream)]
    pub(in crate::http) stream: domain::LogStream,
    /// Follow the output until the job has ended or the token has expired.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    pub(in crate::http) follow: bool,
    /// Only this many last lines, at most 16 MiB.
    #[serde(default, deserialize_with = "lenient::count_of::<0, 1_000_000, _>")]
    #[param(maximum = 1_000_000)]
    pub(in crate::http) tail: Option<u64>,
    /// The first byte, counted from 0. Where neither this nor `tail` is given, from the start.
    #[serde(default, deserialize_with = "lenient::count")]
    pub(in crate::http) offset: Option<u64>,
}

fn log_stream() -> Schema {
    one_of("Which output.", domain::LogStream::ALL, Some(&domain::LogStream::default()))
}

/// The output of an attached command.
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
pub(in crate::http) struct GetJobResponse<'a> {
    jobs: Option<Vec<JobModel<'a>>>,
    /// What is missing, if a part could not be obtained; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

/// One job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobModel<'a> {
    /// The scheduler's id, with the array index if there is one.
    #[schema(example = "1234")]
    job_id: &'a str,
    name: &'a str,
    status: JobStatus<'a>,
    tasks: Option<Vec<JobTask<'a>>>,
    time: JobTime,
    account: Option<&'a str>,
    allocation_nodes: u32,
    cluster: &'a str,
    group: Option<&'a str>,
    nodes: &'a str,
    partition: &'a str,
    kill_request_user: Option<&'a str>,
    #[schema(required)]
    user: Option<&'a str>,
    working_directory: &'a str,
    priority: Option<i64>,
}

/// One step of a job.
#[derive(Serialize, ToSchema)]
struct JobTask<'a> {
    id: &'a str,
    name: &'a str,
    status: JobStatus<'a>,
    time: JobTime,
}

/// The state of a job or step.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobStatus<'a> {
    /// The state in the scheduler's words.
    #[schema(example = "RUNNING")]
    state: &'a str,
    state_reason: Option<&'a str>,
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
    /// When a pending job is expected to start; absent if the scheduler does not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_start: Option<i64>,
    /// When an unfinished job is expected to end, or will at the latest; absent if the scheduler does not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_end: Option<i64>,
}

/// Scripts and files of jobs.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetJobMetadataResponse<'a> {
    jobs: Option<Vec<JobMetadataModel<'a>>>,
}

/// Script and files of a job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobMetadataModel<'a> {
    job_id: &'a str,
    script: Option<&'a str>,
    standard_input: Option<&'a str>,
    standard_output: Option<&'a str>,
    standard_error: Option<&'a str>,
}

impl<'a> From<&'a [domain::Job]> for GetJobResponse<'a> {
    fn from(jobs: &'a [domain::Job]) -> Self {
        Self { jobs: Some(jobs.iter().map(JobModel::from).collect()), incomplete: None }
    }
}

impl<'a> From<&'a domain::Job> for JobModel<'a> {
    fn from(job: &'a domain::Job) -> Self {
        Self {
            job_id: job.id.as_str(),
            name: &job.name,
            status: (&job.status).into(),
            tasks: job.steps.as_ref().map(|steps| steps.iter().map(JobTask::from).collect()),
            time: (&job.times).into(),
            account: job.account.as_deref(),
            allocation_nodes: job.allocation_nodes,
            cluster: &job.cluster,
            group: job.group.as_deref(),
            nodes: &job.nodes,
            partition: &job.partition,
            kill_request_user: job.kill_request_user.as_deref(),
            user: job.user.as_deref(),
            working_directory: &job.working_directory,
            priority: job.priority,
        }
    }
}

impl<'a> From<&'a domain::JobStep> for JobTask<'a> {
    fn from(step: &'a domain::JobStep) -> Self {
        Self { id: &step.id, name: &step.name, status: (&step.status).into(), time: (&step.times).into() }
    }
}

impl<'a> From<&'a domain::JobStatus> for JobStatus<'a> {
    fn from(status: &'a domain::JobStatus) -> Self {
        Self { state: &status.state, state_reason: status.reason.as_deref(), exit_code: status.exit_code, interrupt_signal: status.signal }
    }
}

impl From<&domain::JobTimes> for JobTime {
    fn from(times: &domain::JobTimes) -> Self {
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

impl<'a> From<&'a [domain::JobMetadata]> for GetJobMetadataResponse<'a> {
    fn from(jobs: &'a [domain::JobMetadata]) -> Self {
        Self { jobs: Some(jobs.iter().map(JobMetadataModel::from).collect()) }
    }
}

impl<'a> From<&'a domain::JobMetadata> for JobMetadataModel<'a> {
    fn from(job: &'a domain::JobMetadata) -> Self {
        Self {
            job_id: job.id.as_str(),
            script: job.script.as_deref(),
            standard_input: job.standard_input.as_deref(),
            standard_output: job.standard_output.as_deref(),
            standard_error: job.standard_error.as_deref(),
        }
    }
}
