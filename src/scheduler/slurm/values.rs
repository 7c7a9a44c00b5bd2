//! Single values as Slurm prints them: times, lengths, states, exit codes.
//!
//! What Slurm prints for "there is none" differs by command and release (`N/A`, `Unknown`, `None`, `(null)`, nothing); all
//! of it is `None` here.

use crate::domain::{JobStatus, NodeState};

/// A text that may be absent.
pub(super) fn text(value: &str) -> Option<String> {
    match value.trim() {
        "" | "(null)" | "N/A" => None,
        _ => Some(value.to_owned()),
    }
}

/// A number that may be absent or out of range.
pub(super) fn number<T: std::str::FromStr>(value: &str) -> Option<T> {
    value.trim().parse().ok()
}

/// The number of nodes, of which a pending job may print a range (`2-4`): the lower end.
pub(super) fn node_count(value: &str) -> u32 {
    let digits = value.trim().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// A point in time in Unix seconds (`SLURM_TIME_FORMAT=%s`).
pub(super) fn timestamp(value: &str) -> Option<i64> {
    number(value).filter(|&seconds: &i64| seconds > 0)
}

/// A length in seconds from `[days-]hours:minutes:seconds` or `minutes:seconds`; `None` for `UNLIMITED` and its like.
pub(super) fn duration(value: &str) -> Option<i64> {
    let value = value.trim();
    let (days, clock) = match value.split_once('-') {
        Some((days, clock)) => (days.parse::<i64>().ok()?, clock),
        None => (0, value),
    };
    // Short lengths may carry milliseconds.
    let clock = clock.split('.').next().unwrap_or_default();
    let mut seconds: i64 = 0;
    let mut parts = 0;
    for part in clock.split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse::<u32>().ok()?.into())?;
        parts += 1;
    }
    ((2..=3).contains(&parts)).then_some(())?;
    days.checked_mul(86_400)?.checked_add(seconds)
}

/// A length in seconds from whole minutes; `None` for `UNLIMITED` and `Partition_Limit`.
pub(super) fn minutes(value: &str) -> Option<i64> {
    number::<i64>(value)?.checked_mul(60)
}

/// A status from the state, reason and exit code. Also the numeric id of the user who asked for the end, which sacct
/// appends to the state.
pub(super) fn status(state: &str, reason: &str, exit_code: &str) -> (JobStatus, Option<String>) {
    let (state, cancelled_by) = match state.trim().split_once(" by ") {
        Some((state, user)) => (state, text(user)),
        None => (state.trim(), None),
    };
    let reason = text(reason).filter(|reason| reason != "None");
    let (exit_code, signal) = if is_finished(state) { exit_and_signal(exit_code) } else { (None, None) };
    (JobStatus { state: state.to_owned(), reason, exit_code, signal }, cancelled_by)
}

/// Whether nothing more will happen to a job in this state (the states of squeue(1), "JOB STATE CODES").
pub(super) fn is_finished(state: &str) -> bool {
    matches!(
        state,
        "BOOT_FAIL"
            | "CANCELLED"
            | "COMPLETED"
            | "DEADLINE"
            | "FAILED"
            | "LAUNCH_FAILED"
            | "NODE_FAIL"
            | "OUT_OF_MEMORY"
            | "PREEMPTED"
            | "REVOKED"
            | "TIMEOUT"
    )
}

/// The states that these words name, such as `mixed`, `drain` and `not_responding`. Flags that say nothing of whether a node can be used are left out; where
/// nothing is left, the state is unknown.
pub(super) fn node_states<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<NodeState> {
    let state = |word: &str| {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "idle" => NodeState::Idle,
            "allocated" => NodeState::Allocated,
            "mixed" => NodeState::Mixed,
            "down" | "fail" | "failing" | "error" | "not_responding" => NodeState::Down,
            "drain" | "drained" | "draining" => NodeState::Drain,
            "maint" | "maintenance" => NodeState::Offline,
            "reserved" => NodeState::Reserved,
            "completing" => NodeState::Completing,
            "powering_down" | "powered_down" | "power_down" => NodeState::PoweringDown,
            "powering_up" | "power_up" => NodeState::PoweringUp,
            _ => return None,
        })
    };
    NodeState::each_once(words.into_iter().filter_map(state))
}

/// `code:signal`, or the status word of wait(2), which squeue printed before 23.02.
fn exit_and_signal(value: &str) -> (Option<i32>, Option<i32>) {
    let (code, signal) = match value.trim().split_once(':') {
        Some((code, signal)) => (number(code), number(signal)),
        None => match number::<i32>(value) {
            Some(word) => (Some((word >> 8) & 0xff), Some(word & 0x7f)),
            None => (None, None),
        },
    };
    (code, signal.filter(|&signal| signal != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_in_every_form() {
        for (text, seconds) in [
            ("0:07", Some(7)),
            ("10:00", Some(600)),
            ("1:00:00", Some(3600)),
            ("00:00:00", Some(0)),
            ("2-03:04:05", Some(183_845)),
            ("00:01.250", Some(1)),
            ("UNLIMITED", None),
            ("INVALID", None),
            ("NOT_SET", None),
            ("", None),
            ("5", None),
            ("999999999999999999-00:00:00", None),
        ] {
            assert_eq!(duration(text), seconds, "{text:?}");
        }
    }

    #[test]
    fn limits_in_minutes_become_seconds_and_unlimited_is_none() {
        assert_eq!(minutes("10"), Some(600));
        assert_eq!(minutes("UNLIMITED"), None);
        assert_eq!(minutes("Partition_Limit"), None);
        assert_eq!(minutes("9223372036854775807"), None);
    }

    #[test]
    fn a_cancelled_job_tells_the_user_apart_from_the_state() {
        let (status, user) = status("CANCELLED by 1000", "None", "0:15");
        assert_eq!(status, JobStatus { state: "CANCELLED".to_owned(), reason: None, exit_code: Some(0), signal: Some(15) });
        assert_eq!(user.as_deref(), Some("1000"));
    }

    #[test]
    fn a_status_word_and_a_pair_say_the_same() {
        for (word, pair) in [("768", "3:0"), ("9", "0:9"), ("0", "0:0")] {
            assert_eq!(status("FAILED", "", word), status("FAILED", "", pair), "{word}");
        }
    }

    #[test]
    fn a_job_that_goes_on_has_no_exit_code() {
        assert_eq!(status("RUNNING", "None", "0:0").0.exit_code, None);
        assert_eq!(status("COMPLETING", "None", "0:0").0.exit_code, None);
    }

    #[test]
    fn points_in_time_that_are_not_known_are_none() {
        assert_eq!(timestamp("1795238457"), Some(1_795_238_457));
        for word in ["N/A", "Unknown", "None", "", "0"] {
            assert_eq!(timestamp(word), None, "{word:?}");
        }
    }

    #[test]
    fn a_range_of_nodes_counts_its_lower_end() {
        assert_eq!(node_count("2-4"), 2);
        assert_eq!(node_count("16"), 16);
        assert_eq!(node_count(""), 0);
    }

    #[test]
    fn several_states_hold_at_once() {
        assert_eq!(node_states(["mixed", "DRAIN", "not_responding"]), [NodeState::Mixed, NodeState::Drain, NodeState::Down]);
        assert_eq!(node_states(["idle", "cloud", "powering_up"]), [NodeState::Idle, NodeState::PoweringUp]);
        assert_eq!(node_states(["something_new"]), [NodeState::Unknown]);
        assert_eq!(node_states([]), [NodeState::Unknown]);
    }
}
