//! The meaning of a failed PBS command. The exit status is the lower byte of an error number, which may be 0, so failures are
//! distinguished only by their English texts; this is the only place that knows them.

use crate::domain::bytes_to_text;
use crate::scheduler::SchedulerError;
use crate::ssh::{CommandError, RawOutput};

/// The server was not reached, or does not accept requests: provably nothing happened. Only these words are passed
/// on: around them stand host names.
const NOT_REACHED: [&str; 22] = [
    BUDGET_USED_UP,
    "cannot connect to server",
    "connect to cluster",
    "Unable to authenticate connection",
    "No default server name",
    "No server specified",
    "Server shutting down",
    "No free connections",
    "Server connection table full",
    "Resource temporarily unavailable",
    "Invalid credential",
    "Expired credential",
    "Could not contact Scheduler",
    "License unavailable",
    "license is invalid",
    "number of licensed cpus",
    "Unable to open script file",
    "Unable to write script file",
    "Failed to save job/resv",
    "Resource busy",
    "Checkpoint busy, may retry",
    "Dependent parent job currently in routing queue",
];

/// The request was sent, and no answer came that the command could read, or one of a server that failed on the way. As above. The
/// last ones before the signal are the codec's own.
const NOT_ANSWERED: [&str; 21] = [
    "Batch protocol error",
    "Communication failure",
    "End of File",
    "Premature end of message",
    "PBS server internal error",
    "System error",
    "Server could not connect to MOM",
    "Execution server rejected request",
    "internal reservation-system error",
    "request generation failed",
    "mgr batch request failed",
    "Connection timed out",
    "Connection reset by peer",
    "Broken pipe",
    "Supporting protocol failure",
    "Protocol failure in commit",
    "Input value too large to convert",
    "Non-digit found where a digit was expected",
    "Input count or value has leading zero",
    "malloc",
    "SIGPIPE received",
];

/// Exit statuses of a command that the kernel ended: by SIGBUS, SIGABRT, SIGKILL, SIGSEGV and SIGPIPE. PBS's clients may crash when
/// the server goes away while they wait for it.
const KILLED: [u32; 5] = [134, 135, 137, 139, 141];

/// The message if a login node has no PBS command left for this minute.
pub(super) const BUDGET_USED_UP: &str =
    "too many commands of PBS were started on its login node within a minute, try again in some seconds";

/// There is no such job. An impossible number is one of another scheduler.
const NO_SUCH_JOB: [&str; 3] = ["Unknown Job Id", "illegally formed job identifier", "Unknown Job Array Id"];

/// The caller may not.
const DENIED: [&str; 10] = [
    "Unauthorized Request",
    "Access to queue is denied",
    "Access from host not allowed",
    "Bad UID for job execution",
    "job has bad password",
    "Bad GID for job execution",
    "Bad effective UID",
    "Bad effective GID",
    "not authorized to",
    "No Permission",
];

/// Exit statuses that are not of PBS: `timeout` (and xargs, whose command could not reach the server), and the shell's "cannot
/// execute" and "not found".
const NOT_OF_PBS: [u32; 3] = [124, 126, 127];

/// Longest text of a scheduler's that is passed on, in characters.
const MAX_MESSAGE: usize = 4000;

