//! `/filesystem/{system_name}/uploads`: resumable uploads by the protocol tus, version 1.0.0, with its extensions creation,
//! creation-with-upload, checksum, termination and expiration.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::Kind;
use crate::filesystem::FilesystemError;
use crate::http::Api;
use crate::http::extract::access::{ReadAccess, UploadIdText, WriteAccess};
use crate::http::extract::conditional::Conditions;
use crate::http::extract::digest::Digests;
use crate::http::extract::forward_body::forward_body;
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::content::upload::{length, pause};
use crate::http::filesystem::model::request::CreationParameters;
use crate::http::problem::Problem;
use crate::service::uploads::{self, EXPIRES, Upload};
use crate::service::{Access, InvalidRequest, Place, ServiceError};

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// Headers of the extensions concatenation and creation-defer-length.
const UNSUPPORTED: [HeaderName; 2] = [HeaderName::from_static("upload-concat"), HeaderName::from_static("upload-defer-length")];

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const MEDIA_TYPE: &str = "application/offset+octet-stream";

/// The headers that scripts of browsers have to see.
pub(crate) const EXPOSED: [HeaderName; 10] = [
    header::LOCATION,
    TUS_RESUMABLE,
    TUS_VERSION,
    TUS_EXTENSION,
    TUS_MAX_SIZE,
    TUS_CHECKSUM_ALGORITHM,
    UPLOAD_OFFSET,
    UPLOAD_LENGTH,
    UPLOAD_METADATA,
    UPLOAD_EXPIRES,
];

/// Begin a resumable upload
///
/// By the protocol tus 1.0.0. The content may come with it, in part or whole.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/uploads",
    operation_id = "post_uploads_filesystem__system_name__uploads_post",
    tag = "filesystem",
    params(
        CreationParameters,
        ("Tus-Resumable" = String, Header, description = "`1.0.0`", example = "1.0.0"),
        ("Upload-Length" = u64, Header, description = "The size of the file in bytes"),
        ("Upload-Metadata" = Option<String>, Header, description = "Names and base64 values; `filename` names the file in a directory"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only where there is nothing yet, now and at the end", example = "*"),
    ),
    responses(
        (
            status = 201, description = "The upload has begun",
            headers(
                ("Location" = String, description = "The URL of the upload"),
                ("Upload-Offset" = u64, description = "How much of it has arrived, where content came with it"),
                ("Upload-Expires" = String, description = "Until when it can be gone on with"),
            ),
        ),
        (status = 412, description = "Something is there already, or another version of the protocol is spoken"),
        (status = 501, description = "The upload is to be concatenated, or its length is to be told later"),
    )
)]
pub(crate) async fn create(
    WriteAccess(access): WriteAccess,
    query: Parameters<CreationParameters>,
    conditions: Conditions,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    refuse_extensions(&headers)?;
    let size = number(&headers, &UPLOAD_LENGTH, "Upload-Length")?;
    let metadata = headers.get(UPLOAD_METADATA).map(|value| value.to_str().map_err(|_| wrong("Upload-Metadata", "it is not ASCII")));
    let metadata = metadata.transpose()?.unwrap_or_default().to_owned();
    let path = match query.0.path.ends_with('/') {
        true => format!("{}{}", query.0.path, file_name(&metadata)?),
        false => query.0.path,
    };
    let upload = uploads::begin(&access, &path, size, conditions.only_new(), metadata).await?;
    let mut answer = HeaderMap::new();
    if content_type(&headers) == MEDIA_TYPE && length(&headers) != Some(0) {
        match receive(&api, &access, &upload, 0, &headers, body).await {
            Ok(offset) => drop(answer.insert(UPLOAD_OFFSET, HeaderValue::from(offset))),
            Err(problem) => {
                // Nobody knows its name. Where it cannot be removed now, it is found when it is old.
                let _ = uploads::remove(&access, &upload).await;
                return Err(problem);
            }
        }
    }
    let location = format!("{}/filesystem/{}/uploads/{}", api.root_path, access.cluster().name(), upload.id());
    answer.insert(header::LOCATION, HeaderValue::from_str(&location).map_err(|_| wrong("path", "it has no URL"))?);
    add_expiry(&mut answer);
    Ok((StatusCode::CREATED, answer).into_response())
}

