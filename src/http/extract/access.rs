//! The extractors that turn a request into proofs: [`Caller`] for its identified sender, and one type for each relation, which proves that
//! the caller has it on the system of the path. There is none for [`Access`] alone: an operation that names no relation does not compile.
//!
//! All begin with `enter`, whose order is visible to callers: during a maintenance of the whole site no token is checked, and unidentified
//! clients do not learn which names an operation knows. So none of its steps is a layer before the handler.

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use crate::authn::{AuthnError, MAX_TOKEN};
use crate::authz::Relation;
use crate::domain::{Secret, SystemName};
use crate::http::Api;
use crate::http::extract::parameters::read_names;
use crate::http::problem::Problem;
use crate::http::problem::context::Context;
use crate::http::problem::invalid::{InvalidInput, Place};
use crate::service::{Access, AccessError, Caller, commands, shares};

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        enter(parts, api).await
    }
}

/// Identifies the caller, and then refuses names in the query that the operation does not know, and those that are there twice.
async fn enter(parts: &mut Parts, api: &Api) -> Result<Caller, Problem> {
    let caller = identify(parts, api).await?;
    refuse_unknown_names(parts, api)?;
    Ok(caller)
}

async fn identify(parts: &mut Parts, api: &Api) -> Result<Caller, Problem> {
    let Ok(Context(context)) = Context::from_request_parts(parts, api).await;
    let takes_token_scheme = api.gate.takes_token_scheme() || parts.extensions.get::<FacadeSystem>().is_some();
    let token = bearer_token(&parts.headers, takes_token_scheme).map_err(|error| api.gate.refuse(error))?;
    let caller = api.gate.identify(token.as_ref(), context.id().clone(), context.client_address()).await?;
    context.identified(&caller);
    if let Some(fields) = parts.extensions.get::<MatchedPath>().and_then(|route| api.field_names.operation(route.as_str(), &parts.method)) {
        context.set_fields(fields);
    }
    Ok(caller)
}

/// The system that the routes of another program's API are about, among the extensions of their requests: their paths name none, and their
/// clients send tokens with the scheme `token`.
#[derive(Clone)]
pub(crate) struct FacadeSystem(pub(crate) SystemName);

/// The access for an operation that only reads.
pub(crate) struct ReadAccess(pub(crate) Access);

/// The access for an operation that runs work through the scheduler.
pub(crate) struct SubmitAccess(pub(crate) Access);

/// The access for an operation that changes files.
pub(crate) struct WriteAccess(pub(crate) Access);

/// The access for an operation that changes files, and evaluates the preconditions of its request.
pub(crate) struct ConditionalWriteAccess(pub(crate) Access);

/// The extractor for commands on the login node, which only systems with the section `commands` have.
pub(crate) struct CommandAccess(pub(crate) Access);

/// The extractor for share links of the caller.
pub(crate) struct ShareAccess(pub(crate) Access);

impl FromRequestParts<Api> for ReadAccess {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        admit(parts, api, Relation::Read).await.map(Self)
    }
}

impl FromRequestParts<Api> for SubmitAccess {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        admit(parts, api, Relation::Submit).await.map(Self)
    }
}

impl FromRequestParts<Api> for WriteAccess {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        admit(parts, api, Relation::Write).await.map(Self)
    }
}

impl FromRequestParts<Api> for ConditionalWriteAccess {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        admit_conditional(parts, api, Relation::Write).await.map(Self)
    }
}

impl FromRequestParts<Api> for CommandAccess {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let access = admit(parts, api, Relation::Read).await?;
        commands::offered(&access)?;
        Ok(Self(api.gate.admit_further(access, Relation::Run).await?))
    }
}

impl FromRequestParts<Api> for ShareAccess {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let access = admit(parts, api, Relation::Read).await?;
        shares::offered(&access)?;
        Ok(Self(api.gate.admit_further(access, Relation::Share).await?))
    }
}

async fn admit(parts: &mut Parts, api: &Api, relation: Relation) -> Result<Access, Problem> {
    let access = admit_conditional(parts, api, relation).await?;
    if !parts.method.is_safe() && !api.config.lenient {
        refuse_preconditions(&parts.headers)?;
    }
    Ok(access)
}

/// Admits a request whose preconditions the operation evaluates.
async fn admit_conditional(parts: &mut Parts, api: &Api, relation: Relation) -> Result<Access, Problem> {
    api.gate.open()?;
    let caller = enter(parts, api).await?;
    let system = match parts.extensions.get::<FacadeSystem>() {
        Some(FacadeSystem(name)) => name.to_string(),
        None => path_parameter(parts, "system_name").await.unwrap_or_default(),
    };
    let access = api.gate.admit(caller, relation, &system).await?;
    if !parts.method.is_safe() && (parts.method == Method::PUT || !api.config.lenient) {
        refuse_range(&parts.headers)?;
    }
    Ok(access)
}

/// Refuses parameters that the operation does not know, and those that are given more than once.
fn refuse_unknown_names(parts: &Parts, api: &Api) -> Result<(), InvalidInput> {
    match (parts.uri.query(), parts.extensions.get::<MatchedPath>()) {
        (Some(query), Some(route)) if !api.config.lenient => api.query_names.check(route.as_str(), &parts.method, &read_names(query)),
        _ => Ok(()),
    }
}

