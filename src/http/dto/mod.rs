//! The shapes on the wire, named as in the contract, and how they are made from the words of the domain.

pub(super) mod compute;
pub(super) mod file;
pub(super) mod file_request;
pub(super) mod status;
pub(super) mod system;
