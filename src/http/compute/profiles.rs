//! `/compute/{system_name}/profiles`: the sizes and places that a system offers for jobs.

use std::collections::BTreeMap;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::JobProfile;
use crate::http::extract::access::ReadAccess;
use crate::http::problem::Problem;
use crate::service::jobs;

/// The profiles.
#[derive(Serialize, ToSchema)]
pub(crate) struct GetProfilesResponse {
    profiles: Vec<ProfileModel>,
}

/// A size and place of jobs. Members without a limit are absent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = JobProfile)]
struct ProfileModel {
    /// Its name, which jobs give as `partition`.
    name: String,
    /// Whether jobs that name none have it.
    is_default: bool,
    /// The image of jobs that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// CPUs of a job that asks for none.
    cpus: u32,
    /// The most CPUs of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cpus: Option<u32>,
    /// Memory of a job that asks for none.
    #[schema(example = "4096M")]
    memory: String,
    /// The most memory of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory: Option<String>,
    /// The most GPUs of a job.
    max_gpus: u32,
    /// The time limit of a job that asks for none, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_limit: Option<u32>,
    /// The longest time limit, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_time_limit: Option<u32>,
    /// The labels of the nodes that its jobs run on.
    node_labels: BTreeMap<String, String>,
}

impl From<JobProfile> for ProfileModel {
    fn from(profile: JobProfile) -> Self {
        Self {
            name: profile.name,
            is_default: profile.is_default,
            image: profile.image,
            cpus: profile.cpus,
            max_cpus: profile.max_cpus,
            memory: profile.memory.to_string(),
            max_memory: profile.max_memory.map(|memory| memory.to_string()),
            max_gpus: profile.max_gpus,
            time_limit: profile.time_limit,
            max_time_limit: profile.max_time_limit,
            node_labels: profile.node_labels,
        }
    }
}

/// List the profiles
///
/// The sizes and places that the system offers for jobs, each of which is a partition too.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/profiles",
    operation_id = "get_profiles_compute__system_name__profiles_get",
    tag = "compute",
    responses((status = 200, description = "The profiles", body = GetProfilesResponse))
)]
pub(crate) async fn list_profiles(ReadAccess(access): ReadAccess) -> Result<Json<GetProfilesResponse>, Problem> {
    let profiles = jobs::profiles(&access)?.into_iter().map(ProfileModel::from).collect();
    Ok(Json(GetProfilesResponse { profiles }))
}
