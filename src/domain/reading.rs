//! Answers of a cluster with their time.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Backend, Reported};

/// An answer of a cluster, held once for all equal queries; a clone shares it.
#[derive(Debug)]
pub struct Reading<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    value: T,
    asked: Instant,
    taken: Instant,
    fresh_for: Duration,
    via: Option<Backend>,
    missing: Option<&'static str>,
    rendering: OnceLock<Rendering>,
}

/// A reading in the form in which it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// The document.
    pub bytes: Bytes,
    /// A name for exactly these bytes: printable ASCII without quotes, equal for equal bytes and for no others.
    pub digest: String,
}

impl<T> Reading<T> {
    /// An answer that came just now and may be reused for `freshness`.
    pub fn new(value: T, fresh_for: Duration) -> Self {
        Self::of(value.into(), Instant::now(), fresh_for)
    }

    /// The same of what a scheduler reported to a query that began at `asked`.
    pub fn of(Reported { value, via, missing }: Reported<T>, asked: Instant, fresh_for: Duration) -> Self {
        Self(Arc::new(Inner { value, asked, taken: Instant::now(), fresh_for, via, missing, rendering: OnceLock::new() }))
    }

    /// A part of the answer, or a value made of it: it has the time of this one, and lacks what this one lacks, or else `missing`.
    pub fn derive<U>(&self, value: U, missing: Option<&'static str>) -> Reading<U> {
        let Inner { asked, taken, fresh_for, via, .. } = *self.0;
        Reading(Arc::new(Inner { value, asked, taken, fresh_for, via, missing: self.0.missing.or(missing), rendering: OnceLock::new() }))
    }

    /// When the query began: what changed after that may be missing.
    pub fn asked(&self) -> Instant {
        self.0.asked
    }

    /// When the answer came.
    pub fn taken(&self) -> Instant {
        self.0.taken
    }

    /// The description of what is missing, if a part of the answer could not be obtained: one printable line in English.
    pub fn missing(&self) -> Option<&'static str> {
        self.0.missing
    }

    /// The backend that gave the answer, if there is more than one.
    pub fn via(&self) -> Option<Backend> {
        self.0.via
    }

    /// The age of the answer.
    pub fn age(&self) -> Duration {
        self.0.taken.elapsed()
    }

    /// The time for which the answer may be reused.
    pub fn fresh_for(&self) -> Duration {
        self.0.fresh_for
    }

    /// The rendered answer: made by the first caller that needs it, and kept with the answer. All callers would render the same.
    pub fn rendering(&self, make: impl FnOnce(&T) -> Rendering) -> &Rendering {
        self.0.rendering.get_or_init(|| make(&self.0.value))
    }
}

impl<T> Deref for Reading<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Reading<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
