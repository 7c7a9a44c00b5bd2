//! The shapes on the wire, named as in the contract, and how they are made from the words of the domain.

pub(super) mod batch;
pub(super) mod compute;
mod data_transfer;
pub(super) mod file;
pub(super) mod file_request;
pub(super) mod listing;
pub(super) mod moving;
pub(super) mod parameters;
pub(super) mod staged;
pub(super) mod status;
pub(super) mod storage;
pub(super) mod system;
pub(super) mod transfer;
