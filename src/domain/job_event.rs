//! The changes of a job's state.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A change of a job's state, as it was seen. Its sequence number is that of its entry in the stream of its system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// The scheduler's id, with the array part where it has one.
    pub id: String,
    /// The job's name, where it is known.
    pub name: Option<String>,
    /// The login name of the job's owner.
    pub owner: String,
    /// The previous state, in the scheduler's words; none if the job was not known.
    pub previous: Option<String>,
    /// The state, in the scheduler's words; [`JobEvent::UNKNOWN`] where the scheduler no longer knows the job.
    pub state: String,
    /// The exit code, once there is one.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the state is final.
    pub is_final: bool,
    /// Whether no part of the job to which this one belongs is open after this change.
    #[serde(default)]
    pub ends_whole: bool,
    /// When the change was seen.
    pub at: Timestamp,
}

impl JobEvent {
    /// The state of a job that the scheduler no longer knows, and whose end was not observed.
    pub const UNKNOWN: &str = "UNKNOWN";

    /// The name of the stream in the store that has the events of a system's jobs, one in each entry, as JSON.
    pub fn stream(system: &str) -> String {
        format!("jobs/{system}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = JobEvent {
            id: "12_3".to_owned(),
            name: Some("relax".to_owned()),
            owner: "ada".to_owned(),
            previous: Some("RUNNING".to_owned()),
            state: "FAILED".to_owned(),
            exit_code: Some(3),
            signal: None,
            is_final: true,
            ends_whole: false,
            at: Timestamp::from_second(1_795_000_000).unwrap(),
        };
        let written = serde_json::to_vec(&event).unwrap();
        assert_eq!(serde_json::from_slice::<JobEvent>(&written).unwrap(), event);
    }
}
