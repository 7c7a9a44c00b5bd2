//! How far a copy has come, shared by the files that are copied at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::RemotePath;
use crate::service::tasks::{Done, TaskProgress};

/// The time over which the rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// The progress of one attempt, which continues that of the one before.
pub(super) struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
    /// What has certainly arrived, in bytes and a further one for each file: where attempts began, and what is complete.
    settled: AtomicU64,
    rest: Mutex<Rest>,
}

struct Rest {
    progress: TaskProgress,
    done: Done,
    /// The bytes at moments of the last seconds.
    seen: VecDeque<(Instant, u64)>,
}

/// The bytes of one file, which count for as long as they are not lost.
pub(super) struct FileBytes {
    progress: Arc<Progress>,
    counted: AtomicU64,
    began_at: AtomicU64,
}

impl Progress {
    /// The progress of an attempt, which begins behind what is done. What an earlier one did beyond that is looked at again, and counts then.
    pub(super) fn new(progress: &TaskProgress, done: Done) -> Self {
        let (files, bytes) = (done.files.into(), done.bytes.into());
        let seen = VecDeque::from([(Instant::now(), done.bytes)]);
        let (progress, settled) = (progress.clone(), (done.files + done.bytes).into());
        Self { files, bytes, settled, rest: Mutex::new(Rest { progress, done, seen }) }
    }

    /// The progress now, and what is done.
    pub(super) fn now(&self) -> (TaskProgress, Done) {
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let now = Instant::now();
        let mut rest = self.rest.lock();
        rest.seen.push_back((now, bytes));
        while rest.seen.len() > 2 && rest.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            rest.seen.pop_front();
        }
        let rate = rest.seen.front().map_or(0, |(since, before)| {
            let milliseconds = now.duration_since(*since).as_millis().max(1);
            u64::try_from(u128::from(bytes.saturating_sub(*before)) * 1000 / milliseconds).unwrap_or(u64::MAX)
        });
        let Done { skipped, ref first_skipped, .. } = rest.done;
        let progress = TaskProgress { files, bytes, rate, skipped, first_skipped: first_skipped.clone(), ..rest.progress.clone() };
        (progress, rest.done.clone())
    }

    /// Whether the files were counted.
    pub(super) fn is_counted(&self) -> bool {
        self.rest.lock().progress.total_files.is_some()
    }

    pub(super) fn counted(&self, files: u64, bytes: u64) {
        let mut rest = self.rest.lock();
        (rest.progress.total_files, rest.progress.total_bytes) = (Some(files), Some(bytes));
    }

    /// All up to this entry is done: a file of this size, or what is not copied.
    pub(super) fn reached(&self, entry: String, copied: Option<u64>) {
        let done = &mut self.rest.lock().done;
        match copied {
            Some(size) => (done.files, done.bytes) = (done.files + 1, done.bytes + size),
            None => {
                done.skipped += 1;
                done.first_skipped.get_or_insert_with(|| entry.clone());
            }
        }
        done.cursor = Some(entry);
    }

    /// Whether the source has this path without symbolic links, as it had at the first attempt.
    pub(super) fn is_source(&self, real: &RemotePath) -> bool {
        *self.rest.lock().done.real_source.get_or_insert_with(|| real.to_text()) == real.to_text()
    }

    /// Something is about to be made at the target; returns whether this was known.
    pub(super) fn begin(&self) -> bool {
        std::mem::replace(&mut self.rest.lock().done.has_begun, true)
    }

    /// Nothing was made at the target after all.
    pub(super) fn has_made_nothing(&self) {
        self.rest.lock().done.has_begun = false;
    }

    /// A directory was made.
    pub(super) fn entered(&self, directory: &str) {
        let made = &mut self.rest.lock().done.made;
        if !made.iter().any(|known| known == directory) {
            made.push(directory.to_owned());
        }
    }

    /// Whether a directory was made by this task.
    pub(super) fn has_made(&self, directory: &str) -> bool {
        self.rest.lock().done.made.iter().any(|known| known == directory)
    }

    /// All of a directory is done.
    pub(super) fn left(&self, directory: &str) {
        self.rest.lock().done.made.retain(|known| known != directory);
    }

    pub(super) fn cursor(&self) -> Option<String> {
        self.rest.lock().done.cursor.clone()
    }

    /// How far the copy has certainly come: a number that grows from one attempt to the next if there is any progress.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed)
    }

    /// A file that begins.
    pub(super) fn file(self: &Arc<Self>) -> FileBytes {
        FileBytes { progress: Arc::clone(self), counted: AtomicU64::new(0), began_at: AtomicU64::new(0) }
    }
}

impl FileBytes {
    /// The file goes on behind these bytes: an earlier attempt, or try, has moved them.
    pub(super) fn resume_at(&self, offset: u64) {
        let counted = self.counted.swap(offset, Ordering::Relaxed);
        self.progress.bytes.fetch_add(offset.wrapping_sub(counted), Ordering::Relaxed);
        let settled = self.began_at.fetch_max(offset, Ordering::Relaxed);
        self.progress.settled.fetch_add(offset.saturating_sub(settled), Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The file is complete, and has so many bytes.
    pub(super) fn complete(&self, size: u64) {
        let counted = self.counted.swap(0, Ordering::Relaxed);
        self.progress.bytes.fetch_add(size.wrapping_sub(counted), Ordering::Relaxed);
        self.progress.files.fetch_add(1, Ordering::Relaxed);
        let rest = size.saturating_sub(self.began_at.load(Ordering::Relaxed));
        self.progress.settled.fetch_add(rest + 1, Ordering::Relaxed);
    }
}

impl Drop for FileBytes {
    fn drop(&mut self) {
        self.progress.bytes.fetch_sub(*self.counted.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_earlier_try_of_a_file_has_moved_counts_once() {
        let progress = Arc::new(Progress::new(&TaskProgress::default(), Done::default()));
        let file = progress.file();
        for offset in [600, 600, 0] {
            file.resume_at(offset);
            file.add(100);
        }
        assert_eq!((progress.now().0.bytes, progress.settled()), (100, 600));
        file.complete(1000);
        assert_eq!((progress.now().0.bytes, progress.settled()), (1000, 1001));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_count_while_their_file_goes_on_and_the_rate_is_that_of_the_last_seconds() {
        let done = Done { bytes: 1000, files: 1, ..Done::default() };
        let progress = Arc::new(Progress::new(&TaskProgress::default(), done));
        let (lost, kept) = (progress.file(), progress.file());
        lost.add(400);
        kept.add(600);
        tokio::time::advance(Duration::from_secs(2)).await;
        let (now, _) = progress.now();
        assert_eq!((now.bytes, now.files, now.rate), (2000, 1, 500));
        drop(lost);
        kept.complete(700);
        let (now, _) = progress.now();
        assert_eq!((now.bytes, now.files), (1700, 2));
        assert_eq!(progress.settled(), 1001 + 701, "what was lost again is no progress");
        tokio::time::advance(RATE_WINDOW * 2).await;
        progress.now();
        tokio::time::advance(RATE_WINDOW * 2).await;
        assert_eq!(progress.now().0.rate, 0);
    }
}