/// Gives a command's error its meaning, under the name of the operation; for `map_err`.
pub(super) fn explain(operation: &'static str) -> impl FnOnce(CommandError) -> SchedulerError {
    move |error| {
        let CommandError::Exit { exit, stderr } = &error else { return SchedulerError::Command { operation, source: error } };
        let said = |texts: &[&'static str]| texts.iter().find(|text| stderr.contains(**text)).copied();
        if let Some(text) = said(&NOT_REACHED) {
            SchedulerError::Down(text.to_owned())
        } else if let Some(text) = said(&NOT_ANSWERED) {
            SchedulerError::Unanswered(text.to_owned())
        } else if said(&NO_SUCH_JOB).is_some() {
            SchedulerError::JobNotFound
        } else if said(&DENIED).is_some() {
            SchedulerError::Denied(words(stderr))
        } else if KILLED.contains(exit) {
            SchedulerError::Unanswered("its command ended in the middle".to_owned())
        } else {
            SchedulerError::Command { operation, source: error }
        }
    }
}

/// As [`explain`], for a command that fails mostly because of the request: a failure without another meaning is a refusal, in the
/// words of PBS.
pub(super) fn explain_refusal(operation: &'static str) -> impl FnOnce(CommandError) -> SchedulerError {
    move |error| match explain(operation)(error) {
        SchedulerError::Command { source: CommandError::Exit { exit, stderr }, .. } if !NOT_OF_PBS.contains(&exit) => {
            SchedulerError::Rejected(words(&stderr))
        }
        other => other,
    }
}

/// Whether the server keeps no ended jobs. The command then succeeds, without output.
pub(super) fn history_is_off(error: &CommandError) -> bool {
    matches!(error, CommandError::Exit { stderr, .. } if stderr.contains("not configured to maintain job history"))
}

/// The error of a command that reports one, whatever its exit status is.
///
/// # Errors
/// If it failed, or printed nothing but an error.
pub(super) fn succeeded(raw: &RawOutput) -> Result<(), CommandError> {
    let silent = raw.stdout.trim_ascii().is_empty();
    let prints_own_words = || bytes_to_text(&raw.stderr).lines().any(|line| own_words(line).is_some());
    if raw.exit != 0 || (silent && prints_own_words()) { Err(CommandError::exit(raw)) } else { Ok(()) }
}

/// The messages of the command from its first own line on, without the prefix that names it: a hook's message may have several lines. All
/// lines where none is its own. How the command is used is left out, and what it says twice.
fn words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().take_while(|line| !line.starts_with("usage:")).collect();
    let first = lines.iter().position(|line| own_words(line).is_some()).unwrap_or_default();
    let mut words: Vec<&str> = lines[first.min(lines.len())..].iter().map(|line| own_words(line).unwrap_or(line.trim())).collect();
    words.dedup();
    words.join("\n").chars().take(MAX_MESSAGE).collect()
}

