//! Rights and tokens that end while a copy goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use goldcrest::authz::{Authorizer, AuthzError, Decision, Relation, Ruling};
use goldcrest::domain::{Principal, SystemName};

use super::relay::Relay;
use super::{COPY_TO, Process, Site, Way, noise};
use crate::api::callers::Relations;
use crate::api::request;
use crate::support::{PATIENCE, wait_for};

/// As [`Relations`], until this relation is withdrawn.
pub struct Withdrawn(pub Relation, pub AtomicBool);

#[async_trait]
impl Authorizer for Withdrawn {
    async fn check_all(&self, by: &Principal, relation: Relation, systems: &[&SystemName]) -> Result<Vec<Ruling>, AuthzError> {
        let mut rulings = Relations.check_all(by, relation, systems).await?;
        if relation == self.0 && self.1.load(Ordering::SeqCst) {
            rulings.iter_mut().for_each(|ruling| ruling.decision = Decision::Denied);
        }
        Ok(rulings)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_ends_with_403_when_a_right_is_withdrawn() {
    let site = Site::new();
    std::fs::write(site.from("large"), noise(64 << 20)).unwrap();
    for (relation, system) in [(Relation::Read, "daint"), (Relation::Write, "eiger")] {
        let authorizer = Arc::new(Withdrawn(relation, AtomicBool::new(false)));
        let process = site.process_with(Way::over(Arc::new(Relay::slow())), Way::sftp(), authorizer.clone());
        let address = process.begin(site.request("large", "copy")).await;
        process.until_under_way(&address).await;
        authorizer.1.store(true, Ordering::SeqCst);
        let task = process.ends(&address, "failed").await;
        assert_eq!(task["reason"]["status"], 403, "{task}");
        assert!(task["reason"]["message"].as_str().unwrap().contains(system), "{task}");
        wait_for(PATIENCE, || site.names("").is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_goes_on_only_with_both_rights() {
    let site = Site::new();
    std::fs::write(site.from("large"), noise(64 << 20)).unwrap();
    for (relation, system, names) in [(Relation::Write, "eiger", 1), (Relation::Read, "daint", 0)] {
        let first = site.process(Way::over(Arc::new(Relay::slow())), Way::sftp());
        let address = first.begin(site.request("large", "copy")).await;
        first.until_under_way(&address).await;
        first.drain().await;
        let withdrawn = Arc::new(Withdrawn(relation, AtomicBool::new(true)));
        let second = site.process_with(Way::sftp(), Way::sftp(), withdrawn);
        let task = second.ends(&address, "failed").await;
        assert_eq!(task["reason"]["status"], 403, "{task}");
        assert!(task["reason"]["message"].as_str().unwrap().contains(system), "{task}");
        // Without the right to change anything there, nothing is removed there either.
        assert_eq!(site.names("").len(), names, "{relation:?}");
        site.names("").iter().for_each(|name| std::fs::remove_file(site.to(name)).unwrap());
    }
}

#[tokio::test]
async fn a_copy_whose_right_to_the_target_is_gone_leaves_its_line_in_the_audit_trail() {
    let (records, _guard) = crate::support::records::records();
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let first = site.process(Way::sftp(), Way::sftp());
    first.stop.cancel();
    let address = first.begin(site.request("a", "copy")).await;
    let withdrawn = Arc::new(Withdrawn(Relation::Write, AtomicBool::new(true)));
    let second = site.process_with(Way::sftp(), Way::sftp(), withdrawn);
    second.ends(&address, "failed").await;
    let counted = |(cluster, counts): (&goldcrest::cluster::Cluster, &goldcrest::service::SystemCounts)| {
        let is_end = |change: &goldcrest::service::ChangeCount| (change.action, change.outcome) == ("transfers.copy_to", "failed");
        (cluster.name().as_str() == "eiger").then(|| counts.changes().filter(is_end).map(|change| change.count).sum::<u64>())
    };
    assert_eq!(second.api.gate.system_counts().find_map(counted), Some(1));
    let lines = records.of("audit");
    let object = format!("daint:{} to eiger:{}", site.from("a").display(), site.to("copy").display());
    let end = lines.iter().find(|line| line.contains("action=\"transfers.copy_to\"")).unwrap_or_else(|| panic!("{lines:#?}"));
    for part in ["outcome=\"failed\"", "user=alice", "system=eiger", &object] {
        assert!(end.contains(part), "{part}: {end}");
    }
}

/// Begins a copy with a token that ends in two seconds.
async fn begin_with_a_short_token(site: &Site, process: &Process) -> String {
    let body = Some(site.request("large", "copy"));
    let answer = process.api.send(request(Method::POST, COPY_TO, Some("two-seconds-of-alice"), body)).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    answer.header("location").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_outlives_its_token_where_credentials_are_made_without_one() {
    let site = Site::new();
    std::fs::write(site.from("large"), noise(16 << 20)).unwrap();
    let process = site.process(Way::over(Arc::new(Relay::slow())), Way::sftp());
    let address = begin_with_a_short_token(&site, &process).await;
    let seen = process.until(&address, |task| task["state"] != "queued" && task["state"] != "running").await;
    assert_eq!(seen["state"], "completed", "{seen}");
    assert!(std::fs::read(site.to("copy")).unwrap() == noise(16 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_credentials_need_a_token_a_copy_waits_for_a_newer_one_of_its_user() {
    let site = Site::new();
    std::fs::write(site.from("large"), noise(24 << 20)).unwrap();
    let slow = Relay { needs_token: true, ..Relay::slow() };
    let process = site.process(Way::over(Arc::new(slow)), Way::sftp());
    // Looked at through another process, which learns the tokens of those requests alone.
    let mut other = site.process(Way::sftp(), Way::sftp());
    other.stop.cancel();
    (&mut other.worker).await.unwrap();
    let address = begin_with_a_short_token(&site, &process).await;
    let waits = other.ends(&address, "waiting").await;
    assert_eq!(waits["reason"]["status"], 401, "{waits}");
    assert!(waits["reason"]["message"].as_str().unwrap().contains("newer token"), "{waits}");
    assert!(!site.names("").contains(&"copy".to_owned()));
    assert_eq!(process.api.get("/status/whoami").await.status, 200);
    process.ends(&address, "completed").await;
    assert!(std::fs::read(site.to("copy")).unwrap() == noise(24 << 20));
    assert_eq!(site.names(""), ["copy"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_keeps_the_token_that_it_needs_when_others_of_its_user_end() {
    let mut site = Site::new();
    // The third one waits for this time, in which the others end.
    site.timing.first_pause = Duration::from_secs(1);
    for name in ["a", "b", "c"] {
        std::fs::write(site.from(name), noise(1 << 20)).unwrap();
    }
    let slow = Relay { needs_token: true, ..Relay::slow() };
    let process = site.process(Way::over(Arc::new(slow)), Way::sftp());
    let mut other = site.process(Way::sftp(), Way::sftp());
    other.stop.cancel();
    (&mut other.worker).await.unwrap();
    let mut addresses = Vec::new();
    for name in ["a", "b", "c"] {
        addresses.push(process.begin(site.request(name, name)).await);
    }
    for address in addresses {
        let task = other.until(&address, |task| task["isFinal"] == true || task["state"] == "waiting").await;
        assert_eq!(task["state"], "completed", "{task}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_written_to_the_store() {
    let site = Site::new();
    std::fs::write(site.from("a"), "content").unwrap();
    let process = site.process(Way::sftp(), Way::sftp());
    let address = process.begin(site.request("a", "a")).await;
    process.ends(&address, "completed").await;
    for entry in std::fs::read_dir(site.state.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        // The token of the double's principal.
        assert!(!content.windows(10).any(|bytes| bytes == b"test-token"));
    }
}
