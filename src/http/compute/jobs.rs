//! `/compute`: jobs.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::domain::{Job, Rendering, bytes_to_text};
use crate::http::compute::description::PostJobSubmitRequest;
use crate::http::compute::idempotency::{KeyHeader, submitted, submitted_with};
use crate::http::compute::model::{
    AcctParameters, AttachParameters, GetJobMetadataResponse, GetJobResponse, JobsParameters, PostJobAttachRequest,
    PostJobSubmissionResponse, PutJobAttachResponse, WaitParameters,
};
use crate::http::extract::access::{JobIdText, ReadAccess, SubmitAccess};
use crate::http::extract::cached_response::{IfNoneMatch, Missing, backend_header, render};
use crate::http::extract::page::{PageParameters, Paging};
use crate::http::extract::parameters::{Document, Parameters, WrittenDocument};
use crate::http::extract::prefer::Wait;
use crate::http::problem::Problem;
use crate::service::watching::{self, Since, Waited};
use crate::service::{ServiceError, jobs, webhooks};

/// The number of the last event before an answer.
pub(in crate::http) static EVENT_ID: HeaderName = HeaderName::from_static("goldcrest-event-id");

/// List jobs
///
/// Jobs of the caller, or all that the caller may see: the pending and running ones, and the finished ones of the time window.
/// The response has all of them, or one page if `page` or `pageSize` is given.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/jobs",
    operation_id = "get_jobs_compute__system_name__jobs_get",
    tag = "compute",
    params(JobsParameters, PageParameters),
    responses((status = 200, description = "The jobs", body = GetJobResponse), (status = 304, description = "The client has the current response"))
)]
pub(crate) async fn list_jobs(
    ReadAccess(access): ReadAccess,
    query: Parameters<JobsParameters>,
    paging: Paging,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let jobs = jobs::list(&access, query.0.into()).await?;
    Ok(if_none_match.page(&jobs, &paging, listed))
}

fn listed(jobs: &[Job], missing: Missing) -> Rendering {
    render(GetJobResponse::from(jobs), missing)
}

/// List jobs from the accounting database
///
/// Jobs of the caller, or all that the caller may see, that existed in a time span, however long ago.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/acct",
    operation_id = "get_acct_compute__system_name__acct_get",
    tag = "compute",
    params(AcctParameters, PageParameters),
    responses((status = 200, description = "The jobs", body = GetJobResponse), (status = 304, description = "The client has the current response"))
)]
pub(crate) async fn acct(
    ReadAccess(access): ReadAccess,
    query: Parameters<AcctParameters>,
    paging: Paging,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let jobs = jobs::accounting(&access, query.0.into()).await?;
    Ok(if_none_match.page(&jobs, &paging, listed))
}

/// Submit a job
///
/// The job is submitted once. If it is unknown whether the scheduler accepted it, the error says so in `maybeEffected`.
/// A request with an `Idempotency-Key` may be sent again, to any replica: the job is submitted once, and each response has its id.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/jobs",
    operation_id = "post_job_submit_compute__system_name__jobs_post",
    tag = "compute",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the submission: 1 to 255 printable ASCII characters without blanks, such as a UUID")),
    request_body = PostJobSubmitRequest,
    responses(
        (
            status = 201, description = "The job was submitted", body = PostJobSubmissionResponse,
            headers(
                ("Idempotency-Key-Reply" = String, description = "`hit` if an earlier request with the same key submitted the job"),
                ("Idempotency-Key-Record" = String, description = "Where the record of the submission is kept: `cluster` or `store`")
            )
        ),
        (status = 409, description = "An earlier attempt with the same key is under way, or may have submitted the job: send the request again after `Retry-After`"),
        (status = 422, description = "The key was used for another request, or the address of the webhook may not be called")
    )
)]
pub(crate) async fn submit_job(
    SubmitAccess(access): SubmitAccess,
    key: KeyHeader,
    mut request: WrittenDocument<PostJobSubmitRequest>,
) -> Result<Response, Problem> {
    let key = key.of(&request.bytes)?;
    let (webhook, submission) = (request.document.webhook.take(), request.document.try_into()?);
    match webhook {
        Some(webhook) => {
            let (job, webhook) = webhooks::submit(&access, submission, key.as_ref(), webhook.into()).await?;
            Ok(submitted_with(job, webhook))
        }
        None => Ok(submitted(jobs::submit(&access, submission, key.as_ref()).await?)),
    }
}

