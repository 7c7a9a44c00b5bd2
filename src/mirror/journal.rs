//! The numbered events of a system: the newest ones in memory, and all that are kept in the store if there is one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::known::Known;
use super::selection::Selection;
use crate::domain::{JobEvent, SystemName};
use crate::store::{Keep, MAX_PAGE, Store, StoreError};

/// The most events that are held in memory; each takes about 300 bytes.
const MAX_HELD: usize = 10_000;

/// The most events that a reader is given at a time.
const MAX_READ: usize = 256;

/// The retention of events in the store.
const KEEP: Keep = Keep { count: 100_000, age: Duration::from_secs(7 * 24 * 3600) };

/// The events of one system. It lives as long as the process.
pub struct Journal {
    stream: String,
    store: Option<Arc<dyn Store>>,
    ring: Mutex<Ring>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
    /// The lock for comparing the known jobs with the scheduler's list and adding events.
    writing: tokio::sync::Mutex<()>,
    /// The lock for reading the store.
    reading: tokio::sync::Mutex<()>,
    /// Whether what the store had at the beginning was read.
    is_open: AtomicBool,
}

struct Ring {
    entries: VecDeque<Arc<JournalEntry>>,
    /// All later events are in `entries`.
    floor: u64,
    last: u64,
    known: Known,
}

/// An event with its number, held once for all who read it.
#[derive(Debug)]
pub struct JournalEntry {
    /// Its number; each is greater than the one before.
    pub sequence: u64,
    /// The event.
    pub event: JobEvent,
    encodings: [OnceLock<Bytes>; 2],
}

/// A form in which events go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Server-sent events.
    EventStream,
    /// Lines of JSON.
    Lines,
}

impl JournalEntry {
    /// The entry in the form in which it goes out: made by the first who needs it, and kept. All callers make the same of it.
    pub fn encoded(&self, encoding: Encoding, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let place = &self.encodings[usize::from(encoding == Encoding::Lines)];
        place.get_or_init(|| make(self)).clone()
    }
}

/// A part of a journal.
struct Batch {
    entries: Vec<Arc<JournalEntry>>,
    /// Up to which number the journal was read.
    position: u64,
    /// Whether events before these are no longer kept.
    has_gap: bool,
}

