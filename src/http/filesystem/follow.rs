//! `GET /filesystem/{system_name}/ops/follow`: a file as it grows, as server-sent events (HTML standard, 9.2).
//!
//! The id of an event is the number of bytes of the file sent up to it, so that a client that reconnects with
//! `Last-Event-ID` misses nothing and sees nothing twice.

use axum::http::HeaderMap;
use axum::response::Response;

use crate::filesystem::FollowFrom;
use crate::http::event_stream::{Start, answer, start, until_drain};
use crate::http::extract::access::ReadAccess;
use crate::http::extract::parameters::Parameters;
use crate::http::filesystem::model::storage::FollowParameters;
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::http::server::upgrade::Draining;
use crate::service::follow;

/// Follow a file
///
/// Server-sent events. Events without a name have new content, `{"content": ...}`, in the text form of `head` and `tail`. After the
/// events `truncated`, `replaced` (by another file of that name) and `removed`, content is from the start of the file. The event
/// `error` has a problem document and is the last one; `end` means that the token has expired or Goldcrest is stopping. The id of an event is an
/// offset in bytes, where a request with `Last-Event-ID` continues.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/follow",
    operation_id = "get_follow_filesystem__system_name__ops_follow_get",
    tag = "filesystem",
    params(FollowParameters, ("Last-Event-ID" = Option<u64>, Header, description = "Where to continue, in bytes")),
    responses((status = 200, description = "The events of the file", body = String, content_type = "text/event-stream"))
)]
pub(crate) async fn follow(
    ReadAccess(access): ReadAccess,
    query: Parameters<FollowParameters>,
    headers: HeaderMap,
    draining: Draining,
    problem_context: ProblemContext,
) -> Result<Response, Problem> {
    let from = match start(&headers, query.0.offset, ("bytes", query.0.bytes))? {
        Some(Start::Offset(offset)) => FollowFrom::Start(offset),
        Some(Start::FromEnd(bytes)) => FollowFrom::End(bytes),
        None => FollowFrom::End(0),
    };
    let updates = follow::follow(&access, &query.0.path, from).await?;
    Ok(answer(until_drain(updates, draining), problem_context))
}
