//! Delivers the queued messages of webhooks to their receivers.
//!
//! A webhook with queued messages is due in the store. A process takes it for one turn, sends its messages one after the other, and sets when it is
//! due next. So a receiver that hangs has one request at a time, and messages to others are sent meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shares::Share;
use super::webhook::{DELIVERY, Delivery, Failure, QUEUE, Queue, Stored, WEBHOOK, read, written};
use super::{Inner, WebhookError, message, signature};
use crate::domain::{Secret, SystemName};
use crate::error::{ErrorChain, Recurring};
use crate::rest::{Request, RestError, Url};
use crate::store::Record;

/// The most webhooks that are worked on at a time; of one user, and of one receiver.
const AT_ONCE: usize = 512;
const AT_ONCE_OF_A_USER: usize = 8;
const AT_ONCE_OF_A_RECEIVER: usize = 8;
/// How often, and after what pauses, a share is asked for.
const SHARE_TRIES: u32 = 20;
const SHARE_PAUSE: Duration = Duration::from_millis(100);
/// The time after which a webhook is due again that has to wait longer for others of the same user or receiver. Each time is a write to the store.
const PUT_OFF: Duration = Duration::from_secs(10);
/// The time after which a webhook is due again that another process works on.
const TAKEN: Duration = Duration::from_secs(1);

/// Sends due messages. It does not return.
pub(super) async fn deliver(inner: &Arc<Inner>) {
    let mut turns = JoinSet::new();
    let (reading, working) = (Recurring::default(), Arc::new(Recurring::default()));
    loop {
        while turns.try_join_next().is_some() {}
        let free = AT_ONCE - turns.len();
        let taken = if free == 0 { Ok(Vec::new()) } else { inner.store.due(QUEUE, free, 2 * inner.timing.turn).await };
        match &taken {
            Ok(_) if reading.ends() => tracing::info!("the webhooks that are due are read again"),
            Err(error) if reading.begins(&ErrorChain(error)) => {
                tracing::warn!(error = %ErrorChain(error), "the webhooks that are due could not be read");
            }
            _ => {}
        }
        let taken = taken.unwrap_or_default();
        let is_full = taken.len() == free;
        for record in taken {
            let (inner, working) = (Arc::clone(inner), Arc::clone(&working));
            turns.spawn(async move {
                match inner.turn(&record).await {
                    Ok(()) if working.ends() => tracing::info!("webhooks are processed again"),
                    // It is due again when its time with this process is over.
                    Err(error) if working.begins(&ErrorChain(&error)) => {
                        tracing::warn!(error = %ErrorChain(&error), webhook = record.id, "a webhook could not be processed");
                    }
                    _ => {}
                }
            });
        }
        tokio::select! {
            // A postponed webhook is not due again at once.
            () = tokio::time::sleep(inner.timing.tick) => {}
            () = inner.due.notified(), if !is_full => {}
            Some(_) = turns.join_next(), if is_full => {}
        }
    }
}

/// The outcome of a message.
enum Outcome {
    Delivered,
    /// The receiver answered something else than a success.
    Refused(String),
    /// It did not answer, so that the next message is not tried either.
    NotReached(String),
}

impl Inner {
    /// Works on a webhook for which something waits.
    async fn turn(&self, record: &Record) -> Result<(), WebhookError> {
        let queue = read::<Queue>(record).unwrap_or_default();
        let webhook = self.store.get(WEBHOOK, &record.id).await?;
        let Some(stored) = webhook.as_ref().and_then(read::<Stored>) else { return self.drop_all(&record.id).await };
        let url = match Url::parse(&stored.url) {
            Ok(url) => url,
            Err(_) => return self.drop_all(&record.id).await,
        };
        let user = self.share(&format!("user {}", record.owner), AT_ONCE_OF_A_USER).await;
        let receiver = self.share(&format!("receiver {}", url.authority()), AT_ONCE_OF_A_RECEIVER).await;
        let (Some(_user), Some(_receiver)) = (user, receiver) else {
            return self.put_queue(&record.id, &record.owner, queue, PUT_OFF).await;
        };
        // It may be due to two processes where a message came just when the queue was found empty.
        let (lease, holder) = (format!("webhook/{}", record.id), uuid::Uuid::new_v4().simple().to_string());
        if !self.store.lease(&lease, &holder, 2 * self.timing.turn).await? {
            return self.put_queue(&record.id, &record.owner, queue, TAKEN).await;
        }
        let outcome = self.work(record, &stored, &url, queue).await;
        self.store.release(&lease, &holder).await?;
        outcome
    }

