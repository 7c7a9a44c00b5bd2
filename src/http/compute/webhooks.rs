//! `/compute/{system_name}/webhooks`: addresses of the caller that are called when the states of the caller's jobs change.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::extract::access::{MessageIdText, ReadAccess, SubmitAccess, WebhookIdText};
use crate::http::extract::parameters::Document;
use crate::http::problem::Problem;
use crate::notify::{Backlog, DeadLetter, Registered, Registration, Webhook};
use crate::service::webhooks;

/// A webhook to register.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = WebhookRequest, example = json!({"url": "https://ci.example.org/hooks/hpc", "states": ["COMPLETED", "FAILED"]}))]
pub(in crate::http) struct WebhookRequest {
    /// The address that is called, `https`.
    #[schema(max_length = 2048)]
    url: String,
    /// The job states for which it is called, in the scheduler's words; all if absent.
    #[serde(default)]
    states: Vec<String>,
}

impl From<WebhookRequest> for Registration {
    fn from(WebhookRequest { url, states }: WebhookRequest) -> Self {
        Self { url, states }
    }
}

/// A webhook.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub(in crate::http) struct WebhookModel {
    /// Its id.
    id: String,
    /// The address that is called.
    url: String,
    /// The job states for which it is called; empty for all.
    states: Vec<String>,
    /// The job for which it is called. Absent if it is called for all jobs of its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    /// When it was registered (RFC 3339).
    created: String,
    /// The number of messages that are not delivered yet.
    waiting: usize,
    /// The error of the last attempt that failed while messages wait. Absent when all were delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the receiver answered with status 500")]
    last_error: Option<String>,
    /// When that attempt failed (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at: Option<String>,
    /// The secret of its signatures. It is shown once, in the response to the registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
}

impl From<Webhook> for WebhookModel {
    fn from(webhook: Webhook) -> Self {
        let Webhook { id, url, states, job, created, backlog: Backlog { waiting, failure } } = webhook;
        let (last_error, last_error_at) = failure.map(|failure| (failure.reason, failure.at.to_string())).unzip();
        Self {
            id,
            url,
            states,
            job_id: job.map(String::from),
            created: created.to_string(),
            waiting,
            last_error,
            last_error_at,
            secret: None,
        }
    }
}

impl From<Registered> for WebhookModel {
    fn from(Registered { webhook, secret }: Registered) -> Self {
        Self { secret: secret.map(|secret| secret.expose().to_owned()), ..webhook.into() }
    }
}

/// The webhooks of the caller.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetWebhooksResponse {
    webhooks: Vec<WebhookModel>,
}

/// A message that could not be delivered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(in crate::http) struct DeadLetterModel {
    /// The id of the message, the same as in its header `webhook-id`.
    id: String,
    /// The webhook.
    webhook_id: String,
    /// The job.
    job_id: String,
    /// The state of the job that the message reports.
    state: String,
    /// The number of attempts to deliver it.
    attempts: u32,
    /// The error of the last attempt.
    reason: String,
    /// When delivery was given up (RFC 3339).
    at: String,
}

impl From<DeadLetter> for DeadLetterModel {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { id, webhook, job, state, attempts, reason, at } = letter;
        Self { id, webhook_id: webhook, job_id: job, state, attempts, reason, at: at.to_string() }
    }
}

/// The messages that could not be delivered to the caller's webhooks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GetDeadLettersResponse {
    dead_letters: Vec<DeadLetterModel>,
}

/// Register a webhook
///
/// The address is called when the state of a job of the caller changes, with a CloudEvent that is signed as in Standard Webhooks. The response has
/// the secret of the signatures, which is not shown again.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/webhooks",
    operation_id = "post_webhook_compute__system_name__webhooks_post",
    tag = "compute",
    request_body = WebhookRequest,
    responses(
        (status = 201, description = "The webhook was registered", body = WebhookModel),
        (status = 409, description = "The caller has reached the limit of webhooks per user"),
        (status = 422, description = "The address may not be called")
    )
)]
pub(crate) async fn register_webhook(
    SubmitAccess(access): SubmitAccess,
    Document(request): Document<WebhookRequest>,
) -> Result<(StatusCode, Json<WebhookModel>), Problem> {
    Ok((StatusCode::CREATED, Json(webhooks::register(&access, request.into()).await?.into())))
}

/// List the webhooks
///
/// The caller's webhooks on this system, including those of single jobs.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/webhooks",
    operation_id = "get_webhooks_compute__system_name__webhooks_get",
    tag = "compute",
    responses((status = 200, description = "The webhooks", body = GetWebhooksResponse))
)]
pub(crate) async fn list_webhooks(ReadAccess(access): ReadAccess) -> Result<Json<GetWebhooksResponse>, Problem> {
    let webhooks = webhooks::list(&access).await?.into_iter().map(WebhookModel::from).collect();
    Ok(Json(GetWebhooksResponse { webhooks }))
}

/// Remove a webhook
///
/// Messages that were not delivered yet are dropped.
#[utoipa::path(
    delete,
    path = "/compute/{system_name}/webhooks/{webhook_id}",
    operation_id = "delete_webhook_compute__system_name__webhooks__webhook_id__delete",
    tag = "compute",
    responses((status = 204, description = "The webhook was removed"))
)]
pub(crate) async fn remove_webhook(SubmitAccess(access): SubmitAccess, id: WebhookIdText) -> Result<StatusCode, Problem> {
    webhooks::remove(&access, &id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the dead letters
///
/// Messages to webhooks of the caller that could not be delivered for 24 hours; they are kept for 7 days.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/webhooks/dead-letters",
    operation_id = "get_dead_letters_compute__system_name__webhooks_dead_letters_get",
    tag = "compute",
    responses((status = 200, description = "The dead letters", body = GetDeadLettersResponse))
)]
pub(crate) async fn list_dead_letters(ReadAccess(access): ReadAccess) -> Result<Json<GetDeadLettersResponse>, Problem> {
    let dead_letters = webhooks::dead_letters(&access).await?.into_iter().map(DeadLetterModel::from).collect();
    Ok(Json(GetDeadLettersResponse { dead_letters }))
}

/// Deliver a dead letter again
///
/// The message is put back into the queue of its webhook, and tried for another 24 hours.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/webhooks/dead-letters/{message_id}",
    operation_id = "post_dead_letter_compute__system_name__webhooks_dead_letters__message_id__post",
    tag = "compute",
    responses((status = 202, description = "The message will be delivered"))
)]
pub(crate) async fn redeliver(SubmitAccess(access): SubmitAccess, id: MessageIdText) -> Result<StatusCode, Problem> {
    webhooks::redeliver(&access, &id.0).await?;
    Ok(StatusCode::ACCEPTED)
}
