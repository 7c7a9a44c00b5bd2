//! The meaning of a failed Slurm command. The commands run with `LC_ALL=C`, so that their texts are English.

use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::messages::{Meaning, bounded, meaning, says_accounting_is_off};
use crate::ssh::CommandError;

/// Whether Slurm's command itself ended with an error: not `timeout`, not a signal, nor the shell, which could not execute or find it.
fn is_slurms(error: &CommandError) -> bool {
    matches!(error, CommandError::Exit { exit, .. } if ![124, 126, 127].contains(exit) && error.signal().is_none())
}

/// Gives a command's error its meaning, under the name of the operation; for `map_err`.
pub(super) fn explain(operation: &'static str) -> impl FnOnce(CommandError) -> SchedulerError {
    move |error| match &error {
        CommandError::Exit { stderr, .. } if is_slurms(&error) => match meaning(stderr) {
            Some(Meaning::NotAnswered(text)) => SchedulerError::Unanswered(text.to_owned()),
            Some(Meaning::NotReached(text)) => SchedulerError::Down(text.to_owned()),
            Some(Meaning::NoSuchJob) => SchedulerError::JobNotFound,
            Some(Meaning::Forbidden) => SchedulerError::Denied(words(stderr)),
            Some(Meaning::Refused) => SchedulerError::Rejected(words(stderr)),
            None => SchedulerError::Command { operation, source: error },
        },
        _ => SchedulerError::Command { operation, source: error },
    }
}

/// As [`explain`], for a command that fails mostly because of the request: a failure without another meaning is a refusal, in
/// Slurm's own words.
pub(super) fn explain_refusal(operation: &'static str) -> impl FnOnce(CommandError) -> SchedulerError {
    move |error| match explain(operation)(error) {
        SchedulerError::Command { source: ref source @ CommandError::Exit { ref stderr, .. }, .. } if is_slurms(source) => {
            SchedulerError::Rejected(words(stderr))
        }
        other => other,
    }
}

/// Whether the cluster keeps no accounts at all, which is no failure.
pub(super) fn accounting_is_off(error: &CommandError) -> bool {
    matches!(error, CommandError::Exit { stderr, .. } if says_accounting_is_off(stderr))
}

/// Whether this release's command lacks the option or field.
pub(super) fn is_not_known_here(error: &CommandError) -> bool {
    matches!(error, CommandError::Exit { stderr, .. } if stderr.contains("unrecognized option") || stderr.contains("Invalid field requested"))
}

/// The lines in which the command itself reports an error, without the prefix that names it; all lines where none has one.
fn words(stderr: &str) -> String {
    let own: Vec<&str> = stderr.lines().filter_map(error_of_its_own).collect();
    let words = if own.is_empty() { stderr.lines().map(str::trim).collect() } else { own };
    bounded(&words.join("\n"))
}

fn error_of_its_own(line: &str) -> Option<&str> {
    let (program, rest) = line.split_once(": ")?;
    let known = ["sbatch", "scancel", "srun", "sacct", "sacctmgr", "squeue", "sinfo", "scontrol"];
    let words = rest.strip_prefix("error: ").or_else(|| rest.strip_prefix("fatal: "))?;
    known.contains(&program).then(|| words.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Classify;

    fn exit(exit: u32, stderr: &str) -> CommandError {
        CommandError::Exit { exit, stderr: stderr.to_owned() }
    }

    #[test]
    fn a_controller_that_is_not_reached_is_down() {
        let error = explain("list")(exit(1, "squeue: error: Unable to contact slurm controller (connect failure)"));
        assert!(
            matches!(&error, SchedulerError::Down(words) if words == "the controller is down (Unable to contact slurm controller)"),
            "{error:?}"
        );
    }

    #[test]
    fn addresses_and_paths_of_the_cluster_are_not_passed_on() {
        let stderr = "sacct: error: _open_persist_conn: failed to open persistent connection to host:10.1.2.3:6819: Connection refused";
        assert!(!explain("list")(exit(1, stderr)).to_string().contains("10.1.2.3"));
        let stderr = "squeue: error: Munge encode failed: Failed to access \"/run/munge/socket\": No such file or directory";
        assert!(!explain("list")(exit(1, stderr)).to_string().contains("/run"));
    }

    #[test]
    fn an_answer_that_did_not_come_is_told_apart_from_a_controller_that_is_down() {
        let error =
            explain_refusal("submit")(exit(1, "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"));
        assert!(matches!(error, SchedulerError::Unanswered(_)), "{error:?}");
    }

    #[test]
    fn a_refusal_keeps_the_words_and_drops_the_noise() {
        let stderr = "bash: warning: setlocale\nsbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid partition name specified";
        let error = explain_refusal("submit")(exit(1, stderr));
        assert_eq!(error.to_string(), "invalid partition specified: x\nBatch job submission failed: Invalid partition name specified");
        assert!(matches!(error, SchedulerError::Rejected(_)));
    }

    #[test]
    fn a_missing_program_is_no_refusal() {
        let error = explain_refusal("submit")(exit(127, "sh: 1: sbatch: not found"));
        assert!(matches!(error, SchedulerError::Command { .. }), "{error:?}");
    }

    #[test]
    fn a_command_that_was_killed_has_refused_nothing_and_may_have_had_its_effect() {
        for status in [124, 137, 143] {
            let error = explain_refusal("cancel")(exit(status, ""));
            assert!(matches!(error, SchedulerError::Command { .. }) && error.maybe_effected() == Some(true), "{error:?}");
        }
    }

    #[test]
    fn a_refusal_of_endless_words_is_cut() {
        let error = explain_refusal("submit")(exit(1, &format!("sbatch: error: {}", "ä".repeat(100_000))));
        assert_eq!(error.to_string().chars().count(), 4000);
    }
}
