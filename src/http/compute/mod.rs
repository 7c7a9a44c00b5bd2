//! Jobs: `/compute/{system}`, and the shapes of their documents.

pub(crate) mod idempotency;
pub(crate) mod jobs;
pub(crate) mod model;
