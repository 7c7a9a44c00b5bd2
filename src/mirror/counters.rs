//! The counters of a mirror, for the metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

/// A kind of query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// All jobs of a subject.
    List,
    /// One job.
    Job,
}

/// The outcome of a report that a job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// The job is queried.
    Taken,
    /// The jobs of that user have no watcher.
    Unwatched,
    /// The report names no job.
    Unreadable,
}

/// The counters of one mirror.
#[derive(Debug, Default)]
pub struct Counters {
    /// Numbers by kind of query and outcome.
    queries: [[AtomicU64; 2]; 2],
    /// Unix time in microseconds; 0 before the first answer.
    last_answer: AtomicI64,
    events: AtomicU64,
    pushes: [AtomicU64; 3],
}

impl Counters {
    pub(super) fn count_query(&self, query: Query, is_answered: bool) {
        self.queries[query as usize][usize::from(is_answered)].fetch_add(1, Ordering::Relaxed);
        if is_answered {
            self.last_answer.store(Timestamp::now().as_microsecond(), Ordering::Relaxed);
        }
    }

    pub(super) fn count_events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn count_push(&self, push: Push) {
        self.pushes[push as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The queries of the scheduler: kind, outcome and number.
    pub fn queries(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let kinds = [("list", Query::List), ("job", Query::Job)].into_iter();
        kinds.flat_map(|(name, query)| {
            let [failed, answered] = &self.queries[query as usize];
            [("answered", answered), ("failed", failed)].map(|(outcome, count)| (name, outcome, count.load(Ordering::Relaxed)))
        })
    }

    /// The time of the last answer of the scheduler; none before the first answer.
    pub fn last_answer(&self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.last_answer.load(Ordering::Relaxed)).ok().filter(|at| *at != Timestamp::UNIX_EPOCH)
    }

    /// The events that this process added.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The reports of ended jobs: outcome and number.
    pub fn pushes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let outcomes = [("taken", Push::Taken), ("unwatched", Push::Unwatched), ("unreadable", Push::Unreadable)].into_iter();
        outcomes.map(|(name, push)| (name, self.pushes[push as usize].load(Ordering::Relaxed)))
    }
}
