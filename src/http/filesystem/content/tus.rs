//! `/filesystem/{system_name}/uploads`: resumable uploads by the protocol tus, version 1.0.0, with its extensions creation,
//! creation-with-upload, checksum, termination and expiration.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::IntoResponses;

use crate::http::Api;
use crate::http::extract::access::{ConditionalWriteAccess, ReadAccess, UploadIdText, WriteAccess};
use crate::http::extract::conditional::Conditions;
use crate::http::extract::digest::Digests;
use crate::http::extract::forward_body::forward_body;
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::content::tus_headers::{
    ContentHeaders, CreationHeaders, ExtensionHeaders, SpokenVersion, TUS_RESUMABLE, UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET, VERSION,
};
use crate::http::filesystem::content::upload::pause;
use crate::http::filesystem::model::request::CreationParameters;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};
use crate::service::contents::TransferForm;
use crate::service::uploads::{self, Addition, EXPIRES, NewUpload, ResumableUpload};
use crate::service::{Access, ServiceError};

const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// The headers that scripts in browsers must be able to read (CORS).
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
/// Uses the protocol tus 1.0.0. The request may contain the content, in part or whole.
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
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if the file does not exist, now and when the upload is complete", example = "*"),
    ),
    responses(
        (
            status = 201, description = "The upload has begun",
            headers(
                ("Location" = String, description = "The URL of the upload"),
                ("Upload-Offset" = u64, description = "The number of bytes that have arrived, if the request had content"),
                ("Upload-Expires" = String, description = "When an idle upload expires"),
            ),
        ),
        (status = 412, description = "The file exists already, or the client uses another version of the protocol"),
        (status = 501, description = "Concatenation and deferred length are not supported"),
    )
)]
pub(crate) async fn create(
    ConditionalWriteAccess(access): ConditionalWriteAccess,
    query: Parameters<CreationParameters>,
    conditions: Conditions,
    State(api): State<Api>,
    _version: SpokenVersion,
    headers: CreationHeaders,
    body: Body,
) -> Result<Response, Problem> {
    let path = headers.target(query.0.path)?;
    let CreationHeaders { length, metadata, content } = headers;
    let new = NewUpload { path, length, only_new: conditions.new_or_any()?, metadata };
    let (upload, offset) = match content {
        None => (uploads::begin(&access, new).await?, None),
        Some(content) => receive(&api, 0, content, body, |addition| uploads::begin_with(&access, new, addition)).await?,
    };
    let location = format!("{}/filesystem/{}/uploads/{}", api.root_path, access.cluster().name(), upload.id());
    let location = HeaderValue::from_str(&location).map_err(|_| InvalidInput::new(Place::Query, "path", "it has no URL"))?;
    let mut answer = HeaderMap::from_iter([(header::LOCATION, location)]);
    answer.extend(offset.map(|offset| (UPLOAD_OFFSET, HeaderValue::from(offset))));
    add_expiry(&mut answer);
    Ok((StatusCode::CREATED, answer).into_response())
}

/// The capabilities of resumable uploads, which are the same for each upload.
#[derive(IntoResponses)]
#[response(
    status = 204,
    description = "The capabilities",
    headers(
        ("Tus-Version" = String, description = "`1.0.0`"),
        ("Tus-Extension" = String, description = "The extensions"),
        ("Tus-Max-Size" = u64, description = "The largest file in bytes, if there is a limit"),
        ("Tus-Checksum-Algorithm" = String, description = "The algorithms of `Upload-Checksum`"),
    )
)]
pub(crate) struct UploadCapabilities;

impl UploadCapabilities {
    fn response(self, access: &Access) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(TUS_VERSION, VERSION);
        headers.insert(TUS_EXTENSION, HeaderValue::from_static("creation,creation-with-upload,checksum,termination,expiration"));
        headers.insert(TUS_CHECKSUM_ALGORITHM, HeaderValue::from_str(&Digests::tus_algorithms()).expect("the names are printable ASCII"));
        headers.extend(TransferForm::Stream.cap(access).map(|cap| (TUS_MAX_SIZE, HeaderValue::from(cap))));
        (StatusCode::NO_CONTENT, headers).into_response()
    }
}

/// Get the capabilities of resumable uploads
///
/// Uses the protocol tus 1.0.0.
#[utoipa::path(
    options,
    path = "/filesystem/{system_name}/uploads",
    operation_id = "options_uploads_filesystem__system_name__uploads_options",
    tag = "filesystem",
    responses(UploadCapabilities)
)]
pub(crate) async fn capabilities(ReadAccess(access): ReadAccess) -> Response {
    UploadCapabilities.response(&access)
}

/// Get the capabilities of a resumable upload
///
/// They are those of all uploads. The upload itself is not read.
#[utoipa::path(
    options,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "options_upload_filesystem__system_name__uploads__upload_id__options",
    tag = "filesystem",
    responses(UploadCapabilities)
)]
pub(crate) async fn upload_capabilities(ReadAccess(access): ReadAccess, UploadIdText(_id): UploadIdText) -> Response {
    UploadCapabilities.response(&access)
}

