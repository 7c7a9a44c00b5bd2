//! Where a call leaves word of the way that it took, and of what its answer lacks.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::Backend;

/// A note that a scheduler fills in; clones share it. One is made for each call.
#[derive(Clone, Debug, Default)]
pub struct WayNote(Arc<Mutex<Noted>>);

#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    way: Option<Backend>,
    missing: Option<&'static str>,
}

impl WayNote {
    /// Notes the way. The last one counts.
    pub fn set(&self, way: Backend) {
        self.0.lock().way = Some(way);
    }

    /// The way that was noted.
    pub fn get(&self) -> Option<Backend> {
        self.0.lock().way
    }

    /// Notes what the answer lacks, and why, as one printable line in English.
    pub fn miss(&self, what: &'static str) {
        self.0.lock().missing = Some(what);
    }

    /// What the answer lacks.
    pub fn missing(&self) -> Option<&'static str> {
        self.0.lock().missing
    }
}
