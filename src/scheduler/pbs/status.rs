//! The state of a job: the letters, exit statuses and substates of PBS in the words that clients know from Slurm.

use super::config::JobStates;
use super::records::PbsRecord;
use crate::domain::JobStatus;

/// The status of a job.
pub(super) fn status(job: &PbsRecord, words: JobStates) -> JobStatus {
    let letter = job.get("job_state").unwrap_or_default();
    let finished = is_finished(letter);
    // Torque writes the name small.
    let exit =
        job.get("Exit_status").or_else(|| job.get("exit_status")).and_then(|text| text.trim().parse::<i32>().ok()).filter(|_| finished);
    let state = match words {
        JobStates::Letters => letter,
        JobStates::Names => name(letter, job, exit),
    };
    // An array has the exit status of one of its subjobs, which need not be one that failed.
    let exit = exit.filter(|&exit| exit != 0 || !has_failed(job));
    let signal = exit.filter(|exit| (256..512).contains(exit)).map(|exit| exit - 256);
    JobStatus { state: state.to_owned(), reason: reason(job), exit_code: exit, signal }
}

/// Whether this state is final: the job finished, was moved away, or is a finished subjob; `C` is Torque's.
pub(super) fn is_finished(letter: &str) -> bool {
    matches!(letter, "F" | "M" | "X" | "C")
}

fn name(letter: &str, job: &PbsRecord, exit: Option<i32>) -> &'static str {
    match letter {
        "R" | "B" => "RUNNING",
        "E" => "COMPLETING",
        "S" | "U" => "SUSPENDED",
        "M" => "REVOKED",
        "C" => torque_end(exit),
        "F" | "X" => end(job, exit),
        // Queued, held, waiting for its time, and on the way to another queue.
        _ => "PENDING",
    }
}

/// Whether PBS ended it as failed, which for an array means that one of its subjobs was.
fn has_failed(job: &PbsRecord) -> bool {
    job.get("substate").map(str::trim) == Some("93")
}

/// Whether a job in this state waits for its first start, or for the next one.
pub(super) fn is_waiting(letter: &str) -> bool {
    matches!(letter, "Q" | "H" | "W" | "T")
}

/// The end of a PBS job. Its substate distinguishes a deleted job from a failed one; a negative exit status is PBS's own.
fn end(job: &PbsRecord, exit: Option<i32>) -> &'static str {
    match (job.get("substate").map(str::trim), exit) {
        (Some("91"), _) => "CANCELLED",
        (Some("93"), Some(0)) => "FAILED",
        (_, Some(0)) => "COMPLETED",
        // The limits on the wall clock and on CPU time.
        (_, Some(-29 | -28)) => "TIMEOUT",
        // The limits on memory.
        (_, Some(-27 | -26)) => "OUT_OF_MEMORY",
        // The node or its daemon went away.
        (_, Some(-20 | -14 | -6..=-4)) => "NODE_FAIL",
        (_, Some(_)) | (Some("93"), None) => "FAILED",
        (Some("92"), None) if job.get("stime").is_some() => "COMPLETED",
        // It was deleted before it ran, by a user or because a job that it depends on did not end as required.
        (_, None) => "CANCELLED",
    }
}

fn torque_end(exit: Option<i32>) -> &'static str {
    match exit {
        Some(0) => "COMPLETED",
        Some(-12 | -11) => "TIMEOUT",
        Some(-10) => "OUT_OF_MEMORY",
        // Torque ends a deleted job by SIGTERM, and keeps no other trace of the deletion.
        Some(271) | None => "CANCELLED",
        Some(_) => "FAILED",
    }
}

