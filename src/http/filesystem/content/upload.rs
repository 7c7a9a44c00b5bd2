//! `ops/upload`: receives files, as a form or as plain content.

use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout_at};

use crate::domain::{Alternative, excerpt};
use crate::error::Kind;
use crate::filesystem::{Expected, FilesystemError, Placed};
use crate::http::Api;
use crate::http::Config;
use crate::http::extract::access::{ConditionalWriteAccess, WriteAccess};
use crate::http::extract::conditional::{Conditions, Evaluation, Validators};
use crate::http::extract::digest::Digests;
use crate::http::extract::forward_body::{announced_length, forward_body};
use crate::http::extract::known_names::{MAX_SHOWN, unknown};
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::model::request::{PathParameters, UploadForm, UploadParameters};
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place, WrongField};
use crate::service::contents::{self, TransferForm};
use crate::service::{Access, ServiceError};

/// Allowance for the other parts of a form when its announced length is compared with the limit, in bytes.
const MAX_FORM_OVERHEAD: u64 = 64 * 1024;

/// Upload a file as a form
///
/// The size is at most the system's limit (`max_ops_file_size`). The file appears under its name only when it is complete.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/upload",
    operation_id = "post_upload_filesystem__system_name__ops_upload_post",
    tag = "filesystem",
    params(UploadParameters),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 204, description = "The file was written"))
)]
pub(crate) async fn upload(
    WriteAccess(access): WriteAccess,
    query: Parameters<UploadParameters>,
    State(api): State<Api>,
    headers: HeaderMap,
    part: FilePart,
) -> Result<StatusCode, Problem> {
    refuse_encodings(&headers)?;
    Digests::refuse(&headers, "send the file by `PUT`")?;
    let length = announced_length(&headers).unwrap_or_default();
    TransferForm::FirecrestForm.check(&access, length.saturating_sub(MAX_FORM_OVERHEAD), Alternative::WriteStream)?;
    part.store(&api.config, &access, &query.0.path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Upload a file as it is
///
/// The content of the request becomes the content of the file. The size is unlimited, or at most `max_stream_size`. The file appears
/// under its name only when it is complete; a file that is replaced keeps its permission bits.
#[utoipa::path(
    put,
    path = "/filesystem/{system_name}/ops/upload",
    operation_id = "put_upload_filesystem__system_name__ops_upload_put",
    tag = "filesystem",
    params(
        PathParameters,
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if the file does not exist, else 412", example = "*"),
        ("If-Match" = Option<String>, Header, description = "Only to replace a file in this state, else 412: a strong `ETag`, or `*` for any"),
        ("If-Unmodified-Since" = Option<String>, Header, description = "Only to replace a file that was not changed since, else 412"),
        (
            "Repr-Digest" = Option<String>, Header,
            description = "The digest of the content (RFC 9530); with another one nothing is written. `Content-Digest` and `Digest` are \
                           understood too; the algorithms are sha-256 and sha-512",
            example = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:",
        ),
        ("Want-Repr-Digest" = Option<String>, Header, description = "The digest algorithm with which the response describes the written content", example = "sha-256=1"),
    ),
    request_body(content = inline(crate::http::filesystem::content::download::FileBytes), content_type = "application/octet-stream"),
    responses(
        (
            status = 201, description = "A new file was written",
            headers(("Repr-Digest" = String, description = "The digest, if the request asked for it")),
        ),
        (
            status = 204, description = "A file was replaced",
            headers(("Repr-Digest" = String, description = "The digest, if the request asked for it")),
        ),
        (status = 412, description = "A condition of the request does not hold"),
    )
)]
pub(crate) async fn store(
    ConditionalWriteAccess(access): ConditionalWriteAccess,
    query: Parameters<PathParameters>,
    conditions: Conditions,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    refuse_encodings(&headers)?;
    refuse_form(&headers)?;
    let digests = Digests::of(&headers)?;
    let length = announced_length(&headers);
    TransferForm::Stream.check(&access, length.unwrap_or_default(), Alternative::TransferJob)?;
    let path = &query.0.path;
    let expected = expected(&access, path, &conditions).await?;
    let mut body = body.into_data_stream();
    let (digest_result, outcome) = forward_body(&mut body, pause(&api.config), async |content| {
        let (content, digest_result) = digests.check(content);
        (digest_result, contents::store(&access, path, content, expected, length).await)
    })
    .await;
    let placed = outcome?;
    let mut headers = HeaderMap::new();
    digest_result.write(&mut headers);
    let status = if placed == Placed::Created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    Ok((status, headers).into_response())
}

