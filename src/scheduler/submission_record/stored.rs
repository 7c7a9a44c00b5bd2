//! The record of a submission in the store, for submissions that can have none on the cluster: a home directory that cannot be written, and slurmrestd.
//!
//! An attempt is a claim of the store. The store does not show when an attempt ends whose replica was killed, and what it has sent may be
//! taken late. So the next attempt begins only when no job with the tag is to be found, and
//! - the earlier attempt certainly had no effect, as its own replica settled; or
//! - its beginning lies [`RecordSettings::certain`] back by the store's clock, and this replica has known of it, by a clock that does not
//!   jump, for longer than an attempt takes and the scheduler after it; and all sources that may know its job were asked and answered.
//!
//! Until then the outcome is [`SchedulerError::Undecided`]; where not all can tell even after that time, [`SchedulerError::Undecidable`]. An attempt is a separate task, which continues if its client is gone, and never sends
//! anything later than [`RecordSettings::attempt`] after its claim.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{Earlier, MAX_ROUNDS, RETRY_AFTER, RecordPlace, RecordSettings, SubmissionKey, Submitted};
use crate::domain::JobId;
use crate::error::{Classify, ErrorChain};
use crate::scheduler::SchedulerError;
use crate::store::{Claim, Claimed, Record, Store, StoreError};

/// The records that say of a key that its submission is recorded in the store.
const KIND: &str = "submission";
/// The value of such a record where no attempt was recorded elsewhere before.
const NONE_BEFORE: &[u8] = b"first";
/// When an attempt whose outcome is not known is worth asking for again.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(30);
/// The maximum number of attempts of others that are remembered.
const MAX_SIGHTINGS: usize = 4096;
/// The pauses between tries to write down the job of an attempt.
const RECORD_PAUSES: [Duration; 4] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// A submission of a job that carries the tag of its key.
#[async_trait]
pub(in crate::scheduler) trait TaggedSubmission: Send + Sync {
    /// Submits the job, once.
    async fn send(&self) -> Result<JobId, SchedulerError>;

    /// Looks for the job, submitted after `began` (Unix seconds). It fails if a source cannot be queried.
    async fn find(&self, began: i64) -> Result<Trace, SchedulerError>;
}

/// The result of the search for a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Trace {
    /// Its job.
    Job(JobId),
    /// No job has the tag, and the tag of each present or past job is known.
    Nowhere,
    /// No job is known to have the tag, but there may be one, for this reason.
    Unsure(String),
}

/// The records of submissions that lie in the store. Clones share them.
#[derive(Clone)]
pub struct StoredRecords {
    store: Arc<dyn Store>,
    settings: RecordSettings,
    /// The name of this replica's host, for requests that come while an attempt is under way.
    host: Arc<str>,
    /// When attempts of others were first seen to have ended without a result.
    sightings: Arc<Mutex<HashMap<(String, u32), Instant>>>,
    /// The attempts under way, which go on without their requests.
    attempts: TaskTracker,
}

