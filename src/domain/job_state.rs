//! The states of jobs by name: the words of Slurm, in which the other schedulers are shown too.

use super::{JobEvent, nearest_name};

/// The states that Slurm has (squeue(1), "JOB STATE CODES"), in all of its releases, and whether they are final.
const STATES: [(&str, bool); 27] = [
    ("BOOT_FAIL", true),
    ("CANCELLED", true),
    ("COMPLETED", true),
    ("COMPLETING", false),
    ("CONFIGURING", false),
    ("DEADLINE", true),
    ("EXPEDITING", false),
    ("FAILED", true),
    ("LAUNCH_FAILED", true),
    ("NODE_FAIL", true),
    ("OUT_OF_MEMORY", true),
    ("PENDING", false),
    ("POWER_UP_NODE", false),
    ("PREEMPTED", true),
    ("REQUEUED", false),
    ("REQUEUE_FED", false),
    ("REQUEUE_HOLD", false),
    ("RESIZING", false),
    ("RESV_DEL_HOLD", false),
    ("REVOKED", true),
    ("RUNNING", false),
    ("SIGNALING", false),
    ("SPECIAL_EXIT", false),
    ("STAGE_OUT", false),
    ("STOPPED", false),
    ("SUSPENDED", false),
    ("TIMEOUT", true),
];

/// The states of PBS and Torque by their letters (qstat(1)), where a site shows these.
const LETTERS: [&str; 13] = ["B", "C", "E", "F", "H", "M", "Q", "R", "S", "T", "U", "W", "X"];

/// Whether a state is final.
pub fn is_final_state(state: &str) -> bool {
    STATES.iter().any(|(name, is_final)| *is_final && *name == state)
}

/// Whether a job in this state has done its work, and its end is a matter of moments.
pub fn is_ending_state(state: &str) -> bool {
    state == "COMPLETING"
}

/// Whether this names a state, in any case; with `has_letters`, on a system that shows the letters of PBS.
///
/// # Errors
/// If it does not, with the nearest name, or all of them.
pub fn check_state_name(written: &str, has_letters: bool) -> Result<(), String> {
    let written = written.to_ascii_uppercase();
    let names = || STATES.iter().map(|(name, _)| *name).chain([JobEvent::UNKNOWN]);
    let known: Vec<&str> = if has_letters { LETTERS.into_iter().chain([JobEvent::UNKNOWN]).collect() } else { names().collect() };
    if known.contains(&written.as_str()) {
        return Ok(());
    }
    Err(match nearest_name(&written, known.iter().copied()) {
        Some(nearest) => format!("there is no state of this name: did you mean `{nearest}`?"),
        None => format!("there is no state of this name: known are {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_any_case_and_of_others_the_nearest_is_offered() {
        for name in ["RUNNING", "running", "OUT_OF_MEMORY", "UNKNOWN"] {
            assert_eq!(check_state_name(name, false), Ok(()), "{name}");
        }
        let offered = |name: &str| check_state_name(name, false).unwrap_err();
        assert!(offered("PENDIN").ends_with("did you mean `PENDING`?"), "{}", offered("PENDIN"));
        assert!(offered("canceled").ends_with("did you mean `CANCELLED`?"), "{}", offered("canceled"));
        for name in ["DONE", "R", "", "x\ny"] {
            assert!(offered(name).contains("known are BOOT_FAIL, CANCELLED, "), "{}", offered(name));
        }
    }

    #[test]
    fn letters_are_names_only_where_they_are_shown() {
        assert_eq!((check_state_name("Q", true), check_state_name("f", true)), (Ok(()), Ok(())));
        assert!(check_state_name("RUNNING", true).is_err() && check_state_name("Z", true).is_err());
    }
}
