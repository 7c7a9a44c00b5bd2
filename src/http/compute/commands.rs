//! `POST /compute/{system_name}/commands`: a command on the login node, with its output as JSON lines while it runs.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::domain::bytes_to_text;
use crate::http::event_stream::{UNBUFFERED, unfinished};
use crate::http::extract::access::CommandAccess;
use crate::http::extract::parameters::Document;
use crate::http::filesystem::ndjson::MEDIA_TYPE;
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::service::ServiceError;
use crate::service::commands::{self, CommandRequest, RunningCommand};
use crate::ssh::CommandOutput;

/// A command to run.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"command": ["squeue", "--me"]}))]
pub(crate) struct PostCommandRequest {
    /// The program and its arguments. No shell reads them.
    #[schema(min_items = 1, max_items = 256)]
    command: Vec<String>,
    /// The standard input of the command.
    stdin: Option<String>,
    /// The time limit in seconds; the system's limit if absent.
    #[serde(alias = "time_limit")]
    #[schema(minimum = 1)]
    time_limit: Option<u64>,
}

impl From<PostCommandRequest> for CommandRequest {
    fn from(PostCommandRequest { command, stdin, time_limit }: PostCommandRequest) -> Self {
        Self { argv: command, stdin, time_limit }
    }
}

/// Run a command on the login node
///
/// Runs one of the commands that the site allows, as the caller. The response has JSON lines, each an object with one member: `stdout` or `stderr`, a part of
/// the output, in the text form of `head` and `tail`; and in the last line `exitCode`, the exit status (124 if the time limit ended the command), or `error`, a
/// problem document with the reason why the command did not end. A response without such a line is incomplete. If the client disconnects, the command is ended.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/commands",
    operation_id = "post_command_compute__system_name__commands_post",
    tag = "compute",
    request_body = PostCommandRequest,
    responses((status = 200, description = "The command runs", body = String, content_type = "application/x-ndjson"))
)]
pub(crate) async fn run_command(
    CommandAccess(access): CommandAccess,
    problem_context: ProblemContext,
    Document(request): Document<PostCommandRequest>,
) -> Result<Response, Problem> {
    let running = commands::run(&access, request.into()).await?;
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)), UNBUFFERED];
    Ok((headers, Body::from_stream(lines(running, problem_context))).into_response())
}

/// The part of the output that was not sent yet.
struct LineEncoder {
    running: Option<RunningCommand>,
    /// The first bytes of characters whose other bytes have not arrived yet.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    problem_context: ProblemContext,
}

fn lines(running: RunningCommand, problem_context: ProblemContext) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send {
    let encoder = LineEncoder { running: Some(running), stdout: Vec::new(), stderr: Vec::new(), problem_context };
    stream::unfold(encoder, |mut encoder| async move { encoder.next().await.map(|lines| (Ok(lines), encoder)) })
}

impl LineEncoder {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let lines = match self.running.as_mut()?.next().await? {
                Ok(CommandOutput::Stdout(data)) => text("stdout", &mut self.stdout, &data),
                Ok(CommandOutput::Stderr(data)) => text("stderr", &mut self.stderr, &data),
                Ok(CommandOutput::Exit(exit)) => self.last(format!("{}\n", json!({"exitCode": exit})).as_bytes()),
                Err(error) => self.failed(error),
            };
            if !lines.is_empty() {
                return Some(lines.into());
            }
        }
    }

    fn failed(&mut self, error: ServiceError) -> Vec<u8> {
        let problem = Problem::from(error);
        self.problem_context.log(&problem, "a command did not come to its end");
        let line = [b"{\"error\":", self.problem_context.document(&problem).as_slice(), b"}\n"].concat();
        self.last(&line)
    }

    /// The last line, after the bytes that were held back because they might have started a character.
    fn last(&mut self, line: &[u8]) -> Vec<u8> {
        self.running = None;
        let mut lines = Vec::new();
        for (name, held) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !held.is_empty() {
                lines.extend_from_slice(&line_of(name, held));
            }
        }
        lines.extend_from_slice(line);
        lines
    }
}

/// The line with the complete characters of a text; nothing if there are none.
fn text(name: &str, held: &mut Vec<u8>, data: &[u8]) -> Vec<u8> {
    held.extend_from_slice(data);
    let rest = held.split_off(held.len() - unfinished(held));
    let whole = std::mem::replace(held, rest);
    if whole.is_empty() { Vec::new() } else { line_of(name, &whole) }
}

fn line_of(name: &str, data: &[u8]) -> Vec<u8> {
    format!("{}\n", json!({name: bytes_to_text(data)})).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut_and_what_is_none_is_kept() {
        let mut held = Vec::new();
        assert_eq!(text("stdout", &mut held, b"a\xC3"), b"{\"stdout\":\"a\"}\n");
        assert_eq!(text("stdout", &mut held, b"\xBC\n"), "{\"stdout\":\"ü\\n\"}\n".as_bytes());
        assert_eq!(text("stdout", &mut held, b"\xE2"), b"");
        assert_eq!(held, b"\xE2");
    }
}
