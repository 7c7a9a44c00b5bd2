//! The status of a job or step: its state, the reason, and how it ended.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::lenient::{Number, Text, Words};
use crate::domain::JobStatus;
use crate::scheduler::slurm::values::{has_ended, shown_state};

/// The status word of wait(2) in the first versions, an object later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// The word.
    Word(i64),
    /// Its parts.
    Parts(StatusParts),
}

/// The parts of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct StatusParts {
    status: Words,
    return_code: Number,
    signal: Option<Signal>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Signal {
    #[serde(alias = "signal_id")]
    id: Number,
}

impl<'de> Deserialize<'de> for Exit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match value {
            serde_json::Value::Object(_) => StatusParts::deserialize(value).map(Self::Parts).map_err(D::Error::custom),
            other => {
                Ok(Number::deserialize(other).map_err(D::Error::custom)?.0.map_or_else(|| Self::Parts(StatusParts::default()), Self::Word))
            }
        }
    }
}

impl Exit {
    /// The exit code and the signal of something that ended in `state`, as far as they are known.
    fn code_and_signal(&self, state: &str) -> (Option<i32>, Option<i32>) {
        let small = |number: i64| i32::try_from(number).ok();
        let (code, signal) = match self {
            Self::Word(word) => (small((word >> 8) & 0xff), small(word & 0x7f)),
            Self::Parts(parts) => {
                let signal = parts.signal.as_ref().and_then(|signal| signal.id.positive()).and_then(small);
                match parts.return_code.0 {
                    // The accounting of v0.0.36 to v0.0.38 writes 0 whatever the code was. A job does not fail with 0.
                    Some(0) if state == "FAILED" && signal.is_none() && parts.status.first() == "SUCCESS" => (None, None),
                    Some(code) => (small(code), signal),
                    None => (signal.map(|_| 0), signal),
                }
            }
        };
        (code, signal.filter(|&signal| signal != 0))
    }
}

/// A status from the state's words, the reason and the exit. Of a state with flags it is the word that Slurm's commands show.
pub(super) fn status(state: &Words, reason: Text, exit: Option<&Exit>) -> JobStatus {
    let state = shown_state(&state.0).to_owned();
    let reason = reason.given().filter(|reason| reason != "None");
    // While there is none, Slurm gives 0.
    let ended = exit.filter(|_| has_ended(&state));
    let (exit_code, signal) = ended.map_or((None, None), |exit| exit.code_and_signal(&state));
    JobStatus { state, reason, exit_code, signal }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(state: &str, json: &str) -> (Option<i32>, Option<i32>) {
        let exit: Exit = serde_json::from_str(json).unwrap();
        let status = status(&Words(vec![state.to_owned()]), Text(None), Some(&exit));
        (status.exit_code, status.signal)
    }

    #[test]
    fn an_end_is_read_in_the_forms_of_all_versions() {
        for (state, json, expected) in [
            ("FAILED", "768", (Some(3), None)),
            ("FAILED", "9", (Some(0), Some(9))),
            ("COMPLETED", "0", (Some(0), None)),
            ("FAILED", r#"{"status": "SIGNALED", "return_code": null, "signal": {"signal_id": 9, "name": "Killed"}}"#, (Some(0), Some(9))),
            (
                "FAILED",
                r#"{"status": ["ERROR"], "return_code": {"set": true, "number": 3}, "signal": {"id": {"set": false, "number": 0}}}"#,
                (Some(3), None),
            ),
            (
                "FAILED",
                r#"{"status": ["SIGNALED"], "return_code": {"set": false}, "signal": {"id": {"set": true, "number": 9}}}"#,
                (Some(0), Some(9)),
            ),
            ("FAILED", "null", (None, None)),
        ] {
            assert_eq!(exit(state, json), expected, "{json}");
        }
    }

    #[test]
    fn a_failure_with_success_is_not_believed() {
        assert_eq!(exit("FAILED", r#"{"status": "SUCCESS", "return_code": 0}"#), (None, None));
        assert_eq!(exit("COMPLETED", r#"{"status": "SUCCESS", "return_code": 0}"#), (Some(0), None));
        assert_eq!(exit("CANCELLED", r#"{"status": "SUCCESS", "return_code": 0}"#), (Some(0), None));
    }

    #[test]
    fn what_waits_or_runs_has_no_exit_code() {
        for state in ["PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING"] {
            assert_eq!(exit(state, "0"), (None, None), "{state}");
            assert_eq!(exit(state, r#"{"status": ["SUCCESS"], "return_code": {"set": true, "number": 0}}"#), (None, None), "{state}");
        }
    }
}