/// Refuses preconditions where they are not evaluated: the request must not be carried out if one of them does not hold (RFC 9110, 13.2.1).
fn refuse_preconditions(headers: &HeaderMap) -> Result<(), InvalidInput> {
    let all =
        [(header::IF_MATCH, "If-Match"), (header::IF_NONE_MATCH, "If-None-Match"), (header::IF_UNMODIFIED_SINCE, "If-Unmodified-Since")];
    let message = "this operation evaluates no preconditions: send the request without them. `PUT` of `ops/upload` does";
    match all.iter().find(|(name, _)| headers.contains_key(name)) {
        Some((_, name)) => Err(InvalidInput::new(Place::Header, *name, message)),
        None => Ok(()),
    }
}

/// Refuses a part of a content where a whole one is taken: it must not be taken for the whole (RFC 9110, 14.5).
fn refuse_range(headers: &HeaderMap) -> Result<(), InvalidInput> {
    if headers.contains_key(header::CONTENT_RANGE) {
        let message =
            "a part of a content cannot be sent by this operation (RFC 9110, 14.5): send all of it, or a file by a resumable upload";
        return Err(InvalidInput::new(Place::Header, "Content-Range", message));
    }
    Ok(())
}

/// The job id of the path, unchecked.
pub(crate) struct JobIdText(pub(crate) String);

impl FromRequestParts<Api> for JobIdText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "job_id").await.unwrap_or_default()))
    }
}

/// The name of an object in the path, unchecked.
pub(crate) struct NameText(pub(crate) String);

impl FromRequestParts<Api> for NameText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "name").await.unwrap_or_default()))
    }
}

/// The name of a template in the path, unchecked.
pub(crate) struct TemplateName(pub(crate) String);

impl FromRequestParts<Api> for TemplateName {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "template_name").await.unwrap_or_default()))
    }
}

/// The id of a schedule in the path, unchecked.
pub(crate) struct ScheduleIdText(pub(crate) String);

impl FromRequestParts<Api> for ScheduleIdText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "schedule_id").await.unwrap_or_default()))
    }
}

/// The id of a webhook in the path, unchecked.
pub(crate) struct WebhookIdText(pub(crate) String);

impl FromRequestParts<Api> for WebhookIdText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "webhook_id").await.unwrap_or_default()))
    }
}

/// The id of a message to a webhook in the path, unchecked.
pub(crate) struct MessageIdText(pub(crate) String);

impl FromRequestParts<Api> for MessageIdText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "message_id").await.unwrap_or_default()))
    }
}

/// The id of a task in the path, unchecked.
pub(crate) struct TaskIdText(pub(crate) String);

impl FromRequestParts<Api> for TaskIdText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "task_id").await.unwrap_or_default()))
    }
}

/// The id of a share link in the path, unchecked.
pub(crate) struct ShareIdText(pub(crate) String);

impl FromRequestParts<Api> for ShareIdText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "share_id").await.unwrap_or_default()))
    }
}

/// The id of an upload in the path, unchecked.
pub(crate) struct UploadIdText(pub(crate) String);

impl FromRequestParts<Api> for UploadIdText {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(path_parameter(parts, "upload_id").await.unwrap_or_default()))
    }
}

/// A parameter of the path; `None` if it is not valid UTF-8, because every valid name is.
async fn path_parameter(parts: &mut Parts, name: &str) -> Option<String> {
    let parameters = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// The token of the `Authorization` header (RFC 6750, 2.1), also with the scheme `token` of JupyterHub where the site takes it; `None` if there
/// is no such header.
fn bearer_token(headers: &HeaderMap, takes_token_scheme: bool) -> Result<Option<Secret>, AccessError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AccessError::Malformed("more than one Authorization header was sent"));
    }
    let value = value.to_str().map_err(|_| AccessError::Malformed("it holds characters that no token has"))?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let is_known = scheme.eq_ignore_ascii_case("bearer") || (takes_token_scheme && scheme.eq_ignore_ascii_case("token"));
    if !is_known {
        return Err(AccessError::Malformed("send it as `Authorization: Bearer <token>`"));
    }
    let token = token.trim_matches(' ');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    if token.len() > MAX_TOKEN {
        return Err(AuthnError::TooLong(token.len()).into());
    }
    if token.is_empty() || !token.bytes().all(allowed) {
        return Err(AccessError::Malformed("it is empty, or holds characters that no token has"));
    }
    Ok(Some(Secret::from(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, String> {
        read_where(values, false)
    }

    fn read_where(values: &[&str], takes_token_scheme: bool) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer_token(&headers, takes_token_scheme)
            .map(|token| token.map(|token| token.expose().to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        assert_eq!(read(&["bEARER a.b-c_d~+/="]), Ok(Some("a.b-c_d~+/=".to_owned())));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn the_scheme_of_jupyterhub_is_read_where_the_site_takes_it() {
        for value in ["token a1b2", "Token a1b2", "Bearer a1b2"] {
            assert_eq!(read_where(&[value], true), Ok(Some("a1b2".to_owned())), "{value}");
        }
        assert!(read(&["token a1b2"]).is_err() && read_where(&["Basic a1b2"], true).is_err());
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        for values in
            [&["Basic dXNlcjpwdw=="][..], &["Bearer "], &["Bearer"], &["Bearer a b"], &["Bearer a", "Bearer b"], &["Bearer hunter2;"]]
        {
            let error = read(values).unwrap_err();
            assert!(!error.contains("hunter2") && !error.contains("dXNl"), "{error}");
        }
        assert!(read(&["a.b.c"]).unwrap_err().ends_with("send it as `Authorization: Bearer <token>`"));
    }
}
