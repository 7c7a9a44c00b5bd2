//! The live suite: a running Goldcrest in front of real OpenSSH, Slurm, OpenFGA and an OpenID provider.
//!
//! `build/environment/up.sh` starts them; see the README there. A scenario whose components are not up is skipped and counted
//! (`live: skipped N`), with `CI=true` it fails instead. Scenarios run one after the other, since some stop or kill parts of
//! what the others use. To add one: an `async fn(&Live)` in a module here, and its line in [`SCENARIOS`].
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed scenario is a panic, and this binary prints its own report"
)]

mod access;
mod archives;
mod authorization;
mod certificates;
mod client;
mod commands;
mod connections;
mod copies;
mod environment;
mod files;
mod identity;
mod instance;
mod job_control;
mod jobs;
mod jupyterhub;
mod keycloak;
mod kubernetes;
mod kubernetes_admission;
mod kubernetes_faults;
mod kubernetes_files;
mod kubernetes_identity;
mod kubernetes_kills;
mod kubernetes_output;
mod kubernetes_queues;
mod lanes;
mod lifecycle;
mod login;
mod logs;
mod openfga;
mod operations;
mod processes;
mod relay;
mod resumable;
mod slurm_rest;
mod staged;
mod streams;
mod transfers;
mod watching;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use environment::Component::{self, JupyterHub, Keycloak, Kubernetes, OpenFga, OpenSsh, S3, Slurm, Slurm24, Slurm26};
use environment::Live;
use futures::FutureExt;
use futures::future::BoxFuture;

/// The longest that a scenario may take.
const DEADLINE: Duration = Duration::from_secs(300);

struct Scenario {
    name: &'static str,
    needs: &'static [Component],
    run: for<'a> fn(&'a Live) -> BoxFuture<'a, ()>,
}

/// `needs => module::function` becomes an entry named `module::function`. Every scenario needs Goldcrest and the provider.
macro_rules! scenarios {
    ($([$($need:ident),*] => $module:ident :: $function:ident),* $(,)?) => {
        &[$(Scenario {
            name: concat!(stringify!($module), "::", stringify!($function)),
            needs: &[Component::Goldcrest, Component::Oidc, $($need),*],
            run: |live| $module::$function(live).boxed(),
        }),*]
    };
}