/// The comment of PBS, or else the reason of the hold.
fn reason(job: &PbsRecord) -> Option<String> {
    if let Some(comment) = job.get("comment").map(str::trim).filter(|comment| !comment.is_empty()) {
        return Some(comment.to_owned());
    }
    let held = match (job.get("job_state")?, job.get("Hold_Types")?.trim()) {
        ("W", _) => "BeginTime",
        ("H", "n") => return None,
        ("H", holds) if job.get("substate") == Some("22") || (holds == "s" && job.get("depend").is_some()) => "Dependency",
        ("H", holds) if holds.contains('u') => "JobHeldUser",
        ("H", _) => "JobHeldAdmin",
        _ => return None,
    };
    Some(held.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::super::records::{Layout, records};
    use super::*;

    fn job(attributes: &[(&str, &str)]) -> PbsRecord {
        let lines: String = attributes.iter().map(|(name, value)| format!("    {name} = {value}\n")).collect();
        records(format!("Job Id: 1.s\n{lines}").as_bytes(), Layout { head: "Job Id: ", indented: true }).remove(0)
    }

    fn state(letter: &str, substate: &str, exit: Option<&str>) -> String {
        let mut attributes = vec![("job_state", letter), ("substate", substate)];
        attributes.extend(exit.map(|exit| ("Exit_status", exit)));
        status(&job(&attributes), JobStates::Names).state
    }

    #[test]
    fn each_letter_has_its_word() {
        for (letter, word) in [
            ("Q", "PENDING"),
            ("H", "PENDING"),
            ("W", "PENDING"),
            ("T", "PENDING"),
            ("R", "RUNNING"),
            ("B", "RUNNING"),
            ("E", "COMPLETING"),
            ("S", "SUSPENDED"),
            ("U", "SUSPENDED"),
            ("M", "REVOKED"),
        ] {
            assert_eq!(state(letter, "", None), word, "{letter}");
        }
    }

    #[test]
    fn an_end_is_told_by_substate_and_exit_status() {
        for (substate, exit, word) in [
            ("92", Some("0"), "COMPLETED"),
            ("93", Some("3"), "FAILED"),
            ("91", Some("271"), "CANCELLED"),
            ("91", None, "CANCELLED"),
            ("93", Some("271"), "FAILED"),
            ("93", Some("-29"), "TIMEOUT"),
            ("93", Some("-27"), "OUT_OF_MEMORY"),
            ("93", Some("-4"), "NODE_FAIL"),
            ("93", Some("-1"), "FAILED"),
            ("93", None, "FAILED"),
            ("93", Some("0"), "FAILED"),
            ("92", None, "CANCELLED"),
        ] {
            assert_eq!(state("F", substate, exit), word, "{substate} {exit:?}");
        }
        assert_eq!(
            (state("C", "59", Some("0")), state("C", "59", Some("271")), state("C", "59", Some("-11"))),
            ("COMPLETED".into(), "CANCELLED".into(), "TIMEOUT".into())
        );
    }

    #[test]
    fn every_recorded_end_has_its_word_and_its_exit_status() {
        for (name, state, exit) in [
            ("dependency-failed", "CANCELLED", None),
            ("array-one-failed", "FAILED", None),
            ("array-ended", "FAILED", Some(1)),
            ("ended-ok", "COMPLETED", Some(0)),
            ("ended-3", "FAILED", Some(3)),
            ("walltime", "TIMEOUT", Some(-29)),
            ("memory", "OUT_OF_MEMORY", Some(-27)),
            ("deleted-force", "CANCELLED", Some(265)),
            ("deleted-by-root", "CANCELLED", Some(271)),
            ("deleted-by-owner", "CANCELLED", Some(271)),
            ("deleted-held", "CANCELLED", None),
            ("deleted-queued", "CANCELLED", None),
            ("signalled", "FAILED", Some(266)),
            ("requeued", "PENDING", None),
            ("suspended", "SUSPENDED", None),
        ] {
            let output = recorded(&format!("openpbs-23.06.06/{name}.qstat")).stdout;
            let status = status(&records(&output, Layout { head: "Job Id: ", indented: true })[0], JobStates::Names);
            assert_eq!((status.state.as_str(), status.exit_code), (state, exit), "{name}");
        }
    }

    #[test]
    fn an_exit_status_above_256_is_a_signal_and_one_of_a_running_array_is_none() {
        let ended = status(&job(&[("job_state", "F"), ("substate", "93"), ("Exit_status", "265")]), JobStates::Names);
        assert_eq!((ended.exit_code, ended.signal), (Some(265), Some(9)));
        let begun = status(&job(&[("job_state", "B"), ("Exit_status", "1")]), JobStates::Names);
        assert_eq!((begun.exit_code, begun.signal), (None, None));
    }

    #[test]
    fn the_letters_stay_where_they_are_wanted() {
        assert_eq!(status(&job(&[("job_state", "F"), ("Exit_status", "0")]), JobStates::Letters).state, "F");
    }

    #[test]
    fn a_job_that_waits_says_why() {
        let why = |attributes: &[(&str, &str)]| status(&job(attributes), JobStates::Names).reason;
        assert_eq!(why(&[("job_state", "H"), ("Hold_Types", "u"), ("substate", "20")]).as_deref(), Some("JobHeldUser"));
        assert_eq!(why(&[("job_state", "H"), ("Hold_Types", "s"), ("substate", "22")]).as_deref(), Some("Dependency"));
        assert_eq!(why(&[("job_state", "W"), ("Hold_Types", "n")]).as_deref(), Some("BeginTime"));
        assert_eq!(why(&[("job_state", "Q"), ("Hold_Types", "n"), ("comment", "Not Running: no")]).as_deref(), Some("Not Running: no"));
        assert_eq!(why(&[("job_state", "R"), ("Hold_Types", "n")]), None);
    }
}
