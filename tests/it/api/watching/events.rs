//! The events of jobs as streams.

use super::*;

#[tokio::test]
async fn what_happens_to_the_callers_jobs_is_told_and_nothing_of_others() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING"), job("2", "bob", "RUNNING"), job("3", "alice", "FAILED")]));
    let mut events = site.events("alice", "events", &[]).await;
    let mut of_bob = site.events("bob", "events", &[]).await;
    site.queue.set("1", "RUNNING");
    site.queue.set("2", "COMPLETED");
    site.queue.add(job("4", "alice", "COMPLETED"));
    events.until("RUNNING").await;
    events.until("\"4\"").await;
    site.queue.set("1", "COMPLETED");
    events.until("\"previousState\":\"RUNNING\"").await;
    of_bob.until("COMPLETED").await;
    assert!(events.text.starts_with("retry: 3000\nid: "), "who comes again before the first event misses nothing: {}", events.text);
    assert_eq!(events.told(), states(&[("1", "RUNNING"), ("4", "COMPLETED"), ("1", "COMPLETED")]));
    assert_eq!(of_bob.told(), states(&[("2", "COMPLETED")]));
    let last: Value = events.text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).next_back().unwrap();
    let sequence: u64 = events.last_id().parse().unwrap();
    let expected = json!({
        "sequence": sequence, "jobId": "1", "name": "job 1", "user": "alice", "previousState": "RUNNING", "state": "COMPLETED",
        "exitCode": 0, "interruptSignal": null, "isFinal": true, "time": last["time"],
    });
    assert_eq!(last, expected);
}

#[tokio::test]
async fn events_go_on_after_the_last_that_was_seen() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING")]));
    let mut events = site.events("alice", "events", &[]).await;
    site.queue.set("1", "RUNNING");
    events.until("RUNNING").await;
    let seen = events.last_id();
    drop(events);
    site.queue.set("1", "COMPLETED");
    let mut later = site.events("alice", "events", &[("last-event-id", &seen)]).await;
    later.until("COMPLETED").await;
    assert_eq!(later.told(), states(&[("1", "COMPLETED")]));
    let mut other = site.events("alice", "events", &[("last-event-id", "5")]).await;
    other.until("\"state\":\"COMPLETED\"").await;
    assert!(other.text.contains(": earlier events are no longer kept\n\n"), "{}", other.text);
}

#[tokio::test]
async fn who_names_no_event_is_told_that_the_events_begin_now() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING")]));
    for (id, said) in [("x", "is no number of an event"), ("-1", "is no number of an event"), ("99999999999999", "there was no such event")]
    {
        let mut events = site.events("alice", "events", &[("last-event-id", id)]).await;
        events.until(said).await;
        assert!(events.text.lines().any(|line| line.starts_with(": ") && line.contains(said)), "{}", events.text);
        assert_eq!(events.told(), []);
    }
}

#[tokio::test]
async fn the_events_of_a_job_begin_with_its_state_and_end_with_it() {
    let site = Site::new(&Queue::with([job("1", "alice", "PENDING"), job("2", "alice", "RUNNING"), job("7", "bob", "RUNNING")]));
    let mut events = site.events("alice", "1/events", &[]).await;
    events.until("PENDING").await;
    site.queue.set("2", "FAILED");
    site.queue.set("1", "RUNNING");
    events.until("\"state\":\"RUNNING\"").await;
    let seen = events.last_id();
    site.queue.set("1", "COMPLETED");
    let text = events.rest().await;
    assert_eq!(told(&text), states(&[("1", "PENDING"), ("1", "RUNNING"), ("1", "COMPLETED")]));
    let end = "event: end\ndata: {\"reason\":\"the job has ended\"}\n\n";
    assert!(text.ends_with(end), "{text}");
    // Who comes later is told how it ended, or what came since.
    let text = site.events("alice", "1/events", &[]).await.rest().await;
    assert_eq!((told(&text), text.ends_with(end)), (states(&[("1", "COMPLETED")]), true));
    let text = site.events("alice", "1/events", &[("last-event-id", &seen)]).await.rest().await;
    assert_eq!((told(&text), text.ends_with(end)), (states(&[("1", "COMPLETED")]), true));
    // A job of somebody else's that the scheduler shows.
    let mut events = site.events("alice", "7/events", &[]).await;
    events.until("RUNNING").await;
    site.queue.set("7", "TIMEOUT");
    assert_eq!(told(&events.rest().await), states(&[("7", "RUNNING"), ("7", "TIMEOUT")]));
    assert_eq!(site.get("alice", "/compute/daint/jobs/8/events", &[]).await.status, 404);
}

