//! `ops/download`: sends the content of files, whole or in ranges.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::domain::{ByteRange, FileVersion, RemotePath};
use crate::error::{ErrorChain, Kind};
use crate::filesystem::Download;
use crate::http::cut_body::cut_by_errors;
use crate::http::extract::access::ReadAccess;
use crate::http::extract::conditional::{Conditions, Evaluation, Validators};
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::model::request::PathParameters;
use crate::http::problem::Problem;
use crate::service::Access;
use crate::service::contents;

/// The bytes that a parameter value of a header may hold as they are (RFC 8187, `attr-char`).
const ATTRIBUTE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// The number of times that the state of a file is read again if it changes before the file is opened.
const MAX_STATE_READS: usize = 3;

/// Download a file
///
/// The size of the file is unlimited, or at most `max_stream_size`. Ranges may be requested in parallel, one in each request; a request for several ranges is
/// answered with the whole file. If the file grows meanwhile, the response has the size that the file had when it was opened. If the
/// file is overwritten meanwhile, the response is cut before its end.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/download",
    operation_id = "get_download_filesystem__system_name__ops_download_get",
    tag = "filesystem",
    params(
        PathParameters,
        ("Range" = Option<String>, Header, description = "The bytes to send (RFC 9110, 14.2)", example = "bytes=0-1048575"),
        ("If-Range" = Option<String>, Header, description = "Send the range only if the file is in this state, else the whole file: a strong `ETag`, or `Last-Modified`"),
        ("If-Match" = Option<String>, Header, description = "Only if the file is in one of these states, else 412"),
        ("If-Unmodified-Since" = Option<String>, Header, description = "Only if the file was not changed since, else 412"),
        ("If-None-Match" = Option<String>, Header, description = "Only if the file is in none of these states, else 304"),
        ("If-Modified-Since" = Option<String>, Header, description = "Only if the file was changed since, else 304"),
    ),
    responses(
        (
            status = 200, description = "The content", body = inline(FileBytes), content_type = "application/octet-stream",
            headers(
                ("Content-Disposition" = String, description = "The file's name (RFC 6266)"),
                ("Accept-Ranges" = String, description = "`bytes`"),
                ("ETag" = String, description = "The state of the file; weak for a few seconds after a change"),
                ("Last-Modified" = String, description = "When the content last changed"),
            ),
        ),
        (
            status = 206, description = "The range", body = inline(FileBytes), content_type = "application/octet-stream",
            headers(
                ("Content-Range" = String, description = "The bytes of the range, and the size of the file"),
                ("Content-Disposition" = String, description = "The file's name (RFC 6266)"),
                ("ETag" = String, description = "The state of the file; weak for a few seconds after a change"),
                ("Last-Modified" = String, description = "When the content last changed"),
            ),
        ),
        (status = 304, description = "The client has the current file"),
        (status = 412, description = "A condition of the request does not hold"),
        (
            status = 416, description = "The range is outside the file",
            headers(("Content-Range" = String, description = "The size of the file, as `bytes */1234`")),
        ),
    )
)]
pub(crate) async fn download(
    ReadAccess(access): ReadAccess,
    query: Parameters<PathParameters>,
    conditions: Conditions,
) -> Result<Response, Problem> {
    for _ in 0..MAX_STATE_READS {
        let (known, range) = match conditions.any() {
            false => (None, conditions.range()),
            true => {
                let (_, version) = contents::version(&access, &query.0.path).await?;
                match conditions.evaluate(&Validators::of(&version), true) {
                    Evaluation::Proceed(range) => (Some(version), range),
                    evaluation => return refused(evaluation, &version),
                }
            }
        };
        let (path, download) = contents::download(&access, &query.0.path, range).await?;
        if known.is_none_or(|known| known == download.version) {
            return Ok(answer(&access, path, range, download));
        }
    }
    Err(Problem::new(Kind::Conflict, "the file changes too fast to be compared with what the request expects"))
}

/// Get the headers of a file's download
///
/// The headers of a download, without the content.
#[utoipa::path(
    head,
    path = "/filesystem/{system_name}/ops/download",
    operation_id = "head_download_filesystem__system_name__ops_download_head",
    tag = "filesystem",
    params(PathParameters),
    responses(
        (
            status = 200, description = "The file exists",
            headers(
                ("Content-Length" = u64, description = "Its size in bytes"),
                ("Content-Disposition" = String, description = "The file's name (RFC 6266)"),
                ("Accept-Ranges" = String, description = "`bytes`"),
                ("ETag" = String, description = "The state of the file; weak for a few seconds after a change"),
                ("Last-Modified" = String, description = "When the content last changed"),
            ),
        ),
        (status = 304, description = "The client has the current file"),
        (status = 412, description = "A condition of the request does not hold"),
    )
)]
pub(crate) async fn look(
    ReadAccess(access): ReadAccess,
    query: Parameters<PathParameters>,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let (path, version) = contents::version(&access, &query.0.path).await?;
    match conditions.evaluate(&Validators::of(&version), true) {
        Evaluation::Proceed(_) => {
            contents::downloadable(&access, &path, &version).await?;
            Ok((describe(&path, &version, version.size), Body::empty()).into_response())
        }
        evaluation => refused(evaluation, &version),
    }
}

/// The bytes of a file.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it only describes the body, which is a stream")]
pub(crate) struct FileBytes(String);

/// The response if the conditions of a request exclude the content.
fn refused(evaluation: Evaluation, version: &FileVersion) -> Result<Response, Problem> {
    if evaluation != Evaluation::NotModified {
        return Err(Problem::state_changed());
    }
    let mut headers = HeaderMap::new();
    validate(version, &mut headers);
    Ok((StatusCode::NOT_MODIFIED, headers).into_response())
}

fn answer(access: &Access, path: RemotePath, asked: Option<ByteRange>, download: Download) -> Response {
    let Download { version, range, content, .. } = download;
    let mut headers = describe(&path, &version, range.end - range.start);
    // An empty file has no range that could be named.
    let status = match asked {
        Some(_) if !range.is_empty() => {
            let range = format!("bytes {}-{}/{}", range.start, range.end - 1, version.size);
            headers.insert(header::CONTENT_RANGE, HeaderValue::from_str(&range).expect("numbers are printable ASCII"));
            StatusCode::PARTIAL_CONTENT
        }
        _ => StatusCode::OK,
    };
    let system = access.cluster().name().clone();
    // The status is sent by then: an error can only cut the answer short, which `Content-Length` lets the client see.
    let content = content.inspect_err(move |error| {
        tracing::warn!(%system, path = path.to_text(), error = %ErrorChain(error), "a download was cut short");
    });
    (status, headers, cut_by_errors(content)).into_response()
}

fn describe(path: &RemotePath, version: &FileVersion, length: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_DISPOSITION, attachment(path.file_name()));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    validate(version, &mut headers);
    headers
}

/// Adds the validators with which a client can cache the content and revalidate it.
fn validate(version: &FileVersion, headers: &mut HeaderMap) {
    Validators::of(version).write(headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
}

/// `Content-Disposition` (RFC 6266) with the name in both forms, so that no byte of it can end the value early.
pub(crate) fn attachment(name: &[u8]) -> HeaderValue {
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
