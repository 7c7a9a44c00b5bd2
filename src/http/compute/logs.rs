//! `GET /compute/{system_name}/jobs/{job_id}/logs`: the output of a job, as bytes or as server-sent events.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::future::ready;
use futures::stream::{self, StreamExt};

use crate::error::ErrorChain;
use crate::filesystem::Followed;
use crate::http::compute::model::LogParameters;
use crate::http::cut_body::cut_by_errors;
use crate::http::event_stream::{self, Start, UNBUFFERED};
use crate::http::extract::access::{JobIdText, ReadAccess};
use crate::http::extract::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::http::server::upgrade::Draining;
use crate::service::ServiceError;
use crate::service::follow::{EndReason, Update, UpdateStream};
use crate::service::logs::{self, FollowedLog, Log, LogStart};

/// The start of the response, in bytes from the start of the file.
pub(in crate::http) const OFFSET: HeaderName = HeaderName::from_static("goldcrest-log-offset");
/// The end of the response: the `offset` of the next request.
pub(in crate::http) const NEXT_OFFSET: HeaderName = HeaderName::from_static("goldcrest-log-next-offset");

/// Read or follow the output of a job
///
/// The content of the job's output file. While the job is pending, an output file that does not exist yet counts as empty. With `follow`, new output is
/// sent until the job has ended. After the file was truncated, as by a requeue, it is read from the start again. If following fails, the response is cut
/// before its end. With `Accept: text/event-stream`, the events are those of `ops/follow`; `end` has the reason of the end, and `Last-Event-ID` resumes.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/jobs/{job_id}/logs",
    operation_id = "get_job_logs_compute__system_name__jobs__job_id__logs_get",
    tag = "compute",
    params(LogParameters, ("Last-Event-ID" = Option<u64>, Header, description = "Where to continue, in bytes")),
    responses((
        status = 200, description = "The output",
        content((String = "application/octet-stream"), (String = "text/event-stream")),
        headers(
            ("Goldcrest-Log-Offset" = u64, description = "Where the answer begins, in bytes from the start of the file"),
            ("Goldcrest-Log-Next-Offset" = u64, description = "Where it ends: the `offset` of the next request. Not with `follow`"),
        )
    ))
)]
pub(crate) async fn read_log(
    ReadAccess(access): ReadAccess,
    id: JobIdText,
    query: Parameters<LogParameters>,
    headers: HeaderMap,
    draining: Draining,
    problem_context: ProblemContext,
) -> Result<Response, Problem> {
    let start = match event_stream::start(&headers, query.0.offset, ("tail", query.0.tail))? {
        Some(Start::Offset(offset)) => LogStart::Offset(offset),
        Some(Start::FromEnd(lines)) => LogStart::Lines(lines),
        None => LogStart::Offset(0),
    };
    let (as_events, stream) = (event_stream::accepts(&headers), query.0.stream);
    let mut answer = if query.0.follow {
        let FollowedLog { offset, updates } = logs::follow(&access, &id.0, stream, start).await?;
        let updates = event_stream::until_drain(updates, draining);
        let answer = if as_events { event_stream::answer(updates, problem_context) } else { bytes(updates, problem_context) };
        with_offsets(answer, offset, None)
    } else {
        let log = logs::read(&access, &id.0, stream, start).await?;
        let (offset, end) = (log.offset, log.end);
        let answer = if as_events { event_stream::answer(once(log), problem_context) } else { whole(log) };
        with_offsets(answer, offset, Some(end))
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

fn with_offsets(mut answer: Response, offset: u64, next: Option<u64>) -> Response {
    let headers = answer.headers_mut();
    headers.insert(OFFSET, HeaderValue::from(offset));
    if let Some(next) = next {
        headers.insert(NEXT_OFFSET, HeaderValue::from(next));
    }
    answer
}

const BYTES: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));

/// The present output, with its length.
pub(in crate::http) fn whole(log: Log) -> Response {
    let length = HeaderValue::from(log.end - log.offset);
    let Some(content) = log.content else { return ([BYTES, (header::CONTENT_LENGTH, length)], Body::empty()).into_response() };
    let content = content.inspect(|piece| {
        if let Err(error) = piece {
            tracing::warn!(error = %ErrorChain(error), "the output of a job was cut short");
        }
    });
    ([BYTES, (header::CONTENT_LENGTH, length)], cut_by_errors(content)).into_response()
}

/// The present output, as updates.
fn once(log: Log) -> UpdateStream {
    let mut end = log.offset;
    let content = log.content.unwrap_or_else(|| stream::empty().boxed());
    let updates = content.map(move |piece| {
        let data = piece.map_err(ServiceError::from)?;
        end += data.len() as u64;
        Ok(Update::Change(Followed::Data { data, end }))
    });
    updates.chain(stream::once(ready(Ok(Update::End(EndReason::Complete))))).boxed()
}

/// The content of the updates without their offsets. It ends without an error only if the job has ended.
pub(in crate::http) fn bytes(updates: UpdateStream, problem_context: ProblemContext) -> Response {
    let pieces = updates.filter_map(move |update| {
        ready(match update {
            Ok(Update::Change(Followed::Data { data, .. })) => Some(Ok(data)),
            Ok(Update::Change(_) | Update::End(EndReason::JobEnded | EndReason::Complete)) => None,
            Ok(Update::End(EndReason::TokenEnded)) => Some(Err("the access token has ended".to_owned())),
            Ok(Update::End(EndReason::Stopping)) => Some(Err("Goldcrest is stopping".to_owned())),
            Err(error) => {
                let problem = Problem::from(error);
                problem_context.log(&problem, "the output of a job could not be followed any more");
                Some(Err("it cannot be followed any more".to_owned()))
            }
        })
    });
    ([BYTES, UNBUFFERED], cut_by_errors(pieces)).into_response()
}
