//! `ops/archive`: sends and receives directories as archives that are never stored.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{TryStreamExt, stream};

use crate::domain::{Alternative, RemotePath};
use crate::error::ErrorChain;
use crate::filesystem::{ArchiveFormat, Placed};
use crate::http::Api;
use crate::http::cut_body::cut_by_errors;
use crate::http::extract::access::{ConditionalWriteAccess, ReadAccess};
use crate::http::extract::conditional::Conditions;
use crate::http::extract::digest::Digests;
use crate::http::extract::forward_body::{announced_length, forward_body};
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::content::download::{FileBytes, attachment};
use crate::http::filesystem::content::upload::{pause, refuse_encodings, refuse_form};
use crate::http::filesystem::model::request::ArchiveParameters;
use crate::http::problem::Problem;
use crate::service::contents::{self, TransferForm};

/// Download a directory
///
/// The archive is created while it is sent. If something cannot be packed, or a file changes meanwhile, the response is cut before
/// its end. If the path is itself a link, it is followed; links inside are kept.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/archive",
    operation_id = "get_archive_filesystem__system_name__ops_archive_get",
    tag = "filesystem",
    params(ArchiveParameters),
    responses((
        status = 200, description = "The archive", body = inline(FileBytes), content_type = "application/x-tar",
        headers(("Content-Disposition" = String, description = "A name for the archive (RFC 6266)")),
    ))
)]
pub(crate) async fn pack(ReadAccess(access): ReadAccess, query: Parameters<ArchiveParameters>) -> Result<Response, Problem> {
    let ArchiveParameters { path, format } = query.0;
    let (path, content) = contents::pack(&access, &path, format).await?;
    let headers = describe(&path, format);
    let system = access.cluster().name().clone();
    // The status is sent by then: without a length, only the missing end of the answer tells.
    let content = content.inspect_err(move |error| {
        tracing::warn!(%system, path = path.to_text(), error = %ErrorChain(error), "an archive was cut short");
    });
    Ok((headers, cut_by_errors(content)).into_response())
}

/// Get the headers of a directory's download
///
/// The headers of a download. Nothing is packed.
#[utoipa::path(
    head,
    path = "/filesystem/{system_name}/ops/archive",
    operation_id = "head_archive_filesystem__system_name__ops_archive_head",
    tag = "filesystem",
    params(ArchiveParameters),
    responses((
        status = 200, description = "The directory can be packed",
        headers(("Content-Disposition" = String, description = "A name for the archive (RFC 6266)")),
    ))
)]
pub(crate) async fn look(ReadAccess(access): ReadAccess, query: Parameters<ArchiveParameters>) -> Result<Response, Problem> {
    let ArchiveParameters { path, format } = query.0;
    let (path, _) = contents::packable(&access, &path).await?;
    // A body of unknown length, like that of the archive: an empty one would be sent as `Content-Length: 0`.
    let unknown = Body::from_stream(stream::empty::<Result<Bytes, Infallible>>());
    Ok((describe(&path, format), unknown).into_response())
}

/// Upload a directory
///
/// The archive is unpacked while it arrives. A new directory appears under its name only when it is complete. In an existing
/// directory, the members are put in their places when all of them have arrived; after a failure before that, nothing has changed.
#[utoipa::path(
    put,
    path = "/filesystem/{system_name}/ops/archive",
    operation_id = "put_archive_filesystem__system_name__ops_archive_put",
    tag = "filesystem",
    params(
        ArchiveParameters,
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if the directory does not exist, else 412", example = "*"),
        ("Repr-Digest" = Option<String>, Header, description = "The digest of the archive (RFC 9530)"),
    ),
    request_body(content = inline(FileBytes), content_type = "application/x-tar"),
    responses(
        (status = 201, description = "A new directory was made"),
        (status = 204, description = "The members were put into the existing directory"),
        (status = 412, description = "The directory exists already"),
    )
)]
pub(crate) async fn unpack(
    ConditionalWriteAccess(access): ConditionalWriteAccess,
    query: Parameters<ArchiveParameters>,
    conditions: Conditions,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    refuse_encodings(&headers)?;
    refuse_form(&headers)?;
    let is_new = conditions.new_or_any()?;
    let digests = Digests::of(&headers)?;
    TransferForm::Stream.check(&access, announced_length(&headers).unwrap_or_default(), Alternative::UnpackSeveral)?;
    let ArchiveParameters { path, format } = query.0;
    let mut body = body.into_data_stream();
    let unpacked = forward_body(&mut body, pause(&api.config), async |content| {
        contents::unpack(&access, &path, format, digests.check(content).0, is_new).await
    });
    Ok(match unpacked.await? {
        Placed::Created => StatusCode::CREATED,
        Placed::Replaced => StatusCode::NO_CONTENT,
    })
}

fn describe(path: &RemotePath, format: ArchiveFormat) -> HeaderMap {
    let (ending, media_type) = match format {
        ArchiveFormat::Tar => (".tar", "application/x-tar"),
        ArchiveFormat::Gzip => (".tar.gz", "application/gzip"),
        ArchiveFormat::Zstd => (".tar.zst", "application/zstd"),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_DISPOSITION, attachment(&[path.file_name(), ending.as_bytes()].concat()));
    headers
}