/// The form of an upload request, not yet read.
pub(crate) struct FilePart(Multipart);

impl FromRequest<Api> for FilePart {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let form = Multipart::from_request(request, api).await;
        form.map(Self).map_err(|_| missing("send the file as part `file` of a `multipart/form-data` form").into())
    }
}

impl FilePart {
    /// Writes the part `file` to `directory` under its own name. The time limit of a request applies to the parts before it, and
    /// again to those after it.
    async fn store(mut self, config: &Config, access: &Access, directory: &str) -> Result<(), Problem> {
        let pause = pause(config);
        let mut deadline = Instant::now() + pause;
        let mut written = None;
        loop {
            match (timeout_at(deadline, self.0.next_field()).await, &written) {
                (Ok(Ok(Some(field))), None) if field.name() == Some("file") => {
                    written = Some(write(field, pause, access, directory).await?);
                    deadline = Instant::now() + pause;
                }
                (Ok(Ok(Some(field))), written) if !config.lenient => {
                    let name = field.name().unwrap_or_default();
                    return Err(InvalidInput::from(unwanted(name, written.as_deref())).into());
                }
                (Ok(Ok(Some(_))), _) => {}
                (Ok(Ok(None)), None) => return Err(missing("the form has no part `file`").into()),
                (Ok(Err(_)), None) => return Err(missing("the form could not be read").into()),
                (Err(_), None) => return Err(Problem::new(Kind::DeadlineExceeded, "the client stopped sending")),
                // The file is complete, whatever follows in the form.
                (_, Some(_)) => return Ok(()),
            }
        }
    }
}

/// The error for a part that is not the first `file` of its form. `written` is the name of the file before it.
fn unwanted(part: &str, written: Option<&str>) -> WrongField {
    let Some(written) = written else { return unknown(Place::Body, part, part, &["file"]) };
    let message = format!("a form uploads one file: `{}` was written, and nothing of this part", excerpt(written, MAX_SHOWN));
    WrongField { place: Place::Body, name: excerpt(part, MAX_SHOWN).into(), message }
}

/// Answers with the name of the file.
async fn write(mut field: Field<'_>, pause: Duration, access: &Access, directory: &str) -> Result<String, Problem> {
    let name = field.file_name().map(ToOwned::to_owned).ok_or_else(|| missing("the part `file` has no file name"))?;
    forward_body(&mut field, pause, |content| contents::upload(access, directory, &name, content)).await?;
    Ok(name)
}

/// The time to wait for a client.
pub(crate) fn pause(config: &Config) -> Duration {
    Duration::from_secs(config.request_timeout)
}

/// Rejects a form where content is stored as it arrives: it would be stored with the lines around its parts.
pub(crate) fn refuse_form(headers: &HeaderMap) -> Result<(), Problem> {
    let is_form = |media_type: &HeaderValue| {
        let main = media_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        main.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data")
    };
    if headers.get(header::CONTENT_TYPE).is_some_and(is_form) {
        let message = "the content of a PUT is taken as it is, and this is a form: send the content alone (`curl -T FILE`, or `--data-binary @FILE`); \
                       `POST .../ops/upload` takes a form with a file";
        return Err(Problem::unsupported_media(message));
    }
    Ok(())
}

/// Rejects content codings: content is stored as it arrives, so compressed content would stay compressed.
pub(crate) fn refuse_encodings(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Problem::unsupported_media("a content coding is not taken off; send the file as it is"))
        }
        _ => Ok(()),
    }
}

/// The state of the target that a request expects.
async fn expected(access: &Access, path: &str, conditions: &Conditions) -> Result<Expected, Problem> {
    if conditions.only_new() {
        return Ok(Expected::Nothing);
    }
    if !conditions.any() {
        return Ok(Expected::Anything);
    }
    match contents::version(access, path).await {
        Ok((_, version)) if conditions.evaluate(&Validators::of(&version), false) != Evaluation::Failed => Ok(Expected::Version(version)),
        Ok(_) => Err(Problem::state_changed()),
        Err(ServiceError::Filesystem(FilesystemError::NotFound(_))) if conditions.only_existing() => Err(Problem::state_changed()),
        Err(ServiceError::Filesystem(FilesystemError::NotFound(_))) => Ok(Expected::Nothing),
        Err(error) => Err(error.into()),
    }
}

fn missing(message: &'static str) -> InvalidInput {
    InvalidInput::new(Place::Body, "file", message)
}
