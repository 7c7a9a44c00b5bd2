//! Webhooks: services of users that are called when the states of their jobs change.
//!
//! [`Webhooks`] registers them; `events` reads the events that the mirror appends to the store, and puts a message into the queue of each webhook that
//! selects them; `delivery` sends due messages. All state is in the store: of several replicas one reads the events of a system (a lease), and
//! each sends the messages that it takes from the store. A message is delivered at least once: it is sent again if the receiver did not answer in time,
//! or the process stopped while it was sent. A message that cannot be delivered for a day becomes a dead letter. This module must not know how a
//! scheduler is accessed, nor HTTP beyond calling an address.

mod config;
mod counts;
mod delivery;
mod error;
mod events;
mod message;
mod permits;
mod signature;
mod webhook;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::{Interest, JobEvent, JobId, Secret, SystemName, Username};
use crate::error::{ErrorChain, Recurring};
use crate::rest::{AddressGuard, Client, RestError, Url};
use crate::store::{MAX_PAGE, Record, Store};

pub use config::Config;
use counts::DeliveryCounts;
pub use error::WebhookError;
use permits::DeliveryPermits;
pub use webhook::{Backlog, DeadLetter, DeliveryFailure, Owner, Registration, Webhook};
use webhook::{DEAD_LETTER, DELIVERY, Delivery, QUEUE, Queue, StoredDeadLetter, StoredWebhook, USER, WEBHOOK, decode, encode};

/// How long a webhook is kept.
const WEBHOOK_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a webhook of a single job is kept.
const JOB_WEBHOOK_TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// Time limit for releasing the leases at the end.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum length of an address, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// The times of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The time limit for a request to a receiver.
    pub request: Duration,
    /// The pause after the first failure; each further one is four times as long, up to `max_pause`.
    pub first_pause: Duration,
    /// The maximum pause.
    pub max_pause: Duration,
    /// The time after which delivery of a message is given up.
    pub give_up: Duration,
    /// The maximum duration of one turn of a webhook. After twice as long, another replica may take it.
    pub turn: Duration,
    /// The interval between checks for due webhooks and new events.
    pub tick: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            first_pause: Duration::from_secs(5),
            max_pause: Duration::from_secs(4 * 3600),
            give_up: Duration::from_secs(24 * 3600),
            turn: Duration::from_secs(60),
            tick: Duration::from_secs(1),
        }
    }
}

/// The webhooks of a site. Clones share everything.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    config: Config,
    guard: AddressGuard,
    client: Client,
    timing: Timing,
    /// The name of this process as the holder of a lease.
    holder: String,
    /// Notified when a webhook may be due.
    due: Notify,
    permits: DeliveryPermits,
    /// The systems whose events this process has the lease to read.
    leased: Mutex<HashSet<SystemName>>,
    /// The queues of the webhooks that have a turn with this process, by the webhook.
    turns: Mutex<HashMap<String, Record>>,
    counts: DeliveryCounts,
    /// Held while the webhooks of a user are counted, and while one is put into the store.
    registering: tokio::sync::Mutex<()>,
    /// The webhooks that are about to be put into the store, by user.
    reserved: Arc<Mutex<HashMap<String, usize>>>,
    /// The failure to read the users with webhooks.
    users_failure: Recurring,
    /// That not all users with webhooks are observed.
    users_excess: Recurring,
}

/// A webhook that was registered, with its secret, which is not shown again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The webhook.
    pub webhook: Webhook,
    /// The secret of its signatures; none if the webhook existed before.
    pub secret: Option<Secret>,
}

/// A webhook for a job that is about to be submitted.
#[derive(Debug)]
pub struct Prepared {
    owner: Owner,
    registration: Registration,
    id: String,
    /// The newest event before the submission.
    after: u64,
    place: Reservation,
}

/// A place among the webhooks of a user, until one is there or is given up.
#[derive(Debug)]
struct Reservation {
    reserved: Arc<Mutex<HashMap<String, usize>>>,
    user: String,
}

