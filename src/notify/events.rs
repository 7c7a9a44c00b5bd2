//! Reads the events of jobs and fills the queues of webhooks.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, select_all};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::webhook::{
    CURSOR, DEAD_LETTER, DELIVERY, Delivery, Owner, QUEUE, Queue, StoredDeadLetter, StoredWebhook, USER, WEBHOOK, decode, encode,
};
use super::{Inner, WEBHOOK_TTL, WebhookError};
use crate::domain::{JobEvent, SystemName, Username};
use crate::error::{ErrorChain, Recurring};
use crate::store::{Entry, Record, StreamWatch};

/// The duration of the lease on reading the events of a system.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// The age at which the lease is renewed.
const LEASE_RENEWAL: Duration = Duration::from_secs(10);
/// The interval between searches for users whose webhooks have expired.
const SWEEP_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of events that one read returns.
const EVENTS_PER_READ: usize = 100;
/// Maximum number of queued messages of one webhook.
pub(super) const MAX_QUEUED_MESSAGES: usize = 200;
/// Maximum number of dead letters of a user on a system.
const MAX_DEAD_LETTERS: usize = 500;
/// How long a dead letter is kept.
const DEAD_LETTER_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much longer a message is kept than its delivery is tried.
const TTL_MARGIN: Duration = Duration::from_secs(24 * 3600);

/// The reading of the events of one system.
struct Following {
    watch: StreamWatch,
    /// When the lease was taken or renewed, while this process has it.
    lease: Option<Instant>,
    /// When users without webhooks were last forgotten by this process.
    swept: Option<Instant>,
    failure: Recurring,
}

/// Reads the events of these systems. It does not return.
pub(super) async fn follow(inner: &Inner, systems: impl Fn() -> Vec<SystemName>) {
    let mut followed: HashMap<SystemName, Following> = HashMap::new();
    loop {
        let present = systems();
        followed.retain(|system, _| present.contains(system));
        for system in &present {
            let following = followed.entry(system.clone()).or_insert_with(|| Following {
                watch: inner.store.watch(&JobEvent::stream(system.as_str())),
                lease: None,
                swept: None,
                failure: Recurring::default(),
            });
            match work_on(inner, system, following).await {
                Ok(()) if following.failure.ends() => tracing::info!(%system, "the events for webhooks are read again"),
                Ok(()) => {}
                Err(error) => {
                    following.lease = None;
                    if following.failure.begins(&ErrorChain(&error)) {
                        tracing::warn!(error = %ErrorChain(&error), %system, "the events for webhooks could not be read");
                    }
                }
            }
        }
        if followed.is_empty() {
            tokio::time::sleep(inner.timing.tick).await;
        } else {
            let changed = select_all(followed.values_mut().map(|following| following.watch.changed().boxed()));
            // Also look at intervals, because another process may lose its lease.
            let _has_changed = timeout(inner.timing.tick, changed).await.is_ok();
        }
    }
}

/// Reads the existing events of a system, and forgets its users without webhooks once a day, while this process has the lease.
async fn work_on(inner: &Inner, system: &SystemName, following: &mut Following) -> Result<(), WebhookError> {
    read_all(inner, system, &mut following.lease).await?;
    if following.lease.is_some() && following.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL) {
        // The webhook of a job may have expired.
        for user in inner.store.list(USER, system.as_str()).await? {
            inner.forget_user(&user.id, system).await?;
        }
        following.swept = Some(Instant::now());
    }
    Ok(())
}

/// Reads the existing events of a system while this process has the lease.
async fn read_all(inner: &Inner, system: &SystemName, lease: &mut Option<Instant>) -> Result<(), WebhookError> {
    loop {
        if lease.is_none_or(|renewed| renewed.elapsed() >= LEASE_RENEWAL) {
            let asked = Instant::now();
            if !inner.store.lease(&lease_name(system), &inner.holder, LEASE_TTL).await? {
                *lease = None;
                return Ok(());
            }
            inner.leased.lock().insert(system.clone());
            *lease = Some(asked);
        }
        if !advance(inner, system).await? {
            return Ok(());
        }
    }
}

