//! `POST /filesystem/{system_name}/ops/batch`: many file operations of one request.

use axum::Json;
use axum::extract::State;

use crate::authz::Relation;
use crate::http::Api;
use crate::http::extract::access::ReadAccess;
use crate::http::extract::many::{self, NotDone};
use crate::http::extract::parameters::Document;
use crate::http::filesystem::model::batch::{BatchOutput, BatchResult, PostBatchRequest, PostBatchResponse};
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::service::batch::{self, Operation, Output};

/// Perform many file operations
///
/// Many operations run at once, in no order, so that none may depend on another; with `ordered` one after the other, up to the first
/// that fails. Each has its own status in the response, which is always 200. Operations that were done are not undone.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/ops/batch",
    operation_id = "post_batch_filesystem__system_name__ops_batch_post",
    tag = "filesystem",
    request_body = PostBatchRequest,
    responses((status = 200, description = "The result of each operation", body = PostBatchResponse))
)]
pub(crate) async fn batch(
    ReadAccess(access): ReadAccess,
    State(api): State<Api>,
    problem_context: ProblemContext,
    Document(request): Document<PostBatchRequest>,
) -> Result<Json<PostBatchResponse>, Problem> {
    let deadline = many::deadline(&api.config);
    let operations: Vec<Operation> = request.operations.into_iter().map(Operation::from).collect();
    let changes: Vec<bool> = operations.iter().map(Operation::changes).collect();
    let access = if changes.contains(&true) { api.gate.admit_further(access, Relation::Write).await? } else { access };
    let outcomes = batch::run(&access, operations, request.ordered, deadline).await?;
    let results = outcomes.into_iter().zip(changes).map(|(outcome, changes)| many::result(outcome, changes, &problem_context));
    let results: Vec<_> = results.map(BatchResult::new).collect();
    let failed = results.iter().filter(|result| result.error.is_some()).count();
    Ok(Json(PostBatchResponse { results, failed }))
}

impl BatchResult {
    fn new(outcome: Result<Output, NotDone>) -> Self {
        match outcome {
            Ok(Output::Nothing) => Self { status: 204, output: None, error: None },
            Ok(given) => Self { status: 200, output: BatchOutput::new(given), error: None },
            Err(NotDone { status, error }) => Self { status, output: None, error: Some(error) },
        }
    }
}
