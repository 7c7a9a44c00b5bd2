//! `/filesystem/{system_name}/ops`: changes of entries that are done within the request.

use axum::Json;
use axum::http::StatusCode;

use crate::filesystem::CopyOptions;
use crate::http::extract::access::WriteAccess;
use crate::http::extract::parameters::{Document, Parameters};
use crate::http::filesystem::model::copy_move::{PostCopyRequest, PostCopyResponse, PutMoveRequest, PutMoveResponse};
use crate::http::filesystem::model::file::{PostFileSymlinkResponse, PostMkdirResponse, PutFileChmodResponse, PutFileChownResponse};
use crate::http::filesystem::model::request::{
    PathParameters, PostCompressRequest, PostExtractRequest, PostFileSymlinkRequest, PostMakeDirRequest, PutFileChmodRequest,
    PutFileChownRequest,
};
use crate::http::problem::Problem;
use crate::service::changes;

/// Set permission bits
#[utoipa::path(
    put,
    path = "/filesystem/{system_name}/ops/chmod",
    operation_id = "put_chmod_filesystem__system_name__ops_chmod_put",
    tag = "filesystem",
    request_body = PutFileChmodRequest,
    responses((status = 200, description = "The changed entry", body = PutFileChmodResponse))
)]
pub(crate) async fn chmod(
    WriteAccess(access): WriteAccess,
    Document(request): Document<PutFileChmodRequest>,
) -> Result<Json<PutFileChmodResponse>, Problem> {
    let entry = changes::chmod(&access, &request.path, &request.mode).await?;
    Ok(Json(entry.into()))
}

/// Set owner and group
#[utoipa::path(
    put,
    path = "/filesystem/{system_name}/ops/chown",
    operation_id = "put_chown_filesystem__system_name__ops_chown_put",
    tag = "filesystem",
    request_body = PutFileChownRequest,
    responses((status = 200, description = "The changed entry", body = PutFileChownResponse))
)]
pub(crate) async fn chown(
    WriteAccess(access): WriteAccess,
    Document(request): Document<PutFileChownRequest>,
) -> Result<Json<PutFileChownResponse>, Problem> {
    let entry = changes::chown(&access, &request.path, &request.owner, &request.group).await?;
    Ok(Json(entry.into()))
}

/// Make a directory
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/mkdir",
    operation_id = "post_mkdir_filesystem__system_name__ops_mkdir_post",
    tag = "filesystem",
    request_body = PostMakeDirRequest,
    responses((status = 201, description = "The new entry", body = PostMkdirResponse))
)]
pub(crate) async fn mkdir(
    WriteAccess(access): WriteAccess,
    Document(request): Document<PostMakeDirRequest>,
) -> Result<(StatusCode, Json<PostMkdirResponse>), Problem> {
    let entry = changes::mkdir(&access, &request.path, request.parent).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// Make a symbolic link
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/symlink",
    operation_id = "post_symlink_filesystem__system_name__ops_symlink_post",
    tag = "filesystem",
    request_body = PostFileSymlinkRequest,
    responses((status = 201, description = "The new entry", body = PostFileSymlinkResponse))
)]
pub(crate) async fn symlink(
    WriteAccess(access): WriteAccess,
    Document(request): Document<PostFileSymlinkRequest>,
) -> Result<(StatusCode, Json<PostFileSymlinkResponse>), Problem> {
    let entry = changes::symlink(&access, &request.path, &request.link_path).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// Remove a file or directory
///
/// A directory is removed with its content. Links are not followed.
#[utoipa::path(
    delete,
    path = "/filesystem/{system_name}/ops/rm",
    operation_id = "delete_rm_filesystem__system_name__ops_rm_delete",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 204, description = "The entry was removed"))
)]
pub(crate) async fn rm(WriteAccess(access): WriteAccess, query: Parameters<PathParameters>) -> Result<StatusCode, Problem> {
    changes::remove(&access, &query.0.path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pack files
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/compress",
    operation_id = "post_compress_filesystem__system_name__ops_compress_post",
    tag = "filesystem",
    request_body = PostCompressRequest,
    responses((status = 204, description = "The archive was made"))
)]
pub(crate) async fn compress(
    WriteAccess(access): WriteAccess,
    Document(mut request): Document<PostCompressRequest>,
) -> Result<StatusCode, Problem> {
    let options = request.options();
    changes::compress(&access, &request.path, &request.target_path, options).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unpack an archive
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/extract",
    operation_id = "post_extract_filesystem__system_name__ops_extract_post",
    tag = "filesystem",
    request_body = PostExtractRequest,
    responses((status = 204, description = "The archive was unpacked"))
)]
pub(crate) async fn extract(
    WriteAccess(access): WriteAccess,
    Document(request): Document<PostExtractRequest>,
) -> Result<StatusCode, Problem> {
    changes::extract(&access, &request.path, &request.target_path, request.compression.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Copy files
///
/// The copy is made on the cluster. `targetPath` is the name of the copy, never a directory to place it in. The copy appears under its
/// name only when it is complete; modes and times are kept. Its time limit is `copy_timeout`, not that of other requests.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/cp",
    operation_id = "post_cp_filesystem__system_name__ops_cp_post",
    tag = "filesystem",
    request_body = PostCopyRequest,
    responses((status = 201, description = "The new entry", body = PostCopyResponse))
)]
pub(crate) async fn cp(
    WriteAccess(access): WriteAccess,
    Document(request): Document<PostCopyRequest>,
) -> Result<(StatusCode, Json<PostCopyResponse>), Problem> {
    let options = CopyOptions { dereference: request.dereference, overwrite: request.overwrite };
    let entry = changes::copy(&access, &request.path, &request.target_path, options).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// Move files
///
/// `targetPath` is the new name, never a directory to place the entry in. Within a file system, the move is one step; between two it
/// is a copy, whose time limit is `copy_timeout`.
#[utoipa::path(
    put,
    path = "/filesystem/{system_name}/ops/mv",
    operation_id = "put_mv_filesystem__system_name__ops_mv_put",
    tag = "filesystem",
    request_body = PutMoveRequest,
    responses((status = 200, description = "The moved entry", body = PutMoveResponse))
)]
pub(crate) async fn mv(
    WriteAccess(access): WriteAccess,
    Document(request): Document<PutMoveRequest>,
) -> Result<Json<PutMoveResponse>, Problem> {
    let entry = changes::rename(&access, &request.path, &request.target_path, request.overwrite).await?;
    Ok(Json(entry.into()))
}
