//! Delivers the queued messages of webhooks to their receivers.
//!
//! A webhook with queued messages has a due time in the store. A process takes it for one turn, sends its messages in order, and sets the next
//! due time. So a slow receiver has one request at a time, and does not delay the messages to others.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::permits::DeliveryPermit;
use super::webhook::{DELIVERY, Delivery, DeliveryFailure, QUEUE, Queue, StoredWebhook, WEBHOOK, decode, encode};
use super::{Inner, WebhookError, message, signature};
use crate::domain::{Secret, SystemName};
use crate::error::{ErrorChain, Recurring};
use crate::rest::{Request, RestError, Url};
use crate::store::{Leased, Record};

/// Maximum number of webhooks that are processed at a time.
const MAX_CONCURRENT_WEBHOOKS: usize = 512;
/// Maximum number of them of one user.
const MAX_CONCURRENT_PER_USER: usize = 8;
/// Maximum number of them with one receiver.
const MAX_CONCURRENT_PER_RECEIVER: usize = 8;
/// Number of attempts to get a permit.
const PERMIT_ATTEMPTS: u32 = 20;
/// Interval between these attempts.
const PERMIT_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Delay of a webhook without a permit. Each delay is a write to the store.
const BUSY_DELAY: Duration = Duration::from_secs(10);
/// Delay of a webhook whose lease another process has.
const LEASED_DELAY: Duration = Duration::from_secs(1);

/// Sends due messages. It does not return.
pub(super) async fn deliver(inner: &Arc<Inner>) {
    let mut tasks = JoinSet::new();
    let reading = Recurring::default();
    loop {
        while tasks.try_join_next().is_some() {}
        let available = MAX_CONCURRENT_WEBHOOKS - tasks.len();
        let due = if available == 0 { Ok(Vec::new()) } else { inner.store.due(QUEUE, available, 2 * inner.timing.turn).await };
        match &due {
            Ok(_) if reading.ends() => tracing::info!("the webhooks that are due are read again"),
            Err(error) if reading.begins(&ErrorChain(error)) => {
                tracing::warn!(error = %ErrorChain(error), "the webhooks that are due could not be read");
            }
            _ => {}
        }
        let due = due.unwrap_or_default();
        let is_saturated = due.len() == available;
        for record in due {
            let inner = Arc::clone(inner);
            tasks.spawn(async move {
                if let Err(error) = inner.process(&record).await {
                    // It is due again when its turn with this process is over.
                    tracing::warn!(error = %ErrorChain(&error), webhook = record.id, "a webhook could not be processed: it is tried again");
                }
            });
        }
        tokio::select! {
            // A postponed webhook is not due again at once.
            () = tokio::time::sleep(inner.timing.tick) => {}
            () = inner.due.notified(), if !is_saturated => {}
            Some(_) = tasks.join_next(), if is_saturated => {}
        }
    }
}

/// Ends the turns that were cut off, so that another process takes these webhooks at once.
pub(super) async fn end_turns(inner: &Inner) {
    let turns = std::mem::take(&mut *inner.turns.lock());
    // What is not ended here is due when its turn would be over. The leases are given back with the work that was dropped.
    join_all(turns.into_values().map(async |queue| inner.store.put(&Record { due_in: Some(Duration::ZERO), ..queue }).await)).await;
}

/// The outcome of a message.
enum Outcome {
    Delivered,
    /// The receiver answered with an error status.
    Refused(String),
    /// The receiver did not answer, so the next message is not tried either.
    NotReached(String),
}

