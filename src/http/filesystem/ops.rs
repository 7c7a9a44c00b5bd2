//! `/filesystem/{system_name}/ops`: file operations that end within the request.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::extract::access::{ReadAccess, WriteAccess};
use crate::http::extract::parameters::{Document, Parameters};
use crate::http::filesystem::model::file::{
    GetFileChecksumResponse, GetFileHeadResponse, GetFileStatResponse, GetFileTailResponse, GetFileTypeResponse, GetViewFileResponse,
    PostFileSymlinkResponse, PostMkdirResponse, PutFileChmodResponse, PutFileChownResponse,
};
use crate::http::filesystem::model::request::{
    HeadParameters, PathParameters, PostCompressRequest, PostExtractRequest, PostFileSymlinkRequest, PostMakeDirRequest,
    PutFileChmodRequest, PutFileChownRequest, StatParameters, TailParameters, ViewParameters,
};
use crate::http::json_stream;
use crate::http::problem::Problem;
use crate::service::files;

/// The status of a file
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/stat",
    operation_id = "get_stat_filesystem__system_name__ops_stat_get",
    tag = "filesystem",
    params(StatParameters),
    responses((status = 200, description = "The status", body = GetFileStatResponse))
)]
pub(crate) async fn stat(ReadAccess(access): ReadAccess, query: Parameters<StatParameters>) -> Result<Json<GetFileStatResponse>, Problem> {
    let stat = files::stat(&access, &query.0.path, query.0.dereference).await?;
    Ok(Json(stat.into()))
}

/// The kind of content of a file
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/file",
    operation_id = "get_file_filesystem__system_name__ops_file_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The kind of content", body = GetFileTypeResponse))
)]
pub(crate) async fn file_type(
    ReadAccess(access): ReadAccess,
    query: Parameters<PathParameters>,
) -> Result<Json<GetFileTypeResponse>, Problem> {
    let kind = files::file_type(&access, &query.0.path).await?;
    Ok(Json(kind.into()))
}

/// The checksum of a file
///
/// SHA-256 of the content.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/checksum",
    operation_id = "get_checksum_filesystem__system_name__ops_checksum_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The checksum", body = GetFileChecksumResponse))
)]
pub(crate) async fn checksum(
    ReadAccess(access): ReadAccess,
    query: Parameters<PathParameters>,
) -> Result<Json<GetFileChecksumResponse>, Problem> {
    let checksum = files::checksum(&access, &query.0.path).await?;
    Ok(Json(checksum.into()))
}

/// The first part of a file
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/head",
    operation_id = "get_head_filesystem__system_name__ops_head_get",
    tag = "filesystem",
    params(HeadParameters),
    responses((status = 200, description = "The content", body = GetFileHeadResponse))
)]
pub(crate) async fn head(ReadAccess(access): ReadAccess, query: Parameters<HeadParameters>) -> Result<Response, Problem> {
    let (path, excerpt) = query.0.read();
    let (mut content, permit) = files::head(&access, &path, &excerpt).await?.into_parts();
    let data = std::mem::take(&mut content.data);
    Ok(json_stream::text(&GetFileHeadResponse::from(content), data, permit))
}

/// The last part of a file
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/tail",
    operation_id = "get_tail_filesystem__system_name__ops_tail_get",
    tag = "filesystem",
    params(TailParameters),
    responses((status = 200, description = "The content", body = GetFileTailResponse))
)]
pub(crate) async fn tail(ReadAccess(access): ReadAccess, query: Parameters<TailParameters>) -> Result<Response, Problem> {
    let (path, excerpt) = query.0.read();
    let (mut content, permit) = files::tail(&access, &path, &excerpt).await?.into_parts();
    let amount = excerpt.amount;
    if amount.bytes.is_none() && amount.lines.is_none() {
        // The contract counts the default ten lines from the start, unlike ten lines that were asked for.
        content.start = content.start.abs();
    }
    let data = std::mem::take(&mut content.data);
    Ok(json_stream::text(&GetFileTailResponse::from(content), data, permit))
}

/// The content of a file from an offset
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/view",
    operation_id = "get_view_filesystem__system_name__ops_view_get",
    tag = "filesystem",
    params(ViewParameters),
    responses((status = 200, description = "The content", body = GetViewFileResponse))
)]
pub(crate) async fn view(ReadAccess(access): ReadAccess, query: Parameters<ViewParameters>) -> Result<Response, Problem> {
    let (content, permit) = files::view(&access, &query.0.path, query.0.offset, query.0.size).await?.into_parts();
    Ok(json_stream::text(&GetViewFileResponse::from(String::new()), content, permit))
}

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
    let entry = files::chmod(&access, &request.path, &request.mode).await?;
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
    let entry = files::chown(&access, &request.path, &request.owner, &request.group).await?;
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
    let entry = files::mkdir(&access, &request.path, request.parent).await?;
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
    let entry = files::symlink(&access, &request.path, &request.link_path).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// Remove a file or directory
///
/// A directory is removed with all that is in it. Links are not followed.
#[utoipa::path(
    delete,
    path = "/filesystem/{system_name}/ops/rm",
    operation_id = "delete_rm_filesystem__system_name__ops_rm_delete",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 204, description = "It was removed"))
)]
pub(crate) async fn rm(WriteAccess(access): WriteAccess, query: Parameters<PathParameters>) -> Result<StatusCode, Problem> {
    files::remove(&access, &query.0.path).await?;
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
    files::compress(&access, &request.path, &request.target_path, options).await?;
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
    files::extract(&access, &request.path, &request.target_path, request.compression.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}