impl StoredRecords {
    /// Records in this store.
    pub fn new(store: Arc<dyn Store>, settings: RecordSettings) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { store, settings, host: host.trim().into(), sightings: Arc::default(), attempts: TaskTracker::new() }
    }

    /// Waits until no attempt is under way and the ends of all are written down.
    pub(in crate::scheduler) async fn settle(&self) {
        self.attempts.close();
        self.attempts.wait().await;
    }

    /// If the record of this submission is in the store: whether an attempt may have been recorded elsewhere before.
    pub(super) async fn kept(&self, key: &SubmissionKey) -> Result<Option<Earlier>, SchedulerError> {
        let record = self.store.get(KIND, key.name()).await.map_err(|error| unusable(&error))?;
        Ok(record.map(|record| if record.value == NONE_BEFORE { Earlier::No } else { Earlier::Perhaps }))
    }

    /// Remembers that the record of this submission is in the store.
    pub(super) async fn keep(&self, key: &SubmissionKey, earlier: Earlier) -> Result<(), SchedulerError> {
        let (kind, id) = (KIND, key.name().to_owned());
        let value = if earlier == Earlier::No { NONE_BEFORE.to_vec() } else { Vec::new() };
        let record = Record { kind, id, owner: String::new(), value, due_in: None, ttl: self.ttl() };
        self.store.put(&record).await.map_err(|error| unusable(&error))
    }

    /// Looks for the job of an attempt that may have been recorded elsewhere, for as long as records are kept.
    pub(super) async fn look(&self, submission: &dyn TaggedSubmission) -> Result<Trace, SchedulerError> {
        submission.find(jiff::Timestamp::now().as_second() - i64::from(self.settings.days) * 24 * 3600).await
    }

    /// Submits the job unless that was done before; `elsewhere` says where records are kept on the cluster too whether there may be one.
    ///
    /// # Errors
    /// The errors of the scheduler and of the store.
    pub(in crate::scheduler) async fn submit(
        &self,
        key: &SubmissionKey,
        submission: Arc<dyn TaggedSubmission>,
        elsewhere: Option<Earlier>,
    ) -> Result<Submitted, SchedulerError> {
        let mut after = 0;
        for _ in 0..MAX_ROUNDS {
            let asked = Instant::now();
            match self.store.claim(&self.claim(key, after)).await.map_err(|error| unusable(&error))? {
                Claimed::Begun(number) => {
                    let attempt = OwnAttempt { records: self.clone(), name: claim_name(key), number, asked, submission };
                    let work = self.attempts.spawn(attempt.make(elsewhere.filter(|_| number == 1)));
                    return work.await.unwrap_or_else(|_| Err(SchedulerError::Unanswered("the attempt was broken off".to_owned())));
                }
                Claimed::Done(text) => return submitted(&text, true),
                Claimed::OtherWork => return Err(SchedulerError::KeyReused),
                Claimed::UnderWay { holder, remaining } => {
                    let age = self.settings.certain.saturating_sub(remaining);
                    if age < self.settings.attempt {
                        return Err(SchedulerError::UnderWay { wait: RETRY_AFTER, host: Some(holder).filter(|host| !host.is_empty()) });
                    }
                    let began = jiff::Timestamp::now().as_second() - i64::try_from(age.as_secs()).unwrap_or(0);
                    return match submission.find(began).await.map_err(super::unknown)? {
                        Trace::Job(id) => self.adopt(key, &id).await,
                        Trace::Nowhere => Err(undecided(remaining, "it began a short time ago and gave no answer".to_owned())),
                        Trace::Unsure(reason) => Err(undecided(remaining, reason)),
                    };
                }
                Claimed::Ended { attempt, began } => {
                    // The time after which nothing of it can appear any more.
                    let missing = (self.settings.attempt + self.settings.late_acceptance).saturating_sub(self.known_for(key, attempt));
                    match submission.find(began.as_second()).await.map_err(super::unknown)? {
                        Trace::Job(id) => return self.adopt(key, &id).await,
                        Trace::Unsure(reason) if missing.is_zero() => return Err(SchedulerError::Undecidable { reason }),
                        Trace::Unsure(reason) => return Err(undecided(missing, reason)),
                        Trace::Nowhere if missing.is_zero() => after = attempt,
                        Trace::Nowhere => {
                            return Err(undecided(missing, "it gave no answer, and its job may still appear".to_owned()));
                        }
                    }
                }
            }
        }
        Err(SchedulerError::UnderWay { wait: RETRY_AFTER, host: None })
    }

    /// The time for which this replica has known that the attempt has no result, by its own clock.
    fn known_for(&self, key: &SubmissionKey, attempt: u32) -> Duration {
        let mut sightings = self.sightings.lock();
        // What is forgotten is waited for once more.
        if sightings.len() >= MAX_SIGHTINGS {
            sightings.clear();
        }
        sightings.entry((key.name().to_owned(), attempt)).or_insert_with(Instant::now).elapsed()
    }

    /// Writes down the job that was found.
    async fn adopt(&self, key: &SubmissionKey, id: &JobId) -> Result<Submitted, SchedulerError> {
        // Where it cannot be written down it is found again.
        self.record_job(&claim_name(key), 0, id).await;
        Ok(Submitted { id: id.clone(), repeated: true, record: Some(RecordPlace::Store) })
    }

    /// Writes down the job of an attempt. Where the store does not take it, the attempt stays one without a result.
    async fn record_job(&self, name: &str, attempt: u32, id: &JobId) {
        for pause in RECORD_PAUSES {
            sleep(pause).await;
            match self.store.finish_claim(name, attempt, Some(id.as_str())).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(error = %ErrorChain(&error), "the job of a submission could not be recorded in the store"),
            }
        }
    }

    /// Forgets an attempt that certainly had no effect. That is said once: said again, it could mean the attempt of another that has the
    /// same number by then. For the same reason the number of an attempt that was looked for is never given out again, so that only the first is
    /// forgotten.
    async fn forget(&self, name: &str, attempt: u32) {
        if attempt == 1
            && let Err(error) = self.store.finish_claim(name, attempt, None).await
        {
            tracing::warn!(error = %ErrorChain(&error), "the end of a submission could not be recorded in the store");
        }
    }

    fn claim(&self, key: &SubmissionKey, after: u32) -> Claim {
        Claim {
            name: claim_name(key),
            digest: key.digest.clone(),
            holder: self.host.to_string(),
            after,
            hold: self.settings.certain,
            ttl: self.ttl(),
        }
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(u64::from(self.settings.days) * 24 * 3600)
    }
}

