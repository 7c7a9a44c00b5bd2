//! Quotas, access control lists and space below `/filesystem/{system_name}/ops`.

use axum::Json;

use crate::http::extract::access::ReadAccess;
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::model::request::PathParameters;
use crate::http::filesystem::model::storage::{GetAclResponse, GetDfResponse, GetQuotaResponse};
use crate::http::problem::Problem;
use crate::service::storage;

/// Get the usage of a file system
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
/// Read with `lfs quota` if the path is on Lustre, otherwise with `quota` for all file systems; 501 if the system has neither.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/quota",
    operation_id = "get_quota_filesystem__system_name__ops_quota_get",
    tag = "filesystem",
    params(PathParameters),
    responses((status = 200, description = "The quotas of the caller and, if the tool reports them, of the caller's groups", body = GetQuotaResponse))
)]
pub(crate) async fn quota(ReadAccess(access): ReadAccess, query: Parameters<PathParameters>) -> Result<Json<GetQuotaResponse>, Problem> {
    Ok(Json(storage::quota(&access, &query.0.path).await?.into()))
}

/// The access control list of a file
///
/// Read with `getfacl`. If the system does not have it, the response is 501.
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
