//! `/status/{system_name}/limits`: the limits of jobs, so that a web form can show them before a submission.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{AssociationLimits, FairShare, JobLimits, PartitionLimits, QosLimits};
use crate::http::extract::access::ReadAccess;
use crate::http::extract::cached_response::backend_header;
use crate::http::problem::Problem;
use crate::service::status;

/// The limits of the caller's jobs. Members that are unlimited or unknown are absent.
#[derive(Serialize, ToSchema)]
pub(crate) struct GetLimitsResponse {
    /// The limits of each partition or queue.
    partitions: Vec<PartitionLimitsModel>,
    /// The limits of each quality of service; absent if the scheduler has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<Vec<QosLimitsModel>>,
    /// The limits of each account that the caller may charge; absent if the scheduler has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    associations: Option<Vec<AssociationLimitsModel>>,
}

/// The limits of a partition or queue. Resources are in the scheduler's notation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PartitionLimits)]
struct PartitionLimitsModel {
    /// The name.
    name: String,
    /// Whether jobs that name none use it.
    is_default: bool,
    /// The state in the scheduler's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Maximum run time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_time: Option<u64>,
    /// Default run time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_time: Option<u64>,
    /// Minimum number of nodes of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    min_nodes: Option<u64>,
    /// Maximum number of nodes of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_nodes: Option<u64>,
    /// Maximum CPUs of a job on each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cpus_per_node: Option<u64>,
    /// Maximum memory of a job on each node, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory_per_node: Option<u64>,
    /// Maximum memory of a job for each CPU, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory_per_cpu: Option<u64>,
    /// Default memory on each node, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_memory_per_node: Option<u64>,
    /// Default memory for each CPU, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_memory_per_cpu: Option<u64>,
    /// The qualities of service that may be used there; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_qos: Option<Vec<String>>,
    /// The accounts that may be charged there; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_accounts: Option<Vec<String>>,
    /// The groups whose members may use it; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_groups: Option<Vec<String>>,
    /// Maximum of other resources of a job.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    max_resources: BTreeMap<String, String>,
    /// Its resources in total.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    total_resources: BTreeMap<String, String>,
}

/// The limits of a quality of service.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QosLimits)]
struct QosLimitsModel {
    /// The name.
    name: String,
    /// The priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    /// Maximum run time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_time: Option<u64>,
    /// Maximum resources of a job.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    max_resources_per_job: BTreeMap<String, String>,
    /// Maximum resources of all running jobs of a user.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    max_resources_per_user: BTreeMap<String, String>,
    /// Maximum number of running jobs of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_jobs_per_user: Option<u64>,
    /// Maximum number of running and pending jobs of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_submitted_per_user: Option<u64>,
    /// Maximum resources of all running jobs together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    max_resources_in_all: BTreeMap<String, String>,
}

/// The limits of jobs that charge an account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AssociationLimits)]
struct AssociationLimitsModel {
    /// The account.
    account: String,
    /// The partition that the limits apply to; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    /// The default quality of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_qos: Option<String>,
    /// The qualities of service that may be used.
    qos: Vec<String>,
    /// Maximum run time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_time: Option<u64>,
    /// Maximum number of running jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_jobs: Option<u64>,
    /// Maximum number of running and pending jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_submitted: Option<u64>,
    /// Maximum resources of a job.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    max_resources_per_job: BTreeMap<String, String>,
    /// Maximum resources of all running jobs together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    max_resources_in_all: BTreeMap<String, String>,
    /// The caller's share of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    fair_share: Option<FairShareModel>,
}

/// The caller's share of the system, and its usage.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FairShare)]
struct FairShareModel {
    /// The shares that the site assigned; `parent` for those of the account.
    shares: String,
    /// The same as a fraction of all shares, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    normalized_shares: Option<f64>,
    /// The usage in CPU seconds, which decays with time.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_usage: Option<u64>,
    /// The same as a fraction of all shares, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_usage: Option<f64>,
    /// The fair-share factor of the priority of jobs, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
}

impl From<JobLimits> for GetLimitsResponse {
    fn from(JobLimits { partitions, qos, associations }: JobLimits) -> Self {
        Self {
            partitions: partitions.into_iter().map(Into::into).collect(),
            qos: qos.map(|qos| qos.into_iter().map(Into::into).collect()),
            associations: associations.map(|associations| associations.into_iter().map(Into::into).collect()),
        }
    }
}

impl From<PartitionLimits> for PartitionLimitsModel {
    fn from(limits: PartitionLimits) -> Self {
        Self {
            name: limits.name,
            is_default: limits.is_default,
            state: limits.state,
            max_time: limits.max_time,
            default_time: limits.default_time,
            min_nodes: limits.min_nodes,
            max_nodes: limits.max_nodes,
            max_cpus_per_node: limits.max_cpus_per_node,
            max_memory_per_node: limits.max_memory_per_node,
            max_memory_per_cpu: limits.max_memory_per_cpu,
            default_memory_per_node: limits.default_memory_per_node,
            default_memory_per_cpu: limits.default_memory_per_cpu,
            allowed_qos: limits.allowed_qos,
            allowed_accounts: limits.allowed_accounts,
            allowed_groups: limits.allowed_groups,
            max_resources: limits.max_resources,
            total_resources: limits.total_resources,
        }
    }
}

impl From<QosLimits> for QosLimitsModel {
    fn from(limits: QosLimits) -> Self {
        Self {
            name: limits.name,
            priority: limits.priority,
            max_time: limits.max_time,
            max_resources_per_job: limits.max_resources_per_job,
            max_resources_per_user: limits.max_resources_per_user,
            max_jobs_per_user: limits.max_jobs_per_user,
            max_submitted_per_user: limits.max_submitted_per_user,
            max_resources_in_all: limits.max_resources_in_all,
        }
    }
}

impl From<AssociationLimits> for AssociationLimitsModel {
    fn from(limits: AssociationLimits) -> Self {
        Self {
            account: limits.account,
            partition: limits.partition,
            default_qos: limits.default_qos,
            qos: limits.qos,
            max_time: limits.max_time,
            max_jobs: limits.max_jobs,
            max_submitted: limits.max_submitted,
            max_resources_per_job: limits.max_resources_per_job,
            max_resources_in_all: limits.max_resources_in_all,
            fair_share: limits.fair_share.map(Into::into),
        }
    }
}

impl From<FairShare> for FairShareModel {
    fn from(share: FairShare) -> Self {
        Self {
            shares: share.shares,
            normalized_shares: share.normalized_shares,
            raw_usage: share.raw_usage,
            effective_usage: share.effective_usage,
            factor: share.factor,
        }
    }
}

/// Get the limits of jobs
///
/// The limits of each partition, each quality of service and the caller's accounts, and the caller's fair share. Web forms can show them
/// before a job is submitted.
#[utoipa::path(
    get,
    path = "/status/{system_name}/limits",
    operation_id = "get_system_limits_status__system_name__limits_get",
    tag = "status",
    responses((status = 200, description = "The limits", body = GetLimitsResponse))
)]
pub(crate) async fn limits(ReadAccess(access): ReadAccess) -> Result<Response, Problem> {
    let limits = status::limits(&access).await?;
    let body = Json(GetLimitsResponse::from(limits.value));
    Ok((backend_header(limits.via), body).into_response())
}
