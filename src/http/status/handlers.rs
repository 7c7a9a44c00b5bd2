//! `/status`: the systems and their state.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use crate::error::Kind;
use crate::http::Api;
use crate::http::extract::access::ReadAccess;
use crate::http::extract::cached_response::{IfNoneMatch, backend_header, render};
use crate::http::extract::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::status::model::{
    GetLiveness, GetNodesResponse, GetPartitionsResponse, GetReservationsResponse, GetWhoamiResponse, PartitionsParameters,
    UserInfoResponse,
};
use crate::http::status::parameters_model::GetParametersResponse;
use crate::http::status::system_model::GetSystemsResponse;
use crate::service::{Caller, status};

/// Check that the process is alive
///
/// Needs no token. It does not cover the health of the systems.
#[utoipa::path(
    get,
    path = "/status/liveness/",
    operation_id = "get_liveness_status_liveness__get",
    tag = "status",
    responses((status = 200, description = "The process is alive", body = GetLiveness))
)]
pub(crate) async fn liveness(State(api): State<Api>) -> Json<GetLiveness> {
    Json(GetLiveness::new(status::last_checks(&api.gate), Timestamp::now()))
}

/// List the systems
///
/// The systems that the caller may use: the settings of each, without secrets, and the latest results of its health checks.
#[utoipa::path(
    get,
    path = "/status/systems",
    operation_id = "get_systems_status_systems_get",
    tag = "status",
    responses((status = 200, description = "The systems", body = GetSystemsResponse))
)]
pub(crate) async fn systems(State(api): State<Api>, caller: Caller) -> Result<Json<GetSystemsResponse>, Problem> {
    let systems = status::systems(&api.gate, &caller).await?;
    let shown = systems.into_iter().map(|cluster| api.system_cache.get(cluster, api.gate.maintenance(cluster.name())));
    let shown = shown.collect::<Result<_, _>>();
    shown.map(Json).map_err(|error| Problem::new(Kind::Internal, format!("the systems cannot be written: {error}")))
}

/// Get limits and settings
///
/// Limits and settings of the whole service, and of each system that the caller may use.
#[utoipa::path(
    get,
    path = "/status/parameters",
    operation_id = "get_parameters_status_parameters_get",
    tag = "status",
    responses((status = 200, description = "The parameters", body = GetParametersResponse))
)]
pub(crate) async fn parameters(State(api): State<Api>, caller: Caller) -> Result<Json<GetParametersResponse>, Problem> {
    let systems = status::systems(&api.gate, &caller).await?;
    Ok(Json(GetParametersResponse::new(&api.config, systems.into_iter().map(std::sync::Arc::as_ref))))
}

/// Get the caller
///
/// The claims of the access token, as this service interprets them. The system's `userinfo` has the account on a system.
#[utoipa::path(
    get,
    path = "/status/whoami",
    operation_id = "get_whoami_status_whoami_get",
    tag = "status",
    responses((status = 200, description = "The caller", body = GetWhoamiResponse))
)]
pub(crate) async fn whoami(caller: Caller) -> Json<GetWhoamiResponse> {
    Json(caller.principal().into())
}

/// List the nodes
#[utoipa::path(
    get,
    path = "/status/{system_name}/nodes",
    operation_id = "get_system_nodes_status__system_name__nodes_get",
    tag = "status",
    responses((status = 200, description = "The nodes", body = GetNodesResponse), (status = 304, description = "The client has the current response"))
)]
pub(crate) async fn nodes(ReadAccess(access): ReadAccess, if_none_match: IfNoneMatch) -> Result<Response, Problem> {
    Ok(if_none_match.answer(&status::nodes(&access).await?, |value, missing| render(GetNodesResponse::from(value), missing)))
}

/// List the reservations
#[utoipa::path(
    get,
    path = "/status/{system_name}/reservations",
    operation_id = "get_system_reservations_status__system_name__reservations_get",
    tag = "status",
    responses((status = 200, description = "The reservations", body = GetReservationsResponse), (status = 304, description = "The client has the current response"))
)]
pub(crate) async fn reservations(ReadAccess(access): ReadAccess, if_none_match: IfNoneMatch) -> Result<Response, Problem> {
    Ok(if_none_match.answer(&status::reservations(&access).await?, |value, missing| render(GetReservationsResponse::from(value), missing)))
}

/// List the partitions or queues
#[utoipa::path(
    get,
    path = "/status/{system_name}/partitions",
    operation_id = "get_system_partitions_status__system_name__partitions_get",
    tag = "status",
    params(PartitionsParameters),
    responses((status = 200, description = "The partitions or queues", body = GetPartitionsResponse), (status = 304, description = "The client has the current response"))
)]
pub(crate) async fn partitions(
    ReadAccess(access): ReadAccess,
    query: Parameters<PartitionsParameters>,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    Ok(if_none_match.answer(&status::partitions(&access, query.0.show_hidden).await?, |value, missing| {
        render(GetPartitionsResponse::from(value), missing)
    }))
}

/// Get the caller's account on the system
#[utoipa::path(
    get,
    path = "/status/{system_name}/userinfo",
    operation_id = "get_userinfo_status__system_name__userinfo_get",
    tag = "status",
    responses((status = 200, description = "The user, the groups and the accounts", body = UserInfoResponse))
)]
pub(crate) async fn userinfo(ReadAccess(access): ReadAccess) -> Result<Response, Problem> {
    let user = status::user(&access).await?;
    let backend = backend_header(user.1.via());
    Ok((backend, Json(UserInfoResponse::from(user))).into_response())
}
