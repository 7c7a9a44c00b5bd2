//! A token that is renewed shortly before its end.

use std::sync::Arc;
use std::time::Duration;

use moka::Expiry;
use moka::future::Cache;

/// A token, or what it was made into, for as long as it may be used. All who need a new one at the same time wait for the same.
pub struct TokenCache<T>(Cache<(), Lasting<T>>);

#[derive(Clone)]
struct Lasting<T> {
    value: T,
    lifetime: Duration,
}

impl<T: Clone + Send + Sync + 'static> TokenCache<T> {
    /// The value that is there; otherwise the one that `obtain` brings, with the time for which it may be used.
    ///
    /// # Errors
    /// The errors of `obtain`, shared by all waiters. They are not kept.
    pub async fn get<E>(&self, obtain: impl Future<Output = Result<(T, Duration), E>>) -> Result<T, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let obtained = async { obtain.await.map(|(value, lifetime)| Lasting { value, lifetime }) };
        self.0.try_get_with((), obtained).await.map(|lasting| lasting.value)
    }

    /// Forgets the value, which turned out to be of no use.
    pub async fn forget(&self) {
        self.0.invalidate(&()).await;
    }
}

impl<T: Clone + Send + Sync + 'static> Default for TokenCache<T> {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(1).expire_after(OwnLifetime).build())
    }
}

struct OwnLifetime;

impl<T> Expiry<(), Lasting<T>> for OwnLifetime {
    fn expire_after_create(&self, (): &(), lasting: &Lasting<T>, _: std::time::Instant) -> Option<Duration> {
        Some(lasting.lifetime)
    }
}
