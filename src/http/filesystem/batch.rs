//! `POST /filesystem/{system_name}/ops/batch`: many file operations of one request.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::time::Instant;

use crate::authz::Relation;
use crate::error::Kind;
use crate::http::Api;
use crate::http::extract::access::ReadAccess;
use crate::http::extract::parameters::Document;
use crate::http::filesystem::model::batch::{BatchOutput, BatchResult, PostBatchRequest, PostBatchResponse};
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::service::batch::{self, Operation, Outcome, Output};

/// Carry out many file operations
///
/// Many at once, in no order, so that none may build on another; with `ordered` one after the other, up to the first that fails.
/// Each has a status of its own, and the answer is 200 whatever they are. Nothing that was done is undone.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/batch",
    operation_id = "post_batch_filesystem__system_name__ops_batch_post",
    tag = "filesystem",
    request_body = PostBatchRequest,
    responses((status = 200, description = "What became of each operation", body = PostBatchResponse))
)]
pub(crate) async fn batch(
    ReadAccess(access): ReadAccess,
    State(api): State<Api>,
    problem_context: ProblemContext,
    Document(request): Document<PostBatchRequest>,
) -> Result<Json<PostBatchResponse>, Problem> {
    // What is left of the request's time is for the answer.
    let time = Duration::from_secs(api.config.request_timeout).mul_f32(0.9);
    let operations: Vec<Operation> = request.operations.into_iter().map(Operation::from).collect();
    let changes = operations.iter().any(Operation::changes);
    let access = if changes { api.gate.admit_further(access, Relation::Write).await? } else { access };
    let outcomes = batch::run(&access, operations, request.ordered, Instant::now() + time).await?;
    let failed = outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Done(_))).count();
    let results = outcomes.into_iter().map(|outcome| result(outcome, &problem_context)).collect();
    Ok(Json(PostBatchResponse { results, failed }))
}

fn result(outcome: Outcome, problem_context: &ProblemContext) -> BatchResult {
    let problem = match outcome {
        Outcome::Done(given) => {
            let status = if matches!(given, Output::Nothing) { 204 } else { 200 };
            return BatchResult { status, output: BatchOutput::new(given), error: None };
        }
        Outcome::Failed(error) => Problem::from(error),
        Outcome::TimedOut { maybe_effected } => {
            let problem = Problem::new(Kind::DeadlineExceeded, "the operation was not done in the time of the batch");
            if maybe_effected { problem.maybe_effected() } else { problem }
        }
        Outcome::Skipped(earlier) => Problem::new(Kind::Conflict, format!("not begun, because operation {earlier} (from 0) failed")),
    };
    let error = serde_json::from_slice(&problem_context.document(&problem)).ok();
    BatchResult { status: problem.status(), output: None, error }
}
