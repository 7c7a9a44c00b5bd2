//! Webhooks: the caller's own services, called when the states of their jobs change.

use crate::domain::Reported;
use crate::error::ErrorChain;
use crate::notify::{DeadLetter, Owner, Registered, Registration, Webhook, Webhooks};
use crate::scheduler::Submitted;

use super::audit::Change;
use super::counts::Action;
use super::text::Findings;
use super::{Access, IdempotencyKey, ServiceError, Submission, jobs};

/// The maximum number of states that a webhook names.
const MAX_STATES: usize = 32;

const NO_WEBHOOKS: &str =
    "this service calls no webhooks: its configuration has no section `webhooks`, or no section `store`, where they would be kept";
const NO_SUCH_WEBHOOK: &str = "there is no such webhook: GET /compute/{system}/webhooks lists yours";
const NO_SUCH_LETTER: &str =
    "there is no such dead letter, or its webhook has been removed: GET /compute/{system}/webhooks/dead-letters lists yours";
const NOT_REGISTERED: &str =
    "the job was submitted, but its webhook could not be registered: register one for all of your jobs, or look at the job";

/// Registers a webhook for all jobs of the caller on the system.
///
/// # Errors
/// If it breaks a rule, its address may not be called, or the caller has too many.
pub async fn register(access: &Access, registration: Registration) -> Result<Registered, ServiceError> {
    let registration = check(access, registration)?;
    let webhooks = webhooks(access)?;
    let change = Change::begin(access, Action::WebhooksRegister, place(&registration));
    Ok(change.end(webhooks.register(&owner(access), registration).await)?)
}

/// The webhooks of the caller on the system.
///
/// # Errors
/// If the store does not answer.
pub async fn list(access: &Access) -> Result<Vec<Webhook>, ServiceError> {
    Ok(webhooks(access)?.list(&owner(access)).await?)
}

/// Removes a webhook of the caller.
///
/// # Errors
/// If there is none, or the store does not answer.
pub async fn remove(access: &Access, id: &str) -> Result<(), ServiceError> {
    let webhooks = webhooks(access)?;
    let change = Change::begin(access, Action::WebhooksRemove, id);
    match change.end(webhooks.remove(&owner(access), id).await)? {
        true => Ok(()),
        false => Err(ServiceError::NotFound(NO_SUCH_WEBHOOK)),
    }
}

/// The messages that could not be delivered to the caller's webhooks.
///
/// # Errors
/// If the store does not answer.
pub async fn dead_letters(access: &Access) -> Result<Vec<DeadLetter>, ServiceError> {
    Ok(webhooks(access)?.dead_letters(&owner(access)).await?)
}

/// Puts a dead letter back into the queue.
///
/// # Errors
/// If there is none, its webhook is gone, or the store does not answer.
pub async fn redeliver(access: &Access, id: &str) -> Result<(), ServiceError> {
    let webhooks = webhooks(access)?;
    let change = Change::begin(access, Action::WebhooksRedeliver, id);
    match change.end(webhooks.redeliver(&owner(access), id).await)? {
        true => Ok(()),
        false => Err(ServiceError::NotFound(NO_SUCH_LETTER)),
    }
}

/// Submits a job with a webhook, which is checked before. If it cannot be registered after the submission, the result says so.
///
/// # Errors
/// As [`register`] and [`jobs::submit`]; nothing was submitted if it is an error of the webhook.
pub async fn submit(
    access: &Access,
    submission: Submission,
    key: Option<&IdempotencyKey>,
    registration: Registration,
) -> Result<(Reported<Submitted>, Result<Registered, &'static str>), ServiceError> {
    let registration = check(access, registration)?;
    let webhooks = webhooks(access)?;
    let key_name = key.map(|key| key.of(access).name().to_owned());
    let prepared = webhooks.prepare(&owner(access), registration, key_name.as_deref()).await?;
    let submitted = jobs::submit(access, submission, key).await?;
    let registered = webhooks.bind(prepared, &submitted.value.id).await.map_err(|error| {
        tracing::error!(error = %ErrorChain(&error), job = %submitted.value.id, "the webhook of a submitted job could not be registered");
        NOT_REGISTERED
    });
    Ok((submitted, registered))
}

fn webhooks(access: &Access) -> Result<&Webhooks, ServiceError> {
    access.state().webhooks.as_ref().ok_or(ServiceError::Unsupported(NO_WEBHOOKS))
}

fn owner(access: &Access) -> Owner {
    Owner { system: access.cluster().name().clone(), user: access.principal().username.clone() }
}

fn check(access: &Access, registration: Registration) -> Result<Registration, ServiceError> {
    let mut findings = Findings::default();
    match registration.states.len() {
        0..=MAX_STATES => findings.states("states", access, registration.states.iter().map(String::as_str)),
        _ => findings.add("states", format!("name at most {MAX_STATES} states, such as COMPLETED")),
    }
    findings.into_result()?;
    Ok(registration)
}

/// The form of an address in the audit trail, without its query, user name and password, which may contain a secret.
fn place(registration: &Registration) -> String {
    let url = registration.url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    let known = host.rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[known..]).chars().take(200).collect()
}