impl Journal {
    /// The journal of a system; only in memory if there is no store. Numbers of a journal in memory begin with the time in milliseconds, so
    /// that none is used twice after a restart of the process.
    pub fn new(system: &SystemName, store: Option<Arc<dyn Store>>) -> Self {
        let first = if store.is_some() { 0 } else { u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0) };
        let ring = Ring { entries: VecDeque::new(), floor: first, last: first, known: Known::default() };
        Self {
            stream: JobEvent::stream(system.as_str()),
            store,
            ring: Mutex::new(ring),
            newest: watch::Sender::new(first),
            writing: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            is_open: AtomicBool::new(false),
        }
    }

    /// The store, where events are kept in one.
    pub(super) fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// The number of the newest event that was read or added here.
    pub fn last(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Reads the known jobs.
    pub(super) fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.ring.lock().known)
    }

    /// Runs `compare` on the known jobs, and adds the events that it returns: their number, and what else it returns.
    ///
    /// # Errors
    /// If the store does not accept them: then the known jobs stay unchanged, so that the next comparison creates the events again.
    pub(super) async fn record<T>(&self, compare: impl Fn(&mut Known) -> (Vec<JobEvent>, T) + Send) -> Result<(usize, T), StoreError> {
        let _turn = self.writing.lock().await;
        loop {
            self.catch_up().await?;
            let (events, result) = compare(&mut self.ring.lock().known);
            let count = events.len();
            if events.is_empty() {
                return Ok((count, result));
            }
            let Some(store) = &self.store else {
                let first = self.last() + 1;
                self.take_in((first..).zip(events));
                return Ok((count, result));
            };
            let encode = |event| serde_json::to_vec(event).expect("strings, numbers and times serialise");
            let entries: Vec<_> = events.iter().map(encode).collect();
            // Where another replica was faster, its events may be the same.
            if store.append_after(&self.stream, self.last(), &entries, KEEP).await?.is_some() {
                self.catch_up().await?;
                return Ok((count, result));
            }
        }
    }

    /// Reads what the store has, where that was never done. What is added afterwards comes by itself.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(&self) -> Result<(), StoreError> {
        if self.is_open.load(Ordering::Acquire) { Ok(()) } else { self.catch_up().await }
    }

    /// Reads the events of the store that this journal does not have yet.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let _turn = self.reading.lock().await;
        loop {
            let after = self.last();
            let page = store.read(&self.stream, after, MAX_PAGE).await?;
            let (is_last, newest) = (page.entries.len() < MAX_PAGE, page.last);
            self.take_in(page.entries.into_iter().filter_map(|entry| Some((entry.sequence, decode(&self.stream, &entry.value)?))));
            if is_last {
                // Those in between have expired, or were written by a release that this one does not understand.
                self.skip_to(newest);
                self.is_open.store(true, Ordering::Release);
                return Ok(());
            }
        }
    }

    /// Reads the events that other replicas add. It does not return.
    pub(super) async fn follow(&self) {
        let Some(store) = &self.store else { return std::future::pending().await };
        let mut watch = store.watch(&self.stream);
        loop {
            if let Err(error) = self.catch_up().await {
                tracing::debug!(stream = self.stream, error = %crate::error::ErrorChain(&error), "the events in the store could not be read");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            watch.changed().await;
        }
    }

    fn take_in(&self, events: impl Iterator<Item = (u64, JobEvent)>) {
        let mut ring = self.ring.lock();
        for (sequence, event) in events {
            ring.known.apply(sequence, &event);
            ring.entries.push_back(Arc::new(JournalEntry { sequence, event, encodings: Default::default() }));
            ring.last = sequence;
            if ring.entries.len() > MAX_HELD {
                ring.floor = ring.entries.pop_front().map_or(ring.floor, |entry| entry.sequence);
            }
        }
        let last = ring.last;
        drop(ring);
        self.newest.send_if_modified(|newest| std::mem::replace(newest, last) != last);
    }

    fn skip_to(&self, last: u64) {
        let mut ring = self.ring.lock();
        ring.last = ring.last.max(last);
        let last = ring.last;
        drop(ring);
        self.newest.send_if_modified(|newest| std::mem::replace(newest, last) != last);
    }

    /// The events after `position` that are selected.
    async fn after(&self, position: u64, selection: &Selection) -> Result<Batch, StoreError> {
        match self.held_after(position, selection) {
            Ok(batch) => Ok(batch),
            Err(floor) => match &self.store {
                Some(store) => self.kept_after(store.as_ref(), position, selection).await,
                None => Ok(Batch { entries: Vec::new(), position: floor, has_gap: true }),
            },
        }
    }

    /// The same for the events in memory; the number after which they begin, if that is later.
    fn held_after(&self, position: u64, selection: &Selection) -> Result<Batch, u64> {
        let ring = self.ring.lock();
        if position < ring.floor {
            return Err(ring.floor);
        }
        let begin = ring.entries.partition_point(|entry| entry.sequence <= position);
        let mut batch = Batch { entries: Vec::new(), position: ring.last.max(position), has_gap: false };
        for entry in ring.entries.range(begin..).filter(|entry| selection.selects(&entry.event.id, &entry.event.owner)) {
            if batch.entries.len() == MAX_READ {
                batch.position = entry.sequence - 1;
                break;
            }
            batch.entries.push(Arc::clone(entry));
        }
        Ok(batch)
    }

    /// The same of those in the store.
    async fn kept_after(&self, store: &dyn Store, position: u64, selection: &Selection) -> Result<Batch, StoreError> {
        let page = store.read(&self.stream, position, MAX_READ).await?;
        let reached = page.entries.last().map_or(page.last, |entry| entry.sequence);
        let decoded = page.entries.into_iter().filter_map(|entry| Some((entry.sequence, decode(&self.stream, &entry.value)?)));
        let selected = decoded.filter(|(_, event)| selection.selects(&event.id, &event.owner));
        let entry = |(sequence, event)| Arc::new(JournalEntry { sequence, event, encodings: Default::default() });
        Ok(Batch { entries: selected.map(entry).collect(), position: reached.max(position), has_gap: page.first > position + 1 })
    }
}

fn decode(stream: &str, value: &[u8]) -> Option<JobEvent> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!(stream, %error, "an event in the store cannot be read by this release"))
        .ok()
}

/// Reads a journal from some place on.
pub struct Reader {
    journal: Arc<Journal>,
    selection: Selection,
    position: u64,
    changes: watch::Receiver<u64>,
}

/// The events for a reader.
#[derive(Debug, Default)]
pub struct News {
    /// The events, the oldest first.
    pub entries: Vec<Arc<JournalEntry>>,
    /// Whether some earlier events are no longer kept, which may have been selected.
    pub has_gap: bool,
}

