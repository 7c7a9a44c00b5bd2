//! `/compute`: many jobs of one request.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::Api;
use crate::http::compute::description::JobDescriptionModel;
use crate::http::compute::idempotency::KeyHeader;
use crate::http::extract::access::SubmitAccess;
use crate::http::extract::many::{self, NotDone};
use crate::http::extract::parameters::{Parameters, WrittenDocument};
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::service::Submission;
use crate::service::bulk::{self, JobFilter};

/// Jobs to submit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostJobsBulkRequest {
    /// The jobs, 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    jobs: Vec<JobDescriptionModel>,
}

/// A filter for the jobs to cancel: the caller's unfinished jobs that match all parameters given. At least one parameter is given.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CancelParameters {
    /// States in the scheduler's words, separated by commas.
    #[param(example = "PENDING,RUNNING")]
    state: Option<String>,
    /// Only jobs of this name.
    name: Option<String>,
    /// The partition or queue.
    partition: Option<String>,
    /// The account that is charged.
    account: Option<String>,
}

/// The outcomes of the jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobsBulkResponse {
    /// One for each job, in the order of the request or of the list of jobs.
    results: Vec<JobsBulkResult>,
    /// The number of results with an error.
    failed: usize,
}

/// The outcome of one job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobsBulkResult {
    /// The status of a separate request for the same job.
    status: u16,
    /// The id of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1234")]
    job_id: Option<String>,
    /// Whether an earlier request with the same key submitted it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    /// The error, as in the body of a separate request for the same operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::http::problem::ApiResponseError<'static>>)]
    error: Option<Value>,
}

impl JobsBulkResult {
    fn not_done(job_id: Option<String>, NotDone { status, error }: NotDone) -> Self {
        Self { status, job_id, repeated: false, error: Some(error) }
    }
}

impl JobsBulkResponse {
    fn new(results: Vec<JobsBulkResult>) -> Self {
        Self { failed: results.iter().filter(|result| result.error.is_some()).count(), results }
    }
}

/// Submit many jobs
///
/// Each job has its own status in the response, which is always 200. With an `Idempotency-Key` the request may be sent again: each job
/// is submitted once.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/jobs/bulk",
    operation_id = "post_jobs_bulk_compute__system_name__jobs_bulk_post",
    tag = "compute",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the submissions: 1 to 255 printable characters, such as a UUID")),
    request_body = PostJobsBulkRequest,
    responses((status = 200, description = "The result of each job", body = JobsBulkResponse))
)]
pub(crate) async fn submit_jobs(
    SubmitAccess(access): SubmitAccess,
    State(api): State<Api>,
    problem_context: ProblemContext,
    key: KeyHeader,
    request: WrittenDocument<PostJobsBulkRequest>,
) -> Result<Json<JobsBulkResponse>, Problem> {
    let key = key.of(&request.bytes)?;
    let submissions = request.document.jobs.into_iter().map(Submission::try_from).collect();
    let outcomes = bulk::submit(&access, submissions, key.as_ref(), many::deadline(&api.config)).await?;
    let results = outcomes.into_iter().map(|outcome| match many::result(outcome, true, &problem_context) {
        Ok(submitted) => JobsBulkResult { status: 201, job_id: Some(submitted.id.into()), repeated: submitted.repeated, error: None },
        Err(not_done) => JobsBulkResult::not_done(None, not_done),
    });
    Ok(Json(JobsBulkResponse::new(results.collect())))
}

/// Cancel many jobs
///
/// The caller's own unfinished jobs that match all parameters given. Each job has its own status in the response, which is always 200.
#[utoipa::path(
    delete,
    path = "/compute/{system_name}/jobs",
    operation_id = "delete_jobs_compute__system_name__jobs_delete",
    tag = "compute",
    params(CancelParameters),
    responses((status = 200, description = "The result of each job", body = JobsBulkResponse))
)]
pub(crate) async fn cancel_jobs(
    SubmitAccess(access): SubmitAccess,
    State(api): State<Api>,
    problem_context: ProblemContext,
    query: Parameters<CancelParameters>,
) -> Result<Json<JobsBulkResponse>, Problem> {
    let CancelParameters { state, name, partition, account } = query.0;
    let outcomes = bulk::cancel(&access, JobFilter { state, name, partition, account }, many::deadline(&api.config)).await?;
    let results = outcomes.into_iter().map(|(id, outcome)| match many::result(outcome, true, &problem_context) {
        Ok(()) => JobsBulkResult { status: 204, job_id: Some(id.into()), repeated: false, error: None },
        Err(not_done) => JobsBulkResult::not_done(Some(id.into()), not_done),
    });
    Ok(Json(JobsBulkResponse::new(results.collect())))
}
