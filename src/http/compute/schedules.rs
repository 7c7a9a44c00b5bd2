//! `/compute/{system_name}/schedules`: jobs that the scheduler itself submits at times.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{JobId, Overlap, Schedule, ScheduleDescription};
use crate::http::compute::description::JobDescriptionModel;
use crate::http::enumeration::enum_schema;
use crate::http::extract::access::{ReadAccess, ScheduleIdText, SubmitAccess};
use crate::http::extract::parameters::Document;
use crate::http::problem::Problem;
use crate::service::schedules;

/// A job that is to be submitted at times.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "name": "nightly",
    "cron": "0 3 * * *",
    "timeZone": "Europe/Zurich",
    "job": {"workingDirectory": "/", "script": "#!/bin/sh\ndate\n"}
}))]
pub(crate) struct PostScheduleRequest {
    /// The schedule's name; that of the job if absent.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// The times, in the five fields of cron: minute, hour, day of the month, month, day of the week.
    #[schema(max_length = 256, example = "0 3 * * *")]
    cron: String,
    /// The time zone of the times; that of the cluster if absent.
    #[schema(max_length = 256, example = "Europe/Zurich")]
    time_zone: Option<String>,
    /// Whether nothing is submitted.
    #[serde(default)]
    suspended: bool,
    /// What becomes of a job whose time comes while the one before runs.
    #[serde(default)]
    #[schema(value_type = OverlapSchema)]
    overlap: Overlap,
    /// The job.
    job: JobDescriptionModel,
}

enum_schema! {
    /// What becomes of a job whose time comes while the one before runs: both run, it is left out, or the one before is cancelled.
    OverlapSchema of [Overlap::Allow, Overlap::Skip, Overlap::Replace] or Overlap::Allow
}

/// The id of a schedule that was created.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PostScheduleResponse {
    /// The id.
    #[schema(example = "nightly-0b5f3c2a9d11")]
    schedule_id: String,
}

/// The schedules.
#[derive(Serialize, ToSchema)]
pub(crate) struct GetSchedulesResponse {
    schedules: Vec<ScheduleModel>,
}

/// One schedule.
#[derive(Serialize, ToSchema)]
pub(crate) struct GetScheduleResponse {
    schedule: ScheduleModel,
}

/// A job that is submitted at times. Members that are not known are absent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Schedule)]
struct ScheduleModel {
    /// Its id.
    schedule_id: String,
    /// Its name.
    name: String,
    /// The times, in the five fields of cron.
    cron: String,
    /// The time zone of the times.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// Whether nothing is submitted.
    suspended: bool,
    /// What becomes of a job whose time comes while the one before runs.
    #[schema(value_type = OverlapSchema)]
    overlap: Overlap,
    /// The partition of its jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    /// When it was created, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<i64>,
    /// The last time for which a job was submitted, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_time: Option<i64>,
    /// When the last job that succeeded had ended, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<i64>,
    /// The ids of its jobs that run.
    active_jobs: Vec<String>,
}

impl TryFrom<PostScheduleRequest> for ScheduleDescription<String> {
    type Error = crate::service::InvalidRequest;

    fn try_from(request: PostScheduleRequest) -> Result<Self, Self::Error> {
        let PostScheduleRequest { name, cron, time_zone, suspended, overlap, job } = request;
        Ok(Self { name, cron, time_zone, suspended, overlap, job: job.try_into()? })
    }
}

impl From<Schedule> for ScheduleModel {
    fn from(schedule: Schedule) -> Self {
        Self {
            schedule_id: schedule.id.as_str().to_owned(),
            name: schedule.name,
            cron: schedule.cron,
            time_zone: schedule.time_zone,
            suspended: schedule.suspended,
            overlap: schedule.overlap,
            partition: schedule.partition,
            created: schedule.created,
            last_time: schedule.last_time,
            last_success: schedule.last_success,
            active_jobs: schedule.active.iter().map(JobId::to_string).collect(),
        }
    }
}

/// List the schedules
///
/// The caller's jobs that the scheduler itself submits at times.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/schedules",
    operation_id = "get_schedules_compute__system_name__schedules_get",
    tag = "compute",
    responses((status = 200, description = "The schedules", body = GetSchedulesResponse))
)]
pub(crate) async fn list_schedules(ReadAccess(access): ReadAccess) -> Result<Json<GetSchedulesResponse>, Problem> {
    let schedules = schedules::list(&access).await?.into_iter().map(ScheduleModel::from).collect();
    Ok(Json(GetSchedulesResponse { schedules }))
}

/// Create a schedule
///
/// The scheduler submits the job at each of the times, whether Goldcrest runs then or not. The jobs are listed as any others.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/schedules",
    operation_id = "post_schedule_compute__system_name__schedules_post",
    tag = "compute",
    request_body = PostScheduleRequest,
    responses((status = 201, description = "The schedule was created", body = PostScheduleResponse))
)]
pub(crate) async fn create_schedule(
    SubmitAccess(access): SubmitAccess,
    Document(request): Document<PostScheduleRequest>,
) -> Result<(StatusCode, Json<PostScheduleResponse>), Problem> {
    let id = schedules::create(&access, request.try_into()?).await?;
    Ok((StatusCode::CREATED, Json(PostScheduleResponse { schedule_id: id.as_str().to_owned() })))
}

/// Get a schedule
#[utoipa::path(
    get,
    path = "/compute/{system_name}/schedules/{schedule_id}",
    operation_id = "get_schedule_compute__system_name__schedules__schedule_id__get",
    tag = "compute",
    responses((status = 200, description = "The schedule", body = GetScheduleResponse))
)]
pub(crate) async fn get_schedule(ReadAccess(access): ReadAccess, id: ScheduleIdText) -> Result<Json<GetScheduleResponse>, Problem> {
    let schedule = schedules::get(&access, &id.0).await?.into();
    Ok(Json(GetScheduleResponse { schedule }))
}

/// Remove a schedule
///
/// Its jobs that run are cancelled, and those that have ended are forgotten.
#[utoipa::path(
    delete,
    path = "/compute/{system_name}/schedules/{schedule_id}",
    operation_id = "delete_schedule_compute__system_name__schedules__schedule_id__delete",
    tag = "compute",
    responses((status = 204, description = "The schedule was removed"))
)]
pub(crate) async fn remove_schedule(SubmitAccess(access): SubmitAccess, id: ScheduleIdText) -> Result<StatusCode, Problem> {
    schedules::remove(&access, &id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
