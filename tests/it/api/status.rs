//! `/status`.

use std::sync::Arc;

use axum::http::Method;
use goldcrest::cluster::Cluster;
use goldcrest::domain::{
    Account, ClusterHealth, Identity, Node, NodeState, Partition, PosixId, Reservation, ServiceHealth, ServiceType, SystemName,
};
use goldcrest::filesystem::FilesystemError;
use goldcrest::scheduler::SchedulerError;
use goldcrest::service::{Gate, State};
use goldcrest::ssh::TransportError;
use insta::assert_snapshot;
use serde_json::json;

use super::callers::{Relations, Tokens};
use super::doubles::{Reply, Script, ScriptedFiles, ScriptedScheduler};
use super::{Answer, Api, request, whole};
use crate::support::scripted::ScriptedTransport;

#[tokio::test]
async fn the_systems_are_shown_with_their_health_and_without_secrets() {
    let answer = Api::unhealthy(ServiceType::Filesystem, Some("/home")).get("/status/systems").await;
    assert!(!answer.everything().contains("hunter2"));
    assert_snapshot!(answer);
}

#[tokio::test]
async fn what_the_checker_finds_is_shown_from_the_next_request_on() {
    let (checker, health) = tokio::sync::watch::channel(ClusterHealth::default());
    let api = Api::over(super::cluster(vec![], vec![], ScriptedTransport::new([]), health));
    let checked = async || {
        let answer = api.get("/status/systems").await.json();
        (answer["systems"][0]["lastHealthCheck"].clone(), answer["systems"][0]["servicesHealth"].as_array().unwrap().len())
    };
    assert_eq!(checked().await, (json!(null), 0));
    for time in ["2026-01-31T08:00:00Z", "2026-01-31T08:01:00Z"] {
        checker.send_replace(ClusterHealth { services: Vec::new(), last_check: Some(time.parse().unwrap()), next_check: None });
        for _ in 0..2 {
            assert_eq!(checked().await, (json!(time), 0));
        }
    }
    let found = ServiceHealth {
        service: ServiceType::Ssh,
        last_checked: "2026-01-31T08:02:00Z".parse().unwrap(),
        latency: None,
        healthy: false,
        message: None,
        path: None,
    };
    checker.send_modify(|health| health.services.push(found));
    assert_eq!(checked().await, (json!("2026-01-31T08:01:00Z"), 1));
}

/// What a token's owner is shown of the systems `daint` and `hidden`.
async fn shown(path: &str, token: &str) -> Answer {
    let api = Api::assemble(vec![], vec![], ClusterHealth::default(), |state| {
        let named = |name: &str| {
            let (_, health) = tokio::sync::watch::channel(ClusterHealth::default());
            let cluster = super::cluster(vec![], vec![], ScriptedTransport::new([]), health.clone());
            let config = goldcrest::cluster::Config { name: SystemName::new(name).unwrap(), ..cluster.config().clone() };
            let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", [])));
            let files = Arc::new(ScriptedFiles(Script::new("file system", [])));
            Arc::new(Cluster::new(config, whole(Arc::new(ScriptedTransport::new([])), scheduler, files), health))
        };
        state.gate = Gate::new(Arc::new(Tokens), Arc::new(Relations), [named("hidden"), named("daint")], State::default());
    });
    api.send(request(Method::GET, path, Some(token), None)).await
}

#[tokio::test]
async fn a_caller_is_shown_the_systems_that_the_caller_may_use_and_no_others() {
    for (token, expected) in [("token-of-alice", &["daint", "hidden"][..]), ("token-of-bob", &["daint"]), ("token-of-mallory", &[])] {
        let answer = shown("/status/systems", token).await;
        let systems = answer.json()["systems"].as_array().unwrap().clone();
        assert_eq!(
            (answer.status, systems.iter().map(|system| system["name"].as_str().unwrap()).collect::<Vec<_>>()),
            (200, expected.to_vec())
        );
    }
    for path in ["/status/systems", "/status/parameters"] {
        let others = shown(path, "token-of-bob").await.everything();
        assert!(others.contains("daint") && !others.contains("hidden"), "{path}: {others}");
        let undecided = shown(path, "token-of-nobody").await;
        assert_eq!(undecided.status, 503);
        assert!(!undecided.everything().contains("daint"), "{path}: {}", undecided.everything());
    }
}