const SCENARIOS: &[Scenario] = scenarios![
    [] => access::the_service_is_alive_and_names_itself,
    [] => access::a_request_without_a_valid_token_is_refused,
    [] => access::an_unknown_system_is_not_found,
    [] => access::every_error_has_both_forms_of_body,
    [] => access::a_request_id_comes_back,
    [OpenSsh] => access::a_rotated_signing_key_is_accepted_without_a_restart,
    [OpenFga, OpenSsh] => access::a_denied_relation_is_forbidden,
    [OpenSsh] => access::nothing_is_allowed_while_the_authorization_server_is_down,
    [OpenFga, OpenSsh] => authorization::a_caller_is_shown_the_systems_that_the_store_grants,
    [OpenFga, OpenSsh] => authorization::an_operation_needs_the_relation_of_what_it_does,
    [OpenFga, OpenSsh] => authorization::decisions_are_explained_in_the_audit_trail,
    [OpenFga, OpenSsh] => authorization::a_server_that_is_away_for_a_while_allows_nothing_and_is_used_again,
    [Keycloak, OpenFga, OpenSsh] => authorization::a_server_that_wants_tokens_of_an_identity_provider_is_shown_them,
    [Keycloak, OpenSsh] => identity::a_person_and_a_service_of_keycloak_come_in_under_their_names_on_the_cluster,
    [Keycloak, OpenSsh] => identity::a_person_logs_in_with_code_and_pkce_at_either_provider,
    [Keycloak, OpenSsh] => identity::what_keycloak_did_not_issue_for_us_is_refused,
    [Keycloak, OpenSsh] => identity::a_token_of_keycloak_ends_when_it_says,
    [Keycloak, OpenSsh] => identity::a_key_that_keycloak_rotates_is_taken_up_and_given_up_while_running,
    [Keycloak, OpenSsh] => identity::known_keys_serve_on_while_the_provider_cannot_be_reached,
    [JupyterHub, OpenSsh] => jupyterhub::a_user_of_the_hub_uses_the_api_as_far_as_the_policy_gives_it,
    [JupyterHub, OpenSsh] => jupyterhub::tokens_that_the_hub_does_not_know_has_revoked_or_limited_are_refused,
    [JupyterHub, OpenSsh] => jupyterhub::the_hub_runs_it_as_a_service_behind_its_proxy,
    [JupyterHub, OpenSsh, Slurm] => jupyterhub::the_hub_is_tried_with_the_connections,
    [Keycloak, OpenSsh] => jupyterhub::keycloak_vouches_for_tokens_and_takes_them_back,
    [Keycloak, OpenFga, OpenSsh] => identity::the_groups_of_a_keycloak_token_open_what_the_store_grants_to_them,
    [OpenSsh, Slurm] => access::the_system_list_shows_health_and_no_secret,
    [OpenFga, OpenSsh, Slurm] => connections::each_step_that_works_has_a_tick,
    [OpenFga, OpenSsh, Slurm] => connections::each_fault_has_a_cross_with_what_to_do,
    [OpenSsh] => lanes::keys_of_every_kind_log_in,
    [OpenSsh] => lanes::two_hundred_requests_at_once_of_one_user_all_succeed,
    [OpenSsh] => lanes::a_connection_killed_between_requests_is_not_noticed,
    [OpenSsh] => lanes::a_frozen_connection_costs_at_most_one_request,
    [OpenSsh] => lanes::a_hung_cluster_does_not_slow_another_one_down,
    [OpenSsh] => lanes::an_untrusted_host_key_is_refused,
    [OpenSsh] => lanes::an_unreachable_cluster_fails_within_its_connect_timeout,
    [OpenSsh] => certificates::one_certificate_follows_the_other_and_each_is_in_both_logs,
    [OpenSsh] => certificates::a_revoked_certificate_is_named_and_the_next_one_works,
    [OpenSsh] => files::a_file_is_written_read_and_removed_in_every_way,
    [OpenSsh] => files::names_that_are_not_utf8_or_hostile_come_back_as_they_were,
    [OpenSsh] => files::contents_of_megabytes_come_back_byte_for_byte,
    [OpenSsh] => files::uploads_over_the_cap_are_refused,
    [OpenSsh] => files::a_path_outside_the_file_systems_is_refused,
    [OpenSsh] => files::the_clusters_own_permissions_decide,
    [OpenSsh] => files::archives_are_packed_and_unpacked,
    [OpenSsh] => operations::a_directory_is_streamed_paged_and_searched,
    [OpenSsh] => operations::many_operations_are_one_request,
    [OpenSsh] => operations::files_and_trees_are_copied_and_moved_on_the_cluster,
    [OpenSsh] => operations::a_file_is_followed_while_it_is_written,
    [OpenSsh] => streams::a_gibibyte_comes_down_in_constant_memory,
    [OpenSsh] => streams::a_gibibyte_goes_up_in_constant_memory,
    [OpenSsh] => streams::ranges_asked_for_at_once_make_up_the_file,
    [OpenSsh] => streams::a_download_that_broke_off_is_gone_on_with_by_curl,
    [OpenSsh] => streams::uploads_are_taken_whole_and_as_announced_or_not_at_all,
    [OpenSsh] => streams::an_upload_whose_connection_to_the_cluster_is_killed_leaves_the_old_file,
    [OpenSsh] => resumable::a_tus_client_uploads_a_file_in_pieces,
    [OpenSsh] => resumable::an_upload_outlives_the_goldcrest_that_began_it,
    [OpenSsh] => copies::a_tree_arrives_whole_over_a_cut_line_and_a_kill_of_the_process,
    [OpenSsh] => archives::a_directory_comes_back_with_its_modes_and_links,
    [OpenSsh] => archives::a_look_at_an_archive_starts_no_tar,
    [OpenSsh] => archives::an_archive_reaches_nothing_beside_its_directory,
    [OpenSsh, Slurm] => jobs::a_job_runs_to_its_end_and_leaves_its_output,
    [OpenSsh, Slurm, Slurm24] => jobs::accounting_has_a_job_for_its_owner_by_id_and_by_time,
    [OpenSsh, Slurm] => jobs::a_running_job_is_cancelled,
    [OpenSsh, Slurm] => watching::the_end_of_a_job_is_told_within_the_interval,
    [OpenSsh, Slurm] => watching::a_wait_for_a_job_ends_with_it,
    [OpenSsh, Slurm] => watching::no_end_is_missed_over_a_kill_of_the_process,
    [OpenSsh, Slurm] => watching::ten_thousand_watchers_take_little_memory,
    [OpenSsh, Slurm] => jobs::array_and_dependent_jobs_are_listed,
    [OpenSsh, Slurm] => jobs::a_command_is_attached_to_a_running_job,
    [OpenSsh, Slurm] => jobs::a_hung_command_times_out_and_is_stopped,
    [OpenSsh, Slurm] => jobs::what_the_scheduler_refuses_is_told,
    [OpenSsh, Slurm] => jobs::nodes_partitions_reservations_and_identity_are_shown,
    [OpenSsh, Slurm24] => jobs::the_second_release_runs_a_job_too,
    [OpenSsh, Slurm, Slurm24] => logs::the_output_of_a_job_is_followed_from_before_it_exists_until_the_job_has_ended,
    [OpenSsh, Slurm, Slurm24] => logs::a_task_of_an_array_has_its_own_output_and_others_read_what_the_cluster_lets_them,
    [OpenSsh, Slurm] => logs::an_output_that_is_truncated_is_read_from_its_start_again,
    [OpenSsh, Slurm24] => logs::a_hundred_who_follow_one_output_open_it_once_on_the_cluster,
    [OpenFga, OpenSsh, Slurm] => commands::allowed_commands_run_as_the_caller_who_has_the_relation,
    [OpenSsh, Slurm24] => job_control::a_job_asks_for_what_it_needs_and_slurm_agrees,
    [OpenSsh, Slurm24] => job_control::a_job_is_held_released_limited_signalled_and_requeued,
    [OpenSsh, Slurm24] => job_control::a_job_is_validated_without_being_submitted,
    [OpenSsh, Slurm26] => jobs::the_third_release_runs_a_job_too,
    [OpenSsh, Slurm] => transfers::files_are_worked_on_by_jobs,
    [OpenSsh, Slurm24] => transfers::the_second_release_works_on_files_too,
    [OpenSsh, Slurm] => transfers::a_job_that_fails_ends_as_failed_and_says_why,
    [OpenSsh, Slurm] => transfers::a_job_is_charged_to_the_account_that_the_site_wants,
    [OpenSsh, Slurm] => transfers::a_cancelled_job_leaves_no_half_archive,
    [OpenSsh, S3, Slurm] => staged::a_file_goes_up_and_comes_down_by_way_of_the_store,
    [OpenSsh, S3, Slurm24] => staged::the_second_release_moves_files_too,
    [OpenSsh, S3, Slurm] => staged::a_url_that_was_changed_or_has_ended_is_refused_by_the_store,
    [OpenSsh, S3, Slurm] => staged::a_cancelled_job_leaves_no_half_file_and_no_upload,
    [OpenSsh, S3, Slurm] => staged::the_store_is_checked_and_what_cannot_go_by_it_is_refused,
    [OpenSsh, Slurm, Slurm24] => slurm_rest::a_job_runs_to_its_end_by_rest,
    [OpenSsh, Slurm, Slurm24] => slurm_rest::jobs_by_rest_are_cancelled_by_their_owner_alone,
    [OpenSsh, Slurm, Slurm24] => slurm_rest::parts_of_waiting_jobs_are_told_and_cancelled_alike_in_every_mode,
    [OpenSsh, Slurm, Slurm24] => slurm_rest::what_slurmrestd_refuses_is_told,
    [OpenSsh, Slurm, Slurm24] => slurm_rest::rest_and_commands_say_the_same_of_the_cluster,
    [OpenSsh, Slurm, Slurm24] => slurm_rest::the_health_of_rest_and_hybrid_systems_is_good,
    [OpenSsh, Slurm] => slurm_rest::a_hybrid_system_works_without_slurmrestd_and_says_so,
    [OpenSsh, Slurm, Slurm24] => slurm_rest::a_hybrid_system_does_by_ssh_what_slurmrestd_cannot,
    [Kubernetes] => kubernetes::a_job_runs_to_its_end_with_its_script_and_variables,
    [Kubernetes] => kubernetes::a_job_that_fails_says_how,
    [Kubernetes] => kubernetes::a_running_job_is_cancelled_by_its_owner_alone,
    [Kubernetes] => kubernetes::a_job_is_held_and_released,
    [Kubernetes] => kubernetes::tasks_of_an_array_end_each_by_itself,
    [Kubernetes] => kubernetes::a_key_makes_one_job_however_often_it_is_sent,
    [Kubernetes] => kubernetes::an_image_that_cannot_be_had_ends_the_wait_within_seconds,
    [Kubernetes] => kubernetes::a_pod_that_is_refused_ends_its_job_with_the_reason,
    [Kubernetes] => kubernetes::what_cannot_run_is_refused_and_nothing_is_left,
    [Kubernetes] => kubernetes::nodes_partitions_limits_and_health_are_shown,
    [Kubernetes] => kubernetes::an_api_server_that_is_away_is_no_empty_list,
    [Kubernetes] => kubernetes_admission::members_that_reach_out_of_the_pod_are_refused_by_name,
    [Kubernetes] => kubernetes_admission::the_api_server_knows_each_hostile_job_and_stops_some,
    [Kubernetes] => kubernetes_identity::a_second_user_sees_and_reaches_nothing_of_the_first,
    [Kubernetes] => kubernetes_identity::a_namespace_has_what_the_site_gives_it,
    [Kubernetes] => kubernetes_identity::a_namespace_that_is_somebody_elses_is_not_used,
    [Kubernetes] => kubernetes_identity::a_cluster_that_knows_its_users_decides_itself,
    [Kubernetes] => kubernetes_identity::a_namespace_that_was_removed_is_made_again,
    [Kubernetes] => kubernetes_identity::a_job_whose_secret_is_refused_is_not_left,
    [Kubernetes] => kubernetes_output::the_output_of_a_job_is_followed_from_before_its_pod_exists_until_the_job_has_ended,
    [Kubernetes] => kubernetes_output::megabytes_of_output_arrive_byte_for_byte,
    [Kubernetes] => kubernetes_output::each_task_of_an_array_has_its_own_output,
    [Kubernetes] => kubernetes_output::commands_and_signals_reach_the_container_of_a_running_job,
    [Kubernetes] => kubernetes_output::a_schedule_submits_jobs_until_it_is_removed,
    [Kubernetes] => kubernetes_files::files_go_up_are_worked_with_and_come_back,
    [Kubernetes] => kubernetes_files::every_operation_on_files_works_on_a_volume,
    [Kubernetes] => kubernetes_files::jobs_and_requests_see_the_same_files_and_other_users_do_not,
    [Kubernetes] => kubernetes_files::a_helper_pod_that_is_lost_or_not_used_comes_back,
    [Kubernetes] => kubernetes_files::what_keeps_a_helper_pod_from_running_is_said_in_seconds,
    [Kubernetes] => kubernetes_files::an_api_server_that_is_away_is_no_missing_file,
    [Kubernetes] => kubernetes_faults::an_api_server_that_is_killed_and_comes_back_loses_nothing,
    [Kubernetes] => kubernetes_faults::an_api_server_that_hangs_makes_no_second_job,
    [Kubernetes] => kubernetes_queues::a_queue_of_kueue_is_a_partition_whose_jobs_wait_until_they_are_admitted,
    [Kubernetes] => kubernetes_kills::the_end_of_each_of_fifty_jobs_is_told_once_while_every_part_is_killed_in_turn,
    [OpenSsh] => lifecycle::a_request_under_way_ends_before_the_process_does,
];

