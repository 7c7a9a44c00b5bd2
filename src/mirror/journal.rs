//! The numbered events of a system: the newest ones in memory, and all that are kept in the store if there is one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::known::KnownJobs;
use super::selection::Selection;
use crate::domain::{JobEvent, SystemName};
use crate::store::{MAX_PAGE, Retention, Store, StoreError};

/// Maximum number of events in memory; each takes about 300 bytes.
const MAX_EVENTS_IN_MEMORY: usize = 10_000;

/// Maximum number of events that one read returns.
const MAX_EVENTS_PER_READ: usize = 256;

/// The retention of events in the store.
const RETENTION: Retention = Retention { count: 100_000, age: Duration::from_secs(7 * 24 * 3600) };

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
    /// Whether the events that the store had at the start were read.
    is_open: AtomicBool,
}

struct Ring {
    entries: VecDeque<Arc<JournalEntry>>,
    /// The events after this number are in `entries`.
    floor: u64,
    last: u64,
    known: KnownJobs,
}

/// An event with its number, shared by all readers.
#[derive(Debug)]
pub struct JournalEntry {
    /// The number of the event; numbers increase.
    pub sequence: u64,
    /// The event.
    pub event: JobEvent,
    encodings: [OnceLock<Bytes>; 2],
}

/// The encoding of events in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Server-sent events.
    EventStream,
    /// Lines of JSON.
    Lines,
}

impl JournalEntry {
    /// The encoded entry. The first caller encodes it with `make`, and the result is kept for the others; every caller must encode alike.
    pub fn encoded(&self, encoding: Encoding, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let place = &self.encodings[usize::from(encoding == Encoding::Lines)];
        place.get_or_init(|| make(self)).clone()
    }
}

/// A part of a journal.
struct Batch {
    entries: Vec<Arc<JournalEntry>>,
    /// The number up to which the journal was read.
    position: u64,
    /// Whether events before these are no longer kept.
    has_gap: bool,
}

impl Journal {
    /// The journal of a system; only in memory if there is no store. Numbers of a journal in memory begin with the time in milliseconds, so
    /// that none is used twice after a restart of the process.
    pub fn new(system: &SystemName, store: Option<Arc<dyn Store>>) -> Self {
        let first = if store.is_some() { 0 } else { u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0) };
        let ring = Ring { entries: VecDeque::new(), floor: first, last: first, known: KnownJobs::default() };
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

