//! Files: `/filesystem/{system}/ops` and the operations beyond the contract.

pub(crate) mod batch;
pub(crate) mod changes;
pub(crate) mod content;
pub(crate) mod entries;
pub(crate) mod follow;
mod json_stream;
pub(crate) mod model;
pub(crate) mod ndjson;
pub(crate) mod storage;
