//! The receiver for the records that Slurm's `jobcomp/elasticsearch` sends when a job ends, on its own listener.
//!
//! The secret in the path is the only authentication. A record is only a hint to read the job; nothing else in it is trusted. Every request with
//! the secret is answered with success, because Slurm sends refused records again and again.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::domain::{JobId, Secret, Username};

/// The maximum size of a record in bytes. It may contain the script of the job; a larger one is not read.
const MAX_RECORD: usize = 4 << 20;

/// Numbers from here on mean "no value" (`NO_VAL`).
const NO_NUMBER: u64 = 0xffff_fffe;

/// The members of a record that are read.
#[derive(Deserialize)]
struct CompletionRecord {
    jobid: u64,
    username: String,
    array_job_id: Option<u64>,
    array_task_id: Option<u64>,
    het_job_id: Option<u64>,
    het_job_offset: Option<u64>,
}

impl CompletionRecord {
    /// The job under the id by which it is shown.
    fn job(&self) -> Option<JobId> {
        let part = |job: Option<u64>, part: Option<u64>| job.filter(|&job| job > 0).zip(part.filter(|&part| part < NO_NUMBER));
        let id = if let Some((array, task)) = part(self.array_job_id, self.array_task_id) {
            format!("{array}_{task}")
        } else if let Some((job, offset)) = part(self.het_job_id, self.het_job_offset) {
            format!("{job}+{offset}")
        } else {
            self.jobid.to_string()
        };
        JobId::new(&id).ok()
    }
}

/// The router for records sent to `/<secret>`, which passes the user and the job of each to `hint`; none where a record names no job.
pub fn pushes(secret: Secret, hint: impl Fn(Option<(&Username, &JobId)>) + Send + Sync + 'static) -> Router {
    let shared = Arc::new((secret, hint));
    Router::new().fallback(move |request: Request| {
        let shared = Arc::clone(&shared);
        async move { take(&shared.0, &shared.1, request).await }
    })
}

/// The user and the job that a record names, or why there are none.
async fn named(body: Body) -> Result<(Username, JobId), String> {
    let bytes = axum::body::to_bytes(body, MAX_RECORD).await.map_err(|error| error.to_string())?;
    let record: CompletionRecord = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let user = Username::new(&record.username).map_err(|error| error.to_string())?;
    record.job().map(|job| (user, job)).ok_or_else(|| "it names no job".to_owned())
}

async fn take(secret: &Secret, hint: &impl Fn(Option<(&Username, &JobId)>), request: Request) -> Response {
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    if verify_slices_are_equal(first.as_bytes(), secret.expose().as_bytes()).is_err() || request.method() != Method::POST {
        return StatusCode::NOT_FOUND.into_response();
    }
    let ended =
        named(request.into_body()).await.inspect_err(|reason| tracing::debug!(reason, "a record of an ended job could not be read"));
    hint(ended.as_ref().ok().map(|(user, job)| (user, job)));
    ([(header::CONTENT_TYPE, "application/json")], Body::from("{}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(record: serde_json::Value) -> String {
        serde_json::from_value::<CompletionRecord>(record).unwrap().job().unwrap().to_string()
    }

    #[test]
    fn a_job_is_named_as_it_is_shown() {
        let plain = serde_json::json!({"jobid": 25, "username": "ada", "het_job_id": 0, "het_job_offset": 0, "state": "CANCELLED"});
        assert_eq!(id(plain), "25");
        let task = serde_json::json!({"jobid": 358, "username": "ada", "array_job_id": 356, "array_task_id": 7, "het_job_id": 0});
        assert_eq!(id(task), "356_7");
        let component = serde_json::json!({"jobid": 13, "username": "ada", "het_job_id": 12, "het_job_offset": 1});
        assert_eq!(id(component), "12+1");
        let waiting = serde_json::json!({"jobid": 40, "username": "ada", "array_job_id": 40, "array_task_id": 4_294_967_294_u64});
        assert_eq!(id(waiting), "40");
    }
}