/// An attempt that this replica makes.
struct OwnAttempt {
    records: StoredRecords,
    name: String,
    number: u32,
    /// When the claim was requested.
    asked: Instant,
    submission: Arc<dyn TaggedSubmission>,
}

impl OwnAttempt {
    async fn make(self, elsewhere: Option<Earlier>) -> Result<Submitted, SchedulerError> {
        if let Some(earlier) = elsewhere {
            let found = match self.records.look(&*self.submission).await {
                Ok(Trace::Unsure(reason)) if earlier == Earlier::Perhaps => Err(SchedulerError::Undecidable { reason }),
                found => found,
            };
            match found {
                Ok(Trace::Job(id)) => {
                    self.records.record_job(&self.name, self.number, &id).await;
                    return submitted(id.as_str(), true);
                }
                Ok(Trace::Nowhere | Trace::Unsure(_)) => {}
                Err(error) => {
                    self.records.forget(&self.name, self.number).await;
                    return Err(error);
                }
            }
        }
        let left = self.records.settings.attempt.checked_sub(self.asked.elapsed()).filter(|left| !left.is_zero());
        let Some(left) = left else {
            self.records.forget(&self.name, self.number).await;
            return Err(SchedulerError::Down("the submission could not be begun in time".to_owned()));
        };
        let unanswered = |_| Err(SchedulerError::Unanswered("the scheduler did not answer the submission in time".to_owned()));
        let sent = timeout(left, self.submission.send()).await.unwrap_or_else(unanswered);
        match &sent {
            Ok(id) => self.records.record_job(&self.name, self.number, id).await,
            Err(error) if had_no_effect(error) => self.records.forget(&self.name, self.number).await,
            Err(_) => {}
        }
        sent.map(|id| Submitted { id, repeated: false, record: Some(RecordPlace::Store) })
    }
}

fn claim_name(key: &SubmissionKey) -> String {
    format!("submission/{}", key.name)
}

fn submitted(id: &str, repeated: bool) -> Result<Submitted, SchedulerError> {
    let unreadable = |_| SchedulerError::Unanswered(format!("the record of the submission holds no job id: {id:?}"));
    JobId::new(id).map_err(unreadable).map(|id| Submitted { id, repeated, record: Some(RecordPlace::Store) })
}

fn undecided(wait: Duration, reason: String) -> SchedulerError {
    SchedulerError::Undecided { wait: wait.clamp(Duration::from_secs(1), RETRY_AFTER_UNKNOWN), reason }
}

/// Whether an error of a submission says that there certainly is no job: the scheduler was not reached, or refused it.
fn had_no_effect(error: &SchedulerError) -> bool {
    match error {
        SchedulerError::Rejected(_)
        | SchedulerError::Denied(_)
        | SchedulerError::Members(_)
        | SchedulerError::Unsupported(_)
        | SchedulerError::JobNotFound => true,
        error => error.maybe_effected() == Some(false),
    }
}

/// The operation of the store failed: nothing was submitted.
fn unusable(error: &StoreError) -> SchedulerError {
    tracing::error!(error = %ErrorChain(error), "the record of a submission cannot be kept in the store");
    SchedulerError::RecordStore
}