impl Reservation {
    fn of(reserved: &Arc<Mutex<HashMap<String, usize>>>, user: String) -> Self {
        *reserved.lock().entry(user.clone()).or_default() += 1;
        Self { reserved: Arc::clone(reserved), user }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.reserved.lock();
        if let Some(count) = reserved.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                reserved.remove(&self.user);
            }
        }
    }
}

impl Webhooks {
    /// Creates webhooks with their state in this store.
    ///
    /// # Errors
    /// If the client for their addresses cannot be set up.
    pub fn new(store: Arc<dyn Store>, config: Config, timing: Timing) -> Result<Self, RestError> {
        let guard = AddressGuard::new(&config.allowed_networks);
        let client = Client::guarded(guard.clone())?;
        Ok(Self(Arc::new(Inner {
            store,
            config,
            guard,
            client,
            timing,
            holder: uuid::Uuid::new_v4().simple().to_string(),
            due: Notify::new(),
            permits: DeliveryPermits::default(),
            leased: Mutex::default(),
            turns: Mutex::default(),
            counts: DeliveryCounts::default(),
            registering: tokio::sync::Mutex::default(),
            reserved: Arc::default(),
            users_failure: Recurring::default(),
            users_excess: Recurring::default(),
        })))
    }

    /// Registers a webhook for all jobs of a user.
    ///
    /// # Errors
    /// If the address may not be called, the user has too many, or the store does not answer.
    pub async fn register(&self, owner: &Owner, registration: Registration) -> Result<Registered, WebhookError> {
        let prepared = self.prepare(owner, registration, None).await?;
        let id = prepared.id.clone();
        let registered = self.put(prepared, None, WEBHOOK_TTL).await?;
        // Another replica may have registered one meanwhile: whichever comes last sees all of them.
        if self.0.store.list(WEBHOOK, &owner.key()).await?.len() > self.0.config.max_per_user {
            self.remove(owner, &id).await?;
            return Err(WebhookError::TooMany(self.0.config.max_per_user));
        }
        Ok(registered)
    }

    /// Checks a webhook for a job before it is submitted; `id` for a submission that may be repeated.
    ///
    /// # Errors
    /// As [`Webhooks::register`].
    pub async fn prepare(&self, owner: &Owner, registration: Registration, id: Option<&str>) -> Result<Prepared, WebhookError> {
        self.check(&registration.url).await?;
        let id = id.map_or_else(|| format!("wh-{}", uuid::Uuid::new_v4().simple()), |id| format!("wh-{id}"));
        let place = {
            let _alone = self.0.registering.lock().await;
            let known = self.0.store.list(WEBHOOK, &owner.key()).await?;
            let reserved = self.0.reserved.lock().get(&owner.key()).copied().unwrap_or_default();
            if known.len() + reserved >= self.0.config.max_per_user && known.iter().all(|record| record.id != id) {
                return Err(WebhookError::TooMany(self.0.config.max_per_user));
            }
            Reservation::of(&self.0.reserved, owner.key())
        };
        // A webhook is not called for earlier events.
        self.0.cursor(&owner.system).await?;
        let after = self.0.store.read(&JobEvent::stream(owner.system.as_str()), u64::MAX, 1).await?.last;
        Ok(Prepared { owner: owner.clone(), registration, id, after, place })
    }

