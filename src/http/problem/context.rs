//! Facts about a request for logs and headers, and its caller's permit, which is held until the response has ended.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};

use crate::http::Api;
use crate::http::problem::field_names::OperationFields;
use crate::service::Caller;

/// The header that names a request, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that ties the requests of one piece of a client's work together, in and out.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The ids of a request, its method and path, and its caller once known.
pub(crate) struct RequestContext {
    id: Arc<str>,
    correlation_id: Arc<str>,
    client_address: Option<IpAddr>,
    method: Method,
    path: String,
    caller: OnceLock<Caller>,
    fields: OnceLock<Arc<OperationFields>>,
}

impl RequestContext {
    /// The context of a request with this method and path. Accepts the client's ids if they are harmless in logs, and creates new
    /// ones otherwise.
    pub(crate) fn new(method: &Method, path: String, headers: &HeaderMap, client_address: Option<IpAddr>) -> Self {
        let id: Arc<str> = harmless(headers, &REQUEST_ID).unwrap_or_else(|| uuid::Uuid::now_v7().to_string().into());
        let correlation_id = harmless(headers, &CORRELATION_ID).unwrap_or_else(|| Arc::clone(&id));
        Self { id, correlation_id, client_address, method: method.clone(), path, caller: OnceLock::new(), fields: OnceLock::new() }
    }

    /// The request's id.
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The id of the piece of a client's work that it belongs to.
    pub(crate) fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// The address of the client; none if the request did not come through a connection.
    pub(crate) fn client_address(&self) -> Option<IpAddr> {
        self.client_address
    }

    /// The request's method.
    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The request's path with the prefix of the site, and without the query, which may hold anything.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Records the caller, whose request counts as under way until the context is dropped.
    pub(crate) fn identified(&self, caller: &Caller) {
        let _already_noted = self.caller.set(caller.clone());
    }

    /// Stores the places of the operation's fields.
    pub(crate) fn set_fields(&self, fields: Arc<OperationFields>) {
        let _already_set = self.fields.set(fields);
    }

    /// The places of the operation's fields, once the caller was identified.
    pub(crate) fn fields(&self) -> Option<&OperationFields> {
        self.fields.get().map(|fields| &**fields)
    }

    /// What accepted the caller's token, once known.
    pub(crate) fn validator(&self) -> Option<&'static str> {
        self.caller.get().and_then(|caller| caller.principal().validator_name())
    }

    /// The caller's user name, once known.
    pub(crate) fn username(&self) -> Option<&str> {
        self.caller.get().map(|caller| caller.principal().username.as_str())
    }
}

/// The context as a parameter of handlers and extractors.
pub(crate) struct Context(pub(crate) Arc<RequestContext>);

impl FromRequestParts<Api> for Context {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        let noted = parts.extensions.get::<Arc<RequestContext>>().cloned();
        let new = || RequestContext::new(&parts.method, parts.uri.path().to_owned(), &parts.headers, None);
        Ok(Self(noted.unwrap_or_else(|| Arc::new(new()))))
    }
}

fn harmless(headers: &HeaderMap, name: &HeaderName) -> Option<Arc<str>> {
    let value = headers.get(name)?.to_str().ok()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '+' | '=' | '@');
    ((1..=128).contains(&value.len()) && value.chars().all(allowed)).then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_forge_a_log_line_are_replaced() {
        for value in ["", "a b", "a\tb", "x\"y", &"z".repeat(129)] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, value.parse().unwrap());
            let context = RequestContext::new(&Method::GET, String::new(), &headers, None);
            assert_ne!(&**context.id(), value);
            assert_eq!(uuid::Uuid::parse_str(context.id()).unwrap().get_version_num(), 7);
        }
    }

    #[test]
    fn harmless_ids_are_kept_and_the_correlation_id_defaults_to_the_request_id() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, "job-17:a".parse().unwrap());
        let context = RequestContext::new(&Method::GET, String::new(), &headers, None);
        assert_eq!((&**context.id(), context.correlation_id()), ("job-17:a", "job-17:a"));
    }
}
