//! The turns of webhooks: when one comes, and what becomes of it when its process stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use goldcrest::domain::SystemName;
use goldcrest::notify::{Timing, Webhooks};
use tokio_util::sync::CancellationToken;

use super::{Site, TIMING, ada, for_all, permissive, store, subjects};
use crate::support::service::{Reply, Seen, Service};
use crate::support::{PATIENCE, wait_for, wait_until};

#[tokio::test]
async fn a_refused_message_does_not_delay_messages_about_other_jobs_that_come_later() {
    let service = Service::start(|seen: &Seen| Reply::status(if seen.json()["subject"] == "7" { 500 } else { 204 }, "")).await;
    let site = Site::new();
    let process = site.process(Timing { first_pause: Duration::from_secs(600), max_pause: Duration::from_secs(600), ..TIMING });
    process.webhooks.register(&ada(), for_all(&service.url)).await.unwrap();
    site.happens("7", "ada", "RUNNING").await;
    wait_until(PATIENCE, async || process.webhooks.list(&ada()).await.unwrap()[0].backlog.failure.is_some()).await;
    site.happens("8", "ada", "RUNNING").await;
    wait_for(PATIENCE, || service.seen().len() >= 2).await;
    assert_eq!(subjects(&service), ["7", "8"]);
}

#[tokio::test]
async fn what_a_process_had_leased_is_taken_by_the_next_one_at_once() {
    let site = Site::new();
    let hangs = Arc::new(AtomicUsize::new(1));
    let left = Arc::clone(&hangs);
    let service = Service::start(move |_| match left.swap(0, Ordering::SeqCst) {
        1 => Reply::status(204, "").after(Duration::from_secs(600)),
        _ => Reply::status(204, ""),
    })
    .await;
    let timing = Timing { request: Duration::from_secs(60), turn: Duration::from_secs(120), ..TIMING };
    let webhooks = Webhooks::new(store(site.folder.path()), permissive(), timing).unwrap();
    webhooks.register(&ada(), for_all(&service.url)).await.unwrap();
    let (stop, running) = (CancellationToken::new(), webhooks.clone());
    let token = stop.clone();
    let running = tokio::spawn(async move { running.run(|| vec![SystemName::new("daint").unwrap()], token).await });
    site.happens("7", "ada", "RUNNING").await;
    wait_for(PATIENCE, || service.seen().len() == 1).await;
    stop.cancel();
    running.await.unwrap();
    site.happens("8", "ada", "RUNNING").await;
    let _next = site.process(timing);
    wait_for(PATIENCE, || service.seen().len() == 3).await;
    assert_eq!(subjects(&service), ["7", "7", "8"]);
}