    /// A part of somebody's share, where one is free within a short time.
    async fn share(&self, name: &str, max: usize) -> Option<Share> {
        for _ in 0..SHARE_TRIES {
            if let Some(share) = self.shares.take(name, max) {
                return Some(share);
            }
            tokio::time::sleep(SHARE_PAUSE).await;
        }
        None
    }

    /// Sends the queued messages of a webhook, and sets when it is due again.
    async fn work(&self, record: &Record, stored: &Stored, url: &Url, queue: Queue) -> Result<(), WebhookError> {
        let (queue, pause) = self.send_all(record, stored, url, queue).await?;
        let waiting = self.store.list(DELIVERY, &record.id).await?;
        if waiting.is_empty() {
            return self.end_turn(record).await;
        }
        let (now, mut jobs) = (Timestamp::now(), HashSet::new());
        let first = waiting.iter().filter_map(read::<Delivery>).filter(|delivery| jobs.insert(delivery.event.id.clone()));
        let next = first.map(|delivery| until(now, delivery.next)).min().unwrap_or_default();
        self.put_queue(&record.id, &record.owner, queue, next.max(pause)).await
    }

    /// Sends the due messages of a webhook: returns the result, and the minimum pause before the next turn. A message waits for the earlier ones
    /// about the same job, so that the last state that a receiver learns is the newest.
    async fn send_all(&self, record: &Record, stored: &Stored, url: &Url, mut queue: Queue) -> Result<(Queue, Duration), WebhookError> {
        let began = Instant::now();
        let mut held: HashSet<String> = HashSet::new();
        for waiting in self.store.list(DELIVERY, &record.id).await? {
            let Some(mut delivery) = read::<Delivery>(&waiting) else {
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
            queue.failure = Some(Failure { reason: reason.clone(), at: Timestamp::now() });
            held.insert(delivery.event.id.clone());
            if until(delivery.since, Timestamp::now()) >= self.timing.give_up {
                self.give_up(&record.id, &record.owner, &waiting.id, delivery, reason).await?;
            } else {
                delivery.next = after(self.pause(delivery.attempts));
                self.store.put(&Record { value: written(&delivery), ..waiting }).await?;
            }
            if !was_reached {
                queue.failures = queue.failures.saturating_add(1);
                let pause = self.pause(queue.failures);
                return Ok((queue, pause));
            }
        }
        Ok((queue, Duration::ZERO))
    }

    async fn send(&self, id: &str, stored: &Stored, url: &Url, delivery: &Delivery) -> Outcome {
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

    /// The pause after this many failures, with jitter, so that messages that failed together are not retried together.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_mul(failures.saturating_sub(1).min(15));
        let pause = self.timing.first_pause.saturating_mul(1_u32 << doubled.min(30)).min(self.timing.longest_pause);
        let [chance, ..] = *uuid::Uuid::new_v4().as_bytes();
        pause.mul_f64(0.8 + 0.4 * f64::from(chance) / 255.0)
    }

    /// Ends the work on a webhook for which nothing waits any more.
    async fn end_turn(&self, record: &Record) -> Result<(), WebhookError> {
        self.store.remove(QUEUE, &record.id).await?;
        // Something may have come since it was looked for.
        if !self.store.list(DELIVERY, &record.id).await?.is_empty() {
            return self.put_queue(&record.id, &record.owner, Queue::default(), Duration::ZERO).await;
        }
        // As it is now: the last event may have come meanwhile.
        let stored = self.store.get(WEBHOOK, &record.id).await?.as_ref().and_then(read::<Stored>);
        if let Some(stored) = stored.filter(|stored| stored.ended) {
            self.store.remove(WEBHOOK, &record.id).await?;
            if let Ok(system) = SystemName::new(&stored.system) {
                self.forget_user(&record.owner, &system).await?;
            }
        }
        Ok(())
    }

    /// Drops what waits for a webhook that is no more.
    async fn drop_all(&self, webhook: &str) -> Result<(), WebhookError> {
        for waiting in self.store.list(DELIVERY, webhook).await? {
            self.store.remove(DELIVERY, &waiting.id).await?;
        }
        self.store.remove(QUEUE, webhook).await?;
        Ok(())
    }
}

/// The time from one point to another; zero if that is earlier.
fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn after(pause: Duration) -> Timestamp {
    Timestamp::now().checked_add(pause).unwrap_or(Timestamp::MAX)
}
