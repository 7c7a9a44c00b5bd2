//! Request context for a problem document that is embedded in a larger response.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::Value;

use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::problem::context::{Context, RequestContext};
use crate::http::request_info::Prefix;

/// The caller and the path of the request.
pub(crate) struct ProblemContext {
    context: Arc<RequestContext>,
    instance: String,
    safe: bool,
}

impl FromRequestParts<Api> for ProblemContext {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let Context(context) = Context::from_request_parts(parts, api).await?;
        let prefix = parts.extensions.get::<Prefix>().map_or("", Prefix::as_str);
        Ok(Self { context, instance: format!("{prefix}{}", parts.uri.path()), safe: parts.method.is_safe() })
    }
}

impl ProblemContext {
    /// The problem document, as in the body of a separate response.
    pub(crate) fn document(&self, problem: &Problem) -> Vec<u8> {
        problem.body(&self.context, &self.instance, self.safe)
    }

    /// The same document as a member of another one.
    pub(crate) fn value(&self, problem: &Problem) -> Value {
        problem.value(&self.context, &self.instance, self.safe)
    }

    /// Logs a problem that the status of the response does not show.
    pub(crate) fn log(&self, problem: &Problem, what: &'static str) {
        let (request_id, instance, error) = (&**self.context.id(), self.instance.as_str(), problem.log());
        tracing::warn!(request_id, instance, error, "{what}");
    }
}
