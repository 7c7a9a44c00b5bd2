//! The shapes of requests and answers about files.

pub(crate) mod batch;
pub(crate) mod copy_move;
pub(crate) mod file;
pub(crate) mod listing;
pub(crate) mod request;
pub(crate) mod storage;
