//! Single values as Slurm prints them: times, lengths, states, exit codes.
//!
//! Slurm's output for "no value" differs by command and release (`N/A`, `Unknown`, `None`, `(null)`, nothing); all
//! of it is `None` here.

use crate::domain::{JobStatus, JobTimes, NodeState, is_final_state};

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

/// The first of the 32-bit numbers that Slurm uses for "not set" and "no limit" (`NO_VAL`, `INFINITE` of `slurm.h`).
const NO_VALUE: i64 = 0xffff_fffe;

/// Whether a number is one, and not zero or one of those that Slurm uses for "not known".
pub(super) fn is_given(number: i64) -> bool {
    (1..NO_VALUE).contains(&number)
}

/// A point in time in Unix seconds (`SLURM_TIME_FORMAT=%s`).
pub(super) fn timestamp(value: &str) -> Option<i64> {
    number(value).filter(|&seconds| is_given(seconds))
}

/// The times of a job in `state`. Slurm writes expected times in the fields of actual ones; the state distinguishes them.
pub(super) fn times(state: &str, start: Option<i64>, end: Option<i64>) -> JobTimes {
    let (waits, over) = (is_waiting(state), is_over(state));
    JobTimes {
        start: start.filter(|_| !waits),
        end: end.filter(|_| has_ended(state)),
        expected_start: start.filter(|_| waits),
        expected_end: end.filter(|_| !over),
        ..JobTimes::default()
    }
}

/// The times of a whole job, which has or had `nodes`. A job that ends while it waits has no nodes, and Slurm's controller writes the
/// time of its end as that of its start too.
pub(super) fn times_of_job(state: &str, nodes: &str, start: Option<i64>, end: Option<i64>) -> JobTimes {
    let has_nodes = text(nodes).is_some_and(|nodes| nodes != "None assigned");
    let never_started = is_over(state) && !has_nodes && start.zip(end).is_some_and(|(start, end)| start >= end);
    times(state, start.filter(|_| !never_started), end)
}

/// Whether a job in this state has not started, or will start again.
pub(super) fn is_waiting(state: &str) -> bool {
    matches!(state, "PENDING" | "REQUEUE_HOLD" | "REQUEUE_FED" | "RESV_DEL_HOLD" | "SPECIAL_EXIT")
}

/// Whether a job in this state no longer runs, although it may still be completing, or another run may follow.
pub(super) fn is_over(state: &str) -> bool {
    is_final_state(state) || matches!(state, "COMPLETING" | "REQUEUED" | "STAGE_OUT")
}

/// Whether a job in this state, or this run of it, has ended, so that its exit code and its end are final.
pub(super) fn has_ended(state: &str) -> bool {
    is_final_state(state) || state == "REQUEUED"
}

/// The flags of a state in the order in which Slurm's commands show the first that holds, instead of the state under it.
const STATE_FLAGS: [&str; 12] = [
    "COMPLETING",
    "STAGE_OUT",
    "CONFIGURING",
    "RESIZING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "STOPPED",
    "REVOKED",
    "RESV_DEL_HOLD",
    "SIGNALING",
];

/// The one word that Slurm's commands show for a state with its flags, as slurmrestd lists them.
pub(super) fn shown_state(words: &[String]) -> &str {
    let holds = |flag: &&&str| words.iter().any(|word| word == **flag);
    STATE_FLAGS.iter().find(holds).copied().or_else(|| words.first().map(String::as_str)).unwrap_or_default()
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

/// A status from the state, reason and exit code, which Slurm gives as 0 while there is none. Also the numeric id of the user who asked for the end, which sacct
/// appends to the state.
pub(super) fn status(state: &str, reason: &str, exit_code: &str) -> (JobStatus, Option<String>) {
    let (state, cancelled_by) = match state.trim().split_once(" by ") {
        Some((state, user)) => (state, text(user)),
        None => (state.trim(), None),
    };
    let reason = text(reason).filter(|reason| reason != "None");
    let (exit_code, signal) = if has_ended(state) { exit_and_signal(exit_code) } else { (None, None) };
    (JobStatus { state: state.to_owned(), reason, exit_code, signal }, cancelled_by)
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
    fn a_job_that_has_not_ended_has_no_exit_code() {
        for (state, code) in [
            ("PENDING", "0:0"),
            ("SPECIAL_EXIT", "78:0"),
            ("RUNNING", "0:0"),
            ("SUSPENDED", "0:9"),
            ("CONFIGURING", "0"),
            ("COMPLETING", "3:0"),
            ("STAGE_OUT", "0:0"),
        ] {
            let status = status(state, "None", code).0;
            assert_eq!((status.exit_code, status.signal), (None, None), "{state}");
        }
        assert_eq!(status("REQUEUED", "None", "3:0").0.exit_code, Some(3));
    }

    #[test]
    fn expected_times_stand_under_names_of_their_own() {
        let of = |state| times(state, Some(5), Some(9));
        let told = |times: JobTimes| (times.start, times.end, times.expected_start, times.expected_end);
        assert_eq!(told(of("PENDING")), (None, None, Some(5), Some(9)));
        assert_eq!(told(of("RUNNING")), (Some(5), None, None, Some(9)));
        for state in ["COMPLETED", "REQUEUED"] {
            assert_eq!(told(of(state)), (Some(5), Some(9), None, None), "{state}");
        }
        for state in ["COMPLETING", "STAGE_OUT"] {
            assert_eq!(told(of(state)), (Some(5), None, None, None), "{state}");
        }
    }

    #[test]
    fn a_job_that_ended_while_it_waited_has_no_start() {
        let start = |state, nodes, start| times_of_job(state, nodes, Some(start), Some(9)).start;
        for nodes in ["", "None assigned", "(null)"] {
            for state in ["CANCELLED", "DEADLINE", "REVOKED"] {
                assert_eq!((start(state, nodes, 9), start(state, nodes, 20)), (None, None), "{state} {nodes:?}");
            }
            // A job without nodes, of a burst buffer alone, ran where it took time.
            assert_eq!(start("COMPLETED", nodes, 5), Some(5), "{nodes:?}");
        }
        assert_eq!((start("CANCELLED", "n1", 9), start("COMPLETED", "n[1-2]", 9)), (Some(9), Some(9)));
        assert_eq!(times_of_job("CANCELLED", "", Some(9), Some(9)).end, Some(9));
    }

    #[test]
    fn a_state_with_flags_is_the_word_that_the_commands_show() {
        for (words, shown) in [
            (&["RUNNING", "CONFIGURING", "POWER_UP_NODE"][..], "CONFIGURING"),
            (&["CANCELLED", "COMPLETING"], "COMPLETING"),
            (&["PENDING", "SPECIAL_EXIT"], "SPECIAL_EXIT"),
            (&["PENDING", "REQUEUED"], "REQUEUED"),
            (&["RUNNING", "STOPPED"], "STOPPED"),
            (&["RUNNING"], "RUNNING"),
            (&[], ""),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(shown_state(&words), shown);
        }
    }

    #[test]
    fn points_in_time_that_are_not_known_are_none() {
        assert_eq!(timestamp("1795238457"), Some(1_795_238_457));
        for word in ["N/A", "NONE", "Unknown", "None", "", "0", "4294967294", "4294967295"] {
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