#[tokio::test]
async fn the_events_of_an_array_are_those_of_its_tasks() {
    let mut tasks = job("5", "alice", "PENDING");
    tasks.name = "array".to_owned();
    let site = Site::new(&Queue::with([tasks]));
    let mut events = site.events("alice", "5/events", &[]).await;
    events.until("PENDING").await;
    site.queue.add(job("5_1", "alice", "RUNNING"));
    events.until("5_1").await;
    site.queue.remove("5");
    site.queue.add(job("5_2", "alice", "COMPLETED"));
    site.queue.account(job("5", "alice", "COMPLETED"));
    events.until("5_2").await;
    site.queue.set("5_1", "COMPLETED");
    let text = events.rest().await;
    assert!(told(&text).contains(&("5_1".to_owned(), "COMPLETED".to_owned())), "{text}");
}

#[tokio::test]
async fn events_are_lines_of_json_for_who_asks_for_those() {
    let site = Site::new(&Queue::with([job("1", "alice", "RUNNING")]));
    let headers = [("accept", "application/x-ndjson"), ("last-event-id", "x")];
    let events = site.events("alice", "1/events", &headers).await;
    let change = async {
        wait_for(PATIENCE, || site.queue.lists() > 1).await;
        site.queue.set("1", "COMPLETED");
    };
    let (text, ()) = tokio::join!(events.rest(), change);
    let lines: Vec<Value> = text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    let comment = "Last-Event-ID is no number of an event: the events begin now";
    assert_eq!(lines[0], json!({"comment": comment}));
    assert_eq!((&lines[1]["state"], &lines[2]["state"]), (&json!("RUNNING"), &json!("COMPLETED")));
    assert_eq!(lines.last().unwrap(), &json!({"end": {"reason": "the job has ended"}}));
}

#[tokio::test]
async fn fifty_watchers_miss_no_end_while_the_scheduler_is_away() {
    let jobs = || (0..50).map(|number| job(&number.to_string(), "alice", "RUNNING"));
    let site = Site::new(&Queue::with(jobs()));
    let site = &site;
    let watch = |number: usize| async move {
        let mut events = site.events("alice", &format!("{number}/events"), &[]).await;
        events.until("RUNNING").await;
        events
    };
    let mut watchers = join_all((0..50).map(watch)).await;
    wait_for(PATIENCE, || site.queue.lists() > 1).await;
    site.queue.be_down(true);
    join_all(watchers.iter_mut().map(|events| events.until("event: stale"))).await;
    assert!(watchers.iter().all(|events| events.told().len() == 1), "no job has ended because nobody could be asked");
    let waited = site.wait("3?since=RUNNING", 1).await;
    assert_eq!((waited.status, state(&waited).as_str()), (200, "RUNNING"));
    assert!(waited.json()["incomplete"].as_str().unwrap().contains("does not answer"), "{waited}");
    // Half of them end in the queue, half leave it for accounting.
    for number in 0..50 {
        site.queue.set(&number.to_string(), "COMPLETED");
        if number % 2 == 0 {
            site.queue.remove(&number.to_string());
            site.queue.account(job(&number.to_string(), "alice", "TIMEOUT"));
        }
    }
    site.queue.be_down(false);
    let texts = join_all(watchers.into_iter().map(Events::rest)).await;
    for (number, text) in texts.iter().enumerate() {
        let end = if number % 2 == 0 { "TIMEOUT" } else { "COMPLETED" };
        let number = number.to_string();
        assert_eq!(told(text), states(&[(&number, "RUNNING"), (&number, end)]));
    }
}
