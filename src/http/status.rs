//! `/status`: the systems, and what is known of each.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;

use super::Api;
use super::dto::status::{
    GetLiveness, GetNodesResponse, GetPartitionsResponse, GetReservationsResponse, PartitionsParameters, UserInfoResponse,
};
use super::dto::system::GetSystemsResponse;
use super::extract::Parameters;
use super::problem::Problem;
use super::reading::Known;
use crate::service::{Access, Caller, status};

/// Whether this process lives
///
/// Needs no token. It says nothing of the health of the systems.
#[utoipa::path(
    get,
    path = "/status/liveness/",
    operation_id = "get_liveness_status_liveness__get",
    tag = "status",
    responses((status = 200, description = "It lives", body = GetLiveness))
)]
pub(super) async fn liveness(State(api): State<Api>) -> Json<GetLiveness> {
    Json(GetLiveness::new(status::last_checks(&api.gate), Timestamp::now()))
}

/// List the systems
///
/// How each system is set up, without secrets, and the newest findings about its health.
#[utoipa::path(
    get,
    path = "/status/systems",
    operation_id = "get_systems_status_systems_get",
    tag = "status",
    responses((status = 200, description = "The systems", body = GetSystemsResponse))
)]
pub(super) async fn systems(State(api): State<Api>, caller: Caller) -> Json<GetSystemsResponse> {
    Json(status::systems(&api.gate, &caller).map(std::sync::Arc::as_ref).collect())
}

/// List the nodes
#[utoipa::path(
    get,
    path = "/status/{system_name}/nodes",
    operation_id = "get_system_nodes_status__system_name__nodes_get",
    tag = "status",
    responses((status = 200, description = "The nodes", body = GetNodesResponse), (status = 304, description = "The answer is the one that the caller has"))
)]
pub(super) async fn nodes(access: Access, known: Known) -> Result<Response, Problem> {
    Ok(known.answer::<GetNodesResponse, _>(&status::nodes(&access).await?))
}

/// List the reservations
#[utoipa::path(
    get,
    path = "/status/{system_name}/reservations",
    operation_id = "get_system_reservations_status__system_name__reservations_get",
    tag = "status",
    responses((status = 200, description = "The reservations", body = GetReservationsResponse), (status = 304, description = "The answer is the one that the caller has"))
)]
pub(super) async fn reservations(access: Access, known: Known) -> Result<Response, Problem> {
    Ok(known.answer::<GetReservationsResponse, _>(&status::reservations(&access).await?))
}

/// List the partitions or queues
#[utoipa::path(
    get,
    path = "/status/{system_name}/partitions",
    operation_id = "get_system_partitions_status__system_name__partitions_get",
    tag = "status",
    params(PartitionsParameters),
    responses((status = 200, description = "The partitions or queues", body = GetPartitionsResponse), (status = 304, description = "The answer is the one that the caller has"))
)]
pub(super) async fn partitions(access: Access, query: Parameters<PartitionsParameters>, known: Known) -> Result<Response, Problem> {
    Ok(known.answer::<GetPartitionsResponse, _>(&status::partitions(&access, query.0.show_hidden).await?))
}

/// Who the caller is on the system
#[utoipa::path(
    get,
    path = "/status/{system_name}/userinfo",
    operation_id = "get_userinfo_status__system_name__userinfo_get",
    tag = "status",
    responses((status = 200, description = "The user, the groups and the accounts", body = UserInfoResponse))
)]
pub(super) async fn userinfo(access: Access) -> Result<Json<UserInfoResponse>, Problem> {
    Ok(Json(status::user(&access).await?.into()))
}
