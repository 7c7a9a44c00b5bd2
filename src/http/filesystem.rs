//! `/filesystem/{system_name}/ops`: file operations that end within the request.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use futures::TryStreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::Api;
use super::dto::file::{
    GetDirectoryLsResponse, GetFileChecksumResponse, GetFileHeadResponse, GetFileStatResponse, GetFileTailResponse, GetFileTypeResponse,
    GetViewFileResponse, PostFileSymlinkResponse, PostMkdirResponse, PutFileChmodResponse, PutFileChownResponse,
};
use super::dto::file_request::{
    HeadParameters, LsParameters, PathParameters, PostCompressRequest, PostExtractRequest, PostFileSymlinkRequest, PostMakeDirRequest,
    PutFileChmodRequest, PutFileChownRequest, StatParameters, TailParameters, UploadForm, UploadParameters, ViewParameters,
};
use super::extract::{Document, Parameters};
use super::problem::Problem;
use super::upload::FilePart;
use crate::domain::bytes_to_text;
use crate::error::ErrorChain;
use crate::service::{Access, files};

/// The bytes that a parameter value of a header may hold as they are (RFC 8187, `attr-char`).
const ATTRIBUTE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// List a directory
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/ls",
    operation_id = "get_ls_filesystem__system_name__ops_ls_get",
    tag = "filesystem",
    params(LsParameters),
    responses((status = 200, description = "The entries", body = GetDirectoryLsResponse))
)]
pub(super) async fn ls(access: Access, query: Parameters<LsParameters>) -> Result<Json<GetDirectoryLsResponse>, Problem> {
    let entries = files::list(&access, &query.0.path, query.0.options()).await?;
    Ok(Json(entries.into()))
}

/// The status of a file
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/stat",
    operation_id = "get_stat_filesystem__system_name__ops_stat_get",
    tag = "filesystem",
    params(StatParameters),
    responses((status = 200, description = "The status", body = GetFileStatResponse))
)]
pub(super) async fn stat(access: Access, query: Parameters<StatParameters>) -> Result<Json<GetFileStatResponse>, Problem> {
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
pub(super) async fn file_type(access: Access, query: Parameters<PathParameters>) -> Result<Json<GetFileTypeResponse>, Problem> {
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
pub(super) async fn checksum(access: Access, query: Parameters<PathParameters>) -> Result<Json<GetFileChecksumResponse>, Problem> {
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
pub(super) async fn head(access: Access, query: Parameters<HeadParameters>) -> Result<Json<GetFileHeadResponse>, Problem> {
    let content = files::head(&access, &query.0.path, query.0.amount()).await?;
    Ok(Json(content.into()))
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
pub(super) async fn tail(access: Access, query: Parameters<TailParameters>) -> Result<Json<GetFileTailResponse>, Problem> {
    let amount = query.0.amount();
    let mut content = files::tail(&access, &query.0.path, amount).await?;
    if amount.bytes.is_none() && amount.lines.is_none() {
        // The contract counts the default ten lines from the start, unlike ten lines that were asked for.
        content.start = content.start.abs();
    }
    Ok(Json(content.into()))
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
pub(super) async fn view(access: Access, query: Parameters<ViewParameters>) -> Result<Json<GetViewFileResponse>, Problem> {
    let content = files::view(&access, &query.0.path, query.0.offset, query.0.size).await?;
    Ok(Json(bytes_to_text(&content).into()))
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
pub(super) async fn chmod(access: Access, Document(request): Document<PutFileChmodRequest>) -> Result<Json<PutFileChmodResponse>, Problem> {
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
pub(super) async fn chown(access: Access, Document(request): Document<PutFileChownRequest>) -> Result<Json<PutFileChownResponse>, Problem> {
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
pub(super) async fn mkdir(
    access: Access,
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
pub(super) async fn symlink(
    access: Access,
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
pub(super) async fn rm(access: Access, query: Parameters<PathParameters>) -> Result<StatusCode, Problem> {
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
pub(super) async fn compress(access: Access, Document(mut request): Document<PostCompressRequest>) -> Result<StatusCode, Problem> {
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
pub(super) async fn extract(access: Access, Document(request): Document<PostExtractRequest>) -> Result<StatusCode, Problem> {
    files::extract(&access, &request.path, &request.target_path, request.compression.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Download a file
///
/// At most the system's limit (`max_ops_file_size`).
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/download",
    operation_id = "get_download_filesystem__system_name__ops_download_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The content", body = inline(FileBytes), content_type = "application/octet-stream"))
)]
pub(super) async fn download(access: Access, query: Parameters<PathParameters>) -> Result<(HeaderMap, Body), Problem> {
    let (path, download) = files::download(&access, &query.0.path).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(download.size));
    headers.insert(header::CONTENT_DISPOSITION, attachment(path.file_name()));
    let system = access.cluster().name().clone();
    // The status is sent by then: an error can only cut the answer short, which `Content-Length` lets the client see.
    let content = download.content.inspect_err(move |error| {
        tracing::warn!(%system, ?path, error = %ErrorChain(error), "a download was cut short");
    });
    Ok((headers, Body::from_stream(content)))
}

/// Upload a file
///
/// At most the system's limit (`max_ops_file_size`). The file appears under its name only when it has arrived whole.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/upload",
    operation_id = "post_upload_filesystem__system_name__ops_upload_post",
    tag = "filesystem",
    params(UploadParameters),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 204, description = "The file was written"))
)]
pub(super) async fn upload(
    access: Access,
    query: Parameters<UploadParameters>,
    State(api): State<Api>,
    part: FilePart,
) -> Result<StatusCode, Problem> {
    part.store(&api.config, &access, &query.0.path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of a file.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it only describes the body, which is a stream")]
struct FileBytes(String);

/// `Content-Disposition` (RFC 6266) with the name in both forms, so that no byte of it can end the value early.
fn attachment(name: &[u8]) -> HeaderValue {
    let plain: String = name
        .iter()
        .map(|&byte| match byte {
            b'"' | b'\\' | b'%' => '_',
            b' '..=b'~' => char::from(byte),
            _ => '_',
        })
        .collect();
    let exact = percent_encode(name, ATTRIBUTE);
    let value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}");
    HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_file_name_stays_inside_its_quotes() {
        let value = attachment(b"a\"; b=\r\n\xFF.txt");
        assert_eq!(value, "attachment; filename=\"a_; b=___.txt\"; filename*=UTF-8''a%22%3B%20b%3D%0D%0A%FF.txt");
    }
}