    /// The store of the events, if there is one.
    pub(super) fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// The number of the newest event that was read or added here.
    pub fn last(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Reads the known jobs.
    pub(super) fn known<T>(&self, look: impl FnOnce(&KnownJobs) -> T) -> T {
        look(&self.ring.lock().known)
    }

    /// Runs `compare` on the known jobs, and adds the events that it returns: their number, and its other result.
    ///
    /// # Errors
    /// If the store does not accept them: the states of the known jobs change only with accepted events, so the next comparison creates them again.
    pub(super) async fn record<T>(&self, compare: impl Fn(&mut KnownJobs) -> (Vec<JobEvent>, T) + Send) -> Result<(usize, T), StoreError> {
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
                self.append((first..).zip(events));
                return Ok((count, result));
            };
            let encode = |event| serde_json::to_vec(event).expect("strings, numbers and times serialise");
            let entries: Vec<_> = events.iter().map(encode).collect();
            // If another replica appended first, compare again: its events may be the same.
            if store.append_after(&self.stream, self.last(), &entries, RETENTION).await?.is_some() {
                self.catch_up().await?;
                return Ok((count, result));
            }
        }
    }

    /// Reads the events in the store, unless that was done before. [`Journal::follow`] reads those that are added later.
    ///
    /// # Errors
    /// If the store does not answer.
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
            self.append(page.entries.into_iter().filter_map(|entry| Some((entry.sequence, decode(&self.stream, &entry.value)?))));
            if is_last {
                // The events in between have expired, or this release cannot decode them.
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

    fn append(&self, events: impl Iterator<Item = (u64, JobEvent)>) {
        let mut ring = self.ring.lock();
        for (sequence, event) in events {
            ring.known.apply(sequence, &event);
            ring.entries.push_back(Arc::new(JournalEntry { sequence, event, encodings: Default::default() }));
            ring.last = sequence;
            if ring.entries.len() > MAX_EVENTS_IN_MEMORY {
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

    /// The selected events after `position`.
    async fn after(&self, position: u64, selection: &Selection) -> Result<Batch, StoreError> {
        match self.after_in_memory(position, selection) {
            Ok(batch) => Ok(batch),
            Err(floor) => match &self.store {
                Some(store) => self.after_in_store(store.as_ref(), position, selection).await,
                None => Ok(Batch { entries: Vec::new(), position: floor, has_gap: true }),
            },
        }
    }

    /// The selected events in memory after `position`; an error with the number after which memory begins, if that is later.
    fn after_in_memory(&self, position: u64, selection: &Selection) -> Result<Batch, u64> {
        let ring = self.ring.lock();
        if position < ring.floor {
            return Err(ring.floor);
        }
        let begin = ring.entries.partition_point(|entry| entry.sequence <= position);
        let mut batch = Batch { entries: Vec::new(), position: ring.last.max(position), has_gap: false };
        for entry in ring.entries.range(begin..).filter(|entry| selection.selects(&entry.event.id, &entry.event.owner)) {
            if batch.entries.len() == MAX_EVENTS_PER_READ {
                batch.position = entry.sequence - 1;
                break;
            }
            batch.entries.push(Arc::clone(entry));
        }
        Ok(batch)
    }

    /// The selected events in the store after `position`.
    async fn after_in_store(&self, store: &dyn Store, position: u64, selection: &Selection) -> Result<Batch, StoreError> {
        let page = store.read(&self.stream, position, MAX_EVENTS_PER_READ).await?;
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

/// Reads the selected events of a journal, from a position on.
pub struct Reader {
    journal: Arc<Journal>,
    selection: Selection,
    position: u64,
    changes: watch::Receiver<u64>,
}

/// The events for a reader.
#[derive(Debug, Default)]
pub struct NewEvents {
    /// The events, the oldest first.
    pub entries: Vec<Arc<JournalEntry>>,
    /// Whether some earlier events are no longer kept, which may have been selected.
    pub has_gap: bool,
}

impl Reader {
    /// A reader of the events after this number.
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
    pub async fn next(&mut self) -> NewEvents {
        loop {
            self.changes.borrow_and_update();
            match self.step().await {
                Ok(new_events) if !new_events.entries.is_empty() || new_events.has_gap => return new_events,
                Ok(_) if self.position < self.journal.last() => {}
                Ok(_) => {
                    // The sender exists because this reader holds the journal.
                    let _ = self.changes.changed().await;
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// The next existing events, at most a page; none if all were read.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn ready(&mut self) -> Result<Option<NewEvents>, StoreError> {
        while self.position < self.journal.last() {
            let new_events = self.step().await?;
            if !new_events.entries.is_empty() || new_events.has_gap {
                return Ok(Some(new_events));
            }
        }
        Ok(None)
    }

    async fn step(&mut self) -> Result<NewEvents, StoreError> {
        let Batch { entries, position, has_gap } = self.journal.after(self.position, &self.selection).await?;
        self.position = position;
        Ok(NewEvents { entries, has_gap })
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
            ends_whole: false,
            at: Timestamp::now(),
        }
    }

    async fn add(journal: &Journal, numbers: std::ops::Range<usize>) {
        journal.record(|_| (numbers.clone().map(event).collect(), ())).await.unwrap();
    }

    fn ids(new_events: &NewEvents) -> Vec<&str> {
        new_events.entries.iter().map(|entry| entry.event.id.as_str()).collect()
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
    async fn a_reader_that_is_far_behind_learns_of_the_gap_and_continues_with_the_events_in_memory() {
        let journal = Arc::new(Journal::new(&SystemName::new("daint").unwrap(), None));
        let mut reader = Reader::new(Arc::clone(&journal), Selection::Owner("ada".to_owned()), journal.last());
        add(&journal, 0..2 * MAX_EVENTS_IN_MEMORY).await;
        let new_events = reader.next().await;
        assert!(new_events.has_gap && new_events.entries.is_empty());
        let mut count = 0;
        while let Some(new_events) = reader.ready().await.unwrap() {
            assert!(new_events.entries.len() <= MAX_EVENTS_PER_READ);
            count += new_events.entries.len();
        }
        assert_eq!(count, MAX_EVENTS_IN_MEMORY / 2);
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
