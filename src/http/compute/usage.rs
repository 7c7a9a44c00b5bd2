//! `/compute/{system_name}/usage`: what jobs have used.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ResourceUsage;
use crate::http::compute::model::AcctParameters;
use crate::http::extract::access::ReadAccess;
use crate::http::extract::cached_response::backend_header;
use crate::http::extract::parameters::Parameters;
use crate::http::problem::Problem;
use crate::service::usage::{self, Sums, Total};

/// The sum of the resources that jobs have used.
#[derive(Serialize, ToSchema)]
pub(crate) struct GetUsageResponse {
    /// All jobs of the request together.
    total: UsageModel,
    /// By user.
    users: BTreeMap<String, UsageModel>,
    /// By account.
    accounts: BTreeMap<String, UsageModel>,
    /// By job, if the request names jobs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    jobs: BTreeMap<String, UsageModel>,
}

/// An amount of resources. Members that the scheduler does not know are absent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ResourceUsage)]
struct UsageModel {
    /// The number of jobs; each run of a requeued job counts.
    jobs: u64,
    /// Run time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed: Option<u64>,
    /// Node seconds allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_seconds: Option<u64>,
    /// CPU seconds allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<u64>,
    /// CPU seconds used.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds_used: Option<f64>,
    /// GPU seconds allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_seconds: Option<u64>,
    /// The peak memory of one task, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory: Option<u64>,
    /// Energy in joules.
    #[serde(skip_serializing_if = "Option::is_none")]
    energy: Option<u64>,
}

impl From<Total> for UsageModel {
    fn from(Total { jobs, resources }: Total) -> Self {
        let ResourceUsage { elapsed, node_seconds, cpu_seconds, cpu_seconds_used, gpu_seconds, peak_memory, energy } = resources;
        Self { jobs, elapsed, node_seconds, cpu_seconds, cpu_seconds_used, gpu_seconds, peak_memory, energy }
    }
}

impl From<Sums> for GetUsageResponse {
    fn from(Sums { total, users, accounts, jobs }: Sums) -> Self {
        let models = |sums: BTreeMap<String, Total>| sums.into_iter().map(|(name, total)| (name, total.into())).collect();
        Self { total: total.into(), users: models(users), accounts: models(accounts), jobs: models(jobs) }
    }
}

/// Sum the resources that jobs have used
///
/// CPUs, GPUs, memory and energy of the jobs in the accounting database, as far as the scheduler knows them: in total, by user and by
/// account. If `jobs` is given, by job too.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/usage",
    operation_id = "get_usage_compute__system_name__usage_get",
    tag = "compute",
    params(AcctParameters),
    responses((status = 200, description = "The resources that the jobs have used", body = GetUsageResponse))
)]
pub(crate) async fn usage(ReadAccess(access): ReadAccess, query: Parameters<AcctParameters>) -> Result<Response, Problem> {
    let sums = usage::sum(&access, query.0.into()).await?;
    let body = Json(GetUsageResponse::from(sums.value));
    Ok((backend_header(sums.via), body).into_response())
}
