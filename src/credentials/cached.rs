//! Caches the credentials of callers until they expire, and renews them before that.
//!
//! A caller's first request waits for the credential, and concurrent requests wait for the same answer. In the last third of its
//! lifetime a request starts the renewal and uses the present credential. A failed renewal is tried again at intervals while the
//! present credential is valid. An expired one is never handed out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use moka::future::Cache;
use parking_lot::Mutex;

use super::{CallerKey, Credential, CredentialError, CredentialProvider};
use crate::domain::Principal;
use crate::error::ErrorChain;

/// The maximum number of callers whose credentials are cached.
const MAX_CALLERS: u64 = 10_000;

/// After this time without a request a caller's credential is dropped, with its private key.
const MAX_IDLE: Duration = Duration::from_secs(15 * 60);

/// The maximum time before its end at which a credential counts as expired: a login takes time, and clocks differ.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// The longest pause after a failed renewal.
const MAX_RETRY_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// A cache in front of a provider whose credentials expire. A credential obtained with one caller's token is never given to another.
pub struct Cached<P> {
    provider: Arc<P>,
    entries: Cache<CallerKey, Arc<Entry>>,
}

#[derive(Default)]
struct Entry(Mutex<CredentialState>);

#[derive(Default)]
struct CredentialState {
    held: Option<Held>,
    /// The call for the next credential, while it is under way.
    flight: Option<Flight>,
    failed: Option<Timestamp>,
}

struct Held {
    credential: Arc<Credential>,
    obtained: Timestamp,
}

type CredentialResult = Result<Arc<Credential>, CredentialError>;
/// Not `try_get_with` of the cache, which would have everybody wait for a renewal while the present credential still serves.
type Flight = Shared<BoxFuture<'static, CredentialResult>>;

/// The state of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fresh,
    /// It is usable, and should be renewed.
    Expiring,
    Ended,
}

impl<P: CredentialProvider + 'static> Cached<P> {
    /// Puts a cache in front of a provider.
    pub fn new(provider: P) -> Self {
        let entries = Cache::builder().max_capacity(MAX_CALLERS).time_to_idle(MAX_IDLE).build();
        Self { provider: Arc::new(provider), entries }
    }

    /// The credential at hand, or the renewal to wait for.
    fn look(&self, principal: &Principal, entry: &Arc<Entry>) -> Result<Arc<Credential>, Flight> {
        let mut state = entry.0.lock();
        let now = Timestamp::now();
        let (serving, wanted) = match &state.held {
            Some(held) => match held.phase(now) {
                Phase::Fresh => return Ok(Arc::clone(&held.credential)),
                Phase::Expiring => {
                    let rests = state.failed.is_some_and(|at| now.duration_since(at) < held.rest());
                    (Some(Arc::clone(&held.credential)), !rests)
                }
                Phase::Ended => (None, true),
            },
            None => (None, true),
        };
        // One that has landed and is still there ended without a word, in a panic.
        let under_way = state.flight.take().filter(|flight| flight.peek().is_none());
        state.flight = match under_way {
            None if wanted => Some(self.start(principal.clone(), Arc::clone(entry))),
            flight => flight,
        };
        match (serving, &state.flight) {
            (Some(credential), _) => Ok(credential),
            (None, Some(flight)) => Err(flight.clone()),
            // Without a credential a flight is always wanted.
            (None, None) => Err(futures::future::ready(Err(CredentialError::Interrupted)).boxed().shared()),
        }
    }

    /// Calls the provider in a separate task, so that the answer arrives even if the caller leaves.
    fn start(&self, principal: Principal, entry: Arc<Entry>) -> Flight {
        let provider = Arc::clone(&self.provider);
        let task = tokio::spawn(async move {
            let outcome = provider.credential(&principal).await;
            entry.land(&principal, &outcome);
            outcome
        });
        async move { task.await.unwrap_or(Err(CredentialError::Interrupted)) }.boxed().shared()
    }
}

#[async_trait]
impl<P: CredentialProvider + 'static> CredentialProvider for Cached<P> {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        let entry = self.entries.get_with(CallerKey::of(principal), async { Arc::default() }).await;
        match self.look(principal, &entry) {
            Ok(credential) => Ok(credential),
            Err(flight) => flight.await,
        }
    }

    fn needs_token(&self) -> bool {
        self.provider.needs_token()
    }
}

impl Entry {
    fn land(&self, principal: &Principal, outcome: &CredentialResult) {
        let now = Timestamp::now();
        let mut state = self.0.lock();
        state.flight = None;
        match outcome {
            Ok(credential) => {
                state.failed = None;
                state.held = Some(Held { credential: Arc::clone(credential), obtained: now });
            }
            Err(error) => {
                let serves = state.held.as_ref().is_some_and(|held| held.phase(now) != Phase::Ended);
                tracing::warn!(user = %principal.username, serves, "an SSH credential was not obtained: {}", ErrorChain(error));
                state.failed = Some(now);
                if !serves {
                    state.held = None;
                }
            }
        }
    }
}

impl Held {
    fn phase(&self, now: Timestamp) -> Phase {
        let Some(life) = self.life() else { return Phase::Fresh };
        let left = life - now.duration_since(self.obtained);
        if left <= (life / 10).min(EXPIRY_MARGIN) {
            Phase::Ended
        } else if left < life / 3 {
            Phase::Expiring
        } else {
            Phase::Fresh
        }
    }

    /// The pause after a failed renewal: a few tries fit into the last third.
    fn rest(&self) -> SignedDuration {
        self.life().map_or(MAX_RETRY_PAUSE, |life| (life / 12).min(MAX_RETRY_PAUSE))
    }

    /// The lifetime of the credential from its arrival; none if it does not expire.
    fn life(&self) -> Option<SignedDuration> {
        self.credential.not_after.map(|end| end.duration_since(self.obtained))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn held(life: Option<i64>) -> Held {
        let obtained = Timestamp::now();
        let not_after = life.map(|seconds| obtained + SignedDuration::from_secs(seconds));
        let credential =
            Credential { private_key: Secret::from(String::new()), passphrase: None, certificate: None, not_after, caller: None };
        Held { credential: Arc::new(credential), obtained }
    }

    fn phases(held: &Held, at: &[i64]) -> Vec<Phase> {
        at.iter().map(|seconds| held.phase(held.obtained + SignedDuration::from_secs(*seconds))).collect()
    }

    #[test]
    fn the_last_third_is_for_renewal_and_the_last_moment_is_nobodys() {
        use Phase::{Ended, Expiring, Fresh};
        assert_eq!(phases(&held(Some(60)), &[0, 39, 41, 54, 55, 60, 99]), [Fresh, Fresh, Expiring, Expiring, Ended, Ended, Ended]);
        assert_eq!(phases(&held(Some(600)), &[0, 399, 401, 594, 595]), [Fresh, Fresh, Expiring, Expiring, Ended]);
        assert_eq!(phases(&held(None), &[0, 1_000_000]), [Fresh, Fresh]);
    }

    #[test]
    fn one_that_came_too_late_has_ended() {
        assert_eq!(phases(&held(Some(0)), &[0]), [Phase::Ended]);
        assert_eq!(phases(&held(Some(-5)), &[0]), [Phase::Ended]);
    }

    #[test]
    fn several_tries_of_a_renewal_fit_into_the_last_third() {
        for life in [10, 60, 300] {
            assert!(held(Some(life)).rest() * 4 <= SignedDuration::from_secs(life) / 3, "{life}");
        }
        assert_eq!(held(Some(86_400)).rest(), MAX_RETRY_PAUSE);
    }
}
