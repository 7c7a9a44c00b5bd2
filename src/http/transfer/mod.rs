//! Transfers: `/filesystem/{system}/transfer`, and the shapes of their documents.

pub(crate) mod jobs;
pub(crate) mod model;
pub(crate) mod object_store_model;
