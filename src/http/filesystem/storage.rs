//! Quotas, access control lists and space below `/filesystem/{system_name}/ops`.

use axum::Json;

use crate::http::extract::access::ReadAccess;
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::model::request::PathParameters;
use crate::http::filesystem::model::storage::{GetAclResponse, GetDfResponse, GetQuotaResponse};
use crate::http::problem::Problem;
use crate::service::storage;

/// How full a file system is
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/df",
    operation_id = "get_df_filesystem__system_name__ops_df_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The file system that holds the path", body = GetDfResponse))
)]
pub(crate) async fn df(ReadAccess(access): ReadAccess, query: Parameters<PathParameters>) -> Result<Json<GetDfResponse>, Problem> {
    Ok(Json(storage::space(&access, &query.0.path).await?.into()))
}

/// The caller's quotas
///
/// By `lfs quota` where the path is on Lustre, else by `quota` for all file systems. Where the system has neither, the answer is 501.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/quota",
    operation_id = "get_quota_filesystem__system_name__ops_quota_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The quotas of the caller and, where the tool tells, of the caller's groups", body = GetQuotaResponse))
)]
pub(crate) async fn quota(ReadAccess(access): ReadAccess, query: Parameters<PathParameters>) -> Result<Json<GetQuotaResponse>, Problem> {
    Ok(Json(storage::quota(&access, &query.0.path).await?.into()))
}

/// The access control list of a file
///
/// By `getfacl`. Where the system does not have it, the answer is 501.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/acl",
    operation_id = "get_acl_filesystem__system_name__ops_acl_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The entries of the list", body = GetAclResponse))
)]
pub(crate) async fn acl(ReadAccess(access): ReadAccess, query: Parameters<PathParameters>) -> Result<Json<GetAclResponse>, Problem> {
    Ok(Json(storage::acl(&access, &query.0.path).await?.into()))
}
