//! The signing keys of the identity provider: read, kept, renewed.
//!
//! A source that cannot be read keeps its last keys, so that an outage of the provider does not refuse valid tokens.
//! Concurrent callers share one reading.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::keys::{self, Key};
use crate::error::{ErrorChain, Recurring};
use crate::rest::{Client, InvalidUrl, Request, RestError, Url};

const MAX_SET: usize = 256 * 1024;
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest time between two readings caused by unknown keys, so that made-up tokens cannot make us flood the provider. A token
/// with an unknown key waits for the next reading, so that a new key is found.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(2);
/// The number of requests with unknown keys that may wait for a reading at the same time.
const MAX_WAITING: usize = 1000;
/// Time between two readings while there are no keys at all.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The place of a key set.
#[derive(Clone, Debug)]
pub enum Source {
    /// At a URL.
    Web(Url),
    /// In a file.
    File(PathBuf),
}

/// Why no key set could be read.
#[derive(Debug, thiserror::Error)]
#[error("the key set {place} could not be read")]
pub struct KeysError {
    place: String,
    source: ReadError,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Web(#[from] RestError),
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error("it is larger than {MAX_SET} bytes")]
    TooLarge,
    #[error(transparent)]
    NotAKeySet(#[from] keys::NotAKeySet),
}

impl Source {
    /// Reads `http://`, `https://` and `file:///path` URLs.
    ///
    /// # Errors
    /// If the text is not such a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(Self::File(PathBuf::from(path))),
            _ => Url::parse(text).map(Self::Web),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The keys at one moment.
#[derive(Default)]
pub(super) struct KeySet {
    /// Changes whenever a key is removed: a token that was verified before may no longer be valid.
    pub(super) epoch: u64,
    /// One list for each source.
    lists: Vec<Arc<Vec<Key>>>,
}

impl KeySet {
    /// The keys with that id; without an id, the only key there is.
    pub(super) fn candidates<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let only = self.len() == 1;
        self.lists.iter().flat_map(|list| list.iter()).filter(move |key| match id {
            Some(id) => key.id() == Some(id),
            None => only,
        })
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.len()).sum()
    }

    /// True when no source was ever read, or none holds a key.
    pub(super) fn is_empty(&self) -> bool {
        self.lists.iter().all(|list| list.is_empty())
    }
}

/// The key sets of all sources.
pub(super) struct Jwks {
    sources: Vec<Source>,
    /// The failure of each source.
    failures: Vec<Recurring>,
    algorithm: Option<String>,
    client: Client,
    state: RwLock<Readings>,
    /// Held while the sources are read.
    reading: tokio::sync::Mutex<()>,
    waiting: Semaphore,
}

#[derive(Default)]
struct Readings {
    keys: Arc<KeySet>,
    /// The number of readings so far.
    readings: u64,
    /// When the newest reading began, and when it ended.
    began: Option<Instant>,
    last_reading: Option<Instant>,
    failure: Option<Arc<KeysError>>,
}

impl Jwks {
    pub(super) fn new(sources: Vec<Source>, algorithm: Option<String>, client: Client) -> Self {
        let waiting = Semaphore::new(MAX_WAITING);
        let failures = sources.iter().map(|_| Recurring::default()).collect();
        Self { sources, failures, algorithm, client, state: RwLock::default(), reading: tokio::sync::Mutex::default(), waiting }
    }

