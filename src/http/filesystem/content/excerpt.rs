//! `/filesystem/{system_name}/ops`: parts of files, their kinds and their checksums.

use axum::Json;
use axum::response::Response;

use crate::http::extract::access::ReadAccess;
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::json_stream;
use crate::http::filesystem::model::file::{
    GetFileChecksumResponse, GetFileHeadResponse, GetFileTailResponse, GetFileTypeResponse, GetViewFileResponse,
};
use crate::http::filesystem::model::request::{HeadParameters, PathParameters, TailParameters, ViewParameters};
use crate::http::problem::Problem;
use crate::service::contents;

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
    let checksum = contents::checksum(&access, &query.0.path).await?;
    Ok(Json(checksum.into()))
}

/// The type of a file's content
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/file",
    operation_id = "get_file_filesystem__system_name__ops_file_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The type of the content", body = GetFileTypeResponse))
)]
pub(crate) async fn file_type(
    ReadAccess(access): ReadAccess,
    query: Parameters<PathParameters>,
) -> Result<Json<GetFileTypeResponse>, Problem> {
    let kind = contents::file_type(&access, &query.0.path).await?;
    Ok(Json(kind.into()))
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
    let (mut content, permit) = contents::head(&access, &path, &excerpt).await?.into_parts();
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
    let (mut content, permit) = contents::tail(&access, &path, &excerpt).await?.into_parts();
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
    let (content, permit) = contents::view(&access, &query.0.path, query.0.offset, query.0.size).await?.into_parts();
    Ok(json_stream::text(&GetViewFileResponse::from(String::new()), content, permit))
}