/// What resumable uploads can do
///
/// By the protocol tus 1.0.0.
#[utoipa::path(
    options,
    path = "/filesystem/{system_name}/uploads",
    operation_id = "options_uploads_filesystem__system_name__uploads_options",
    tag = "filesystem",
    responses((
        status = 204, description = "The capabilities",
        headers(
            ("Tus-Version" = String, description = "`1.0.0`"),
            ("Tus-Extension" = String, description = "The extensions"),
            ("Tus-Max-Size" = u64, description = "The largest file in bytes, where there is a limit"),
            ("Tus-Checksum-Algorithm" = String, description = "The algorithms of `Upload-Checksum`"),
        ),
    ))
)]
pub(crate) async fn capabilities(ReadAccess(access): ReadAccess) -> Response {
    capabilities_on(&access)
}

/// What a resumable upload can do
///
/// As for all uploads. The upload is not looked at.
#[utoipa::path(
    options,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "options_upload_filesystem__system_name__uploads__upload_id__options",
    tag = "filesystem",
    responses((
        status = 204, description = "The capabilities",
        headers(
            ("Tus-Version" = String, description = "`1.0.0`"),
            ("Tus-Extension" = String, description = "The extensions"),
            ("Tus-Max-Size" = u64, description = "The largest file in bytes, where there is a limit"),
            ("Tus-Checksum-Algorithm" = String, description = "The algorithms of `Upload-Checksum`"),
        ),
    ))
)]
pub(crate) async fn upload_capabilities(ReadAccess(access): ReadAccess, UploadIdText(_id): UploadIdText) -> Response {
    capabilities_on(&access)
}

fn capabilities_on(access: &Access) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(TUS_VERSION, VERSION);
    headers.insert(TUS_EXTENSION, HeaderValue::from_static("creation,creation-with-upload,checksum,termination,expiration"));
    headers.insert(TUS_CHECKSUM_ALGORITHM, HeaderValue::from_str(&Digests::tus_algorithms()).expect("the names are printable ASCII"));
    if let Some(most) = access.cluster().config().data_operation.max_streamed() {
        headers.insert(TUS_MAX_SIZE, HeaderValue::from(most));
    }
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// How much of a resumable upload has arrived
///
/// A request that is still adding to it is ended first.
#[utoipa::path(
    head,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "head_upload_filesystem__system_name__uploads__upload_id__head",
    tag = "filesystem",
    params(("Tus-Resumable" = String, Header, description = "`1.0.0`", example = "1.0.0")),
    responses((
        status = 200, description = "The state of the upload",
        headers(
            ("Upload-Offset" = u64, description = "How many bytes have arrived"),
            ("Upload-Length" = u64, description = "How many there will be"),
            ("Upload-Metadata" = String, description = "What was said at its beginning"),
            ("Upload-Expires" = String, description = "Until when it can be gone on with"),
        ),
    ))
)]
pub(crate) async fn state(
    WriteAccess(access): WriteAccess,
    UploadIdText(id): UploadIdText,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let upload = Upload::from_id(&id)?;
    let offset = uploads::offset(&access, &upload).await?;
    let mut answer = HeaderMap::new();
    answer.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    answer.insert(UPLOAD_LENGTH, HeaderValue::from(upload.length));
    if let Ok(metadata) = HeaderValue::from_str(&upload.metadata)
        && !metadata.is_empty()
    {
        answer.insert(UPLOAD_METADATA, metadata);
    }
    add_expiry(&mut answer);
    Ok((StatusCode::OK, answer).into_response())
}

/// Go on with a resumable upload
///
/// What arrives is kept when the request breaks off, but with `Upload-Checksum`. The file appears under its name when it is whole.
#[utoipa::path(
    patch,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "patch_upload_filesystem__system_name__uploads__upload_id__patch",
    tag = "filesystem",
    params(
        ("Tus-Resumable" = String, Header, description = "`1.0.0`", example = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "Where the content belongs: how much has arrived, else 409"),
        ("Upload-Checksum" = Option<String>, Header, description = "`sha1`, `sha256` or `sha512` and the base64 of this content's digest; 460 when it is another"),
    ),
    request_body(content = inline(crate::http::filesystem::content::download::FileBytes), content_type = "application/offset+octet-stream"),
    responses(
        (
            status = 204, description = "The content was added",
            headers(
                ("Upload-Offset" = u64, description = "How many bytes have arrived"),
                ("Upload-Expires" = String, description = "Until when it can be gone on with"),
            ),
        ),
        (status = 409, description = "The upload is elsewhere: ask for its state"),
        (status = 423, description = "Another request is still adding to it"),
        (status = 460, description = "The content has another checksum, and was not added"),
    )
)]
pub(crate) async fn extend(
    WriteAccess(access): WriteAccess,
    UploadIdText(id): UploadIdText,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    if content_type(&headers) != MEDIA_TYPE {
        return Err(Problem::unsupported_media(format!("send the content as `Content-Type: {MEDIA_TYPE}`")));
    }
    let upload = Upload::from_id(&id)?;
    let offset = number(&headers, &UPLOAD_OFFSET, "Upload-Offset")?;
    if length(&headers).is_some_and(|length| offset.saturating_add(length) > upload.length) {
        return Err(ServiceError::TooLarge(
            upload.length,
            "this is the length that the upload was begun with; begin another one with the length of the file",
        )
        .into());
    }
    let offset = receive(&api, &access, &upload, offset, &headers, body).await?;
    let mut answer = HeaderMap::new();
    answer.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    add_expiry(&mut answer);
    Ok((StatusCode::NO_CONTENT, answer).into_response())
}

