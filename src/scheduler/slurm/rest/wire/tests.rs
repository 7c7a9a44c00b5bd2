use serde::de::IgnoredAny;

use super::super::failure::{explain, explain_refusal};
use super::super::golden::{NOW, VERSIONS, answer, recorded, records};
use super::*;
use crate::domain::{Job, JobId, Node, NodeState, Partition};
use crate::scheduler::SchedulerError;

/// The versions whose lists differ; those between them are alike.
const DIFFERING: [&str; 4] = ["v0.0.36", "v0.0.38", "v0.0.40", "v0.0.42"];

fn queued(version: &str) -> Vec<Job> {
    records::<QueuedJob>(version, "jobs").into_iter().map(|job| job.into_job(NOW).unwrap()).collect()
}

fn accounted(version: &str) -> Vec<Job> {
    records::<AccountedJob>(version, "accounted").into_iter().map(|job| job.into_job(false).unwrap()).collect()
}

fn named<'a>(jobs: &'a [Job], name: &str) -> &'a Job {
    jobs.iter().find(|job| job.name == name).unwrap_or_else(|| panic!("no job {name}"))
}

#[test]
fn recorded_jobs_of_the_controller_are_read() {
    for version in DIFFERING {
        insta::assert_debug_snapshot!(format!("queued_{version}"), queued(version));
    }
}

#[test]
fn recorded_jobs_of_accounting_are_read() {
    for version in DIFFERING {
        insta::assert_debug_snapshot!(format!("accounted_{version}"), accounted(version));
    }
}

#[test]
fn all_versions_of_a_release_say_the_same_of_a_job() {
    for (one, other) in [("v0.0.37", "v0.0.38"), ("v0.0.40", "v0.0.41"), ("v0.0.41", "v0.0.42")] {
        let anonymous = |jobs: Vec<Job>| jobs.into_iter().map(|job| Job { group: None, ..job }).collect::<Vec<_>>();
        assert_eq!(anonymous(queued(one)), anonymous(queued(other)), "{one} {other}");
    }
}

#[test]
fn an_end_is_told_by_exit_code_and_signal() {
    for version in VERSIONS {
        let jobs = queued(version);
        let end = |name| (named(&jobs, name).status.exit_code, named(&jobs, name).status.signal);
        assert_eq!((end("ended"), end("killed")), ((Some(3), None), (Some(0), Some(9))), "{version}");
        let cancelled = named(&jobs, "cancelled");
        assert_eq!(cancelled.status.state, "CANCELLED", "{version}");
        assert!(cancelled.times.start.is_none() && cancelled.times.end.is_some(), "{version}: it was cancelled while it waited");
        let running = named(&jobs, "running");
        assert_eq!(
            (running.status.exit_code, running.times.limit, running.status.reason.as_deref()),
            (None, Some(1800), None),
            "{version}"
        );
        assert!(running.times.elapsed.is_some_and(|seconds| (40..120).contains(&seconds)), "{version}: {:?}", running.times);
    }
}

#[test]
fn accounting_tells_the_exit_code_or_nothing() {
    for version in VERSIONS {
        let jobs = accounted(version);
        let end = |name| (named(&jobs, name).status.exit_code, named(&jobs, name).status.signal);
        // The first versions write 0, which was not the code.
        let known = (version >= "v0.0.40").then_some(3);
        assert_eq!((end("ended"), end("killed")), ((known, None), (Some(0), Some(9))), "{version}");
        assert_eq!(named(&jobs, "running").times.end, None, "{version}");
        let cancelled = jobs.iter().find(|job| job.name == "cancelled");
        assert_eq!(cancelled.is_some(), version >= "v0.0.38", "{version}");
        assert!(cancelled.is_none_or(|job| job.times.start.is_none() && job.times.end.is_some()), "{version}: {cancelled:?}");
    }
}

#[test]
fn an_array_is_shown_as_its_running_task_and_as_the_array_that_waits() {
    for version in ["v0.0.36", "v0.0.38", "v0.0.40", "v0.0.42"] {
        let jobs: Vec<Job> = records::<QueuedJob>(version, "array-job").into_iter().map(|job| job.into_job(NOW).unwrap()).collect();
        let waiting = jobs.iter().find(|job| job.status.state == "PENDING").unwrap();
        let running = jobs.iter().find(|job| job.status.state == "RUNNING").unwrap();
        assert_eq!(running.id, JobId::new(&format!("{}_1", waiting.id)).unwrap(), "{version}");
    }
}

