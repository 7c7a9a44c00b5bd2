//! Limits the downloads whose clients do not read.
//!
//! A download holds a channel of its user's connections to the cluster until its client has read it. If many clients read
//! next to nothing, further downloads of the same user would wait for a channel until their time limit. So a user with many stalled
//! downloads is refused further ones at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{Stream, poll_fn};
use parking_lot::Mutex;
use tokio::time::{Instant, interval};

use crate::domain::Username;
use crate::service::ServiceError;

/// The maximum number of downloads of one user that their clients may stall while another one waits to begin. If a user has fewer
/// than twice as many channels, it is half of those.
const MAX_STALLED: usize = 16;

/// The time after which a client that does not read counts as stalled.
const STALL_TIME: Duration = Duration::from_secs(4);

/// The downloads under way, by user.
#[derive(Clone)]
pub(in crate::service) struct SlowClients {
    users: Arc<Mutex<HashMap<Username, Vec<Weak<Progress>>>>>,
    started: Instant,
}

/// The time since which the client of a download has not read: milliseconds of the clock, 0 while it reads.
#[derive(Default)]
struct Progress(AtomicU64);

impl Default for SlowClients {
    fn default() -> Self {
        Self { users: Arc::default(), started: Instant::now() }
    }
}

impl SlowClients {
    /// Waits for `opening`, which opens a download, unless too many downloads of the caller, who has this many channels, are
    /// stalled.
    ///
    /// # Errors
    /// If too many are stalled, or the errors of `opening`.
    pub(in crate::service) async fn admit<T, E>(
        &self,
        user: &Username,
        channels: usize,
        opening: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ServiceError>
    where
        ServiceError: From<E>,
    {
        let mut opening = std::pin::pin!(opening);
        let mut looks = interval(STALL_TIME / 8);
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(opened?),
                _ = looks.tick() => self.check(user, MAX_STALLED.min(channels.div_ceil(2)))?,
            }
        }
    }

    /// The same content, tracked as a download of `user`.
    pub(in crate::service) fn watch<S: Stream + Send + Unpin + 'static>(
        &self,
        user: &Username,
        mut content: S,
    ) -> impl Stream<Item = S::Item> + Send + use<S> {
        let progress = Arc::new(Progress::default());
        let mut users = self.users.lock();
        users.values_mut().for_each(|downloads| downloads.retain(|download| download.strong_count() > 0));
        users.retain(|_, downloads| !downloads.is_empty());
        users.entry(user.clone()).or_default().push(Arc::downgrade(&progress));
        drop(users);
        let clock = self.clone();
        poll_fn(move |context| {
            progress.0.store(0, Ordering::Relaxed);
            let polled = content.poll_next_unpin(context);
            if matches!(polled, Poll::Ready(Some(_))) {
                progress.0.store(clock.now(), Ordering::Relaxed);
            }
            polled
        })
    }

    fn check(&self, user: &Username, max_stalled: usize) -> Result<(), ServiceError> {
        let latest = self.now().saturating_sub(u64::try_from(STALL_TIME.as_millis()).unwrap_or(u64::MAX));
        let users = self.users.lock();
        let (mut all, mut stalled) = (0, 0);
        for download in users.get(user).into_iter().flatten().filter_map(Weak::upgrade) {
            all += 1;
            stalled += usize::from((1..=latest).contains(&download.0.load(Ordering::Relaxed)));
        }
        drop(users);
        if stalled < max_stalled {
            return Ok(());
        }
        let message = format!(
            "you have {all} downloads under way, and {stalled} of them wait for their clients to read on: let those end, or end them, before another one"
        );
        Err(ServiceError::TooMany(message.into()))
    }

    /// Milliseconds, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::filesystem::FilesystemError;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_sixteen_downloads_begins_no_further_one() {
        let (clients, ada, bob) = (SlowClients::default(), Username::new("ada").unwrap(), Username::new("bob").unwrap());
        let ready = || async { Ok::<_, FilesystemError>(()) };
        let never = || std::future::pending::<Result<(), FilesystemError>>();
        let mut downloads = Vec::new();
        for _ in 0..MAX_STALLED {
            clients.admit(&ada, 32, ready()).await.unwrap();
            downloads.push(Box::pin(clients.watch(&ada, stream::iter(0..3))));
        }
        for download in &mut downloads {
            assert_eq!(download.next().await, Some(0));
        }
        clients.admit(&ada, 32, ready()).await.expect("they may still read on");
        let begun = Instant::now();
        let error = clients.admit(&ada, 32, never()).await.unwrap_err();
        assert!(begun.elapsed() < 2 * STALL_TIME);
        assert!(error.to_string().contains("16 downloads under way, and 16 of them wait"), "{error}");
        clients.admit(&bob, 32, ready()).await.expect("that is nothing to others");
        assert_eq!(downloads[0].next().await, Some(1));
        clients.admit(&ada, 32, ready()).await.expect("one reads on");
        let few = clients.admit(&ada, 7, never()).await.unwrap_err();
        assert!(few.to_string().contains("15 of them wait"), "{few}");
        drop(downloads);
        drop(clients.watch(&bob, stream::iter(0..1)));
        assert!(clients.users.lock().get(&ada).is_none());
    }
}