/// Give a resumable upload up
///
/// What has arrived is removed. An upload that is finished has nothing to remove: its file stays.
#[utoipa::path(
    delete,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "delete_upload_filesystem__system_name__uploads__upload_id__delete",
    tag = "filesystem",
    params(("Tus-Resumable" = String, Header, description = "`1.0.0`", example = "1.0.0")),
    responses((status = 204, description = "The upload is gone"))
)]
pub(crate) async fn remove(
    WriteAccess(access): WriteAccess,
    UploadIdText(id): UploadIdText,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    check_version(&headers)?;
    uploads::remove(&access, &Upload::from_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The layer that says on every answer which version is spoken.
pub(crate) async fn name_version(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        response.headers_mut().insert(TUS_VERSION, VERSION);
    }
    response
}

async fn receive(api: &Api, access: &Access, upload: &Upload, offset: u64, headers: &HeaderMap, body: Body) -> Result<u64, Problem> {
    let announced = headers.get(UPLOAD_CHECKSUM).map(|value| value.to_str().ok().and_then(Digests::of_tus));
    let checked = announced.is_some();
    let digests = match announced {
        None => Digests::default(),
        Some(Some(digests)) => digests,
        Some(None) => {
            let message = format!("it is not an algorithm ({}), a space and the base64 of the digest", Digests::tus_algorithms());
            return Err(wrong("Upload-Checksum", message).into());
        }
    };
    let mut body = body.into_data_stream();
    let added = forward_body(&mut body, pause(&api.config), |content| async {
        uploads::extend(access, upload, offset, digests.check(content).0, checked).await
    });
    match added.await {
        Err(ServiceError::Filesystem(error @ FilesystemError::Digest(_))) => Err(Problem::checksum_mismatch(error.to_string())),
        outcome => Ok(outcome?),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version == VERSION => Ok(()),
        _ => Err(Problem::precondition_failed("send `Tus-Resumable: 1.0.0`, the version of the protocol that is spoken here")),
    }
}

/// Extensions that are not offered here, and without which the client would mean another file: a part of one, for example.
fn refuse_extensions(headers: &HeaderMap) -> Result<(), Problem> {
    match UNSUPPORTED.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => {
            let message = format!(
                "`{name}` belongs to an extension of tus that is not offered here (OPTIONS tells which are): send the file as one upload with `Upload-Length`"
            );
            Err(Problem::new(Kind::Unsupported, message))
        }
        None => Ok(()),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName, shown: &'static str) -> Result<u64, InvalidRequest> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let value = value.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    value.filter(|number| i64::try_from(*number).is_ok()).ok_or_else(|| wrong(shown, "it must be a number of bytes"))
}

/// The file's name in the metadata (tus 1.0, creation), which is one name.
fn file_name(metadata: &str) -> Result<String, InvalidRequest> {
    let pairs = metadata.split(',').filter_map(|pair| pair.trim().split_once(' '));
    let name =
        pairs.filter(|(key, _)| *key == "filename").find_map(|(_, value)| String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok());
    let one_name = |name: &String| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']) && name.len() <= 255;
    name.filter(one_name).ok_or_else(|| wrong("Upload-Metadata", "its `filename` must be one file name of 1 to 255 bytes"))
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

fn add_expiry(headers: &mut HeaderMap) {
    let expires = std::time::SystemTime::now() + std::time::Duration::from_secs(EXPIRES.unsigned_abs());
    headers.insert(UPLOAD_EXPIRES, HeaderValue::from_str(&httpdate::fmt_http_date(expires)).expect("a date is printable ASCII"));
}

fn wrong(name: &'static str, message: impl Into<String>) -> InvalidRequest {
    InvalidRequest::new(Place::Parameter, name, message)
}
