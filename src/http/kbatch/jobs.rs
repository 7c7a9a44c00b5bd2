//! Jobs: submit, list, show, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::Extension;
use serde_json::{Value, json};

use super::answers;
use super::config::KbatchConfig;
use super::received::Received;
use super::submission::{self, Additions};
use crate::error::ErrorChain;
use crate::http::extract::access::{NameText, ReadAccess, SubmitAccess};
use crate::http::problem::Problem;
use crate::service::{Access, ServiceError, jobs, native_jobs};

const KIND: &str = "jobs.batch";

/// Submits a job. The answer is the job as it is then.
pub(super) async fn submit(
    SubmitAccess(access): SubmitAccess,
    Extension(config): Extension<Arc<KbatchConfig>>,
    Received { job, code }: Received,
) -> Result<Json<Value>, Problem> {
    let submission = submission::job(&job, code, additions(&config, &access))?;
    let id = jobs::submit(&access, submission, None).await?.value.id;
    Ok(answers::job(or_name(native_jobs::job(&access, id.as_str()).await, id.as_str())))
}

/// What the site adds to the caller's jobs.
pub(super) fn additions<'a>(config: &'a KbatchConfig, access: &'a Access) -> Additions<'a> {
    let token = config.pass_token.then(|| &access.principal().token);
    Additions { template: config.job_template.as_ref(), variables: &config.extra_env, token }
}

/// What was submitted; its name where it cannot be read, since it was submitted.
pub(super) fn or_name(object: Result<Value, ServiceError>, name: &str) -> Value {
    object.unwrap_or_else(|error| {
        tracing::warn!(name, error = %ErrorChain(&error), "what was submitted a moment ago cannot be read");
        json!({"metadata": {"name": name}})
    })
}

/// The caller's jobs.
pub(super) async fn list(ReadAccess(access): ReadAccess) -> Result<Json<Value>, Problem> {
    Ok(answers::jobs(native_jobs::jobs(&access).await?))
}

/// One job.
pub(super) async fn show(ReadAccess(access): ReadAccess, NameText(name): NameText) -> Result<Json<Value>, Problem> {
    let job = native_jobs::job(&access, &name).await.map_err(|error| answers::failed(error, KIND, &name))?;
    Ok(answers::job(job))
}

/// Removes a job.
pub(super) async fn remove(SubmitAccess(access): SubmitAccess, NameText(name): NameText) -> Result<Json<Value>, Problem> {
    native_jobs::remove_job(&access, &name).await.map_err(|error| answers::failed(error, KIND, &name))?;
    Ok(answers::removed("jobs", &name))
}
