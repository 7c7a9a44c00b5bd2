//! The output of jobs and pods, with its line breaks.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;

use super::{answers, pods};
use crate::domain::LogStream;
use crate::error::Kind;
use crate::http::compute::logs::{bytes, whole};
use crate::http::event_stream::until_drain;
use crate::http::extract::access::{NameText, ReadAccess};
use crate::http::extract::parameters::{Parameters, lenient};
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::http::server::upgrade::Draining;
use crate::service::logs::{self, LogStart};
use crate::service::{Access, ServiceError, native_jobs};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Whether the output is sent as it is written, until the job has ended.
#[derive(Deserialize)]
pub(super) struct LogParameters {
    #[serde(default, deserialize_with = "lenient::flag")]
    stream: bool,
}

/// The output of a job, that is of its first pod. Older clients ask here with the name of a pod.
pub(super) async fn of_job(
    ReadAccess(access): ReadAccess,
    NameText(name): NameText,
    Parameters(query): Parameters<LogParameters>,
    draining: Draining,
    context: ProblemContext,
) -> Result<Response, Problem> {
    let no_pods = || Problem::new(Kind::NotFound, format!("No pods found for job {name}"));
    let tasks = match native_jobs::tasks(&access, Some(&name)).await {
        Err(ServiceError::Invalid(_)) => return Err(no_pods()),
        tasks => tasks?,
    };
    if let Some(task) = tasks.first() {
        return output(&access, task.job.as_str(), query.stream.then_some(draining), context).await;
    }
    match native_jobs::job(&access, &name).await {
        // It has none yet; a client that follows the job waits for one.
        Ok(_) if query.stream => output(&access, &name, Some(draining), context).await,
        Ok(_) => Err(no_pods()),
        Err(error) if error.is_unknown_job() => match pods::find(&access, &name).await {
            Ok(pod) => output(&access, pod.job.as_str(), query.stream.then_some(draining), context).await,
            Err(error) if error.is_unknown_job() => Err(no_pods()),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The output of a pod.
pub(super) async fn of_pod(
    ReadAccess(access): ReadAccess,
    NameText(name): NameText,
    Parameters(query): Parameters<LogParameters>,
    draining: Draining,
    context: ProblemContext,
) -> Result<Response, Problem> {
    let pod = pods::find(&access, &name).await.map_err(|error| answers::failed(error, pods::KIND, &name))?;
    output(&access, pod.job.as_str(), query.stream.then_some(draining), context).await
}

/// The output of a job until now, or until it has ended or the server drains if that is given.
async fn output(access: &Access, job: &str, follow: Option<Draining>, context: ProblemContext) -> Result<Response, Problem> {
    let start = LogStart::Offset(0);
    let mut answer = match follow {
        Some(draining) => bytes(until_drain(logs::follow(access, job, LogStream::Stdout, start).await?.updates, draining), context),
        None => whole(logs::read(access, job, LogStream::Stdout, start).await?),
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    Ok(answer)
}
