//! The background checker, over scripted backends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use goldcrest::domain::{ClusterHealth, FileStat, RemotePath, ServiceType};
use goldcrest::filesystem::FilesystemError;
use goldcrest::health::Checker;
use goldcrest::scheduler::SchedulerError;
use goldcrest::ssh::TransportError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::callers::Source;
use super::capabilities::without_ssh;
use super::doubles::{Reply, Step};
use super::{Api, cluster, unhealthy};
use crate::support::scripted::{ScriptedTransport, breaks, prints};

fn checker(scheduler: Vec<Step>, files: Vec<Step>, transport: ScriptedTransport, token: bool) -> (Checker, watch::Receiver<ClusterHealth>) {
    let (sender, receiver) = watch::channel(ClusterHealth::default());
    let cluster = Arc::new(cluster(scheduler, files, transport, receiver.clone()));
    (Checker::new(cluster, sender, Arc::new(Source(token))), receiver)
}

fn stats() -> Vec<Step> {
    vec![
        (r#"checker: stat "/home" true"#, Reply::Stat(FileStat::default())),
        (r#"checker: stat "/scratch" true"#, Reply::FileFails(FilesystemError::NotFound(RemotePath::from_text("/scratch").unwrap()))),
    ]
}

#[tokio::test]
async fn every_configured_service_is_probed_and_the_findings_are_published() {
    let (mut checker, health) =
        checker(vec![("checker: ping", Reply::Done)], stats(), ScriptedTransport::new([prints("true", "welcome!")]), true);
    checker.check().await;
    let health = health.borrow().clone();
    let found: Vec<_> = health.services.iter().map(|entry| (entry.service, entry.healthy, entry.message.as_deref())).collect();
    let expected = [
        (ServiceType::Filesystem, true, None),
        (ServiceType::Filesystem, false, Some("cannot statx '/scratch': No such file or directory")),
        (ServiceType::Ssh, true, None),
        (ServiceType::Scheduler, true, None),
    ];
    assert_eq!(found, expected);
    assert!(health.last_check.is_some());
    assert!(health.services.iter().all(|entry| entry.latency.is_some()));
    let home = RemotePath::from_text("/home/alice").unwrap();
    assert!(health.unhealthy_filesystem(&home).is_none());
    assert!(health.unhealthy_filesystem(&RemotePath::from_text("/scratch/a").unwrap()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_fails_by_its_own_limit_and_the_others_do_not_wait_for_it() {
    let (mut checker, health) = checker(
        vec![("checker: ping", Reply::Hangs)],
        stats(),
        ScriptedTransport::new([breaks("true", TransportError::Login("checker".to_owned()))]),
        true,
    );
    let started = tokio::time::Instant::now();
    checker.check().await;
    assert_eq!(started.elapsed().as_secs(), 10, "the limit of the scheduler's probe");
    let health = health.borrow().clone();
    assert_eq!(health.unhealthy(ServiceType::Scheduler).unwrap().message.as_deref(), Some("no answer within 10 s"));
    assert_eq!(health.unhealthy(ServiceType::Ssh).unwrap().message.as_deref(), Some("the cluster refused the login of checker"));
}

#[tokio::test]
async fn without_a_token_there_is_one_entry_which_gates_nothing_and_tells_nothing_internal() {
    let (mut checker, health) = checker(vec![], vec![], ScriptedTransport::new([]), false);
    checker.check().await;
    let health = health.borrow().clone();
    assert_eq!(health.services.len(), 1);
    assert_eq!((health.services[0].service, health.services[0].healthy, health.last_check), (ServiceType::Exception, false, None));
    assert!(!health.services[0].message.as_deref().unwrap().contains("10.0.0.3"));
    assert!(health.unhealthy(ServiceType::Ssh).is_none());
}

/// The whole seconds between the publications of a checker.
async fn pauses(checker: Checker, mut health: watch::Receiver<ClusterHealth>, count: usize) -> Vec<u64> {
    let stop = CancellationToken::new();
    let task = tokio::spawn(checker.run(stop.clone()));
    let mut last = tokio::time::Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..=count {
        tokio::time::timeout(Duration::from_secs(600), health.changed()).await.unwrap().unwrap();
        pauses.push(last.elapsed().as_secs());
        last = tokio::time::Instant::now();
    }
    stop.cancel();
    task.await.unwrap();
    pauses.split_off(1)
}

#[tokio::test(start_paused = true)]
async fn while_a_service_is_unhealthy_it_is_checked_again_soon_and_then_less_and_less_often() {
    let down = || ("checker: ping", Reply::SchedulerFails(SchedulerError::Down("gone".to_owned())));
    let well = || ("checker: ping", Reply::Done);
    let scheduler = vec![down(), down(), down(), down(), down(), down(), well(), well(), down()];
    let (sender, receiver) = watch::channel(ClusterHealth::default());
    let checker = Checker::new(Arc::new(without_ssh(scheduler, receiver.clone())), sender, Arc::new(Source(true)));
    let found = pauses(checker, receiver, 8).await;
    // Between half and all of 5, 10, 20, 40, 60, 60 seconds, and after the end of the outage of 60.
    for (pause, limit) in found.iter().zip([5, 10, 20, 40, 60, 60, 60]) {
        assert!((limit / 2..=limit).contains(pause), "{limit}: {found:?}");
    }
    assert_eq!(found[7], 60, "{found:?}");
}

#[tokio::test]
async fn a_refusal_says_when_the_service_is_checked_again() {
    let mut health = unhealthy(ServiceType::Scheduler, None);
    for (wait, expected) in [(Some(600), 540..=600), (Some(0), 1..=1), (None, 10..=10)] {
        health.next_check = wait.map(|wait| Instant::now() + Duration::from_secs(wait));
        let answer = Api::build(Vec::new(), Vec::new(), health.clone(), "", |_| {}).get("/compute/daint/jobs").await;
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(answer.status == 503 && expected.contains(&seconds), "{wait:?}: {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_checks_at_once_and_then_each_interval_until_it_is_stopped() {
    let (checker, mut health) = checker(vec![], vec![], ScriptedTransport::new([]), false);
    let stop = CancellationToken::new();
    let started = tokio::time::Instant::now();
    let task = tokio::spawn(checker.run(stop.clone()));
    let mut times = Vec::new();
    for _ in 0..3 {
        tokio::time::timeout(Duration::from_secs(600), health.changed()).await.unwrap().unwrap();
        times.push(started.elapsed().as_secs());
    }
    assert_eq!(times[0], 0);
    assert!((30..=60).contains(&times[1]), "{times:?}: spread over half an interval");
    assert_eq!(times[2] - times[1], 60, "{times:?}");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), task).await.unwrap().unwrap();
}
