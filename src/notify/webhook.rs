//! The stored records of webhooks, queued messages and dead letters.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{JobEvent, JobId, Secret, SystemName, Username};
use crate::store::Record;

/// The kind of the records of webhooks.
pub(super) const WEBHOOK: &str = "webhook";
/// The kind of the records of queued messages; their owner is the webhook.
pub(super) const DELIVERY: &str = "webhook-delivery";
/// The kind of the records of queues, with the due time of the webhook.
pub(super) const QUEUE: &str = "webhook-queue";
/// The kind of the records of dead letters.
pub(super) const DEAD_LETTER: &str = "webhook-dead-letter";
/// The kind of the records of users with webhooks; their owner is the system.
pub(super) const USER: &str = "webhook-user";
/// The kind of the records of the last event that was read of a system.
pub(super) const CURSOR: &str = "webhook-cursor";

/// The owner of webhooks: a user on a system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The system.
    pub system: SystemName,
    /// The user.
    pub user: Username,
}

impl Owner {
    /// The owner of the records.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.system.as_str(), self.user.as_str())
    }
}

/// The address and the selection of events of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The address.
    pub url: String,
    /// The states, in the scheduler's words; empty for all.
    pub states: Vec<String>,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The id.
    pub id: String,
    /// The address that is called.
    pub url: String,
    /// The states for which it is called; empty for all.
    pub states: Vec<String>,
    /// The job for which it is called; all jobs of the user if absent.
    pub job: Option<JobId>,
    /// The time of the registration.
    pub created: Timestamp,
    /// The messages that wait for delivery.
    pub backlog: Backlog,
}

/// The queued messages of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The number of messages.
    pub waiting: usize,
    /// The last failure since the queue was empty, if any.
    pub failure: Option<DeliveryFailure>,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFailure {
    /// The error.
    pub reason: String,
    /// The time of the failure.
    pub at: Timestamp,
}

/// A message that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id of the message.
    pub id: String,
    /// The webhook.
    pub webhook: String,
    /// The job of the event.
    pub job: String,
    /// The state of the event.
    pub state: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The error of the last attempt.
    pub reason: String,
    /// When delivery was given up.
    pub at: Timestamp,
}

/// A webhook in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredWebhook {
    pub(super) system: String,
    pub(super) url: String,
    pub(super) states: Vec<String>,
    pub(super) job: Option<JobId>,
    /// The secret of the signatures.
    secret: String,
    pub(super) created: Timestamp,
    /// Whether the job has ended, so that no further events follow.
    pub(super) ended: bool,
}

impl StoredWebhook {
    pub(super) fn new(owner: &Owner, registration: &Registration, job: Option<JobId>, secret: &Secret) -> Self {
        Self {
            system: owner.system.as_str().to_owned(),
            url: registration.url.clone(),
            states: registration.states.clone(),
            job,
            secret: secret.expose().to_owned(),
            created: Timestamp::now(),
            ended: false,
        }
    }

    pub(super) fn secret(&self) -> Secret {
        Secret::from(self.secret.clone())
    }

    pub(super) fn into_webhook(self, id: String, backlog: Backlog) -> Webhook {
        Webhook { id, url: self.url, states: self.states, job: self.job, created: self.created, backlog }
    }

    /// Whether it is called for this event.
    pub(super) fn selects(&self, event: &JobEvent) -> bool {
        self.concerns(event) && (self.states.is_empty() || self.states.iter().any(|state| state.eq_ignore_ascii_case(&event.state)))
    }

    fn concerns(&self, event: &JobEvent) -> bool {
        self.job.as_ref().is_none_or(|job| JobId::covers(job.as_str(), &event.id))
    }

    /// Whether this event is the last one.
    pub(super) fn is_ended_by(&self, event: &JobEvent) -> bool {
        event.is_final && event.ends_whole && self.job.is_some() && self.concerns(event)
    }
}

/// A queued message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) event: JobEvent,
    pub(super) attempts: u32,
    /// When it was queued.
    pub(super) since: Timestamp,
    /// The time of the next attempt.
    pub(super) next: Timestamp,
}

/// A dead letter in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredDeadLetter {
    pub(super) webhook: String,
    pub(super) event: JobEvent,
    pub(super) attempts: u32,
    pub(super) reason: String,
    pub(super) at: Timestamp,
}

impl StoredDeadLetter {
    pub(super) fn into_dead_letter(self, id: String) -> DeadLetter {
        let Self { webhook, event, attempts, reason, at } = self;
        DeadLetter { id, webhook, job: event.id, state: event.state, attempts, reason, at }
    }
}

/// The state of the deliveries to a webhook with queued messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    /// The number of attempts without an answer since the last success.
    pub(super) failures: u32,
    /// The last failure since the queue was empty.
    #[serde(default)]
    pub(super) failure: Option<DeliveryFailure>,
}

/// Decodes a record, if it can be read.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(record: &Record) -> Option<T> {
    serde_json::from_slice(&record.value).inspect_err(|error| tracing::error!(%error, kind = record.kind, "a record cannot be read")).ok()
}

/// Encodes a record.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and times serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, state: &str, is_final: bool) -> JobEvent {
        let (name, previous, exit_code, signal) = (None, None, None, None);
        JobEvent {
            id: id.to_owned(),
            name,
            owner: "ada".to_owned(),
            previous,
            state: state.to_owned(),
            exit_code,
            signal,
            is_final,
            ends_whole: is_final,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_webhook_of_a_job_is_called_for_its_parts_and_the_states_that_it_names() {
        let owner = Owner { system: SystemName::new("daint").unwrap(), user: Username::new("ada").unwrap() };
        let registration = |states: &[&str]| Registration { url: String::new(), states: states.iter().map(|s| (*s).to_owned()).collect() };
        let stored = |job: &str, states: &[&str]| {
            StoredWebhook::new(&owner, &registration(states), Some(JobId::new(job).unwrap()), &Secret::from(String::new()))
        };
        for id in ["12", "12_3", "12+1"] {
            assert!(stored("12", &[]).selects(&event(id, "RUNNING", false)), "{id}");
        }
        assert!(!stored("12", &[]).selects(&event("123", "RUNNING", false)));
        assert!(stored("12", &["completed"]).selects(&event("12", "COMPLETED", true)));
        assert!(!stored("12", &["completed"]).selects(&event("12", "RUNNING", false)));
        assert!(stored("12", &[]).is_ended_by(&event("12", "FAILED", true)));
        let task = JobEvent { ends_whole: false, ..event("12_1", "FAILED", true) };
        assert!(!stored("12", &[]).is_ended_by(&task));
        assert!(stored("12", &[]).is_ended_by(&JobEvent { ends_whole: true, ..task }));
    }
}