#[test]
fn a_job_that_waits_has_no_start_in_accounting() {
    for version in ["v0.0.38", "v0.0.40", "v0.0.41", "v0.0.42"] {
        for job in accounted(version).iter().filter(|job| job.status.state == "PENDING") {
            assert_eq!((job.times.start, job.times.end), (None, None), "{version}: {}", job.id);
        }
    }
}

#[test]
fn the_steps_of_a_job_carry_its_id() {
    for version in ["v0.0.36", "v0.0.38", "v0.0.42"] {
        let mut jobs = records::<AccountedJob>(version, "accounted-job");
        let job = jobs.remove(0).into_job(true).unwrap();
        let steps: Vec<(String, &str)> =
            job.steps.as_ref().unwrap().iter().map(|step| (step.id.replace(job.id.as_str(), "N"), step.name.as_str())).collect();
        assert_eq!(steps, [("N.batch".to_owned(), "batch"), ("N.0".to_owned(), "sleep")], "{version}");
        assert!(job.steps.unwrap().iter().all(|step| step.status.state == "RUNNING" && step.times.end.is_none()), "{version}");
    }
}

#[test]
fn recorded_nodes_are_read() {
    for version in VERSIONS {
        let nodes: Vec<Node> = records::<NodeRecord>(version, "nodes").into_iter().map(Node::from).collect();
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2", "n3", "n4"], "{version}");
        let n1 = &nodes[0];
        assert_eq!((n1.cpus, n1.sockets, n1.cores, n1.threads, n1.weight), (2, Some(1), Some(2), Some(1), Some(1)), "{version}");
        assert_eq!(n1.features, ["fast", "gpu"], "{version}");
        assert!(n1.cpu_load.is_some_and(|load| load < 100.0), "{version}: {:?}", n1.cpu_load);
        if version >= "v0.0.37" {
            assert_eq!(n1.partitions, ["long", "normal"], "{version}");
            assert_eq!(n1.alloc_cpus.unwrap() + n1.idle_cpus.unwrap(), 2, "{version}");
            assert!(nodes[1].state.contains(&NodeState::Drain), "{version}: {:?}", nodes[1].state);
            assert!(nodes[3].state.contains(&NodeState::Down), "{version}: {:?}", nodes[3].state);
        }
    }
}

#[test]
fn recorded_partitions_are_read_and_hidden_ones_are_known() {
    for version in VERSIONS {
        let records: Vec<PartitionRecord> = records(version, "partitions");
        let shown: Vec<Partition> = records.into_iter().filter(|partition| !partition.is_hidden()).map(Partition::from).collect();
        let names: Vec<&str> = shown.iter().map(|partition| partition.name.as_str()).collect();
        assert_eq!(names, ["normal", "long", "closed"], "{version}");
        assert_eq!((shown[0].cpus, shown[0].total_nodes), (Some(4), Some(2)), "{version}");
        let states: Vec<&str> = shown.iter().flat_map(|partition| partition.state.iter().map(String::as_str)).collect();
        // The first version does not say.
        assert_eq!(states, if version == "v0.0.36" { &[][..] } else { &["UP", "UP", "DOWN"] }, "{version}");
        if version >= "v0.0.40" {
            let all: Vec<PartitionRecord> = super::super::golden::records(version, "hidden-partitions");
            assert_eq!(all.len(), 4, "{version}");
        }
    }
}

#[test]
fn recorded_reservations_are_read() {
    for version in &VERSIONS[1..] {
        let reservations: Vec<_> =
            records::<ReservationRecord>(version, "reservations").into_iter().map(|record| record.into_reservation(NOW)).collect();
        let [course, maintenance] = reservations.as_slice() else { panic!("{version}: {reservations:?}") };
        assert_eq!((course.name.as_str(), course.node_list.as_str()), ("course", "n3"), "{version}");
        assert_eq!((course.state.as_deref(), course.features.as_deref()), (Some("active"), Some("slow")), "{version}");
        assert_eq!((maintenance.state.as_deref(), maintenance.features.as_deref()), (Some("inactive"), None), "{version}");
        assert!(maintenance.start < maintenance.end, "{version}");
    }
}