impl Inner {
    /// Processes a webhook with queued messages.
    async fn process(&self, record: &Record) -> Result<(), WebhookError> {
        let queue = decode::<Queue>(record).unwrap_or_default();
        let webhook = self.store.get(WEBHOOK, &record.id).await?;
        let Some(stored) = webhook.as_ref().and_then(decode::<StoredWebhook>) else { return self.drop_all(&record.id).await };
        let url = match Url::parse(&stored.url) {
            Ok(url) => url,
            Err(_) => return self.drop_all(&record.id).await,
        };
        let user = self.permit(&format!("user {}", record.owner), MAX_CONCURRENT_PER_USER).await;
        let receiver = self.permit(&format!("receiver {}", url.authority()), MAX_CONCURRENT_PER_RECEIVER).await;
        let (Some(_user), Some(_receiver)) = (user, receiver) else {
            return self.put_queue(&record.id, &record.owner, queue, BUSY_DELAY).await;
        };
        // Two processes may have it if a message was queued just when the other found the queue empty.
        let name = format!("webhook/{}", record.id);
        let Some(lease) = Leased::take(&self.store, name, 2 * self.timing.turn, Duration::ZERO).await? else {
            return self.put_queue(&record.id, &record.owner, queue, LEASED_DELAY).await;
        };
        self.turns.lock().insert(record.id.clone(), record.clone());
        let outcome = self.deliver_queue(record, &stored, &url, queue).await;
        self.turns.lock().remove(&record.id);
        lease.release().await;
        outcome
    }

    /// A permit of this name, if one is available within a short time.
    async fn permit(&self, name: &str, max: usize) -> Option<DeliveryPermit> {
        for _ in 0..PERMIT_ATTEMPTS {
            if let Some(permit) = self.permits.take(name, max) {
                return Some(permit);
            }
            tokio::time::sleep(PERMIT_RETRY_INTERVAL).await;
        }
        None
    }

