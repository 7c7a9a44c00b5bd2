//! `/filesystem/{system_name}/transfer`: operations that outlast a request and run as jobs, uploads and downloads by the transfer services
//! of the system among them.

use axum::Json;
use axum::http::StatusCode;

use crate::http::extract::access::{SubmitAccess, WriteAccess};
use crate::http::extract::parameters::{Document, Parameters};
use crate::http::extract::reached_host::ReachedHost;
use crate::http::problem::Problem;
use crate::http::transfer::model::{
    CompressRequest, CompressResponse, CopyRequest, CopyResponse, DeleteParameters, DeleteResponse, ExtractRequest, ExtractResponse,
    MoveRequest, MoveResponse,
};
use crate::http::transfer::object_store_model::{DownloadFileResponse, PostFileDownloadRequest, PostFileUploadRequest, UploadFileResponse};
use crate::service::{file_transfer, transfers};

/// A job that was submitted.
type Created<T> = Result<(StatusCode, Json<T>), Problem>;

/// Move files as a job
///
/// The job is submitted once; if it is unknown whether the scheduler accepted it, the error says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/mv",
    operation_id = "move_mv_filesystem__system_name__transfer_mv_post",
    tag = "filesystem",
    request_body = MoveRequest,
    responses((status = 201, description = "The job was submitted", body = MoveResponse))
)]
pub(crate) async fn mv(WriteAccess(access): WriteAccess, Document(request): Document<MoveRequest>) -> Created<MoveResponse> {
    let job = transfers::rename(&access, &request.path, &request.target_path, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(MoveResponse::new(access.cluster(), job))))
}

/// Copy files as a job
///
/// A directory is copied with its content. The job is submitted once; if it is unknown whether the scheduler accepted it, the error
/// says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/cp",
    operation_id = "post_cp_filesystem__system_name__transfer_cp_post",
    tag = "filesystem",
    request_body = CopyRequest,
    responses((status = 201, description = "The job was submitted", body = CopyResponse))
)]
pub(crate) async fn cp(WriteAccess(access): WriteAccess, Document(request): Document<CopyRequest>) -> Created<CopyResponse> {
    let job = transfers::copy(&access, &request.path, &request.target_path, request.dereference, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(CopyResponse::new(access.cluster(), job))))
}

/// Remove files as a job
///
/// A directory is removed with its content. Links are not followed. The job is submitted once; if it is unknown whether the scheduler
/// accepted it, the error says so in `maybeEffected`.
#[utoipa::path(
    delete,
    path = "/filesystem/{system_name}/transfer/rm",
    operation_id = "delete_rm_filesystem__system_name__transfer_rm_delete",
    tag = "filesystem",
    params(DeleteParameters),
    responses((status = 200, description = "The job was submitted", body = DeleteResponse))
)]
pub(crate) async fn rm(WriteAccess(access): WriteAccess, query: Parameters<DeleteParameters>) -> Result<Json<DeleteResponse>, Problem> {
    let job = transfers::remove(&access, &query.0.path, query.0.account.as_deref()).await?;
    Ok(Json(DeleteResponse::new(access.cluster(), job)))
}

/// Pack files as a job
///
/// The archive appears only when it is complete. The job is submitted once; if it is unknown whether the scheduler accepted it, the
/// error says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/compress",
    operation_id = "compress_filesystem__system_name__transfer_compress_post",
    tag = "filesystem",
    request_body = CompressRequest,
    responses((status = 201, description = "The job was submitted", body = CompressResponse))
)]
pub(crate) async fn compress(
    WriteAccess(access): WriteAccess,
    Document(mut request): Document<CompressRequest>,
) -> Created<CompressResponse> {
    let options = request.options();
    let job = transfers::compress(&access, &request.path, &request.target_path, &options, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(CompressResponse::new(access.cluster(), job))))
}

/// Unpack an archive as a job
///
/// The job is submitted once; if it is unknown whether the scheduler accepted it, the error says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/extract",
    operation_id = "extract_filesystem__system_name__transfer_extract_post",
    tag = "filesystem",
    request_body = ExtractRequest,
    responses((status = 201, description = "The job was submitted", body = ExtractResponse))
)]
pub(crate) async fn extract(WriteAccess(access): WriteAccess, Document(request): Document<ExtractRequest>) -> Created<ExtractResponse> {
    let compression = request.compression.into();
    let job = transfers::extract(&access, &request.path, &request.target_path, compression, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(ExtractResponse::new(access.cluster(), job))))
}

/// Upload a large file
///
/// With `transferMethod` `s3`, through the site's object store: split the file into parts of `maxPartSize` bytes, `PUT` each to its URL in
/// `partsUploadUrls`, and `POST` the list of their `ETag`s to `completeUploadUrl`. The job waits for that and puts the file in place.
/// With `streamer`, through this service: when the job runs, connect with firecrest-streamer and the `coordinates`. The file appears when
/// it is complete and its checksum is right; a file that exists is refused with 403. `data_transfers` in `/status/systems` has the methods of
/// a system. The URLs and the coordinates are secrets: anyone who has one can use it. `wormhole` is not supported by this version.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/upload",
    operation_id = "post_upload_filesystem__system_name__transfer_upload_post",
    tag = "filesystem",
    request_body = PostFileUploadRequest,
    responses((status = 201, description = "The job that waits for the file was submitted", body = UploadFileResponse))
)]
pub(crate) async fn upload(
    WriteAccess(access): WriteAccess,
    ReachedHost(host): ReachedHost,
    Document(request): Document<PostFileUploadRequest>,
) -> Created<UploadFileResponse> {
    let path = request.target();
    let upload = file_transfer::upload(&access, request.asked(&path, host.as_deref())).await?;
    Ok((StatusCode::CREATED, Json(UploadFileResponse::new(access.cluster(), upload))))
}

/// Download a large file
///
/// With `transferMethod` `s3`, through the site's object store: the job copies the file there, and `downloadUrl` has it when the job has
/// ended. With `streamer`, through this service: when the job runs, connect with firecrest-streamer and the `coordinates`. The URL and
/// the coordinates are secrets: anyone who has one can use it. `wormhole` is not supported by this version.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/download",
    operation_id = "post_download_filesystem__system_name__transfer_download_post",
    tag = "filesystem",
    request_body = PostFileDownloadRequest,
    responses((status = 201, description = "The job that brings the file was submitted", body = DownloadFileResponse))
)]
pub(crate) async fn download(
    SubmitAccess(access): SubmitAccess,
    ReachedHost(host): ReachedHost,
    Document(request): Document<PostFileDownloadRequest>,
) -> Created<DownloadFileResponse> {
    let download = file_transfer::download(&access, request.asked(host.as_deref())).await?;
    Ok((StatusCode::CREATED, Json(DownloadFileResponse::new(access.cluster(), download))))
}
