//! The status of systems: `/status`, and the shapes of its documents.

pub(crate) mod data_transfer_model;
pub(crate) mod handlers;
pub(crate) mod limits;
pub(crate) mod model;
pub(crate) mod parameters_model;
pub(crate) mod system_cache;
pub(crate) mod system_model;