/// Get a job
///
/// One job; all its tasks if the id names an array. With `Prefer: wait=30`, the response is sent when the state of the job changes, when it has ended,
/// or after 30 seconds.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/jobs/{job_id}",
    operation_id = "get_job_compute__system_name__jobs__job_id__get",
    tag = "compute",
    params(
        WaitParameters,
        ("Prefer" = Option<String>, Header, description = "`wait=` and the seconds to wait for a change (RFC 7240), within the time limit of a request")
    ),
    responses(
        (
            status = 200, description = "The job", body = GetJobResponse,
            headers(
                ("Preference-Applied" = String, description = "How long the answer was waited for at most"),
                ("Goldcrest-Event-Id" = u64, description = "After a wait: the number of the last event that was there before the answer")
            )
        ),
        (status = 304, description = "The client has the current response")
    )
)]
pub(crate) async fn get_job(
    ReadAccess(access): ReadAccess,
    id: JobIdText,
    query: Parameters<WaitParameters>,
    wait: Wait,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let since = query.0.since.as_deref().map(|since| Since::new(&access, since)).transpose()?;
    let Some(time) = wait.time() else {
        let jobs = jobs::get(&access, &id.0).await?;
        return Ok(if_none_match.answer(&jobs, |jobs, missing| listed(jobs, missing)));
    };
    let Waited { job, position } = watching::wait(&access, &id.0, since.as_ref(), time).await?;
    let event = [(EVENT_ID.clone(), HeaderValue::from(position))];
    Ok((wait.applied(), event, if_none_match.answer(&job, |jobs, missing| listed(jobs, missing))).into_response())
}

/// Get a job's script and files
#[utoipa::path(
    get,
    path = "/compute/{system_name}/jobs/{job_id}/metadata",
    operation_id = "get_job_metadata_compute__system_name__jobs__job_id__metadata_get",
    tag = "compute",
    responses((status = 200, description = "Script and files of the job", body = GetJobMetadataResponse), (status = 304, description = "The client has the current response"))
)]
pub(crate) async fn get_job_metadata(
    ReadAccess(access): ReadAccess,
    id: JobIdText,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let jobs = jobs::metadata(&access, &id.0).await?;
    Ok(if_none_match.answer(&jobs, |jobs, missing| render(GetJobMetadataResponse::from(jobs.as_slice()), missing)))
}

/// Cancel a job
#[utoipa::path(
    delete,
    path = "/compute/{system_name}/jobs/{job_id}",
    operation_id = "delete_job_cancel_compute__system_name__jobs__job_id__delete",
    tag = "compute",
    responses((status = 204, description = "The job was cancelled"))
)]
pub(crate) async fn cancel_job(SubmitAccess(access): SubmitAccess, id: JobIdText) -> Result<Response, Problem> {
    let cancelled = jobs::cancel(&access, &id.0).await?;
    Ok((StatusCode::NO_CONTENT, backend_header(cancelled.via)).into_response())
}

/// Run a command inside a running job
///
/// Without `output`, the response is empty, and a command that fails is an error. With it, the response has the output and the exit
/// status, whatever that is.
#[utoipa::path(
    put,
    path = "/compute/{system_name}/jobs/{job_id}/attach",
    operation_id = "attach_compute__system_name__jobs__job_id__attach_put",
    tag = "compute",
    params(AttachParameters),
    request_body = PostJobAttachRequest,
    responses(
        (status = 200, description = "The command has ended; only with `output`", body = PutJobAttachResponse),
        (status = 204, description = "The command has succeeded")
    )
)]
pub(crate) async fn attach(
    SubmitAccess(access): SubmitAccess,
    id: JobIdText,
    query: Parameters<AttachParameters>,
    Document(request): Document<PostJobAttachRequest>,
) -> Result<Response, Problem> {
    let output = jobs::attach(&access, &id.0, &request.command).await?;
    let (printed, backend) = (output.value, backend_header(output.via));
    if query.0.output {
        let (stdout, stderr) = (bytes_to_text(&printed.stdout), bytes_to_text(&printed.stderr));
        return Ok((backend, Json(PutJobAttachResponse { stdout, stderr, exit_code: printed.exit })).into_response());
    }
    printed.success().map_err(ServiceError::from)?;
    Ok((StatusCode::NO_CONTENT, backend).into_response())
}