fn own_words(line: &str) -> Option<&str> {
    let (program, words) = line.split_once(": ")?;
    let known = ["qsub", "qstat", "qselect", "qdel", "pbsnodes", "pbs_rstat"];
    known.contains(&program).then(|| words.trim())
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::*;
    use crate::error::{Classify as _, Kind};

    fn exit(exit: u32, stderr: &str) -> CommandError {
        CommandError::Exit { exit, stderr: stderr.to_owned() }
    }

    #[test]
    fn a_server_that_is_not_reached_is_down_for_every_command() {
        for command in ["qstat", "qselect", "qsub", "qdel", "pbsnodes", "pbs_rstat", "server"] {
            let error = succeeded(&recorded(&format!("down.{command}"))).unwrap_err();
            assert!(matches!(explain_refusal("x")(error), SchedulerError::Down(_)), "{command}");
        }
    }

    #[test]
    fn xargs_that_stopped_is_no_timeout() {
        let stderr =
            "Connection refused\nqstat: cannot connect to server pbs (errno=15010)\nxargs: qstat: exited with status 255; aborting";
        assert!(matches!(explain("list")(exit(124, stderr)), SchedulerError::Down(words) if words == "cannot connect to server"));
        assert!(matches!(explain_refusal("list")(exit(124, "")), SchedulerError::Command { .. }));
    }

    #[test]
    fn an_error_is_noticed_although_the_command_succeeds() {
        for name in ["no-history.qstat", "no-history.qselect"] {
            let raw = recorded(name);
            assert_eq!(raw.exit, 0, "{name}");
            assert!(history_is_off(&succeeded(&raw).unwrap_err()), "{name}");
        }
        let warned = RawOutput { stderr: b"bash: warning: setlocale\n".to_vec(), ..RawOutput::default() };
        assert!(succeeded(&warned).is_ok());
    }

    #[test]
    fn an_unknown_job_and_an_unreachable_server_are_told_apart() {
        for name in ["unknown.qstat", "unknown.qdel", "illegal.qstat", "no-history-over.qdel"] {
            assert!(matches!(explain("x")(CommandError::exit(&recorded(name))), SchedulerError::JobNotFound), "{name}");
        }
    }

    #[test]
    fn what_is_forbidden_is_denied_in_the_words_of_pbs() {
        let error = explain("x")(CommandError::exit(&recorded("denied.qdel")));
        assert!(matches!(&error, SchedulerError::Denied(words) if words == "Unauthorized Request  5.pbs"), "{error:?}");
    }

    #[test]
    fn a_server_that_starts_or_stops_was_not_reached() {
        for name in ["starting.qstat", "starting.qselect", "starting.pbsnodes", "stopping.qsub", "stopping.qdel", "queue-elsewhere.qsub"] {
            let error = explain_refusal("x")(succeeded(&recorded(&format!("openpbs-23.06.06/{name}"))).unwrap_err());
            assert!(matches!(error, SchedulerError::Down(_)), "{name}: {error:?}");
        }
    }

    #[test]
    fn a_server_that_dies_while_it_is_asked_may_have_done_it() {
        for name in
            ["crash.qsub", "crash-eof.qsub", "crash-sigpipe.qsub", "crash.qstat", "crash.qselect", "crash.pbs_rstat", "node-down.qdel"]
        {
            for explain in [explain_refusal("x"), explain_refusal("x")] {
                let error = explain(succeeded(&recorded(&format!("openpbs-23.06.06/{name}"))).unwrap_err());
                assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(true)), "{name}: {error:?}");
            }
        }
        for status in KILLED {
            let error = explain("x")(exit(status, "Segmentation fault (core dumped)"));
            assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(true)), "{status}");
        }
    }

    #[test]
    fn a_server_that_cannot_take_a_job_now_is_no_mistake_of_the_request() {
        for (text, effected) in [
            ("System error: ", true),
            ("PBS server internal error", true),
            ("Execution server rejected request", true),
            ("Failed to save job/resv, refer server logs for details", false),
            ("Request not allowed: Server shutting down", false),
            ("No free connections", false),
            ("Floating License unavailable", false),
            ("Unable to write script file", false),
            ("Resource busy", false),
        ] {
            let error = explain_refusal("submit")(exit(190, &format!("qsub: {text}")));
            assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(effected)), "{text}");
        }
    }

    #[test]
    fn each_phrase_of_the_tables_has_its_meaning_whatever_stands_around_it_and_for_each_command() {
        let words = |text: &str| format!("some banner\nqsub: {text} host7.example.org (errno=15031)\nqsub: exiting");
        for status in [0, 1, 32, 190, 255] {
            for text in NOT_REACHED {
                for error in [explain("x")(exit(status, &words(text))), explain_refusal("x")(exit(status, &words(text)))] {
                    assert!(matches!(&error, SchedulerError::Down(told) if told == text), "{status} {text}: {error:?}");
                }
            }
            for text in NOT_ANSWERED {
                for error in [explain("x")(exit(status, &words(text))), explain_refusal("x")(exit(status, &words(text)))] {
                    assert!(matches!(&error, SchedulerError::Unanswered(told) if told == text), "{status} {text}: {error:?}");
                }
            }
            for text in NO_SUCH_JOB {
                assert!(matches!(explain("x")(exit(status, &words(text))), SchedulerError::JobNotFound), "{status} {text}");
            }
            for text in DENIED {
                let error = explain("x")(exit(status, &words(text)));
                assert!(matches!(&error, SchedulerError::Denied(told) if told.starts_with(text)), "{status} {text}: {error:?}");
            }
        }
        assert_eq!(NOT_REACHED.len() + NOT_ANSWERED.len(), 43);
    }

    /// The messages of OpenPBS (`pbs_messages.c`) for errors of the request, or of its timing.
    #[test]
    fn what_pbs_says_of_a_request_that_cannot_be_is_a_refusal_in_its_words() {
        for text in [
            "Undefined Attribute",
            "Cannot set attribute, read only or insufficient permission",
            "Invalid request",
            "Unknown/illegal signal name",
            "Illegal attribute or resource value",
            "Cannot modify attribute while job running",
            "Request invalid for state of job",
            "Unknown queue",
            "Queue is not enabled",
            "Unknown resource",
            "Job violates queue and/or server resource limits",
            "Job rejected by all possible destinations",
            "Maximum number of jobs already in queue",
            "Invalid job dependency",
            "Job already in exit state",
            "No Default Queue Defined",
            "Illegal or missing reservation start or end time",
            "Not allowed for array jobs",
        ] {
            let error = explain_refusal("submit")(exit(170, &format!("qsub: {text}")));
            assert!(matches!(&error, SchedulerError::Rejected(words) if words == text), "{text}: {error:?}");
        }
    }

    #[test]
    fn what_a_site_forbids_is_denied() {
        for name in [
            "acl-server.qsub",
            "acl-server.qstat",
            "acl-server.qselect",
            "queue-acl.qsub",
            "queue-route-only.qsub",
            "reservation-denied.qsub",
        ] {
            let error = explain_refusal("x")(succeeded(&recorded(&format!("openpbs-23.06.06/{name}"))).unwrap_err());
            assert!(matches!(error, SchedulerError::Denied(_)), "{name}: {error:?}");
        }
    }

    #[test]
    fn an_answer_that_did_not_come_is_no_proof_that_nothing_happened() {
        let error = explain_refusal("submit")(exit(1, "qsub: Batch protocol error"));
        assert!(matches!(error, SchedulerError::Unanswered(_)), "{error:?}");
    }

    #[test]
    fn recorded_refusals_keep_the_words_and_drop_the_usage() {
        for (name, expected) in [
            ("queue.qsub", "Unknown queue"),
            ("disabled.qsub", "Queue is not enabled"),
            ("resource.qsub", "Unknown resource Resource_List.foo"),
            ("limit.qsub", "Illegal attribute or resource value Resource_List.ncpus"),
            ("project.qsub", "Illegal attribute or resource value project"),
            ("name.qsub", "illegal -N value"),
            ("path.qsub", "illegal -o value"),
            ("script.qsub", "script file:: No such file or directory"),
            ("openpbs-23.06.06/hook.qsub", "site policy: no such jobs\nsecond line of it"),
            ("openpbs-23.06.06/limit-user.qsub", "would exceed complex's per-user limit"),
            ("openpbs-23.06.06/walltime-over-queue.qsub", "Job violates queue and/or server resource limits"),
            ("openpbs-23.06.06/array-too-big.qsub", "Array job exceeds server or queue size limit"),
            ("openpbs-23.06.06/name-long.qsub", "Job name is too long"),
        ] {
            let error = explain_refusal("submit")(CommandError::exit(&recorded(name)));
            assert!(matches!(&error, SchedulerError::Rejected(words) if words == expected), "{name}: {error:?}");
        }
    }

    #[test]
    fn a_missing_program_is_no_refusal_and_endless_words_are_cut() {
        assert!(matches!(explain_refusal("submit")(exit(127, "qsub: not found")), SchedulerError::Command { .. }));
        let error = explain_refusal("submit")(exit(1, &format!("qsub: {}", "ä".repeat(100_000))));
        assert_eq!(error.to_string().chars().count(), MAX_MESSAGE);
    }
}
