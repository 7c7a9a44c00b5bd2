//! The stored records of webhooks, queued messages and dead letters.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{JobEvent, JobId, Secret, SystemName, Username};
use crate::store::Record;

/// The records of webhooks, by their ids; of what waits for a webhook, in their order; of webhooks for which something waits; of what
/// was given up; of users with webhooks, by system; and how far the events of a system have been read.
pub(super) const WEBHOOK: &str = "webhook";
pub(super) const DELIVERY: &str = "webhook-delivery";
pub(super) const QUEUE: &str = "webhook-queue";
pub(super) const DEAD_LETTER: &str = "webhook-dead-letter";
pub(super) const USER: &str = "webhook-user";
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
    /// As records name it.
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
    /// Its id.
    pub id: String,
    /// The address that is called.
    pub url: String,
    /// The states for which it is called; empty for all.
    pub states: Vec<String>,
    /// The job for which it is called; all of the user if absent.
    pub job: Option<JobId>,
    /// When it was registered.
    pub created: Timestamp,
    /// The messages that are not delivered yet.
    pub backlog: Backlog,
}

/// The messages that wait for a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Their number.
    pub waiting: usize,
    /// The last failure since none waited; none if there was none.
    pub failure: Option<Failure>,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error.
    pub reason: String,
    /// When it failed.
    pub at: Timestamp,
}

/// Something that could not be delivered.
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

/// A webhook as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) system: String,
    pub(super) url: String,
    pub(super) states: Vec<String>,
    pub(super) job: Option<JobId>,
    /// For the signatures.
    secret: String,
    pub(super) created: Timestamp,
    /// Whether the job has ended, so that no further events follow.
    pub(super) ended: bool,
}

impl Stored {
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

    pub(super) fn shown(self, id: String, backlog: Backlog) -> Webhook {
        Webhook { id, url: self.url, states: self.states, job: self.job, created: self.created, backlog }
    }

    /// Whether it is called for this event.
    pub(super) fn wants(&self, event: &JobEvent) -> bool {
        self.concerns(event) && (self.states.is_empty() || self.states.iter().any(|state| state.eq_ignore_ascii_case(&event.state)))
    }

    fn concerns(&self, event: &JobEvent) -> bool {
        self.job.as_ref().is_none_or(|job| is_or_is_part_of(&event.id, job.as_str()))
    }

    /// Whether this event is the last one.
    pub(super) fn ends_with(&self, event: &JobEvent) -> bool {
        event.is_final && self.job.as_ref().is_some_and(|job| job.as_str() == event.id)
    }
}

/// Whether an id is that of a job, or of a task or component of it.
fn is_or_is_part_of(id: &str, job: &str) -> bool {
    let whole = job.trim_end_matches("[]");
    id == job || id.strip_prefix(whole).is_some_and(|rest| rest.starts_with(['_', '+', '[']))
}

/// A message that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) event: JobEvent,
    pub(super) attempts: u32,
    /// When it was to be delivered first, and when it is to be tried next.
    pub(super) since: Timestamp,
    pub(super) next: Timestamp,
}

/// A message whose delivery was given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Dead {
    pub(super) webhook: String,
    pub(super) event: JobEvent,
    pub(super) attempts: u32,
    pub(super) reason: String,
    pub(super) at: Timestamp,
}

impl Dead {
    pub(super) fn shown(self, id: String) -> DeadLetter {
        let Self { webhook, event, attempts, reason, at } = self;
        DeadLetter { id, webhook, job: event.id, state: event.state, attempts, reason, at }
    }
}

/// The state of the deliveries to a webhook with queued messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    /// The number of failures since the last success.
    pub(super) failures: u32,
    /// The last failure since none waited.
    #[serde(default)]
    pub(super) failure: Option<Failure>,
}

/// Decodes a record, if it can be read.
pub(super) fn read<T: for<'de> Deserialize<'de>>(record: &Record) -> Option<T> {
    serde_json::from_slice(&record.value).inspect_err(|error| tracing::error!(%error, kind = record.kind, "a record cannot be read")).ok()
}

/// Encodes a record.
pub(super) fn written(value: &impl Serialize) -> Vec<u8> {
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
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_webhook_of_a_job_is_called_for_its_parts_and_the_states_that_it_names() {
        let owner = Owner { system: SystemName::new("daint").unwrap(), user: Username::new("ada").unwrap() };
        let registration = |states: &[&str]| Registration { url: String::new(), states: states.iter().map(|s| (*s).to_owned()).collect() };
        let stored = |job: &str, states: &[&str]| {
            Stored::new(&owner, &registration(states), Some(JobId::new(job).unwrap()), &Secret::from(String::new()))
        };
        for id in ["12", "12_3", "12+1"] {
            assert!(stored("12", &[]).wants(&event(id, "RUNNING", false)), "{id}");
        }
        assert!(!stored("12", &[]).wants(&event("123", "RUNNING", false)));
        assert!(stored("12", &["completed"]).wants(&event("12", "COMPLETED", true)));
        assert!(!stored("12", &["completed"]).wants(&event("12", "RUNNING", false)));
        assert!(stored("12", &[]).ends_with(&event("12", "FAILED", true)) && !stored("12", &[]).ends_with(&event("12_1", "FAILED", true)));
    }
}
