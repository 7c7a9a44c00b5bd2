//! The meaning of a failed call of slurmrestd.

use super::wire::Fault;
use crate::rest::RestError;
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::messages::{Meaning, bounded, meaning, says_accounting_is_off};

/// `ESLURM_INVALID_JOB_ID`, `ESLURM_ACCESS_DENIED`, `ESLURM_USER_ID_MISSING` (the job is another user's) and `ESLURM_ALREADY_DONE` of `slurm_errno.h`.
const INVALID_JOB_ID: i64 = 2017;
const ACCESS_DENIED: i64 = 2002;
const NOT_THE_USERS: i64 = 2010;
const ALREADY_DONE: i64 = 2021;

/// The meaning of a call to `server` that brought no answer.
pub(super) fn unanswered(server: &str, error: &RestError) -> SchedulerError {
    match error {
        RestError::Connect(_) | RestError::Forbidden(_) | RestError::Setup(_) | RestError::Encode(_) => {
            SchedulerError::Down(format!("{server}: {error}"))
        }
        RestError::Header => SchedulerError::Denied("the access token holds a character that slurmrestd cannot be sent".to_owned()),
        RestError::Timeout(_) | RestError::Transport(_) | RestError::TooLarge { .. } | RestError::Status(_) | RestError::Decode { .. } => {
            SchedulerError::Unanswered(format!("{server}: {error}"))
        }
    }
}

/// The server does not take the token.
pub(super) fn token_refused() -> SchedulerError {
    SchedulerError::Denied("slurmrestd does not accept the caller's token".to_owned())
}

/// The meaning of a failed query.
pub(super) fn explain(faults: &[Fault]) -> SchedulerError {
    distinguished(faults).unwrap_or_else(|| SchedulerError::Unanswered(words(faults)))
}

/// As [`explain`], for a call that fails mostly because of the request: a failure without another meaning is a refusal, in Slurm's own words.
pub(super) fn explain_refusal(faults: &[Fault]) -> SchedulerError {
    distinguished(faults).unwrap_or_else(|| SchedulerError::Rejected(words(faults)))
}

/// Whether the cluster keeps no accounts at all, which is no failure.
pub(super) fn accounting_is_off(error: &SchedulerError) -> bool {
    matches!(error, SchedulerError::Unanswered(words) if says_accounting_is_off(words))
}

/// Whether the job to be cancelled had ended.
pub(super) fn was_over(faults: &[Fault]) -> bool {
    faults.iter().any(|fault| fault.number() == Some(ALREADY_DONE) || fault.words().contains("already completing or completed"))
}

fn distinguished(faults: &[Fault]) -> Option<SchedulerError> {
    let of_number = |fault: &Fault| match fault.number() {
        Some(INVALID_JOB_ID) => Some(Meaning::NoSuchJob),
        Some(ACCESS_DENIED | NOT_THE_USERS) => Some(Meaning::Forbidden),
        _ => None,
    };
    let meaning = faults.iter().find_map(|fault| of_number(fault).or_else(|| meaning(&fault.words())))?;
    Some(match meaning {
        Meaning::NotAnswered(text) => SchedulerError::Unanswered(text.to_owned()),
        Meaning::NotReached(text) => SchedulerError::Down(text.to_owned()),
        Meaning::NoSuchJob => SchedulerError::JobNotFound,
        Meaning::Forbidden => SchedulerError::Denied(words(faults)),
        Meaning::Refused => SchedulerError::Rejected(words(faults)),
    })
}

fn words(faults: &[Fault]) -> String {
    let words: Vec<String> = faults.iter().map(Fault::words).filter(|words| !words.is_empty()).collect();
    if words.is_empty() { "slurmrestd reports a failure without a reason".to_owned() } else { bounded(&words.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_reached_is_named_with_the_systems_reason() {
        let error = unanswered("slurmrestd at http://slurm:6820/", &RestError::Connect("Connection refused (os error 111)".to_owned()));
        let expected = "slurmrestd at http://slurm:6820/: the service could not be reached: Connection refused (os error 111)";
        assert!(matches!(&error, SchedulerError::Down(reason) if reason == expected), "{error:?}");
    }
}
