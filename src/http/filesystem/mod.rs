//! Files: `/filesystem/{system}/ops` and what goes past the contract there.

pub(crate) mod batch;
pub(crate) mod content;
pub(crate) mod copy_move;
pub(crate) mod follow;
pub(crate) mod listing;
pub(crate) mod model;
pub(crate) mod ndjson;
pub(crate) mod ops;
pub(crate) mod storage;