/// Releases the leases, so that another process reads the events at once.
pub(super) async fn release(inner: &Inner) {
    let leased = std::mem::take(&mut *inner.leased.lock());
    // A lease that is not released expires.
    join_all(leased.iter().map(async |system| inner.store.release(&lease_name(system), &inner.holder).await)).await;
}

/// The name of the lease on reading the events of a system.
fn lease_name(system: &SystemName) -> String {
    format!("webhooks/{}", system.as_str())
}

/// Reads the next events of a system; returns whether there may be more.
async fn advance(inner: &Inner, system: &SystemName) -> Result<bool, WebhookError> {
    let stream = JobEvent::stream(system.as_str());
    let cursor = inner.cursor(system).await?;
    let page = inner.store.read(&stream, cursor, EVENTS_PER_READ).await?;
    let Some(last) = page.entries.last().map(|entry| entry.sequence) else { return Ok(false) };
    if page.first > cursor + 1 {
        tracing::warn!(%system, missed = page.first - cursor - 1, "events were removed before webhooks were called for them");
    }
    let mut by_owner: BTreeMap<String, Vec<(u64, JobEvent)>> = BTreeMap::new();
    for (sequence, event) in page.entries.iter().filter_map(event) {
        by_owner.entry(event.owner.clone()).or_default().push((sequence, event));
    }
    for (user, events) in by_owner {
        let Ok(user) = Username::new(&user) else { continue };
        let owner = Owner { system: system.clone(), user };
        for record in inner.store.list(WEBHOOK, &owner.key()).await? {
            inner.enqueue_selected(&record, &events).await?;
        }
    }
    inner.put_cursor(system, last).await?;
    Ok(true)
}

/// Queues the events after this one for a new webhook.
pub(super) async fn catch_up(inner: &Inner, owner: &Owner, id: &str, mut after: u64) -> Result<(), WebhookError> {
    let stream = JobEvent::stream(owner.system.as_str());
    let Some(record) = inner.store.get(WEBHOOK, id).await? else { return Ok(()) };
    loop {
        let page = inner.store.read(&stream, after, EVENTS_PER_READ).await?;
        let Some(last) = page.entries.last() else { return Ok(()) };
        after = last.sequence;
        let own = |(sequence, event): (u64, JobEvent)| (event.owner == owner.user.as_str()).then_some((sequence, event));
        let events: Vec<_> = page.entries.iter().filter_map(event).filter_map(own).collect();
        inner.enqueue_selected(&record, &events).await?;
    }
}

fn event(entry: &Entry) -> Option<(u64, JobEvent)> {
    let event =
        serde_json::from_slice(&entry.value).inspect_err(|error| tracing::error!(%error, "an event of a job cannot be read")).ok()?;
    Some((entry.sequence, event))
}

impl Inner {
    /// The last event of a system that was read. If none was, it is the newest one: a webhook is not called for earlier events.
    pub(super) async fn cursor(&self, system: &SystemName) -> Result<u64, WebhookError> {
        if let Some(cursor) = self.store.get(CURSOR, system.as_str()).await?.and_then(|record| decode::<u64>(&record)) {
            return Ok(cursor);
        }
        let last = self.store.read(&JobEvent::stream(system.as_str()), u64::MAX, 1).await?.last;
        self.put_cursor(system, last).await?;
        Ok(last)
    }

    async fn put_cursor(&self, system: &SystemName, last: u64) -> Result<(), WebhookError> {
        let id = system.as_str().to_owned();
        let record = Record { kind: CURSOR, owner: id.clone(), id, value: encode(&last), due_in: None, ttl: WEBHOOK_TTL };
        Ok(self.store.put(&record).await?)
    }

