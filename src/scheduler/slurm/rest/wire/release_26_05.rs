//! Recorded answers of slurmrestd 26.05, in its last three versions.

use serde::de::IgnoredAny;

use super::super::failure::{explain, explain_refusal};
use super::super::golden::{answer, recorded, records};
use super::*;
use crate::domain::{Job, Node, Partition};
use crate::scheduler::SchedulerError;

const VERSIONS: [&str; 3] = ["v0.0.43", "v0.0.44", "v0.0.45"];

/// When the jobs were recorded.
const NOW: i64 = 1_795_967_760;

fn queued(version: &str) -> Vec<Job> {
    records::<QueuedJob>(version, "jobs").into_iter().map(|job| job.into_job(NOW).unwrap()).collect()
}

fn accounted(version: &str, name: &str) -> Vec<Job> {
    records::<AccountedJob>(version, name).into_iter().map(|job| job.into_job(true).unwrap()).collect()
}

#[test]
fn all_versions_say_the_same_of_a_job() {
    for version in ["v0.0.43", "v0.0.44"] {
        assert_eq!(queued(version), queued("v0.0.45"), "{version}");
    }
}

#[test]
fn a_state_with_flags_is_the_word_that_the_commands_show() {
    for version in VERSIONS {
        let jobs = queued(version);
        for (id, state) in [("64", "CONFIGURING"), ("33", "SPECIAL_EXIT"), ("35", "STOPPED"), ("34", "SUSPENDED"), ("8", "RUNNING")] {
            let job = jobs.iter().find(|job| job.id.as_str() == id).unwrap_or_else(|| panic!("{version} has no job {id}"));
            assert_eq!(job.status.state, state, "{version} {id}");
        }
    }
}

#[test]
fn expected_times_stand_apart_and_numbers_for_nothing_are_none() {
    for version in VERSIONS {
        let jobs = queued(version);
        for job in &jobs {
            let times = &job.times;
            for time in [times.start, times.end, times.expected_start, times.expected_end, times.limit].into_iter().flatten() {
                assert!(time < 4_294_967_294, "{version} {}: {times:?}", job.id);
            }
            match job.status.state.as_str() {
                "PENDING" => assert_eq!((times.start, times.end), (None, None), "{version} {}", job.id),
                "RUNNING" => assert!(times.start.is_some() && times.end.is_none() && times.expected_end.is_some(), "{version} {}", job.id),
                _ => {}
            }
        }
        assert!(jobs.iter().any(|job| job.status.state == "PENDING" && job.times.expected_start.is_some()), "{version}");
        let never_started = accounted(version, "accounted-cancelled-pending").remove(0);
        assert_eq!((never_started.status.state.as_str(), never_started.times.start), ("CANCELLED", None), "{version}");
    }
}

#[test]
fn the_runs_of_a_requeued_job_are_told_apart() {
    for version in VERSIONS {
        let runs = accounted(version, "accounted-requeued");
        let told: Vec<_> = runs.iter().map(|run| (run.status.state.as_str(), run.times.start, run.times.end)).collect();
        let expected = [("REQUEUED", Some(1_795_967_426), Some(1_795_967_427)), ("RUNNING", Some(1_795_967_549), None)];
        assert_eq!(told, expected, "{version}");
    }
}

#[test]
fn components_have_ids_of_their_own() {
    for version in VERSIONS {
        let ids: Vec<String> =
            records::<QueuedJob>(version, "het-job").into_iter().map(|job| job.into_job(NOW).unwrap().id.to_string()).collect();
        assert_eq!(ids, ["40+0", "40+1"], "{version}");
    }
}

#[test]
fn refusals_with_the_statuses_of_this_release_keep_slurms_words() {
    for version in VERSIONS {
        for (name, words) in [
            ("submit-account", "Invalid account or account/partition combination specified"),
            ("submit-partition", "Invalid partition name specified"),
            ("submit-constraint", "Invalid feature specification"),
        ] {
            assert_eq!(recorded(version, name).0, 422, "{version} {name}");
            let error = explain_refusal(&answer::<IgnoredAny>(version, name).faults());
            assert!(matches!(&error, SchedulerError::Rejected(text) if text.ends_with(words)), "{version} {name}: {error:?}");
        }
        assert!(answer::<IgnoredAny>(version, "submitted").submitted().is_some(), "{version}");
        assert_eq!(recorded(version, "wrong-token").0, 511, "{version}");
    }
    let error = explain(&answer::<IgnoredAny>("v0.0.43", "accounted-wrong-token").faults());
    assert_eq!(recorded("v0.0.43", "accounted-wrong-token").0, 502);
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
}

#[test]
fn a_controller_that_refuses_the_token_is_not_up() {
    for version in ["v0.0.43", "v0.0.45"] {
        assert!(!records::<Ping>(version, "ping-wrong-token").iter().any(Ping::is_up), "{version}");
    }
    for version in VERSIONS {
        assert!(records::<Ping>(version, "ping").iter().any(Ping::is_up), "{version}");
    }
}

#[test]
fn a_cancellation_that_tells_nothing_has_to_be_verified() {
    for version in VERSIONS {
        for name in ["cancel", "cancel-component"] {
            assert!(!answer::<IgnoredAny>(version, name).tells_of_each_job(), "{version} {name}");
        }
        let meaning = |name| explain(&answer::<IgnoredAny>(version, name).faults());
        assert!(matches!(meaning("cancel-denied"), SchedulerError::Denied(_)), "{version}");
        assert!(matches!(meaning("cancel-unknown"), SchedulerError::JobNotFound), "{version}");
    }
}

#[test]
fn nodes_partitions_and_accounts_are_read() {
    for version in VERSIONS {
        let nodes: Vec<Node> = records::<NodeRecord>(version, "nodes").into_iter().map(Node::from).collect();
        assert_eq!(nodes.iter().find(|node| node.name == "n1").unwrap().features, ["fast", "gpu"], "{version}");
        let partitions: Vec<Partition> = records::<PartitionRecord>(version, "partitions").into_iter().map(Partition::from).collect();
        assert_eq!(
            (partitions[0].name.as_str(), partitions[0].cpus, partitions[0].total_nodes),
            ("normal", Some(48), Some(3)),
            "{version}"
        );
        let default = records::<Association>(version, "associations").iter().filter(|association| association.is_default()).count();
        assert_eq!(default, 1, "{version}");
    }
}

#[test]
fn an_answer_that_is_not_slurms_is_told_from_one_that_is() {
    for version in VERSIONS {
        assert!(answer::<IgnoredAny>(version, "unknown-job").is_slurms() && answer::<IgnoredAny>(version, "cancel").is_slurms());
    }
    for json in ["{}", r#"{"message": "no Route matched with those values"}"#] {
        assert!(!serde_json::from_str::<Answer<IgnoredAny>>(json).unwrap().is_slurms(), "{json}");
    }
}