    /// Registers a webhook for a submitted job. Events since [`Webhooks::prepare`] are delivered too.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn bind(&self, prepared: Prepared, job: &JobId) -> Result<Registered, WebhookError> {
        if let Some(known) = self.0.store.get(WEBHOOK, &prepared.id).await? {
            let webhook = decode::<StoredWebhook>(&known).ok_or(WebhookError::Unreadable)?.into_webhook(prepared.id, Backlog::default());
            return Ok(Registered { webhook, secret: None });
        }
        let (owner, after) = (prepared.owner.clone(), prepared.after);
        let registered = self.put(prepared, Some(job.clone()), JOB_WEBHOOK_TTL).await?;
        events::catch_up(&self.0, &owner, &registered.webhook.id, after).await?;
        Ok(registered)
    }

    /// The webhooks of a user.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn list(&self, owner: &Owner) -> Result<Vec<Webhook>, WebhookError> {
        let mut webhooks = Vec::new();
        for record in self.0.store.list(WEBHOOK, &owner.key()).await? {
            let Some(stored) = decode::<StoredWebhook>(&record) else { continue };
            let backlog = self.0.backlog(&record.id).await?;
            webhooks.push(stored.into_webhook(record.id, backlog));
        }
        Ok(webhooks)
    }

    /// Removes a webhook of a user with its queue; returns whether it existed.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn remove(&self, owner: &Owner, id: &str) -> Result<bool, WebhookError> {
        let found = self.0.store.get(WEBHOOK, id).await?;
        if found.is_none_or(|record| record.owner != owner.key()) {
            return Ok(false);
        }
        let removed = self.0.store.remove(WEBHOOK, id).await?;
        self.0.forget_user(&owner.key(), &owner.system).await?;
        Ok(removed)
    }

    /// The messages that could not be delivered to the webhooks of a user, kept for 7 days.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn dead_letters(&self, owner: &Owner) -> Result<Vec<DeadLetter>, WebhookError> {
        let records = self.0.store.list(DEAD_LETTER, &owner.key()).await?;
        Ok(records
            .into_iter()
            .filter_map(|record| decode::<StoredDeadLetter>(&record).map(|dead| dead.into_dead_letter(record.id)))
            .collect())
    }

    /// Puts a dead letter back into the queue of its webhook; returns whether both existed.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn redeliver(&self, owner: &Owner, id: &str) -> Result<bool, WebhookError> {
        let Some(record) = self.0.store.get(DEAD_LETTER, id).await?.filter(|record| record.owner == owner.key()) else { return Ok(false) };
        let dead: StoredDeadLetter = decode(&record).ok_or(WebhookError::Unreadable)?;
        if self.0.store.get(WEBHOOK, &dead.webhook).await?.is_none() {
            return Ok(false);
        }
        let now = Timestamp::now();
        let delivery = Delivery { event: dead.event, attempts: 0, since: now, next: now };
        self.0.enqueue(&dead.webhook, &owner.key(), id, &delivery).await?;
        self.0.store.remove(DEAD_LETTER, id).await?;
        Ok(true)
    }

    /// The messages that were sent, by their outcome.
    pub fn deliveries(&self) -> [(&'static str, u64); 4] {
        self.0.counts.outcomes()
    }

    /// Reads the events of these systems and delivers messages, until the token is cancelled.
    pub async fn run(&self, systems: impl Fn() -> Vec<SystemName> + Send + Sync, stop: CancellationToken) {
        let work = async { tokio::join!(events::follow(&self.0, systems), delivery::deliver(&self.0)) };
        stop.run_until_cancelled(work).await;
        let ends = async { tokio::join!(events::release(&self.0), delivery::end_turns(&self.0)) };
        let _is_in_time = tokio::time::timeout(LEASE_RELEASE_TIMEOUT, ends).await.is_ok();
    }

    /// Whether an address may be called.
    async fn check(&self, url: &str) -> Result<(), WebhookError> {
        if url.len() > MAX_URL_BYTES {
            return Err(WebhookError::Url(format!("it is longer than {MAX_URL_BYTES} bytes")));
        }
        if url.chars().any(|character| character.is_control() || character.is_whitespace() || character == '\\') {
            return Err(WebhookError::Url("it contains a blank, a control character or a backslash".to_owned()));
        }
        let url = Url::parse(url).map_err(|error| WebhookError::Url(error.to_string()))?;
        if !url.is_https() && !self.0.config.allow_http {
            return Err(WebhookError::Url("it must start with https://".to_owned()));
        }
        self.0.guard.check_now(&url).await.map_err(|error| {
            tracing::info!(host = url.authority(), reason = error.detail(), "the address of a webhook is refused");
            WebhookError::Url(error.to_string())
        })
    }

    /// Stores a webhook, which then takes its place itself.
    async fn put(&self, prepared: Prepared, job: Option<JobId>, ttl: Duration) -> Result<Registered, WebhookError> {
        let Prepared { owner, registration, id, after: _, place } = prepared;
        let secret = signature::new_secret().map_err(|_| WebhookError::NoRandomness)?;
        let stored = StoredWebhook::new(&owner, &registration, job, &secret);
        let _alone = self.0.registering.lock().await;
        let user = format!("{}/{}", owner.system.as_str(), owner.user.as_str());
        let index =
            Record { kind: USER, id: user, owner: owner.system.as_str().to_owned(), value: Vec::new(), due_in: None, ttl: WEBHOOK_TTL };
        self.0.store.put(&index).await?;
        let record = Record { kind: WEBHOOK, id: id.clone(), owner: owner.key(), value: encode(&stored), due_in: None, ttl };
        self.0.store.put(&record).await?;
        drop(place);
        // It may have been removed since, as that of a user without webhooks.
        self.0.store.put(&index).await?;
        Ok(Registered { webhook: stored.into_webhook(id, Backlog::default()), secret: Some(secret) })
    }
}