    /// Sends the queued messages of a webhook, and sets when it is due again.
    async fn deliver_queue(&self, record: &Record, stored: &StoredWebhook, url: &Url, queue: Queue) -> Result<(), WebhookError> {
        let (queue, pause) = self.send_all(record, stored, url, queue).await?;
        let waiting = self.store.list(DELIVERY, &record.id).await?;
        if waiting.is_empty() {
            return self.end_turn(record).await;
        }
        let (now, mut jobs) = (Timestamp::now(), HashSet::new());
        let first = waiting.iter().filter_map(decode::<Delivery>).filter(|delivery| jobs.insert(delivery.event.id.clone()));
        let next = first.map(|delivery| until(now, delivery.next)).min().unwrap_or_default();
        self.put_queue(&record.id, &record.owner, queue.clone(), next.max(pause)).await?;
        // A message may have been queued meanwhile.
        let is_new = |record: &Record| waiting.iter().all(|known| known.id != record.id);
        if queue.failures == 0 && self.store.list(DELIVERY, &record.id).await?.iter().any(is_new) {
            self.put_queue(&record.id, &record.owner, queue, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Sends the due messages of a webhook; returns the new state of the queue, and the minimum pause before the next turn. A message waits for the
    /// earlier ones about the same job, so that the last state that a receiver gets is the newest.
    async fn send_all(
        &self,
        record: &Record,
        stored: &StoredWebhook,
        url: &Url,
        mut queue: Queue,
    ) -> Result<(Queue, Duration), WebhookError> {
        let began = Instant::now();
        let mut held: HashSet<String> = HashSet::new();
        for waiting in self.store.list(DELIVERY, &record.id).await? {
            let Some(mut delivery) = decode::<Delivery>(&waiting) else {
                self.store.remove(DELIVERY, &waiting.id).await?;
                continue;
            };
            if began.elapsed() + self.timing.request > self.timing.turn {
                break;
            }
            if held.contains(&delivery.event.id) || delivery.next > Timestamp::now() {
                held.insert(delivery.event.id);
                continue;
            }
            delivery.attempts += 1;
            let outcome = self.send(&waiting.id, stored, url, &delivery).await;
            let (reason, was_reached) = match outcome {
                Outcome::Delivered => {
                    queue.failures = 0;
                    self.store.remove(DELIVERY, &waiting.id).await?;
                    continue;
                }
                Outcome::Refused(reason) => (reason, true),
                Outcome::NotReached(reason) => (reason, false),
            };
            tracing::debug!(webhook = record.id, message = waiting.id, attempts = delivery.attempts, reason, "a webhook was not delivered");
            if queue.failure.as_ref().is_none_or(|last| last.reason != reason) {
                tracing::warn!(webhook = record.id, owner = record.owner, reason, "a webhook cannot be delivered: it is tried again");
            }
            queue.failure = Some(DeliveryFailure { reason: reason.clone(), at: Timestamp::now() });
            held.insert(delivery.event.id.clone());
            if until(delivery.since, Timestamp::now()) >= self.timing.give_up {
                self.give_up(&record.id, &record.owner, &waiting.id, delivery, reason).await?;
            } else {
                delivery.next = after(self.pause(delivery.attempts));
                self.store.put(&Record { value: encode(&delivery), ..waiting }).await?;
            }
            if !was_reached {
                queue.failures = queue.failures.saturating_add(1);
                let pause = self.pause(queue.failures);
                return Ok((queue, pause));
            }
        }
        Ok((queue, Duration::ZERO))
    }

    async fn send(&self, id: &str, stored: &StoredWebhook, url: &Url, delivery: &Delivery) -> Outcome {
        if !url.is_https() && !self.config.allow_http {
            return Outcome::NotReached("the site does not call addresses that begin with http: any more".to_owned());
        }
        let body = message::body(id, self.config.public_url.as_deref(), stored, delivery);
        let timestamp = Timestamp::now().as_second();
        let signature = signature::sign(&stored.secret(), id, timestamp, &body);
        let request = Request::post(url.clone())
            .timeout(self.timing.request)
            .header("webhook-id", Secret::from(id.to_owned()))
            .header("webhook-timestamp", Secret::from(timestamp.to_string()))
            .header("webhook-signature", Secret::from(signature))
            .body(message::MEDIA_TYPE, body);
        let (outcome, count) = match self.client.status(request).await {
            Ok(200..=299) => (Outcome::Delivered, &self.counts.delivered),
            Ok(status) => (Outcome::Refused(format!("the receiver answered with status {status}")), &self.counts.refused),
            Err(error) => {
                if let RestError::Forbidden(forbidden) = &error {
                    tracing::debug!(host = url.authority(), reason = forbidden.detail(), "a webhook is not called");
                }
                (Outcome::NotReached(error.to_string()), &self.counts.not_reached)
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// The pause after this number of failures, with jitter, so that messages that failed together are not retried together.
    fn pause(&self, failures: u32) -> Duration {
        let factor = 4_u32.saturating_pow(failures.saturating_sub(1));
        let pause = self.timing.first_pause.saturating_mul(factor).min(self.timing.max_pause);
        let [chance, ..] = *uuid::Uuid::new_v4().as_bytes();
        pause.mul_f64(0.8 + 0.4 * f64::from(chance) / 255.0)
    }

    /// Removes the empty queue of a webhook.
    async fn end_turn(&self, record: &Record) -> Result<(), WebhookError> {
        self.store.remove(QUEUE, &record.id).await?;
        // A message may have been queued meanwhile.
        if !self.store.list(DELIVERY, &record.id).await?.is_empty() {
            return self.put_queue(&record.id, &record.owner, Queue::default(), Duration::ZERO).await;
        }
        // Read it again: the last event may have been processed meanwhile.
        let stored = self.store.get(WEBHOOK, &record.id).await?.as_ref().and_then(decode::<StoredWebhook>);
        if let Some(stored) = stored.filter(|stored| stored.ended) {
            self.store.remove(WEBHOOK, &record.id).await?;
            if let Ok(system) = SystemName::new(&stored.system) {
                self.forget_user(&record.owner, &system).await?;
            }
        }
        Ok(())
    }

    /// Removes the queue of a webhook that was removed.
    async fn drop_all(&self, webhook: &str) -> Result<(), WebhookError> {
        for waiting in self.store.list(DELIVERY, webhook).await? {
            self.store.remove(DELIVERY, &waiting.id).await?;
        }
        self.store.remove(QUEUE, webhook).await?;
        Ok(())
    }
}

/// The time from `from` to `to`; zero if `to` is earlier.
fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn after(pause: Duration) -> Timestamp {
    Timestamp::now().checked_add(pause).unwrap_or(Timestamp::MAX)
}
