//! Uploads and downloads of large files through the site's object store: the store begins an upload in parts, and a job of the
//! caller's takes the file from there or brings it.
//!
//! Everything that can be refused is refused before a request to the store; an upload that the store began is aborted if the job is not
//! submitted. The URLs are secrets of the caller.

use tracing::Instrument;
use uuid::Uuid;

use crate::domain::{RemotePath, Secret};
use crate::error::ErrorChain;
use crate::filesystem::{FilesystemError, regular};
use crate::transfer::S3;
use crate::transfer::s3::{self, MultipartUpload, ObjectStore, PartLayout, Side};

use super::audit::Change;
use super::contents::find_target;
use super::counts::Action;
use super::state::State;
use super::transfers::{FileTransferRequest, JobContext, NO_SERVICE, TransferJob};
use super::{Access, InvalidRequest, ServiceError};

/// An upload that the store and a job wait for.
#[derive(Debug)]
pub struct ObjectUpload {
    /// The job that takes the file from the store.
    pub job: TransferJob,
    /// The URL of each part, in order.
    pub parts: Vec<Secret>,
    /// The URL for the list of the parts.
    pub complete: Secret,
    /// The size of each part but the last, in bytes.
    pub part_size: u64,
}

/// A download that a job brings to the store.
#[derive(Debug)]
pub struct ObjectDownload {
    /// The job that brings the file.
    pub job: TransferJob,
    /// The URL of the file when the job has ended.
    pub url: Secret,
}

/// Begins an upload of a file of the announced size, which the caller then sends to the store, and submits the job that puts the file in place.
///
/// # Errors
/// If the system has no such transfers, the request breaks a rule, no file can have the path, the store does not begin, or the scheduler does
/// not take the job.
pub async fn upload(access: &Access, request: FileTransferRequest<'_>) -> Result<ObjectUpload, ServiceError> {
    let (store, _) = store(access)?;
    let target = access.path(request.path).await?;
    let size = request.size.ok_or_else(|| InvalidRequest::new("size", "say how large the file is, in bytes"))?;
    let parts = store.parts(size).map_err(|error| InvalidRequest::new("size", error.to_string()))?;
    let job_context = JobContext::of(access, request.account)?;
    find_target(access, &target).await?;

    let (state, access) = (access.state().clone(), access.clone());
    begun_whole(&state, async move { begin_upload(&access, &target, (size, parts), job_context).await }).await
}

async fn begin_upload(
    access: &Access,
    target: &RemotePath,
    (size, parts): (u64, PartLayout),
    job_context: JobContext,
) -> Result<ObjectUpload, ServiceError> {
    let (store, _) = store(access)?;
    let change = Change::begin(access, Action::TransfersUpload, target.to_text());
    let upload = match store.begin(&access.principal().username, target.file_name()).await {
        Ok(upload) => upload,
        Err(error) => return Ok(change.end(Err(error))?),
    };
    let prepare = || {
        let place = s3::JobSettings { directives: &job_context.directives, directory: &job_context.directory, id: Uuid::new_v4() };
        let job = s3::receive(store, &upload, target, size, place)?;
        let urls = (store.part_urls(Side::Public, &upload, parts)?, store.complete_url(Side::Public, &upload)?);
        Ok::<_, ServiceError>((job, urls))
    };
    let submitted = match prepare() {
        Ok((job, urls)) => job_context.submit(access, &job, change).await.map(|job| (job, urls)),
        Err(error) => change.end(Err(error)),
    };
    let (job, (parts_urls, complete)) = abort_on_error(store, &upload, submitted).await?;
    Ok(ObjectUpload { job, parts: parts_urls, complete, part_size: parts.part_size })
}

/// Submits the job that brings a file to the store, from where the caller then reads it.
///
/// # Errors
/// If the system has no such transfers, the request breaks a rule, there is no such regular file, the store does not begin, or the
/// scheduler does not take the job.
pub async fn download(access: &Access, request: FileTransferRequest<'_>) -> Result<ObjectDownload, ServiceError> {
    let (store, _) = store(access)?;
    let source = access.path(request.path).await?;
    let job_context = JobContext::of(access, request.account)?;
    let found = access.files().await?.stat(access.principal(), &source, true).await?;
    regular(&source, found.mode)?;
    let parts = store.parts(found.size).map_err(|error| InvalidRequest::new("path", error.to_string()))?;

    let (state, access) = (access.state().clone(), access.clone());
    begun_whole(&state, async move { begin_download(&access, &source, parts, job_context).await }).await
}

async fn begin_download(
    access: &Access,
    source: &RemotePath,
    parts: PartLayout,
    job_context: JobContext,
) -> Result<ObjectDownload, ServiceError> {
    let (store, config) = store(access)?;
    let change = Change::begin(access, Action::TransfersDownload, source.to_text());
    let upload = match store.begin(&access.principal().username, source.file_name()).await {
        Ok(upload) => upload,
        Err(error) => return Ok(change.end(Err(error))?),
    };
    let prepare = || {
        let place = s3::JobSettings { directives: &job_context.directives, directory: &job_context.directory, id: Uuid::new_v4() };
        let job = s3::send(store, &upload, source, parts, &config.multipart, place)?;
        Ok::<_, ServiceError>((job, store.download_url(Side::Public, &upload)?))
    };
    let submitted = match prepare() {
        Ok((job, url)) => job_context.submit(access, &job, change).await.map(|job| (job, url)),
        Err(error) => change.end(Err(error)),
    };
    let (job, url) = abort_on_error(store, &upload, submitted).await?;
    Ok(ObjectDownload { job, url })
}

/// Begins a transfer to its end, also if the request ends before: an upload at the store has its job, or is aborted.
async fn begun_whole<T: Send + 'static>(
    state: &State,
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    let work = state.additions.spawn(work.in_current_span());
    work.await.unwrap_or_else(|error| Err(FilesystemError::Interrupted(std::io::Error::other(error)).into()))
}

/// The object store of the system, with its configuration.
fn store(access: &Access) -> Result<(&ObjectStore, &S3), ServiceError> {
    let cluster = access.cluster();
    let parts = cluster.store()?.zip(cluster.config().data_operation.object_store());
    parts.ok_or(ServiceError::Unsupported(NO_SERVICE))
}

/// Passes the outcome of a submission through; if there is no job, or none that the caller knows of, aborts the upload at the store.
async fn abort_on_error<T>(store: &ObjectStore, upload: &MultipartUpload, outcome: Result<T, ServiceError>) -> Result<T, ServiceError> {
    if outcome.is_err()
        && let Err(error) = store.abort(upload).await
    {
        tracing::warn!(error = %ErrorChain(&error), "an upload that no job takes part in was not aborted");
    }
    outcome
}
