//! Copying and moving below `/filesystem/{system_name}/ops`, within the request.

use axum::Json;
use axum::http::StatusCode;

use crate::filesystem::CopyOptions;
use crate::http::extract::access::WriteAccess;
use crate::http::extract::parameters::Document;
use crate::http::filesystem::model::copy_move::{PostCopyRequest, PostCopyResponse, PutMoveRequest, PutMoveResponse};
use crate::http::problem::Problem;
use crate::service::copy_move;

/// Copy files
///
/// On the cluster itself. `targetPath` is the name of the copy, never a directory that takes it. The copy appears under its name
/// only when it is whole; modes and times are kept. It has a time of its own (`copy_timeout`), not that of other requests.
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
    let entry = copy_move::copy(&access, &request.path, &request.target_path, options).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// Move files
///
/// `targetPath` is the new name, never a directory that takes what is moved. Within a file system it is one step; between two it
/// is a copy, which has a time of its own (`copy_timeout`).
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
    let entry = copy_move::rename(&access, &request.path, &request.target_path, request.overwrite).await?;
    Ok(Json(entry.into()))
}