#[test]
fn a_ping_is_understood_in_every_form() {
    for version in VERSIONS {
        assert!(records::<Ping>(version, "ping").iter().all(Ping::is_up), "{version}");
    }
    for (json, up) in [
        (r#"{"pings": {"hostname": "a", "pinged": "UP"}}"#, true),
        (r#"{"pings": [{"responding": true}]}"#, true),
        (r#"{"pings": [{"hostname": "a", "ping": "DOWN", "status": 1}]}"#, false),
        (r#"{"pings": [{"hostname": "a", "pinged": "DOWN", "responding": false}]}"#, false),
        (r#"{"pings": []}"#, false),
    ] {
        let answer: Answer<Ping> = serde_json::from_str(json).unwrap();
        assert_eq!(answer.into_records().0.unwrap().iter().any(Ping::is_up), up, "{json}");
    }
}

#[test]
fn the_default_account_of_a_user_is_known_in_every_form() {
    for version in VERSIONS {
        let associations: Vec<Association> = records(version, "associations");
        let own = associations.iter().filter(|association| association.user.0.as_deref() == Some("fireuser"));
        let mut accounts: Vec<(&str, bool)> =
            own.map(|association| (association.account.0.as_deref().unwrap(), association.is_default())).collect();
        accounts.sort_unstable();
        assert_eq!(accounts, [("fireuser", true), ("shared", false)], "{version}");
    }
}

#[test]
fn a_job_that_is_not_there_is_told_from_one_that_cannot_be_asked_for() {
    for version in VERSIONS {
        let (records, faults) = answer::<QueuedJob>(version, "unknown-job").into_records();
        assert!(records.is_none_or(|records| records.is_empty()), "{version}");
        assert!(matches!(explain(&faults), SchedulerError::JobNotFound), "{version}: {faults:?}");
        // Accounting was asked and found nothing.
        assert!(super::super::golden::records::<AccountedJob>(version, "unknown-accounted").is_empty(), "{version}");
    }
}

#[test]
fn a_submission_answers_with_an_id_or_with_slurms_words() {
    for version in VERSIONS {
        assert!(answer::<IgnoredAny>(version, "submitted").submitted().is_some(), "{version}");
        for (name, words) in [
            ("submit-partition", "Invalid partition name specified"),
            ("submit-account", "Invalid account or account/partition combination specified"),
            ("submit-constraint", "Invalid feature specification"),
        ] {
            let answer = answer::<IgnoredAny>(version, name);
            assert_eq!(answer.submitted(), None, "{version}");
            let error = explain_refusal(&answer.faults());
            assert!(matches!(&error, SchedulerError::Rejected(text) if text.ends_with(words)), "{version} {name}: {error:?}");
        }
        let error = explain_refusal(&answer::<IgnoredAny>(version, "submit-reservation").faults());
        assert!(matches!(error, SchedulerError::Denied(_)), "{version}: {error:?}");
    }
}

#[test]
fn a_cancellation_that_was_refused_is_seen_where_the_version_tells() {
    for version in VERSIONS {
        assert!(answer::<IgnoredAny>(version, "cancel").faults().is_empty(), "{version}");
        let error = explain(&answer::<IgnoredAny>(version, "cancel-unknown").faults());
        assert!(matches!(error, SchedulerError::JobNotFound), "{version}: {error:?}");
        let denied = answer::<IgnoredAny>(version, "cancel-denied");
        if matches!(version, "v0.0.40" | "v0.0.41") {
            assert!(!denied.tells_of_each_job() && denied.faults().is_empty(), "{version} tells now: it need not be verified");
        } else {
            let error = explain(&denied.faults());
            assert!(matches!(error, SchedulerError::Denied(_)), "{version}: {error:?}");
        }
    }
}

#[test]
fn an_address_that_is_not_there_is_no_document() {
    for version in VERSIONS {
        let (status, body) = recorded(version, "no-such-address");
        assert!(status == 404 && !body.starts_with(b"{"), "{version}");
    }
}

#[test]
fn the_cluster_is_named_where_the_version_names_it() {
    for version in VERSIONS {
        let expected = (version >= "v0.0.40").then_some("goldcrest2411");
        assert_eq!(answer::<Ping>(version, "ping").cluster(), expected, "{version}");
    }
}
