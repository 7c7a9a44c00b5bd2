//! The defects that were measured or read in other proxies of this kind, each with the tests that would fail if it were here.

use std::collections::BTreeSet;
use std::path::Path;

/// What must not happen, and the tests that show that it does not, by their paths.
const DEFECTS: &[(&str, &[&str])] = &[
    (
        "many requests of one user fail where sshd allows few sessions",
        &[
            "it::ssh::openssh::two_hundred_commands_of_one_user_pass_the_stock_limits",
            "it::ssh::openssh::two_hundred_commands_of_one_user_pass_a_tight_session_limit",
            "it::ssh::faults::a_refused_channel_lowers_the_budget_and_nobody_notices",
        ],
    ),
    (
        "a frozen peer, or a connection killed while idle, fails requests one after the other",
        &[
            "it::ssh::faults::a_connection_that_froze_while_idle_costs_nobody_a_failure",
            "it::ssh::faults::a_connection_that_freezes_under_a_command_costs_one_deadline",
            "it::ssh::faults::a_connection_killed_while_idle_is_not_seen_by_the_next_request",
        ],
    ),
    (
        "output over the cap ends in a raw error, and endless output in a time-out",
        &[
            "it::ssh::faults::output_over_the_cap_fails_at_once_and_the_channel_goes",
            "it::api::bad_input::failures_of_the_file_system_have_their_statuses_and_texts",
        ],
    ),
    (
        "output and names that are not UTF-8 are corrupted silently",
        &[
            "it::files::operations::names_of_every_kind_come_back_from_every_operation",
            "it::api::filesystem::a_name_that_is_not_utf8_can_be_asked_for_in_both_forms",
        ],
    ),
    (
        "a connection outlives the credential that opened it",
        &[
            "it::ssh::faults::a_connection_does_not_outlive_its_credential",
            "it::ssh::faults::a_changed_credential_retires_the_connections_of_the_old_one",
        ],
    ),
    (
        "OpenFGA's refusal passes, is asked for wrongly, or sees the user's token",
        &[
            "it::authz::allowed_false_in_a_200_is_a_denial",
            "it::authz::the_request_is_openfgas_and_carries_no_token_of_the_caller",
            "it::api::access::a_denial_is_a_problem_document_with_the_members_of_the_contract",
        ],
    ),
    (
        "tokens of others, without an end, or of another kind pass, and a new key needs a restart",
        &[
            "it::authn::the_issuer_and_the_audience_are_checked",
            "it::authn::times_are_checked",
            "it::authn::id_tokens_and_other_kinds_of_tokens_are_refused",
            "it::authn::key_sets::an_unknown_key_makes_the_set_be_read_once",
        ],
    ),
    (
        "a quote leaves its quotes in a remote command line",
        &[
            "goldcrest::ssh::command_line::tests::arguments_are_quoted_and_words_of_ours_are_not",
            "goldcrest::domain::names::tests::names_that_could_be_read_as_options_or_shell_are_refused",
        ],
    ),
    (
        "the keys of SSH hosts are not compared",
        &["it::ssh::trust::a_key_that_is_not_the_pinned_one_is_refused", "it::ssh::trust::a_missing_file_is_an_error_and_not_trust"],
    ),
    (
        "a refused token is repeated in the answer",
        &["it::api::access::every_operation_but_liveness_and_following_a_link_demands_a_token_that_holds"],
    ),
    ("the limits of a probe become those of users", &["it::ssh::sharing::the_limits_of_one_command_are_not_those_of_the_next"]),
    (
        "a new user is refused although idle connections could go",
        &[
            "it::ssh::sharing::at_the_cap_the_longest_idle_connection_makes_room",
            "it::ssh::sharing::at_the_cap_a_new_user_waits_for_a_busy_connection_to_become_idle",
        ],
    ),
    (
        "the scheduler is asked for all it knows, as JSON",
        &["it::slurm::a_job_that_ended_is_told_without_the_controller_and_one_that_runs_is_not", "it::defects::no_command_asks_for_json"],
    ),
    (
        "ids of arrays are refused, and jobs that wait for others are missing",
        &[
            "it::api::compute::the_ids_of_every_scheduler_reach_it_unchanged",
            "goldcrest::scheduler::slurm::cli::squeue::tests::waiting_jobs_are_there_whatever_they_wait_for",
        ],
    ),
    (
        "the output of an attached command is lost, and uploads are not atomic",
        &[
            "it::api::compute::an_attached_command_answers_204_and_with_output_what_it_printed",
            "it::files::uploads::an_upload_that_fails_leaves_the_target_and_nothing_else",
            "it::files::uploads::a_big_file_streams_in_and_out",
        ],
    ),
    (
        "a client is led to submit twice",
        &[
            "it::slurm::a_submission_whose_answer_was_lost_may_have_happened_and_one_that_was_not_sent_has_not",
            "it::api::compute::a_submission_whose_effect_is_unknown_says_so_and_does_not_advise_to_repeat_it",
            "goldcrest::scheduler::slurm::cli::sbatch::tests::an_inline_script_goes_through_standard_input_and_is_never_sent_twice",
        ],
    ),
    (
        "every failure of nodes and users is 500, and failures are told apart in the cluster's language",
        &[
            "it::api::status::errors_of_nodes_and_users_keep_their_kind",
            "it::defects::every_command_whose_words_decide_speaks_the_language_of_programs",
        ],
    ),
];