    /// Puts the events that a webhook selects into its queue.
    async fn enqueue_selected(&self, record: &Record, events: &[(u64, JobEvent)]) -> Result<(), WebhookError> {
        let Some(mut stored) = decode::<StoredWebhook>(record) else { return Ok(()) };
        let wanted: Vec<_> = events.iter().filter(|(_, event)| stored.selects(event)).collect();
        if !wanted.is_empty() {
            let mut waiting = self.store.list(DELIVERY, &record.id).await?.len();
            let now = Timestamp::now();
            for (sequence, event) in wanted {
                // The id depends on the event alone, so that an event that is read twice is queued once.
                let id = format!("{}.{sequence:020}", record.id);
                let delivery = Delivery { event: event.clone(), attempts: 0, since: now, next: now };
                if waiting >= MAX_QUEUED_MESSAGES {
                    self.give_up(&record.id, &record.owner, &id, delivery, "too many messages wait for this webhook".to_owned()).await?;
                } else {
                    self.enqueue(&record.id, &record.owner, &id, &delivery).await?;
                    waiting += 1;
                }
            }
        }
        if events.iter().any(|(_, event)| stored.is_ended_by(event)) && !stored.ended {
            stored.ended = true;
            self.store.put(&Record { value: encode(&stored), ..record.clone() }).await?;
            // It is removed when its queue is empty.
            self.wake(&record.id, &record.owner).await?;
        }
        Ok(())
    }

    /// Puts a message into the queue of a webhook.
    pub(super) async fn enqueue(&self, webhook: &str, owner: &str, id: &str, delivery: &Delivery) -> Result<(), WebhookError> {
        let ttl = self.timing.give_up + TTL_MARGIN;
        let record = Record { kind: DELIVERY, id: id.to_owned(), owner: webhook.to_owned(), value: encode(delivery), due_in: None, ttl };
        self.store.put(&record).await?;
        self.wake(webhook, owner).await
    }

    /// Makes a webhook due, unless its receiver does not answer: then the pause after that failure stays.
    async fn wake(&self, webhook: &str, owner: &str) -> Result<(), WebhookError> {
        let queue = self.store.get(QUEUE, webhook).await?.map(|record| decode::<Queue>(&record).unwrap_or_default()).unwrap_or_default();
        if queue.failures == 0 {
            self.put_queue(webhook, owner, queue, Duration::ZERO).await?;
        }
        self.due.notify_one();
        Ok(())
    }

    pub(super) async fn put_queue(&self, webhook: &str, owner: &str, queue: Queue, due_in: Duration) -> Result<(), WebhookError> {
        let record = Record {
            kind: QUEUE,
            id: webhook.to_owned(),
            owner: owner.to_owned(),
            value: encode(&queue),
            due_in: Some(due_in),
            ttl: self.timing.give_up + 2 * TTL_MARGIN,
        };
        Ok(self.store.put(&record).await?)
    }

    /// Makes a message a dead letter, or drops it if the user has too many.
    pub(super) async fn give_up(
        &self,
        webhook: &str,
        owner: &str,
        id: &str,
        delivery: Delivery,
        reason: String,
    ) -> Result<(), WebhookError> {
        self.counts.given_up.fetch_add(1, Ordering::Relaxed);
        if self.store.list(DEAD_LETTER, owner).await?.len() >= MAX_DEAD_LETTERS {
            tracing::warn!(owner, webhook, message = id, reason, "a message to a webhook was dropped: the user has too many dead letters");
        } else {
            let Delivery { event, attempts, .. } = delivery;
            let dead = StoredDeadLetter { webhook: webhook.to_owned(), event, attempts, reason, at: Timestamp::now() };
            let (id, owner, value) = (id.to_owned(), owner.to_owned(), encode(&dead));
            self.store.put(&Record { kind: DEAD_LETTER, id, owner, value, due_in: None, ttl: DEAD_LETTER_TTL }).await?;
        }
        self.store.remove(DELIVERY, id).await?;
        Ok(())
    }
}
