//! The waiters for entries of streams.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The streams that have watchers.
#[derive(Debug, Default)]
pub(super) struct StreamWatchers(Mutex<HashMap<String, watch::Sender<()>>>);

impl StreamWatchers {
    /// Begins to watch a stream.
    pub(super) fn watch(&self, stream: &str) -> StreamWatch {
        let mut streams = self.0.lock();
        streams.retain(|name, sender| sender.receiver_count() > 0 || name == stream);
        let sender = streams.entry(stream.to_owned()).or_insert_with(|| watch::channel(()).0);
        StreamWatch(sender.subscribe())
    }

    /// Something was appended to a stream.
    pub(super) fn wake(&self, stream: &str) {
        if let Some(sender) = self.0.lock().get(stream) {
            sender.send_replace(());
        }
    }

    /// Something may have been appended to any.
    pub(super) fn wake_all(&self) {
        self.0.lock().values().for_each(|sender| sender.send_replace(()));
    }
}

/// Signals that something may have been appended to a stream since the last call or the creation of the watcher.
#[derive(Clone, Debug)]
pub struct StreamWatch(watch::Receiver<()>);

impl StreamWatch {
    /// Waits for an entry. It does not return once the store is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_watches_any_more_is_forgotten() {
        let watchers = StreamWatchers::default();
        let mut one = watchers.watch("one");
        watchers.wake("one");
        watchers.wake("other");
        one.changed().await;
        drop(one);
        let _other = watchers.watch("other");
        assert_eq!(watchers.0.lock().keys().collect::<Vec<_>>(), ["other"]);
    }
}