    /// The keys as they are known.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.read_state(|state| Arc::clone(&state.keys))
    }

    /// The keys. They are read first if there are none yet.
    pub(super) async fn keys_or_read(&self) -> Result<Arc<KeySet>, Arc<KeysError>> {
        let keys = self.keys();
        if !keys.is_empty() {
            return Ok(keys);
        }
        if self.read_state(|state| state.last_reading.is_none_or(|last| last.elapsed() >= RETRY_INTERVAL)) {
            self.refresh().await;
        }
        self.read_state(|state| match (&state.failure, state.keys.is_empty()) {
            (Some(failure), true) => Err(Arc::clone(failure)),
            _ => Ok(Arc::clone(&state.keys)),
        })
    }

    /// The keys as soon as `is_known` accepts them; otherwise those of a reading that began after this call, which proves that the key does
    /// not exist. `None` when too many requests wait already.
    pub(super) async fn keys_after_unknown(&self, is_known: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        let called = Instant::now();
        let _place = self.waiting.try_acquire().ok()?;
        loop {
            let (keys, began) = self.read_state(|state| (Arc::clone(&state.keys), state.began));
            if is_known(&keys) || began.is_some_and(|began| began >= called) {
                return Some(keys);
            }
            if let Some(pause) = began.and_then(|began| UNKNOWN_KEY_INTERVAL.checked_sub(began.elapsed())) {
                tokio::time::sleep(pause).await;
            }
            self.refresh().await;
        }
    }

    /// The failure of the newest reading, if it was incomplete.
    pub(super) fn failure(&self) -> Option<Arc<KeysError>> {
        self.read_state(|state| state.failure.clone())
    }

    /// Reads all sources. Concurrent calls share one reading. Not a shared future: a key that is unknown is proved by a reading that began
    /// after the question (`keys_after_unknown`), so that one that is under way is not enough.
    pub(super) async fn refresh(&self) {
        let number = self.read_state(|state| state.readings);
        let _reading = self.reading.lock().await;
        if self.read_state(|state| state.readings) == number {
            self.read_all().await;
        }
    }

    /// Renews the keys until cancelled: at short intervals while there are none, then at `interval`.
    pub(super) async fn run(&self, interval: Duration, cancelled: &CancellationToken) {
        let mut delay = RETRY_INTERVAL;
        loop {
            let work = async {
                self.refresh().await;
                let settled = !self.keys().is_empty() && self.read_state(|state| state.failure.is_none());
                delay = if settled { interval } else { (delay * 2).min(interval) };
                tokio::time::sleep(delay).await;
            };
            if cancelled.run_until_cancelled(work).await.is_none() {
                return;
            }
        }
    }

    async fn read_all(&self) {
        let began = Instant::now();
        let outcomes = futures::future::join_all(self.sources.iter().map(|source| self.read(source))).await;
        let mut state = self.state.write();
        let mut failure = None;
        let mut lists = Vec::with_capacity(outcomes.len());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(list) => {
                    if self.failures[index].ends() {
                        tracing::info!(source = %self.sources[index], "keys are read again");
                    }
                    lists.push(Arc::new(list));
                }
                Err(error) => {
                    let last = state.keys.lists.get(index).cloned().unwrap_or_default();
                    let effect = if last.is_empty() { "no keys have been read from it yet" } else { "the last keys are kept" };
                    if self.failures[index].begins(&ErrorChain(&error)) {
                        tracing::warn!(error = %ErrorChain(&error), "{effect}");
                    }
                    failure = Some(Arc::new(error));
                    lists.push(last);
                }
            }
        }
        let is_kept = |key: &Key| lists.iter().flat_map(|list| list.iter()).any(|other| other.is_same(key));
        let lost = state.keys.lists.iter().flat_map(|list| list.iter()).any(|key| !is_kept(key));
        let epoch = state.keys.epoch + u64::from(lost);
        state.keys = Arc::new(KeySet { epoch, lists });
        state.failure = failure;
        state.began = Some(began);
        state.last_reading = Some(Instant::now());
        state.readings += 1;
    }

    async fn read(&self, source: &Source) -> Result<Vec<Key>, KeysError> {
        let read = async {
            let json = match source {
                Source::Web(url) => {
                    let request = Request::get(url.clone()).timeout(READ_TIMEOUT).max_body(MAX_SET);
                    self.client.send(request).await?.success()?.body.to_vec()
                }
                Source::File(path) => {
                    let mut json = Vec::new();
                    tokio::fs::File::open(path).await?.take(MAX_SET as u64 + 1).read_to_end(&mut json).await?;
                    if json.len() > MAX_SET {
                        return Err(ReadError::TooLarge);
                    }
                    json
                }
            };
            Ok(keys::read(&json, self.algorithm.as_deref())?)
        };
        let (keys, left_out) = read.await.map_err(|error| KeysError { place: source.to_string(), source: error })?;
        if keys.is_empty() {
            tracing::warn!(%source, ?left_out, "the key set holds no usable key");
        } else {
            tracing::debug!(%source, keys = keys.len(), ?left_out, "read a key set");
        }
        Ok(keys)
    }

    fn read_state<T>(&self, read: impl FnOnce(&Readings) -> T) -> T {
        read(&self.state.read())
    }
}
