//! `/filesystem/{system_name}/transfer`: operations that outlast a request. Those on the system itself run as jobs; those that
//! need a transfer service say that there is none.

use axum::Json;
use axum::http::StatusCode;

use super::dto::transfer::{
    CompressRequest, CompressResponse, CopyRequest, CopyResponse, DeleteParameters, DeleteResponse, ExtractRequest, ExtractResponse,
    MoveRequest, MoveResponse,
};
use super::extract::{Document, Parameters};
use super::problem::Problem;
use crate::service::{Access, transfers};

/// A job that was submitted.
type Created<T> = Result<(StatusCode, Json<T>), Problem>;

/// Move files as a job
///
/// The job is submitted once; where it is unknown whether the scheduler took it, the error says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/mv",
    operation_id = "move_mv_filesystem__system_name__transfer_mv_post",
    tag = "filesystem",
    request_body = MoveRequest,
    responses((status = 201, description = "The job was submitted", body = MoveResponse))
)]
pub(super) async fn mv(access: Access, Document(request): Document<MoveRequest>) -> Created<MoveResponse> {
    let job = transfers::rename(&access, &request.path, &request.target_path, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(MoveResponse::new(access.cluster(), job))))
}

/// Copy files as a job
///
/// A directory is copied with all that is in it. The job is submitted once; where it is unknown whether the scheduler took it,
/// the error says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/cp",
    operation_id = "post_cp_filesystem__system_name__transfer_cp_post",
    tag = "filesystem",
    request_body = CopyRequest,
    responses((status = 201, description = "The job was submitted", body = CopyResponse))
)]
pub(super) async fn cp(access: Access, Document(request): Document<CopyRequest>) -> Created<CopyResponse> {
    let job = transfers::copy(&access, &request.path, &request.target_path, request.dereference, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(CopyResponse::new(access.cluster(), job))))
}

/// Remove files as a job
///
/// A directory is removed with all that is in it. Links are not followed. The job is submitted once; where it is unknown whether
/// the scheduler took it, the error says so in `maybeEffected`.
#[utoipa::path(
    delete,
    path = "/filesystem/{system_name}/transfer/rm",
    operation_id = "delete_rm_filesystem__system_name__transfer_rm_delete",
    tag = "filesystem",
    params(DeleteParameters),
    responses((status = 200, description = "The job was submitted", body = DeleteResponse))
)]
pub(super) async fn rm(access: Access, query: Parameters<DeleteParameters>) -> Result<Json<DeleteResponse>, Problem> {
    let job = transfers::remove(&access, &query.0.path, query.0.account.as_deref()).await?;
    Ok(Json(DeleteResponse::new(access.cluster(), job)))
}

/// Pack files as a job
///
/// The archive appears whole or not at all. The job is submitted once; where it is unknown whether the scheduler took it, the
/// error says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/compress",
    operation_id = "compress_filesystem__system_name__transfer_compress_post",
    tag = "filesystem",
    request_body = CompressRequest,
    responses((status = 201, description = "The job was submitted", body = CompressResponse))
)]
pub(super) async fn compress(access: Access, Document(mut request): Document<CompressRequest>) -> Created<CompressResponse> {
    let options = request.options();
    let job = transfers::compress(&access, &request.path, &request.target_path, &options, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(CompressResponse::new(access.cluster(), job))))
}

/// Unpack an archive as a job
///
/// The job is submitted once; where it is unknown whether the scheduler took it, the error says so in `maybeEffected`.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/extract",
    operation_id = "extract_filesystem__system_name__transfer_extract_post",
    tag = "filesystem",
    request_body = ExtractRequest,
    responses((status = 201, description = "The job was submitted", body = ExtractResponse))
)]
pub(super) async fn extract(access: Access, Document(request): Document<ExtractRequest>) -> Created<ExtractResponse> {
    let compression = request.compression.into();
    let job = transfers::extract(&access, &request.path, &request.target_path, compression, request.account.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(ExtractResponse::new(access.cluster(), job))))
}

/// Defines the operations that need a transfer service, which differ in name only.
macro_rules! refused {
    ($($(#[$doc:meta])* $name:ident, $path:literal, $id:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// Not supported by this version: the answer is always 501.
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $id,
            tag = "filesystem",
            responses((status = 501, description = "Not supported by this version", body = super::problem::ApiResponseError, content_type = "application/problem+json"))
        )]
        pub(super) async fn $name(access: Access) -> Problem {
            transfers::refuse(&access, stringify!($name)).into()
        }
    )*};
}

refused! {
    /// Upload a large file
    upload, "/filesystem/{system_name}/transfer/upload", "post_upload_filesystem__system_name__transfer_upload_post";
    /// Download a large file
    download, "/filesystem/{system_name}/transfer/download", "post_download_filesystem__system_name__transfer_download_post";
}