#[tokio::test]
async fn the_nodes_are_shown_with_every_member_of_the_contract() {
    let node = Node {
        name: "nid001".to_owned(),
        cpus: 64,
        sockets: Some(2),
        cores: Some(32),
        threads: Some(1),
        cpu_load: Some(0.5),
        free_memory: Some(1000),
        alloc_memory: Some(0),
        alloc_cpus: Some(0),
        idle_cpus: Some(64),
        features: vec!["gpu".to_owned()],
        address: Some("nid001".to_owned()),
        hostname: Some("nid001".to_owned()),
        state: vec![NodeState::Idle, NodeState::PoweringDown],
        partitions: vec!["normal".to_owned()],
        weight: Some(1),
    };
    let api = Api::new(vec![("alice: nodes", Reply::Nodes(vec![node]))], vec![]);
    assert_snapshot!(api.get("/status/daint/nodes").await);
}

#[tokio::test]
async fn the_partitions_are_shown_with_every_member_of_the_contract() {
    let partition = || Partition { name: "normal".to_owned(), cpus: Some(128), total_nodes: Some(2), state: vec!["UP".to_owned()] };
    let api = Api::new(vec![("alice: partitions false", Reply::Partitions(vec![partition()]))], vec![]);
    assert_snapshot!(api.get("/status/daint/partitions").await);
    let api = Api::new(vec![("alice: partitions true", Reply::Partitions(vec![partition()]))], vec![]);
    assert_eq!(api.get("/status/daint/partitions?show_hidden=true").await.status, 200);
}

#[tokio::test]
async fn the_reservations_are_shown_with_every_member_of_the_contract() {
    let reservation = Reservation {
        name: "maintenance".to_owned(),
        node_list: "nid[001-002]".to_owned(),
        start: 1,
        end: 2,
        features: None,
        state: Some("active".to_owned()),
    };
    let api = Api::new(vec![("alice: reservations", Reply::Reservations(vec![reservation]))], vec![]);
    assert_snapshot!(api.get("/status/daint/reservations").await);
}

fn identity() -> Reply {
    let posix = |id: &str, name: &str| PosixId { id: id.to_owned(), name: name.to_owned() };
    Reply::Identity(Identity {
        user: posix("1000", "alice"),
        group: posix("100", "users"),
        groups: vec![posix("100", "users"), posix("7", "g1")],
    })
}

#[tokio::test]
async fn the_caller_is_shown_with_groups_and_accounts() {
    let accounts = Some(vec![Account { name: "g1".to_owned(), default: true }]);
    let api = Api::new(vec![("alice: accounts", Reply::Accounts(accounts))], vec![("alice: identity", identity())]);
    assert_snapshot!(api.get("/status/daint/userinfo").await);
    let api = Api::new(vec![("alice: accounts", Reply::Accounts(None))], vec![("alice: identity", identity())]);
    assert_eq!(api.get("/status/daint/userinfo").await.json()["accounts"], json!(null));
}

#[tokio::test]
async fn errors_of_nodes_and_users_keep_their_kind() {
    let unreachable = || TransportError::Connect("login:22: no route to host".to_owned());
    let fails = Reply::SchedulerFails(SchedulerError::Command { operation: "nodes", source: unreachable().into() });
    let answer = Api::new(vec![("alice: nodes", fails)], vec![]).get("/status/daint/nodes").await;
    assert_eq!(answer.status, 424);
    assert!(answer.everything().contains("login:22: no route to host"), "the cause is named: {}", answer.everything());
    let api = Api::new(vec![], vec![("alice: identity", Reply::FileFails(FilesystemError::Transport(unreachable())))]);
    assert_eq!(api.get("/status/daint/userinfo").await.status, 424);
}

#[tokio::test]
async fn an_unhealthy_scheduler_does_not_keep_nodes_from_being_asked_for() {
    let mut health = ClusterHealth::default();
    health.services.push(ServiceHealth {
        service: ServiceType::Scheduler,
        last_checked: jiff::Timestamp::now(),
        latency: None,
        healthy: false,
        message: None,
        path: None,
    });
    let api = Api::build(vec![("alice: nodes", Reply::Nodes(vec![]))], vec![], health, "", |_| {});
    assert_eq!(api.get("/status/daint/nodes").await.json(), json!({"nodes": []}));
}

#[tokio::test]
async fn liveness_needs_no_token_and_tells_the_age_of_the_oldest_check() {
    let request = || request(Method::GET, "/status/liveness/", None, None);
    let answer = Api::new(vec![], vec![]).send(request()).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"healthcheckRuns": {}, "lastUpdate": 0})));

    let last_check = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(90);
    let health = ClusterHealth { services: vec![], last_check: Some(last_check), next_check: None };
    let answer = Api::build(vec![], vec![], health, "", |_| {}).send(request()).await.json();
    assert_eq!(answer["healthcheckRuns"], json!({"daint": last_check.to_string()}));
    assert!((90..100).contains(&answer["lastUpdate"].as_i64().unwrap()), "{answer}");
}