#[tokio::main]
async fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |scenario: &&Scenario| filters.is_empty() || filters.iter().any(|filter| scenario.name.contains(filter.as_str()));
    if std::env::args().any(|argument| argument == "--list") {
        SCENARIOS.iter().filter(chosen).for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    // One line is enough: the expectation and the answer stand in it.
    std::panic::set_hook(Box::new(|panic| println!("{panic}")));
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    let live = Arc::new(Live::discover().await);
    let begun = Instant::now();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    for scenario in SCENARIOS.iter().filter(chosen) {
        let missing: Vec<Component> = scenario.needs.iter().copied().filter(|need| !live.has(*need)).collect();
        let elsewhere = missing.iter().any(|need| live.is_elsewhere(*need));
        if !missing.is_empty() && (!strict || elsewhere) {
            println!("test {} ... ignored, {missing:?} not up", scenario.name);
            skipped.push(missing);
            continue;
        }
        let started = Instant::now();
        let outcome = if missing.is_empty() { run(scenario, &live).await } else { Err(format!("{missing:?} not up, and CI=true")) };
        let seconds = started.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {} ... ok ({seconds:.1} s)", scenario.name);
            }
            Err(reason) => {
                failed.push(scenario.name);
                println!("test {} ... FAILED ({seconds:.1} s): {reason}", scenario.name);
            }
        }
    }
    if !skipped.is_empty() {
        let mut reasons: Vec<String> = skipped.iter().flatten().map(|component| format!("{component:?}")).collect();
        reasons.sort();
        reasons.dedup();
        println!("live: skipped {} (not up: {})", skipped.len(), reasons.join(", "));
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len(),
        skipped.len(),
        SCENARIOS.len() - passed - failed.len() - skipped.len(),
        begun.elapsed().as_secs_f32(),
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario in a task of its own, so that its panic ends nothing else.
async fn run(scenario: &'static Scenario, live: &Arc<Live>) -> Result<(), String> {
    let live = Arc::clone(live);
    let mut task = tokio::spawn(async move { (scenario.run)(&live).await });
    match tokio::time::timeout(DEADLINE, &mut task).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => match error.try_into_panic() {
            Ok(panic) => Err(panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic")
                .to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Err(_) => {
            task.abort();
            Err(format!("not done after {} s", DEADLINE.as_secs()))
        }
    }
}
