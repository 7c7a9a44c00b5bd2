//! `/filesystem/{system_name}/shares`, and `/shares/{share_id}`, which somebody without a token follows.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorChain;
use crate::http::Api;
use crate::http::cut_body::cut_by_errors;
use crate::http::extract::access::{ShareAccess, ShareIdText};
use crate::http::extract::parameters::{Document, Parameters, lenient};
use crate::http::filesystem::content::download::{FileBytes, attachment};
use crate::http::problem::Problem;
use crate::http::problem::context::Context;
use crate::service::links::{Link, Presented};
use crate::service::shares::{self, FollowError, Follower, LinkTarget, NewShare};

/// A link to make.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"path": "/home/user/results.tar", "expiresIn": 86400, "maxUses": 3}))]
pub(in crate::http) struct ShareRequest {
    /// The absolute path of a file or directory, inside a configured file system. A directory is sent as a tar archive.
    path: String,
    /// Seconds for which the link is valid; a day if absent.
    #[serde(alias = "expires_in")]
    expires_in: Option<u64>,
    /// How often it may be used; once if absent. Each download that begins is a use.
    #[serde(alias = "max_uses")]
    max_uses: Option<u64>,
}

/// A link for downloads without an account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Share)]
pub(in crate::http) struct ShareModel {
    /// Its id, with which it is revoked.
    id: String,
    /// The link, below the address of this service: whoever has it may download. It is shown once, in the response to the creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// The file or directory.
    path: String,
    /// Whether it is a directory, which is sent as a tar archive.
    is_directory: bool,
    /// When it was made (RFC 3339).
    created: String,
    /// When it ends.
    expires: String,
    /// How often it may be used.
    max_uses: u64,
    /// How often it was used.
    uses: u64,
}

impl ShareModel {
    fn new(link: Link, address: Option<String>) -> Self {
        let Link { id, system: _, path, is_directory, created, expires, max_uses, uses } = link;
        Self { id, link: address, path, is_directory, created: created.to_string(), expires: expires.to_string(), max_uses, uses }
    }
}

/// The links of the caller.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetSharesResponse {
    shares: Vec<ShareModel>,
}

/// Make a share link
///
/// Whoever has the link downloads the file, or the directory as a tar archive, without an account, with the rights of the caller, who must have them then.
/// The link is a secret, and shown once. It ends when it is used up, when its time is over, and when it is revoked; then it is answered with 410.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/shares",
    operation_id = "post_share_filesystem__system_name__shares_post",
    tag = "filesystem",
    request_body = ShareRequest,
    responses((status = 201, description = "The link", body = ShareModel))
)]
pub(crate) async fn create_share(
    ShareAccess(access): ShareAccess,
    State(api): State<Api>,
    Document(request): Document<ShareRequest>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<ShareModel>), Problem> {
    let new = NewShare { path: &request.path, seconds: request.expires_in, max_uses: request.max_uses };
    let (link, signature) = shares::create(&access, new).await?;
    let address = format!("{}/shares/{}?expires={}&signature={}", api.root_path, link.id, link.expires.as_second(), signature.expose());
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(ShareModel::new(link, Some(address)))))
}

/// List the share links
///
/// The caller's links to files of this system that have not ended, without the links themselves. One that is used up is shown until a new one needs its place.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/shares",
    operation_id = "get_shares_filesystem__system_name__shares_get",
    tag = "filesystem",
    responses((status = 200, description = "The links", body = GetSharesResponse))
)]
pub(crate) async fn list_shares(ShareAccess(access): ShareAccess) -> Result<Json<GetSharesResponse>, Problem> {
    let shares = shares::list(&access).await?.into_iter().map(|link| ShareModel::new(link, None)).collect();
    Ok(Json(GetSharesResponse { shares }))
}

/// Revoke a share link
///
/// Downloads that have begun go on.
#[utoipa::path(
    delete,
    path = "/filesystem/{system_name}/shares/{share_id}",
    operation_id = "delete_share_filesystem__system_name__shares__share_id__delete",
    tag = "filesystem",
    responses((status = 204, description = "The link was revoked"))
)]
pub(crate) async fn revoke_share(ShareAccess(access): ShareAccess, id: ShareIdText) -> Result<StatusCode, Problem> {
    shares::revoke(&access, &id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the address of a link has beside its id.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LinkParameters {
    /// When the link ends, in Unix seconds.
    #[serde(default, deserialize_with = "lenient::count")]
    #[param(required = true)]
    expires: Option<u64>,
    /// The signature of the link.
    signature: String,
}

/// Download by a share link
///
/// Needs no token. Each GET that begins a download is a use of the link. If the content cannot be sent to its end, the response is cut before it.
#[utoipa::path(
    get,
    path = "/shares/{share_id}",
    operation_id = "get_share_shares__share_id__get",
    tag = "filesystem",
    params(LinkParameters),
    responses(
        (
            status = 200, description = "The file, or the directory as a tar archive", body = inline(FileBytes), content_type = "application/octet-stream",
            headers(("Content-Disposition" = String, description = "The name (RFC 6266)")),
        ),
        (status = 410, description = "The link is not valid any more")
    )
)]
pub(crate) async fn open_share(
    State(api): State<Api>,
    Context(context): Context,
    method: Method,
    id: ShareIdText,
    Parameters(LinkParameters { expires, signature }): Parameters<LinkParameters>,
) -> Result<Response, Problem> {
    let expires = i64::try_from(expires.unwrap_or_default()).unwrap_or_default();
    let link = Presented { id: &id.0, expires, signature: &signature };
    let follower = Follower { request_id: context.id().clone(), address: context.client_address() };
    if method == Method::HEAD {
        let target = shares::look(&api.gate, link, follower).await?;
        return Ok((describe(&target), Body::empty()).into_response());
    }
    let (target, content) = shares::open(&api.gate, link, follower).await?;
    let headers = describe(&target);
    let content = content.inspect_err(move |error| {
        tracing::warn!(path = target.path.to_text(), error = %ErrorChain(error), "a download by a share link was cut short");
    });
    Ok((headers, cut_by_errors(content)).into_response())
}

/// The headers of a download by a link.
fn describe(LinkTarget { path, size }: &LinkTarget) -> HeaderMap {
    let mut name = path.file_name().to_vec();
    let mut headers = HeaderMap::new();
    let content_type = match size {
        Some(size) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(*size));
            "application/octet-stream"
        }
        None => {
            name.extend_from_slice(b".tar");
            "application/x-tar"
        }
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_DISPOSITION, attachment(&name));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
}

impl From<FollowError> for Problem {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Access(error) => error.into(),
            FollowError::Service(error) => error.into(),
        }
    }
}
