//! Where a call leaves word of the way that it took.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::Way;

/// A note that a scheduler with more than one way fills in; clones share it. One is made for each call.
#[derive(Clone, Debug, Default)]
pub struct WayNote(Arc<Mutex<Option<Way>>>);

impl WayNote {
    /// Notes the way. The last one counts.
    pub fn set(&self, way: Way) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
    }

    /// The way that was noted.
    pub fn get(&self) -> Option<Way> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
