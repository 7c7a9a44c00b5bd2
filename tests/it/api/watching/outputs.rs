//! Outputs that are followed until the jobs have ended.

use bytes::Bytes;
use futures::stream;
use goldcrest::domain::FileStat;
use goldcrest::filesystem::Followed;

use super::*;
use crate::api::doubles::{Reply, Step};

/// The output of job 7, all of which is there.
fn output() -> Vec<Step> {
    let size = || (r#"alice: stat "/home/7.out" true"#, Reply::Stat(FileStat { mode: 0o100_644, size: 4, ..FileStat::default() }));
    let content = stream::iter([Ok(Followed::Data { data: Bytes::from_static(b"all\n"), end: 4 })]).chain(stream::pending());
    vec![size(), (r#"alice: follow "/home/7.out" Start(0)"#, Reply::Follow(content.boxed())), size()]
}

/// Follows the output of job 7 to its end, and returns the milliseconds until then.
async fn follow(site: &Site) -> u128 {
    let begun = Instant::now();
    let answer = site.get("alice", "/compute/daint/jobs/7/logs?follow=true", &[]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"all\n"[..]));
    begun.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_jobs_end_ends_its_followed_output() {
    let site = Site::new(&Queue::with([job("7", "alice", "RUNNING")]).with_output(output()));
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.queue.set("7", "COMPLETED");
    };
    let (time, ()) = tokio::join!(follow(&site), ends);
    // The last output may be in transit for two seconds.
    assert!((3000..3500).contains(&time), "{time} ms");
    assert!(site.queue.singles() <= 3, "{} queries of the job", site.queue.singles());
}

#[tokio::test(start_paused = true)]
async fn a_followed_output_ends_although_the_jobs_cannot_be_listed() {
    let site = Site::build(
        &Queue::with([job("7", "alice", "RUNNING")]).with_output(output()),
        Duration::from_secs(3600),
        MirrorAccount::Caller,
        None,
    );
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.queue.set("7", "COMPLETED");
    };
    let (time, ()) = tokio::join!(follow(&site), ends);
    assert!((7000..7500).contains(&time), "{time} ms: by its own query after five seconds");
}

#[tokio::test(start_paused = true)]
async fn the_output_of_a_job_that_ended_long_ago_ends_at_once() {
    let now = jiff::Timestamp::now().as_second();
    for (age, limit) in [(60, 500), (5, 2500)] {
        let mut ended = job("7", "alice", "COMPLETED");
        ended.times.end = Some(now - age);
        let site = Site::new(&Queue::with([ended]).with_output(output()));
        let time = follow(&site).await;
        assert!((limit - 500..limit).contains(&time), "{age} s ago: {time} ms");
    }
}
