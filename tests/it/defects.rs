//! The defects that were measured or read in other proxies of this kind, each with the tests that would fail if it were here.

use std::path::Path;

/// What must not happen, and the tests that show that it does not.
const DEFECTS: &[(&str, &[&str])] = &[
    (
        "many requests of one user fail where sshd allows few sessions",
        &[
            "two_hundred_commands_of_one_user_pass_the_stock_limits",
            "two_hundred_commands_of_one_user_pass_a_tight_session_limit",
            "a_refused_channel_lowers_the_budget_and_nobody_notices",
        ],
    ),
    (
        "a frozen peer, or a connection killed while idle, fails requests one after the other",
        &[
            "a_connection_that_froze_while_idle_costs_nobody_a_failure",
            "a_connection_that_freezes_under_a_command_costs_one_deadline",
            "a_connection_killed_while_idle_is_not_seen_by_the_next_request",
        ],
    ),
    (
        "output over the cap ends in a raw error, and endless output in a time-out",
        &["output_over_the_cap_fails_at_once_and_the_channel_goes", "failures_of_the_file_system_have_their_statuses_and_texts"],
    ),
    (
        "output and names that are not UTF-8 are corrupted silently",
        &["names_of_every_kind_come_back_from_every_operation", "a_name_that_is_not_utf8_can_be_asked_for_in_both_forms"],
    ),
    (
        "a connection outlives the credential that opened it",
        &["a_connection_does_not_outlive_its_credential", "a_changed_credential_retires_the_connections_of_the_old_one"],
    ),
    (
        "OpenFGA's refusal passes, is asked for wrongly, or sees the user's token",
        &[
            "allowed_false_in_a_200_is_a_denial",
            "the_request_is_openfgas_and_carries_no_token_of_the_caller",
            "a_denial_is_a_problem_document_with_the_members_of_the_contract",
        ],
    ),
    (
        "tokens of others, without an end, or of another kind pass, and a new key needs a restart",
        &[
            "the_issuer_and_the_audience_are_checked",
            "times_are_checked",
            "id_tokens_and_other_kinds_of_tokens_are_refused",
            "an_unknown_key_makes_the_set_be_read_once",
        ],
    ),
    (
        "a quote leaves its quotes in a remote command line",
        &["arguments_are_quoted_and_words_of_ours_are_not", "names_that_could_be_read_as_options_or_shell_are_refused"],
    ),
    (
        "the keys of SSH hosts are not compared",
        &["a_key_that_is_not_the_pinned_one_is_refused", "a_missing_file_is_an_error_and_not_trust"],
    ),
    ("a refused token is repeated in the answer", &["every_operation_but_liveness_demands_a_token_that_holds"]),
    ("the limits of a probe become those of users", &["the_limits_of_one_command_are_not_those_of_the_next"]),
    (
        "a new user is refused although idle connections could go",
        &["at_the_cap_the_longest_idle_connection_makes_room", "at_the_cap_a_new_user_waits_for_a_busy_connection_to_become_idle"],
    ),
    (
        "the scheduler is asked for all it knows, as JSON",
        &["a_job_that_ended_is_told_without_the_controller_and_one_that_runs_is_not", "no_command_asks_for_json"],
    ),
    (
        "ids of arrays are refused, and jobs that wait for others are missing",
        &["the_ids_of_every_scheduler_reach_it_unchanged", "waiting_jobs_are_there_whatever_they_wait_for"],
    ),
    (
        "the output of an attached command is lost, and uploads are not atomic",
        &[
            "an_attached_command_answers_204_and_with_output_what_it_printed",
            "an_upload_that_fails_leaves_the_target_and_nothing_else",
            "a_big_file_streams_in_and_out",
        ],
    ),
    (
        "a client is led to submit twice",
        &[
            "a_submission_whose_answer_was_lost_may_have_happened_and_one_that_was_not_sent_has_not",
            "a_submission_whose_effect_is_unknown_says_so_and_does_not_advise_to_repeat_it",
            "an_inline_script_goes_through_standard_input_and_is_never_sent_twice",
        ],
    ),
    (
        "every failure of nodes and users is 500, and failures are told apart in the cluster's language",
        &["errors_of_nodes_and_users_keep_their_kind", "every_command_whose_words_decide_speaks_the_language_of_programs"],
    ),
];

#[test]
fn every_defect_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "tests/it"] {
        read(&root.join(folder), &mut text);
    }
    for (defect, tests) in DEFECTS {
        assert!(!tests.is_empty(), "no test: {defect}");
        for test in *tests {
            assert!(
                text.contains(&format!("fn {test}(")),
                "`{test}` is not there any more, which shows that this does not happen: {defect}"
            );
        }
    }
}

fn read(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The sources that ask Slurm.
fn slurm_sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scheduler/slurm/cli");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.display().to_string(), without_comments(&std::fs::read_to_string(path).unwrap()))).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_command_asks_for_json() {
    let sources = slurm_sources();
    assert!(sources.len() > 10);
    for (path, text) in sources {
        assert!(!text.contains("--json"), "{path}");
    }
}

/// `sbatch` and `srun` are left alone: a job would inherit the language, and Slurm's own words exist in English only.
#[test]
fn every_command_whose_words_decide_speaks_the_language_of_programs() {
    let mut commands = 0;
    for (path, text) in slurm_sources().into_iter().filter(|(path, _)| !path.ends_with("sbatch.rs") && !path.ends_with("srun.rs")) {
        for (at, _) in text.match_indices("CommandLine::new(") {
            commands += 1;
            let words = &text[at..];
            let words = &words[..words.find(')').unwrap()];
            assert!(words.contains("LC_ALL=C"), "{path}: {words}");
        }
    }
    assert!(commands > 0, "the commands were not found");
}
