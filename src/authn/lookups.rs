//! Questions about tokens to a service that knows them: kept for a short time, few at once, each asked once.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Semaphore;

use super::AuthnError;
use super::validator::{Recognition, Rejection, TokenServiceError};
use crate::domain::{Secret, sha256};
use crate::error::{ErrorChain, Recurring};

/// The maximum number of tokens of which an answer is kept, of known ones and of unknown ones.
const MAX_KEPT: u64 = 10_000;
/// How long a token that the service does not know is refused without another question.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// The maximum number of questions under way.
const MAX_UNDER_WAY: usize = 64;

/// The answers of one service about tokens. Tokens are kept as digests only.
pub(super) struct Lookups<T> {
    service: &'static str,
    known: Cache<[u8; 32], Arc<T>>,
    unknown: Cache<[u8; 32], ()>,
    under_way: Semaphore,
    failure: Recurring,
}

/// Why there is no answer to keep.
enum NoAnswer {
    Unknown,
    Busy,
    Failed(Arc<TokenServiceError>),
}

impl<T: Send + Sync + 'static> Lookups<T> {
    /// Keeps an answer about a known token for `kept_for`.
    pub(super) fn new(service: &'static str, kept_for: Duration) -> Self {
        Self {
            service,
            known: Cache::builder().max_capacity(MAX_KEPT).time_to_live(kept_for).build(),
            unknown: Cache::builder().max_capacity(MAX_KEPT).time_to_live(UNKNOWN_FOR.min(kept_for)).build(),
            under_way: Semaphore::new(MAX_UNDER_WAY),
            failure: Recurring::default(),
        }
    }

    /// What the service says of a token, now or a moment ago. `question` returns `None` for a token that the service does not know, which is
    /// refused for the reason `unknown`. Concurrent calls about one token share one question, and a failure is not kept.
    pub(super) async fn get(
        &self,
        token: &Secret,
        unknown: &'static str,
        question: impl Future<Output = Result<Option<T>, TokenServiceError>>,
    ) -> Result<Arc<T>, Rejection> {
        let name = sha256(token.expose().as_bytes());
        let refused = |error| Rejection { error, recognition: Recognition::Unknown };
        if self.unknown.contains_key(&name) {
            return Err(refused(AuthnError::Invalid(unknown)));
        }
        let outcome = self.known.try_get_with(name, self.ask(name, question)).await;
        outcome.map_err(|reason| match &*reason {
            NoAnswer::Unknown => refused(AuthnError::Invalid(unknown)),
            NoAnswer::Busy => refused(AuthnError::TooManyChecks(self.service)),
            NoAnswer::Failed(error) => refused(AuthnError::Unchecked(Arc::clone(error))),
        })
    }

    async fn ask(&self, name: [u8; 32], question: impl Future<Output = Result<Option<T>, TokenServiceError>>) -> Result<Arc<T>, NoAnswer> {
        let Ok(_permit) = self.under_way.try_acquire() else { return Err(NoAnswer::Busy) };
        match question.await {
            Ok(answer) => {
                if self.failure.ends() {
                    tracing::info!(service = self.service, "access tokens are checked again");
                }
                let Some(answer) = answer else {
                    self.unknown.insert(name, ()).await;
                    return Err(NoAnswer::Unknown);
                };
                Ok(Arc::new(answer))
            }
            Err(error) => {
                if self.failure.begins(&ErrorChain(&error)) {
                    tracing::warn!(service = self.service, error = %ErrorChain(&error), "access tokens cannot be checked");
                }
                Err(NoAnswer::Failed(Arc::new(error)))
            }
        }
    }
}