impl Inner {
    /// The queued messages of a webhook.
    async fn backlog(&self, webhook: &str) -> Result<Backlog, WebhookError> {
        let Some(queue) = self.store.get(QUEUE, webhook).await? else { return Ok(Backlog::default()) };
        let waiting = self.store.list(DELIVERY, webhook).await?.len();
        Ok(Backlog { waiting, failure: decode::<Queue>(&queue).and_then(|queue| queue.failure) })
    }

    /// Removes the record of a user without webhooks on the system.
    async fn forget_user(&self, key: &str, system: &SystemName) -> Result<(), WebhookError> {
        if self.store.list(WEBHOOK, key).await?.is_empty() {
            self.store.remove(USER, key).await?;
            // A webhook may have been registered meanwhile.
            if !self.store.list(WEBHOOK, key).await?.is_empty() {
                let owner = system.as_str().to_owned();
                self.store
                    .put(&Record { kind: USER, id: key.to_owned(), owner, value: Vec::new(), due_in: None, ttl: WEBHOOK_TTL })
                    .await?;
            }
        }
        Ok(())
    }
}

/// The users with webhooks, whose jobs are kept under observation; at most [`MAX_PAGE`] of them on each system.
#[async_trait]
impl Interest for Webhooks {
    async fn users(&self, system: &SystemName) -> Option<Vec<Username>> {
        let Inner { store, users_failure, users_excess, .. } = &*self.0;
        let records = match store.list(USER, system.as_str()).await {
            Ok(records) => records,
            Err(error) => {
                if users_failure.begins(&ErrorChain(&error)) {
                    tracing::warn!(error = %ErrorChain(&error), "the users with webhooks could not be read");
                }
                return None;
            }
        };
        if users_failure.ends() {
            tracing::info!("the users with webhooks are read again");
        }
        if records.len() >= MAX_PAGE && users_excess.begins("more than a page") {
            tracing::warn!(%system, "at least {MAX_PAGE} users of a system have webhooks: the jobs of further ones are not observed");
        }
        let name = |record: Record| Username::new(record.id.split_once('/')?.1).ok();
        Some(records.into_iter().filter_map(name).collect())
    }

    async fn jobs(&self, system: &SystemName, user: Option<&Username>) -> Vec<JobId> {
        let users = match user {
            Some(user) => vec![user.clone()],
            None => self.users(system).await.unwrap_or_default(),
        };
        let mut jobs = Vec::new();
        for user in users {
            let owner = Owner { system: system.clone(), user };
            let records = self.0.store.list(WEBHOOK, &owner.key()).await.unwrap_or_else(|error| {
                tracing::warn!(error = %ErrorChain(&error), %system, "the jobs with webhooks could not be read");
                Vec::new()
            });
            let stored = records.iter().filter_map(decode::<StoredWebhook>);
            jobs.extend(stored.filter(|webhook| !webhook.ended).filter_map(|webhook| webhook.job));
        }
        jobs
    }
}
