//! Entries as a stream of JSON lines, `application/x-ndjson`.
//!
//! A line with the member `name` is an entry. An error on the way is reported in one last line, which has the member `error` and
//! nothing else: the problem document of a separate response. An unforeseen error cuts the connection, so that a client
//! never takes an incomplete listing for a complete one.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::StreamExt;

use crate::domain::DirectoryEntry;
use crate::filesystem::EntryStream;
use crate::http::Api;
use crate::http::filesystem::model::file::File;
use crate::http::list_field;
use crate::http::problem::Problem;
use crate::http::problem::problem_context::ProblemContext;
use crate::service::ServiceError;

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/x-ndjson";

/// Whether the caller requests lines, and the context for a problem on the way.
pub(crate) struct Lines {
    wanted: bool,
    problem_context: ProblemContext,
}

impl FromRequestParts<Api> for Lines {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self {
            wanted: list_field::accepts(&parts.headers, MEDIA_TYPE),
            problem_context: ProblemContext::from_request_parts(parts, api).await?,
        })
    }
}

impl Lines {
    /// Whether the caller requests lines.
    pub(crate) fn wanted(&self) -> bool {
        self.wanted
    }

    /// The answer with these entries.
    pub(crate) fn answer(self, entries: EntryStream) -> Response {
        let lines = entries.map(move |item| match item {
            Ok(found) => Ok::<_, std::convert::Infallible>(lines(found)),
            Err(error) => Ok(self.last_line(error.into())),
        });
        let vary = (header::VARY, HeaderValue::from_static("accept"));
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)), vary]);
        (headers, Body::from_stream(lines)).into_response()
    }

    fn last_line(&self, error: ServiceError) -> Bytes {
        let problem = Problem::from(error);
        self.problem_context.log(&problem, "a stream of entries ended with an error");
        [b"{\"error\":", self.problem_context.document(&problem).as_slice(), b"}\n"].concat().into()
    }
}

fn lines(found: Vec<DirectoryEntry>) -> Bytes {
    let mut lines = Vec::with_capacity(found.len() * 192);
    for entry in found {
        serde_json::to_writer(&mut lines, &File::from(entry)).expect("strings and numbers serialise, and a vector takes them");
        lines.push(b'\n');
    }
    lines.into()
}
