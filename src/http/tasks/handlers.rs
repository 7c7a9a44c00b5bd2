//! The handlers of tasks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::time::timeout;

use super::model::{CopyToRequest, CopyToResponse, GetTasksResponse, TaskModel};
use crate::authz::Relation;
use crate::http::Api;
use crate::http::event_stream::{COMMENT, HEARTBEAT_INTERVAL, accepts, event, respond};
use crate::http::extract::access::{ReadAccess, TaskIdText};
use crate::http::extract::parameters::Document;
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::http::server::upgrade::Draining;
use crate::service::copy_to::{self, CopyRequest};
use crate::service::tasks::Task;
use crate::service::{Caller, ServiceError};

/// Copy to another system
///
/// A file, or a directory with its content, is copied through this service. The response has a task, which goes on after the request, and after a
/// restart of the service. A file appears at the target when it is whole and has the digest of its source; modes are kept, links are not copied.
/// The caller needs `read` on the source and `write` on the target, for as long as the task runs.
#[utoipa::path(
    post,
    path = "/filesystem/{system_name}/transfer/copy-to",
    operation_id = "post_copy_to_filesystem__system_name__transfer_copy_to_post",
    tag = "filesystem",
    request_body = CopyToRequest,
    responses(
        (
            status = 201, description = "The task was created", body = CopyToResponse,
            headers(("Location" = String, description = "The address of the task"))
        ),
        (status = 409, description = "The target exists, or there is no space for it"),
        (status = 429, description = "The caller has reached the limit of tasks that have not ended")
    )
)]
pub(crate) async fn copy_to(
    ReadAccess(source): ReadAccess,
    State(api): State<Api>,
    Document(request): Document<CopyToRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<CopyToResponse>), Problem> {
    let target = api.gate.admit_to_second(&source, Relation::Write, &request.target_system).await?;
    let copy = CopyRequest { source: &request.path, target: &request.target_path, overwrite: request.overwrite };
    let task = copy_to::begin(&source, &target, copy).await?;
    let location = format!("{}/tasks/{}", api.root_path, task.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(CopyToResponse { task: task.into() })))
}

/// List the tasks
///
/// The caller's tasks on all systems, the newest first. Those that have ended are shown for 7 days.
#[utoipa::path(
    get,
    path = "/tasks",
    operation_id = "get_tasks_tasks_get",
    tag = "tasks",
    responses((status = 200, description = "The tasks", body = GetTasksResponse))
)]
pub(crate) async fn list_tasks(State(api): State<Api>, caller: Caller) -> Result<Json<GetTasksResponse>, Problem> {
    let tasks = copy_to::list(&api.gate, &caller).await?;
    Ok(Json(GetTasksResponse { tasks: tasks.into_iter().map(TaskModel::from).collect() }))
}

/// Get or follow a task
///
/// With `Accept: text/event-stream`, the task is sent whenever it changes, until it has ended; the event `end` is the last one.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}",
    operation_id = "get_task_tasks__task_id__get",
    tag = "tasks",
    responses((
        status = 200, description = "The task",
        content((TaskModel = "application/json"), (TaskModel = "text/event-stream"))
    ))
)]
pub(crate) async fn get_task(
    State(api): State<Api>,
    caller: Caller,
    id: TaskIdText,
    headers: HeaderMap,
    problem_context: ProblemContext,
    draining: Draining,
) -> Result<Response, Problem> {
    let mut answer = if accepts(&headers) {
        let tasks = copy_to::follow(&api.gate, &caller, &id.0).await?.take_until(draining.0.cancelled_owned()).boxed();
        respond(events(tasks, problem_context))
    } else {
        Json(TaskModel::from(copy_to::get(&api.gate, &caller, &id.0).await?)).into_response()
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

/// Cancel a task
///
/// The task ends within seconds, and until then has `cancelRequested`. What is complete at the target stays, and nothing else. A task that has ended is no longer shown.
#[utoipa::path(
    delete,
    path = "/tasks/{task_id}",
    operation_id = "delete_task_tasks__task_id__delete",
    tag = "tasks",
    responses((status = 204, description = "The task is being cancelled, or no longer shown"))
)]
pub(crate) async fn cancel_task(State(api): State<Api>, caller: Caller, id: TaskIdText) -> Result<StatusCode, Problem> {
    copy_to::cancel(&api.gate, &caller, &id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The states of a task as server-sent events.
fn events(tasks: BoxStream<'static, Result<Task, ServiceError>>, problem_context: ProblemContext) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((Some(tasks), false, problem_context), |(tasks, is_final, problem_context)| async move {
        let mut tasks = tasks?;
        let Ok(next) = timeout(HEARTBEAT_INTERVAL, tasks.next()).await else {
            return Some((COMMENT, (Some(tasks), is_final, problem_context)));
        };
        Some(match next {
            Some(Ok(task)) => {
                let is_final = task.state.is_final();
                let document = serde_json::to_string(&TaskModel::from(task)).unwrap_or_default();
                (event(None, None, &document), (Some(tasks), is_final, problem_context))
            }
            Some(Err(error)) => {
                let problem = Problem::from(error);
                problem_context.log(&problem, "a task could not be followed any more");
                let document = problem_context.value(&problem).to_string();
                (event(Some("error"), None, &document), (None, is_final, problem_context))
            }
            None => {
                let reason = if is_final { "the task has ended" } else { "the access token has ended, or this service stops" };
                let document = serde_json::json!({"reason": reason}).to_string();
                (event(Some("end"), None, &document), (None, is_final, problem_context))
            }
        })
    })
}