/// Get the state of a resumable upload
///
/// A request that is still adding content is ended first.
#[utoipa::path(
    head,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "head_upload_filesystem__system_name__uploads__upload_id__head",
    tag = "filesystem",
    params(("Tus-Resumable" = String, Header, description = "`1.0.0`", example = "1.0.0")),
    responses((
        status = 200, description = "The state of the upload",
        headers(
            ("Upload-Offset" = u64, description = "The number of bytes that have arrived"),
            ("Upload-Length" = u64, description = "The size of the complete file in bytes"),
            ("Upload-Metadata" = String, description = "The metadata from the creation of the upload"),
            ("Upload-Expires" = String, description = "When an idle upload expires"),
        ),
    ))
)]
pub(crate) async fn state(
    WriteAccess(access): WriteAccess,
    UploadIdText(id): UploadIdText,
    _version: SpokenVersion,
) -> Result<Response, Problem> {
    let upload = ResumableUpload::from_id(&id)?;
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

/// Continue a resumable upload
///
/// If the request is cut, the bytes that arrived are kept, except with `Upload-Checksum`. The file appears under its name when complete.
#[utoipa::path(
    patch,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "patch_upload_filesystem__system_name__uploads__upload_id__patch",
    tag = "filesystem",
    params(
        ("Tus-Resumable" = String, Header, description = "`1.0.0`", example = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "The offset of the content, which is the number of bytes that have arrived, else 409"),
        ("Upload-Checksum" = Option<String>, Header, description = "`sha1`, `sha256` or `sha512` and the base64 digest of this content; 460 if it differs"),
    ),
    request_body(content = inline(crate::http::filesystem::content::download::FileBytes), content_type = "application/offset+octet-stream"),
    responses(
        (
            status = 204, description = "The content was added",
            headers(
                ("Upload-Offset" = u64, description = "The number of bytes that have arrived"),
                ("Upload-Expires" = String, description = "When an idle upload expires"),
            ),
        ),
        (status = 409, description = "The offset is not that of the upload: get its state"),
        (status = 423, description = "Another request is still adding content"),
        (status = 460, description = "The content does not match its checksum and was not added"),
    )
)]
pub(crate) async fn extend(
    WriteAccess(access): WriteAccess,
    UploadIdText(id): UploadIdText,
    State(api): State<Api>,
    _version: SpokenVersion,
    headers: ExtensionHeaders,
    body: Body,
) -> Result<Response, Problem> {
    let upload = ResumableUpload::from_id(&id)?;
    let ExtensionHeaders { offset, content } = headers;
    let offset = receive(&api, offset, content, body, |addition| uploads::extend(&access, &upload, addition)).await?;
    let mut answer = HeaderMap::new();
    answer.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    add_expiry(&mut answer);
    Ok((StatusCode::NO_CONTENT, answer).into_response())
}

/// Remove a resumable upload
///
/// The bytes that have arrived are removed. A complete upload has nothing to remove: its file stays.
#[utoipa::path(
    delete,
    path = "/filesystem/{system_name}/uploads/{upload_id}",
    operation_id = "delete_upload_filesystem__system_name__uploads__upload_id__delete",
    tag = "filesystem",
    params(("Tus-Resumable" = String, Header, description = "`1.0.0`", example = "1.0.0")),
    responses((status = 204, description = "The upload was removed"))
)]
pub(crate) async fn remove(
    WriteAccess(access): WriteAccess,
    UploadIdText(id): UploadIdText,
    _version: SpokenVersion,
) -> Result<StatusCode, Problem> {
    uploads::remove(&access, &ResumableUpload::from_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The layer that adds the version of the protocol to every response.
pub(crate) async fn name_version(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        response.headers_mut().insert(TUS_VERSION, VERSION);
    }
    response
}

/// Passes the content of a request, which belongs at `offset` of its upload, to `add`.
async fn receive<T, F>(api: &Api, offset: u64, headers: ContentHeaders, body: Body, add: impl FnOnce(Addition) -> F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, ServiceError>>,
{
    let ContentHeaders { length, checksum } = headers;
    let checked = checksum.is_some();
    let digests = checksum.unwrap_or_default();
    let mut body = body.into_data_stream();
    let added =
        forward_body(&mut body, pause(&api.config), |content| add(Addition { offset, length, checked, content: digests.check(content).0 }));
    Ok(added.await?)
}

fn add_expiry(headers: &mut HeaderMap) {
    let expires = std::time::SystemTime::now() + std::time::Duration::from_secs(EXPIRES.unsigned_abs());
    headers.insert(UPLOAD_EXPIRES, HeaderValue::from_str(&httpdate::fmt_http_date(expires)).expect("a date is printable ASCII"));
}
