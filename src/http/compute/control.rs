//! `/compute`: operations on a job between its submission and its end, and the validation of a job.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{JobChange, JobEstimate, Signal};
use crate::http::compute::description::PostJobSubmitRequest;
use crate::http::extract::access::{JobIdText, SubmitAccess};
use crate::http::extract::cached_response::backend_header;
use crate::http::extract::parameters::Document;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};
use crate::service::{Access, jobs};

/// A signal to send.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutJobSignalRequest {
    /// The signal's POSIX name, with or without `SIG`: `HUP`, `INT`, `QUIT`, `ABRT`, `KILL`, `ALRM`, `TERM`, `USR1`, `USR2`, `STOP`, `CONT`,
    /// `TSTP`, `TTIN`, `TTOU` or `URG`.
    #[schema(example = "USR1")]
    signal: String,
}

/// A time limit to set.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PutJobTimeLimitRequest {
    /// Maximum run time in seconds, counted from the start. Slurm rounds it up to minutes.
    #[serde(alias = "time_limit")]
    #[schema(minimum = 1, example = 3600)]
    time_limit: u32,
}

/// The scheduler's estimate for a job that is not submitted. Members that the scheduler does not report are absent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PostJobValidateResponse {
    /// When the job would start, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_start: Option<i64>,
    /// The number of CPUs that it would get.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<u32>,
    /// The nodes, in the scheduler's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<String>,
    /// The partition or queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
}

impl From<JobEstimate> for PostJobValidateResponse {
    fn from(JobEstimate { start, cpus, nodes, partition }: JobEstimate) -> Self {
        Self { expected_start: start, cpus, nodes, partition }
    }
}

/// Hold a job
///
/// A pending job does not start before it is released.
#[utoipa::path(
    put,
    path = "/compute/{system_name}/jobs/{job_id}/hold",
    operation_id = "put_job_hold_compute__system_name__jobs__job_id__hold_put",
    tag = "compute",
    responses((status = 204, description = "The job is held"))
)]
pub(crate) async fn hold(SubmitAccess(access): SubmitAccess, id: JobIdText) -> Result<Response, Problem> {
    altered(&access, &id, JobChange::Hold).await
}

/// Release a held job
#[utoipa::path(
    put,
    path = "/compute/{system_name}/jobs/{job_id}/release",
    operation_id = "put_job_release_compute__system_name__jobs__job_id__release_put",
    tag = "compute",
    responses((status = 204, description = "The job may start"))
)]
pub(crate) async fn release(SubmitAccess(access): SubmitAccess, id: JobIdText) -> Result<Response, Problem> {
    altered(&access, &id, JobChange::Release).await
}

/// Put a job back into the queue
///
/// A running job is stopped. It starts again from the beginning, under the same id.
#[utoipa::path(
    put,
    path = "/compute/{system_name}/jobs/{job_id}/requeue",
    operation_id = "put_job_requeue_compute__system_name__jobs__job_id__requeue_put",
    tag = "compute",
    responses((status = 204, description = "The job is pending again"))
)]
pub(crate) async fn requeue(SubmitAccess(access): SubmitAccess, id: JobIdText) -> Result<Response, Problem> {
    altered(&access, &id, JobChange::Requeue).await
}

/// Send a signal to a running job
///
/// Every process of the job receives it, including the shell of the script.
#[utoipa::path(
    put,
    path = "/compute/{system_name}/jobs/{job_id}/signal",
    operation_id = "put_job_signal_compute__system_name__jobs__job_id__signal_put",
    tag = "compute",
    request_body = PutJobSignalRequest,
    responses((status = 204, description = "The signal was sent"))
)]
pub(crate) async fn signal(
    SubmitAccess(access): SubmitAccess,
    id: JobIdText,
    Document(request): Document<PutJobSignalRequest>,
) -> Result<Response, Problem> {
    let signal = Signal::new(&request.signal).map_err(|error| InvalidInput::new(Place::Body, "signal", error.to_string()))?;
    altered(&access, &id, JobChange::Signal(signal)).await
}

/// Change the time limit of a job
///
/// Most sites only let users lower it.
#[utoipa::path(
    put,
    path = "/compute/{system_name}/jobs/{job_id}/time-limit",
    operation_id = "put_job_time_limit_compute__system_name__jobs__job_id__time_limit_put",
    tag = "compute",
    request_body = PutJobTimeLimitRequest,
    responses((status = 204, description = "The time limit was changed"))
)]
pub(crate) async fn time_limit(
    SubmitAccess(access): SubmitAccess,
    id: JobIdText,
    Document(request): Document<PutJobTimeLimitRequest>,
) -> Result<Response, Problem> {
    altered(&access, &id, JobChange::TimeLimit(request.time_limit)).await
}

async fn altered(access: &Access, id: &JobIdText, change: JobChange) -> Result<Response, Problem> {
    let altered = jobs::alter(access, &id.0, change).await?;
    Ok((StatusCode::NO_CONTENT, backend_header(altered.via)).into_response())
}

/// Check a job without submitting it
///
/// The scheduler checks the job and estimates when and where it would start. Nothing is submitted. A job that the scheduler would
/// reject is answered with the same error as a submission.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/jobs/validate",
    operation_id = "post_job_validate_compute__system_name__jobs_validate_post",
    tag = "compute",
    request_body = PostJobSubmitRequest,
    responses((status = 200, description = "The scheduler would accept the job", body = PostJobValidateResponse))
)]
pub(crate) async fn validate(
    SubmitAccess(access): SubmitAccess,
    Document(request): Document<PostJobSubmitRequest>,
) -> Result<Response, Problem> {
    if request.webhook.is_some() {
        return Err(InvalidInput::new(Place::Body, "webhook", "nothing is submitted that it could be called for: leave it out").into());
    }
    let estimate = jobs::validate(&access, request.try_into()?).await?;
    let body = Json(PostJobValidateResponse::from(estimate.value));
    Ok((backend_header(estimate.via), body).into_response())
}