impl Reader {
    /// Reads what comes after the event of this number.
    pub fn new(journal: Arc<Journal>, selection: Selection, position: u64) -> Self {
        let changes = journal.newest.subscribe();
        Self { journal, selection, position, changes }
    }

    /// The number of the last event that was examined.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Selects other events from now on.
    pub fn select(&mut self, selection: Selection) {
        self.selection = selection;
    }

    /// Waits for the next events. It can be cancelled at any time without a loss.
    pub async fn next(&mut self) -> News {
        loop {
            self.changes.borrow_and_update();
            match self.step().await {
                Ok(news) if !news.entries.is_empty() || news.has_gap => return news,
                Ok(_) if self.position < self.journal.last() => {}
                Ok(_) => {
                    // The journal is held by this reader, so that its sender is there.
                    let _ = self.changes.changed().await;
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// The existing events, a part of them at a time; nothing if there are none.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn ready(&mut self) -> Result<Option<News>, StoreError> {
        while self.position < self.journal.last() {
            let news = self.step().await?;
            if !news.entries.is_empty() || news.has_gap {
                return Ok(Some(news));
            }
        }
        Ok(None)
    }

    async fn step(&mut self) -> Result<News, StoreError> {
        let Batch { entries, position, has_gap } = self.journal.after(self.position, &self.selection).await?;
        self.position = position;
        Ok(News { entries, has_gap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> JobEvent {
        JobEvent {
            id: number.to_string(),
            name: None,
            owner: if number.is_multiple_of(2) { "ada" } else { "bob" }.to_owned(),
            previous: None,
            state: "RUNNING".to_owned(),
            exit_code: None,
            signal: None,
            is_final: false,
            at: Timestamp::now(),
        }
    }

    async fn add(journal: &Journal, numbers: std::ops::Range<usize>) {
        journal.record(|_| (numbers.clone().map(event).collect(), ())).await.unwrap();
    }

    fn ids(news: &News) -> Vec<&str> {
        news.entries.iter().map(|entry| entry.event.id.as_str()).collect()
    }

    #[tokio::test]
    async fn a_reader_gets_what_it_selects_in_order_and_misses_nothing() {
        let journal = Arc::new(Journal::new(&SystemName::new("daint").unwrap(), None));
        let first = journal.last();
        add(&journal, 0..4).await;
        let mut reader = Reader::new(Arc::clone(&journal), Selection::Owner("ada".to_owned()), first);
        assert_eq!(ids(&reader.next().await), ["0", "2"]);
        add(&journal, 5..6).await;
        assert!(reader.ready().await.unwrap().is_none() && reader.position() == journal.last());
        add(&journal, 6..7).await;
        assert_eq!(ids(&reader.next().await), ["6"]);
    }

    #[tokio::test]
    async fn a_reader_that_is_far_behind_is_told_so_and_goes_on_with_what_is_held() {
        let journal = Arc::new(Journal::new(&SystemName::new("daint").unwrap(), None));
        let mut reader = Reader::new(Arc::clone(&journal), Selection::Owner("ada".to_owned()), journal.last());
        add(&journal, 0..2 * MAX_HELD).await;
        let news = reader.next().await;
        assert!(news.has_gap && news.entries.is_empty());
        let mut count = 0;
        while let Some(news) = reader.ready().await.unwrap() {
            assert!(news.entries.len() <= MAX_READ);
            count += news.entries.len();
        }
        assert_eq!(count, MAX_HELD / 2);
    }

    #[tokio::test]
    async fn an_event_is_encoded_once_for_all_readers() {
        let journal = Arc::new(Journal::new(&SystemName::new("daint").unwrap(), None));
        let read = || Reader::new(Arc::clone(&journal), Selection::Owner("ada".to_owned()), 0);
        let (mut one, mut other) = (read(), read());
        add(&journal, 0..1).await;
        let (one, other) = (one.next().await, other.next().await);
        assert!(one.has_gap && other.has_gap, "they begin before the journal does");
        let mut again = Reader::new(Arc::clone(&journal), Selection::Owner("ada".to_owned()), journal.last() - 1);
        let entry = Arc::clone(&again.next().await.entries[0]);
        let text = entry.encoded(Encoding::Lines, |_| Bytes::from_static(b"a"));
        assert_eq!(entry.encoded(Encoding::Lines, |_| Bytes::from_static(b"b")), text);
        assert_eq!(entry.encoded(Encoding::EventStream, |_| Bytes::from_static(b"b")), "b");
    }
}