#[test]
fn every_defect_has_its_tests() {
    for (defect, tests) in DEFECTS {
        assert!(!tests.is_empty(), "no test: {defect}");
        for path in *tests {
            let (module, test) = path.rsplit_once("::").unwrap();
            assert!(tests_of(&source(module)).contains(test), "`{path}` is no test, which shows that this does not happen: {defect}");
        }
    }
}

/// The text of a module of the library or of these tests. Unit tests lie in a `tests.rs` of the module, or in the file that they test.
fn source(module: &str) -> String {
    let (root, path) = module.split_once("::").unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(if root == "it" { "tests/it" } else { "src" });
    let paths = [path, path.strip_suffix("::tests").unwrap_or(path)].map(|path| folder.join(path.replace("::", "/")));
    let files = paths.into_iter().flat_map(|path| [path.with_extension("rs"), path.join("mod.rs")]);
    files.filter_map(|file| std::fs::read_to_string(file).ok()).next().unwrap_or_else(|| panic!("{module} has no file"))
}

/// The functions with an attribute of tests, and those that [`on_each_site`](crate::files) makes tests of.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let (mut tests, mut is_test) = (BTreeSet::new(), false);
    for line in text.lines().map(str::trim) {
        match line.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')) {
            Some((name, _)) if std::mem::take(&mut is_test) => _ = tests.insert(name),
            _ => is_test = line.starts_with("#[test]") || line.starts_with("#[tokio::test") || (is_test && line.starts_with("#[")),
        }
    }
    let listed = text.split_once("on_each_site!(").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(listed, _)| listed);
    tests.extend(listed.split(',').map(str::trim));
    tests
}

#[test]
fn what_is_no_test_is_told_from_tests() {
    let text = "on_each_site!(\n    a,\n    b,\n);\n#[test]\nfn c() {}\n#[tokio::test]\n#[cfg(unix)]\nasync fn d() {}\nfn e() {}\n";
    assert_eq!(tests_of(text).into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

/// The sources that ask Slurm.
fn slurm_sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scheduler/slurm/cli");
    let folders = [folder.join("sbatch"), folder].into_iter();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), without_comments(&std::fs::read_to_string(path).unwrap())))
        .collect()
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
    for (path, text) in slurm_sources().into_iter().filter(|(path, _)| !path.contains("/sbatch/") && !path.ends_with("srun.rs")) {
        for (at, _) in text.match_indices("CommandLine::new(") {
            commands += 1;
            let words = &text[at..];
            let words = &words[..words.find(')').unwrap()];
            assert!(words.contains("LC_ALL=C"), "{path}: {words}");
        }
    }
    assert!(commands > 0, "the commands were not found");
}
