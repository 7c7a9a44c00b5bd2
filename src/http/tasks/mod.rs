//! `/tasks`, and `/filesystem/{system_name}/transfer/copy-to`, which begins them.

pub(super) mod handlers;
mod model;
