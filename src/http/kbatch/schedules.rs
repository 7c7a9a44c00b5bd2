//! Schedules, which are CronJobs to clients: submit, list, show, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::Extension;
use serde_json::Value;

use super::answers;
use super::config::KbatchConfig;
use super::jobs::{additions, or_name};
use super::received::Received;
use super::shapes::to_dictionary;
use super::submission;
use crate::http::extract::access::{NameText, ReadAccess, SubmitAccess};
use crate::http::problem::Problem;
use crate::service::{native_jobs, schedules};

const KIND: &str = "cronjobs.batch";
const MODEL: &str = "V1CronJob";

/// Creates a schedule. The answer is the schedule as it is then.
pub(super) async fn submit(
    SubmitAccess(access): SubmitAccess,
    Extension(config): Extension<Arc<KbatchConfig>>,
    Received { job, code }: Received,
) -> Result<Json<Value>, Problem> {
    let schedule = submission::schedule(&job, code, additions(&config, &access))?;
    let id = schedules::create(&access, schedule).await?;
    let object = or_name(native_jobs::schedule(&access, id.as_str()).await, id.as_str());
    Ok(Json(to_dictionary(MODEL, &object)))
}

/// The caller's schedules.
pub(super) async fn list(ReadAccess(access): ReadAccess) -> Result<Json<Value>, Problem> {
    Ok(answers::cron_jobs(native_jobs::schedules(&access).await?))
}

/// One schedule.
pub(super) async fn show(ReadAccess(access): ReadAccess, NameText(name): NameText) -> Result<Json<Value>, Problem> {
    let schedule = native_jobs::schedule(&access, &name).await.map_err(|error| answers::failed(error, KIND, &name))?;
    Ok(Json(to_dictionary(MODEL, &schedule)))
}

/// Removes a schedule, with its jobs.
pub(super) async fn remove(SubmitAccess(access): SubmitAccess, NameText(name): NameText) -> Result<Json<Value>, Problem> {
    schedules::remove(&access, &name).await.map_err(|error| answers::failed(error, KIND, &name))?;
    Ok(answers::removed("cronjobs", &name))
}
